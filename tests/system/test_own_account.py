"""The hub's own account at the broker is known to the broker and to whoever has MQTT_URL, and said nowhere."""

from collections.abc import Callable
from pathlib import Path

import httpx
import msgspec

from bridge import mqtt
from bridge.accounts import nats
from tests.hub import PATIENCE_S, Demo, Device, Hub, Production


def own_secret(hub: Hub) -> str:
    if isinstance(hub, Demo):
        return msgspec.json.decode((hub.folder / "broker" / nats.OWN).read_bytes(), type=nats.Own).password
    assert isinstance(hub, Production)
    return mqtt.MqttUrl.parse(hub.mosquitto.url).password or ""


def said(hub: Hub, device: Device) -> dict[str, str]:
    """Whatever the hub tells: over REST and HTTP, in its logs, and as arguments of the machine's processes."""
    told = {path: hub.rest("GET", path).text for path in ("devices/", f"devices/{device.key}/", "fleets/", "schema/")}
    told |= {
        path: httpx.get(f"{hub.url}{path}", timeout=PATIENCE_S, trust_env=False, follow_redirects=True).text
        for path in ("/", "/healthz", "/readyz", "/metrics")
    }
    told |= {str(log): log.read_text(errors="replace") for log in hub.folder.rglob("*.log")}
    for process in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            told[str(process)] = process.read_text(errors="replace")
        except OSError:  # it has ended
            continue
    return told


def test_the_hubs_own_secret_is_said_nowhere(anywhere: Hub, new_device: Callable[..., Device]) -> None:
    secret = own_secret(anywhere)
    assert len(secret) >= 32
    told = said(anywhere, new_device("own-account"))
    assert any(where.endswith(".log") and text for where, text in told.items())
    assert [where for where, text in told.items() if secret in text] == []
