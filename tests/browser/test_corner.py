"""The corner of each page, and what pages say of what happens to them."""

from __future__ import annotations

import json
import re
from collections.abc import Callable

import pytest
from playwright.sync_api import BrowserContext, Page, WebSocket, expect

from tests import hub
from tests.browser.conftest import PATIENCE_MS

Look = Callable[..., Page]
PUMP = "/devices/sim-pump-1/"
HOPS = ["device", "received", "committed", "announced", "sent", "taken", "drawn"]
# The path is asked every 2 s by an open panel, and by no other.
A_WHILE_MS = 5000


def live(page: Page) -> Page:
    expect(page.locator("#rail")).to_have_attribute("data-state", "live", timeout=PATIENCE_MS)
    return page


@pytest.mark.parametrize("path", ["/", PUMP, "/rejects/", "/add/", "/no-such-page/"])
def test_each_page_says_whether_it_is_live(look: Look, path: str) -> None:
    live(look(path))


def test_whoever_is_not_signed_in_sees_no_corner(look: Look) -> None:
    page = look("/sign-in/", signed_in=False)
    expect(page.get_by_label("Username")).to_be_visible()
    expect(page.locator("#rail, #path")).to_have_count(0)


def test_the_path_opens_by_keyboard_and_closes_by_escape(look: Look) -> None:
    page = live(look(PUMP))
    page.locator("#rail").focus()
    page.keyboard.press("Enter")
    panel = page.get_by_role("dialog", name="From device to screen")
    expect(panel.locator(".path-hops b")).to_have_text(HOPS)
    expect(panel.locator(".path-verdict")).to_contain_text("nothing lost")
    for number, words in enumerate(("heard", "stored", "announced", "to this page", "taken", "drawn"), 1):
        expect(panel.locator(".path-counts").nth(number)).to_contain_text(re.compile(rf"\d {words}"))
    for number in range(1, len(HOPS)):
        expect(panel.locator(".path-took").nth(number)).to_have_text(re.compile(r"^[\d.]+ m?s$"))
    expect(panel.locator(".path-whole")).to_have_text(re.compile(r"^[\d.]+ m?s from device to screen$"))
    page.keyboard.press("Escape")
    expect(panel).to_be_hidden()
    expect(page.locator("#rail")).to_be_focused()


def test_the_path_is_asked_for_only_while_somebody_looks(look: Look) -> None:
    page = look()
    asked: list[str] = []

    def heard(socket: WebSocket) -> None:
        socket.on("framesent", lambda text: asked.append(json.loads(text)["type"]))

    page.on("websocket", heard)
    page.reload()
    live(page).wait_for_timeout(A_WHILE_MS / 2)
    assert "path" not in asked
    page.locator("#rail").click()
    page.wait_for_timeout(A_WHILE_MS)
    assert 2 <= asked.count("path") <= 4
    page.keyboard.press("Escape")
    before = asked.count("path")
    page.wait_for_timeout(A_WHILE_MS / 2)
    assert asked.count("path") == before


# A hub that answers like this when it is asked for the path.
ANSWERS = """
const heard = Object.getOwnPropertyDescriptor(WebSocket.prototype, "onmessage");
Object.defineProperty(WebSocket.prototype, "onmessage", {
  ...heard,
  set(listener) {
    const said = (event) => (JSON.parse(event.data).type === "path" ? { data: JSON.stringify(SAID) } : event);
    const changed = (event) => listener(said(event));
    heard.set.call(this, listener && changed);
  },
});
"""


def test_what_was_refused_stands_out(look: Look) -> None:
    page = look("/rejects/")
    panel = page.locator("#path")
    hub_says = {
        "type": "path",
        "at": 1,
        "bridges": {"main": {"counts": {"heard": 9, "frames": 8, "rejects": 1}}},
        "web": {},
        "socket": {"messages": 0, "frames": 0, "skipped": 3},
    }
    page.add_init_script(ANSWERS.replace("SAID", json.dumps(hub_says)))
    page.reload()
    live(page).locator("#rail").click()
    expect(panel.locator('.path-verdict [data-kind="healed"]')).to_have_text("1 rejected: kept in Rejects")
    expect(panel.locator('.path-verdict [data-kind="lost"]')).to_have_text("3 skipped: this page was too slow")


def test_a_new_name_shows_on_each_open_page(look: Look, demo: hub.Demo) -> None:
    device = demo.add_device("corner-1")
    page, fleet = live(look(f"/devices/{device.key}/")), live(look())
    demo.ask("PATCH", f"devices/{device.key}/", json={"name": "By the door"})
    expect(page.locator("#device-name")).to_have_text("By the door")
    expect(fleet.locator(f"#rows tr[data-key={device.key}] [data-part=name]")).to_have_text("By the door")
    demo.ask("PATCH", f"devices/{device.key}/", json={"enabled": False})
    expect(page.locator("#disabled")).to_be_visible()


def test_a_deleted_device_is_said_to_be_gone(look: Look, demo: hub.Demo) -> None:
    device = demo.add_device("corner-2")
    page, fleet = live(look(f"/devices/{device.key}/")), live(look())
    row = fleet.locator(f"#rows tr[data-key={device.key}]")
    expect(row).to_have_count(1)
    demo.ask("DELETE", f"devices/{device.key}/")
    expect(page.locator("#notice")).to_contain_text("This device is gone")
    expect(page.locator("#rail-word")).to_have_text("ended")
    expect(page.locator("html")).to_have_attribute("data-link", "down")
    expect(row).to_have_count(0)


def other_tab(page: Page) -> Page:
    context: BrowserContext = page.context
    return context.new_page()


def test_signing_out_in_one_tab_is_said_in_the_other(look: Look) -> None:
    page = live(look())
    tab = other_tab(page)
    tab.goto("/rejects/")
    live(tab).get_by_role("button", name="Sign out").click()
    tab.wait_for_url("**/sign-in/")
    expect(page.locator("#rail")).to_contain_text("signed out")
    expect(page.locator("#rail")).to_contain_text("reload to sign in")


@pytest.mark.parametrize("path", ["/", PUMP, "/rejects/"])
def test_the_open_panel_fits_a_phone(look: Look, path: str) -> None:
    page = live(look(path, width=360))
    page.locator("#rail").click()
    expect(page.locator("#path .path-hops li")).to_have_count(len(HOPS))
    box = page.locator("#path").bounding_box()
    assert box
    assert box["x"] >= 0
    assert box["x"] + box["width"] <= 360
    assert page.evaluate("document.documentElement.scrollWidth") == 360
