"""No secret is where none may be: each that a hub makes bears a mark, and all that the hub says and leaves is searched.

One hub, and a dozen ways by which a secret could get out. `python3 manage.py test --canary` does so with all tests.
"""

import base64
from pathlib import Path
from typing import Final

import aiomqtt
import httpx
import pytest

from tests import canary
from tests.hub import Demo, running_demo
from tests.system.stands import Client

SETTINGS: Final = "tests.canary_settings"
PAGES: Final = ("/", "/devices/pump-1/", "/rejects/", "/admin/devices/device/", "/admin/auth/user/", "/metrics")


@pytest.mark.parametrize("form", [canary.MARK.upper(), canary.MARK.encode().hex(), canary.PASSWORD])
def test_the_search_finds_a_secret_in_each_form(form: str) -> None:
    assert canary.sings(f"something {form} something")


@pytest.mark.parametrize("before", ["", "u", "us", "user:"])
def test_the_search_finds_a_secret_in_base64(before: str) -> None:
    assert canary.sings(base64.b64encode(f"{before}{canary.MARK}!".encode()))


def test_the_search_finds_nothing_where_there_is_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    found = tmp_path / "found"
    found.touch()
    monkeypatch.setenv(canary.FOUND, str(found))
    assert not canary.search("here", "zq9 canary, a horse, a battery")
    assert canary.hits(found) == []


def test_a_file_for_a_secret_that_others_may_read_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    found, kept = tmp_path / "found", tmp_path / "data" / "own.json"
    monkeypatch.setenv(canary.FOUND, str(found))
    kept.parent.mkdir()
    kept.write_text(canary.MARK)
    kept.chmod(0o644)
    canary.files(kept.parent)
    kept.unlink()  # a whole run would find it again
    assert [hit.around for hit in canary.hits(found)] == ["its mode is 644"]


async def test_no_secret_of_a_hub_gets_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    found, data = tmp_path / "found", tmp_path / "data"
    found.touch()
    data.mkdir()
    monkeypatch.setenv(canary.FOUND, str(found))
    with running_demo(data, devices=1, DJANGO_SETTINGS_MODULE=SETTINGS) as demo:
        device = demo.add_device("pump-1")
        newer = demo.ask("POST", "devices/pump-1/rotate/")["secret"]
        assert all(canary.sings(secret) for secret in (device.secret, newer, demo.token(), demo.password))
        visit(demo)
        ask(demo)
        for secret in (device.secret, newer):
            await connect(demo, secret)
        demo.manage("provision", "pump-1", "--rotate", DJANGO_SETTINGS_MODULE=SETTINGS)
        with demo.live() as live:
            live.sub("pump-1")
            live.until(type="live")
    canary.files(data)
    assert "level=debug" in demo.part.said()
    assert canary.hits(found) == []


def visit(demo: Demo) -> None:
    """Sign in, wrongly and rightly, make a device, and look around."""
    with httpx.Client(base_url=demo.url, trust_env=False, follow_redirects=True) as client:
        for path, form in (
            ("/sign-in/", {"username": "nobody", "password": demo.password}),
            ("/sign-in/", {"username": demo.user, "password": demo.password}),
            ("/add/", {"key": "fan-1", "fleet": "main"}),
            ("/devices/pump-1/secret/", {}),
            ("/devices/nowhere/secret/", {}),
        ):
            client.get("/sign-in/")
            client.post(path, data={**form, "csrfmiddlewaretoken": client.cookies["csrftoken"]})
        assert [client.get(path).status_code for path in PAGES] == [200] * len(PAGES)


def ask(demo: Demo) -> None:
    """Ask the API as programs do that have something wrong, and what it tells of tokens and devices."""
    headers = {"Authorization": f"Token {demo.token()}x"}
    assert httpx.get(f"{demo.url}/api/v1/devices/", headers=headers, trust_env=False).status_code == 401
    asked = {"username": demo.user, "password": [demo.password], "code": demo.password}
    assert httpx.post(f"{demo.url}/api/v1/tokens/", json=asked, trust_env=False).status_code == 400
    for path in ("tokens/", "devices/", "devices/pump-1/", "schema/"):
        assert demo.rest("GET", path).is_success


async def connect(demo: Demo, secret: str) -> None:
    """Come as the device, with a secret that is good, old, or not known to the broker yet."""
    try:
        async with Client(demo.mqtt_port, "pump-1", secret):
            pass
    except aiomqtt.MqttError:
        pass
