"""Settings on a device's page: several saved at once, what waits, what is kept otherwise, what others changed."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

from playwright.sync_api import Locator, Page, expect

from tests import hub
from tests.browser.conftest import PATIENCE_MS
from tests.system.clients import Paho

Look = Callable[..., Page]
SPECS = {
    "interval_s": {"type": "number", "min": 1, "max": 3600, "step": 1, "unit": "s"},
    "mode": {"type": "enum", "options": ["eco", "auto", "boost"]},
    "led": {"type": "bool"},
    "label": {"type": "text"},
}


def told(client: Paho) -> dict[str, Any]:
    while not (heard := client.heard()).topic.endswith("/desired"):
        pass
    message: dict[str, Any] = json.loads(heard.payload)
    return message


def row(page: Page, name: str) -> Locator:
    return page.locator(f"[data-setting={name}]")


def test_settings_are_saved_together_wait_for_a_sleeper_and_are_kept(look: Look, demo: hub.Demo) -> None:
    device = demo.add_device("shelf")
    page = look("/devices/shelf/")
    expect(page.locator("#rail")).to_have_attribute("data-state", "live", timeout=PATIENCE_MS)
    expect(page.locator("#settings")).to_be_hidden()
    with Paho(demo, device, hears=("desired",)) as client:
        client.said("meta", {"settings": SPECS})
        client.said("status", {"state": "online", "sleep_s": 900}, retain=True)
        client.said("reported", {"version": 0, "values": {"interval_s": 10, "mode": "eco", "label": "left"}})
        expect(row(page, "interval_s").locator(".evidence")).to_have_text("the device keeps 10 s", timeout=PATIENCE_MS)
        client.vanish()
        expect(page.locator("#because")).to_contain_text("asleep", timeout=PATIENCE_MS)

    row(page, "interval_s").locator("input[type=number]").fill("30")
    row(page, "mode").get_by_role("button", name="auto").click()
    page.get_by_role("button", name="Save 2 changes").click()
    expect(row(page, "interval_s").locator(".evidence")).to_contain_text("waits until it wakes")
    expect(page.locator(".settings-bar")).to_be_hidden()

    # What a person writes stays, whatever comes meanwhile.
    row(page, "label").locator("input").fill("on the ri")
    with Paho(demo, device, hears=("desired",)) as client:
        client.said("status", {"state": "online", "sleep_s": 900}, retain=True)
        assert told(client) == {"version": 1, "values": {"interval_s": 30, "mode": "auto"}}
        client.said("reported", {"version": 1, "values": {"interval_s": 30, "mode": "boost", "label": "left"}})
        expect(row(page, "interval_s")).to_have_attribute("data-state", "kept", timeout=PATIENCE_MS)
        expect(row(page, "mode").locator(".evidence")).to_contain_text("the device keeps boost, although")
        expect(row(page, "label").locator("input")).to_have_value("on the ri")

        # Somebody else was faster: told who and what, and saved on a second word.
        demo.add_users(olga={"main": "operator"})
        demo.ask("PATCH", "devices/shelf/settings/", json={"desired": {"label": "top"}}, user="olga")
        expect(row(page, "label").locator(".evidence")).to_contain_text("olga wants top")
        page.get_by_role("button", name="Save", exact=True).click()
        expect(page.locator(".settings-said")).to_contain_text('label was set to "top" by olga')
        page.get_by_role("button", name="Save", exact=True).click()
        expect(row(page, "label").locator(".evidence")).to_contain_text("wants on the ri")
