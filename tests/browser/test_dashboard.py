"""The dashboard as people see it: real hub, real devices over MQTT, real browser."""

from __future__ import annotations

import re
import time
from collections.abc import Callable

import paho.mqtt.client as mqtt
import pytest
from playwright.sync_api import Page, expect

from tests import hub
from tests.browser.conftest import PATIENCE_MS, sign_in

Look = Callable[..., Page]
PUMP = "/devices/sim-pump-1/"


def live(page: Page) -> Page:
    expect(page.locator("#rail")).to_have_attribute("data-state", "live", timeout=PATIENCE_MS)
    return page


def seqs(page: Page) -> list[int]:
    """The numbers of the frames in the table, the newest first."""
    found: list[int] = page.eval_on_selector_all("#frames tr", "rows => rows.map(row => Number(row.dataset.seq))")
    return found


def wait_for_frame(page: Page, seq: int) -> None:
    page.wait_for_function("seq => Number(document.getElementById('seq').textContent) >= seq", arg=seq)


def drawing(page: Page) -> str:
    text: str = page.eval_on_selector("#charts canvas", "canvas => canvas.toDataURL()")
    return text


def test_signing_in_works_and_a_wrong_password_says_so(look: Look, demo: hub.Demo) -> None:
    page = look(PUMP, signed_in=False)
    page.fill("[name=username]", demo.user)
    page.fill("[name=password]", "wrong")
    page.click("main button[type=submit]")
    expect(page.get_by_role("alert")).to_contain_text("correct username and password")
    page.goto("/")
    sign_in(page, demo)
    expect(page.get_by_role("heading", name="Fleet")).to_be_visible()


def test_the_fleet_moves_without_a_reload(look: Look) -> None:
    page = live(look())
    rows = page.locator("#rows tr[data-key^=sim-]")
    expect(rows).to_have_count(5)
    cell = page.locator("#rows tr[data-key=sim-pump-1] .readings")
    before = cell.inner_text()
    expect(cell).not_to_have_text(before)
    expect(page.locator("#rows tr[data-key=sim-pump-1] .spark path")).to_have_attribute("d", re.compile(r"^M.+L"))


def test_the_fleet_is_sifted_by_word_and_by_presence(look: Look) -> None:
    page = live(look())
    page.keyboard.press("/")
    page.keyboard.type("pump")
    expect(page.locator("#rows tr[data-key^=sim-]:visible")).to_have_count(1)
    page.keyboard.press("Escape")
    expect(page.locator("#rows tr[data-key^=sim-]:visible")).to_have_count(5)
    page.keyboard.press("/")
    page.keyboard.type("no such thing")
    expect(page.get_by_text("No device matches")).to_be_visible()
    page.get_by_role("button", name="Show all").click()
    expect(page.locator("#rows tr[data-key^=sim-]:visible")).to_have_count(5)


def test_a_chart_moves(look: Look) -> None:
    page = live(look(PUMP))
    wait_for_frame(page, 3)
    before, seq = drawing(page), seqs(page)[0]
    wait_for_frame(page, seq + 2)
    page.wait_for_timeout(300)
    assert drawing(page) != before


@pytest.mark.parametrize("word", ["off", "on"])
def test_a_command_goes_round_and_shows_its_evidence_to_every_watcher(look: Look, word: str) -> None:
    page, other = live(look(PUMP)), live(look(PUMP))
    page.get_by_role("button", name=f"relay {word}", exact=True).click()
    evidence = page.locator("[data-command=relay] .evidence")
    expect(evidence).to_contain_text("succeeded", timeout=PATIENCE_MS)
    for step in (f"relay = {word}", "queued", "sent +", "received +", "the device answered"):
        expect(evidence).to_contain_text(step)
    expect(other.locator("#orders .order").first).to_contain_text(f"relay = {word}")
    expect(other.locator("#orders .order").first).to_have_attribute("data-state", "succeeded")


def test_a_command_out_of_range_is_refused_in_words(look: Look) -> None:
    page = live(look(PUMP))
    page.eval_on_selector("[data-command=setpoint] form", "form => { form.noValidate = true; }")
    page.fill("[data-command=setpoint] input[type=number]", "4000")
    page.locator("[data-command=setpoint] button").click()
    expect(page.locator("[data-command=setpoint] .evidence")).to_contain_text("refused: setpoint takes a number")


def test_a_reload_loses_nothing(look: Look) -> None:
    page = live(look(PUMP))
    wait_for_frame(page, 4)
    before = seqs(page)
    page.reload()
    live(page)
    wait_for_frame(page, before[0] + 2)
    after = seqs(page)
    assert after == list(range(after[0], after[0] - len(after), -1))
    assert before[0] in after


def test_a_restart_of_the_hub_is_said_and_leaves_no_hole(look: Look, demo: hub.Demo) -> None:
    page = live(look(PUMP))
    last = seqs(page)[0]
    demo.part.stop()
    expect(page.locator("#rail")).to_have_attribute("data-state", "down")
    expect(page.locator("html")).to_have_attribute("data-link", "down")
    for what in ("#presence", "#tiles", "#charts"):  # nothing looks alive that may not be
        expect(page.locator(what)).to_have_css("opacity", "0.6")
    expect(page.get_by_role("button", name="relay on", exact=True)).to_be_disabled()
    demo.part.start()
    expect(page.locator("#rail")).to_have_attribute("data-state", "live", timeout=60_000)
    wait_for_frame(page, last + 2)
    found = seqs(page)
    assert found == list(range(found[0], found[0] - len(found), -1))


@pytest.mark.parametrize("path", ["/", PUMP, "/add/"])
@pytest.mark.parametrize("width", [360, 768])
def test_no_page_scrolls_sideways(look: Look, path: str, width: int) -> None:
    page = look(path, width=width)
    page.wait_for_timeout(1000)
    assert page.evaluate("document.documentElement.scrollWidth") == width


@pytest.mark.parametrize(("theme", "other"), [("dark", "light"), ("light", "dark")])
def test_the_theme_follows_the_system_until_one_is_chosen(look: Look, theme: str, other: str) -> None:
    page = look(theme=theme)
    expect(page.locator("html")).to_have_attribute("data-bs-theme", theme)
    page.get_by_role("button", name="Light or dark").click()
    expect(page.locator("html")).to_have_attribute("data-bs-theme", other)
    page.reload()
    expect(page.locator("html")).to_have_attribute("data-bs-theme", other)


def test_a_device_is_added_from_nothing_to_its_first_reading(look: Look, demo: hub.Demo) -> None:
    page = look("/add/")
    key = f"bench-{time.time_ns() % 1_000_000}"
    page.fill("[name=key]", key)
    page.click("main button[type=submit]")
    secret = page.inner_text("#secret")
    expect(page.locator("#waiting-word")).to_have_text("Waiting for the first reading")
    live(page)
    client = mqtt.Client(mqtt.CallbackAPIVersion.VERSION2, client_id=key)
    client.username_pw_set(key, secret)
    client.connect(demo.mqtt_host, demo.mqtt_port)
    client.loop_start()
    try:
        client.publish(f"hub/{key}/telemetry", '{"temperature": 21.5}', qos=1).wait_for_publish(10)
        expect(page.locator("#waiting-word")).to_have_text("Reading 1 has arrived")
        expect(page.locator("#waiting-detail")).to_have_text("temperature 21.5")
        page.click("#go")
        expect(page.locator(".tile[data-metric=temperature] .value")).to_have_text("21.5 °C")
    finally:
        client.disconnect()
        client.loop_stop()
