"""An update as a device lives it: told by MQTT, fetched by HTTP through a cut, checked, answered, announced."""

from __future__ import annotations

import hashlib
import json
import os
from pathlib import Path
from typing import Any, Final

import httpx

from tests.hub import PATIENCE_S, Demo, Device, eventually
from tests.system.clients import Paho

META: Final = {"model": "Sprinkler", "fw": "1.4.2", "commands": {"update": {"type": "update"}}}
# More than Daphne, the kernel's buffers and a client hold of it together.
SIZE: Final = 20_000_000
CUT_AT: Final = 3_000_000


def uploaded(demo: Demo, image: bytes) -> dict[str, Any]:
    """Add a firmware as a build would."""
    fields = {"fleet": "main", "version": "1.5.0", "model": "sprinkler"}
    made: dict[str, Any] = demo.ask("POST", "firmware/", data=fields, files={"file": ("firmware.bin", image)})
    return made


def told(demo: Demo, device: Paho, firmware: int) -> tuple[str, dict[str, Any]]:
    """Give the update, and return what the device hears of it: the command's id, and its argument."""
    asked = {"name": "update", "args": {"firmware": firmware}, "confirm": True, "reason": "it leaks"}
    path = f"devices/{device.device.key}/commands/"
    eventually(lambda: demo.rest("POST", path, json=asked).status_code == 201)
    heard = device.heard()
    return heard.topic.rpartition("/")[2], json.loads(heard.payload)


def fetched(url: str, device: Device, have: bytes = b"", enough: int = SIZE) -> bytes:
    """Fetch what is missing, and go away once there is enough."""
    headers = {"Range": f"bytes={len(have)}-"} if have else {}
    with httpx.stream(
        "GET", url, headers=headers, auth=(device.key, device.secret), timeout=PATIENCE_S, trust_env=False
    ) as answer:
        assert answer.status_code == (206 if have else 200)
        for part in answer.iter_raw():
            have += part
            if len(have) >= enough:
                break
    return have


def peak_mb(demo: Demo) -> float:
    """What the hub's process has held at most, as Linux counts it."""
    [pid] = [part.pid for part in demo.parts]
    status = Path(f"/proc/{pid}/status").read_text(encoding="ascii")
    return next(int(line.split()[1]) / 1000 for line in status.splitlines() if line.startswith("VmHWM"))


def test_a_device_updates_itself_through_a_cut_and_the_hub_never_has_the_file_in_memory(demo: Demo) -> None:
    image, credentials, before = os.urandom(SIZE), demo.add_device("sprinkler"), peak_mb(demo)
    kept = uploaded(demo, image)
    with Paho(demo, credentials) as device:
        device.said("status", "online")
        device.said("meta", META)
        cid, order = told(demo, device, kept["id"])
        assert len(order["url"]) < len("http://127.0.0.1:65535/fw/") + 30
        device.said(f"ack/{cid}", {"status": "accepted", "step": "downloading", "progress": 0})
        have = fetched(order["url"], credentials, enough=CUT_AT)
        device.said(f"ack/{cid}", {"status": "accepted", "step": "downloading", "progress": len(have) / SIZE})
        assert len(have) < SIZE
        have = fetched(order["url"], credentials, have)
        assert (len(have), hashlib.sha256(have).hexdigest()) == (order["size"], order["sha256"])
        assert order["sha256"] == hashlib.sha256(image).hexdigest()
        proofs = eventually(lambda: [one for one in log(demo, cid) if "to the last byte" in one["proof"]])
        assert proofs[-1]["state"] == "received"
        device.said(f"ack/{cid}", {"status": "accepted", "step": "verified"})
        device.said(f"ack/{cid}", "ok")
        eventually(lambda: demo.ask("GET", f"commands/{cid}/")["state"] == "succeeded")
        outcome = {"version": "1.5.0", "announced": "1.4.2", "installed": False}
        assert demo.ask("GET", f"commands/{cid}/")["firmware"] == outcome
        device.said("meta", META | {"fw": "1.5.0"})
        eventually(lambda: demo.ask("GET", f"commands/{cid}/")["firmware"]["installed"])
        assert httpx.get(order["url"], auth=(credentials.key, credentials.secret), trust_env=False).status_code == 410
    grown = peak_mb(demo) - before
    assert grown < SIZE / 2e6, f"the hub held {grown:.0f} MB more"


def log(demo: Demo, cid: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = demo.ask("GET", f"commands/{cid}/")["events"]
    return found
