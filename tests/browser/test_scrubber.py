"""Time travel on a device's page: a moment of the past as it was, and back to now with nothing of it left."""

from __future__ import annotations

import re
import time
from collections.abc import Callable

import pytest
from playwright.sync_api import Page, expect

from tests import hub
from tests.browser.conftest import PATIENCE_MS

Look = Callable[..., Page]
PAGE = "/devices/museum/"
# A frame every 10 s that says how many minutes have passed; after 100 of them silence, and a last frame now.
HISTORY = """
import math
from django.db import transaction
from devices import registry, telemetry, wire
from devices.models import Device
now = {now}
at = [now - 7_200_000 + step * 10_000 for step in range(600)] + [now]
with transaction.atomic():
    for one in at:
        temperature = round(20 + 3 * math.sin(one / 600_000), 2)
        values = {{"temperature": temperature, "minute": (one - at[0]) // 60_000, "open": one % 3 > 0}}
        telemetry.record([wire.Frame(device="museum", values=values, received_at=one)], one)
Device.objects.filter(key="museum").update(commands={{"relay": {{"type": "bool"}}}})
"""


@pytest.fixture(scope="module")
def began(demo: hub.Demo) -> int:
    """When the history of the device begins (ms)."""
    now = time.time_ns() // 1_000_000
    demo.add_device("museum")
    demo.manage("shell", "-c", HISTORY.format(now=now))
    return now - 7_200_000


def ready(page: Page) -> Page:
    expect(page.locator("#rail")).to_have_attribute("data-state", "live", timeout=PATIENCE_MS)
    return page


def minute(page: Page) -> int:
    text = page.locator("[data-metric=minute] .value b").inner_text()
    return -1 if text == "—" else int(text)


def wait_for_minute(page: Page, least: int, most: int) -> None:
    page.wait_for_function(
        """([least, most]) => {
            const shown = Number(document.querySelector("[data-metric=minute] .value b").textContent);
            return shown >= least && shown <= most;
        }""",
        arg=[least, most],
    )


def test_a_moment_is_shown_as_it_was_and_live_as_it_is(look: Look, began: int) -> None:
    page = ready(look(PAGE))
    expect(page.locator("[data-metric=minute] .value b")).to_have_text("120")
    page.get_by_role("button", name="Replay", exact=True).click()
    page.get_by_role("button", name="60×").click()
    page.get_by_role("button", name="all", exact=True).click()
    page.locator("#replay-moment").evaluate(
        "(handle, at) => { handle.value = at; handle.dispatchEvent(new Event('change')); }", began + 30 * 60_000
    )
    wait_for_minute(page, 30, 40)
    rail = page.locator("#rail")
    expect(rail).to_have_attribute("data-state", "replay")
    expect(rail).to_have_text(re.compile(r"replay.*\d{4}-\d\d-\d\d \d\d:\d\d:\d\d · 60×"))
    # It plays on, and its frames are of then: none in the table is of now.
    wait_for_minute(page, 42, 80)
    assert page.locator("#frames tr").count() == 20
    assert page.eval_on_selector_all("#frames tr", "rows => Math.max(...rows.map(row => row.dataset.seq))") < 600
    assert page.locator("#charts canvas").count() == 3
    expect(page.get_by_text("Off while you look back").first).to_be_visible()
    expect(page.get_by_role("button", name="relay on", exact=True)).to_be_disabled()
    page.get_by_role("button", name="Back to live").click()
    ready(page)
    expect(page.locator("[data-metric=minute] .value b")).to_have_text("120")
    expect(page.locator("#frames tr").first).to_have_attribute("data-seq", "601")
    expect(page.get_by_role("button", name="relay on", exact=True)).to_be_enabled()
    assert "#" not in page.url


def test_nothing_that_comes_now_is_shown_in_a_replay(look: Look, demo: hub.Demo, began: int) -> None:
    page = ready(look("/devices/sim-pump-1/"))
    page.wait_for_function("() => Number(document.getElementById('seq').textContent) >= 4")
    page.evaluate("location.hash = '#t=1&x=0.1'")  # from the first frame on, and so slowly that it never catches up
    page.get_by_role("button", name="Pause").click()
    expect(page.locator("#rail-detail")).to_contain_text("paused")
    expect(page.locator("#scrubber")).not_to_have_attribute("aria-busy", "true")
    before = page.locator("#frames").inner_text()
    newest = demo.frames("sim-pump-1")[-1][0]
    hub.eventually(lambda: demo.frames("sim-pump-1")[-1][0] > newest + 3)
    assert page.locator("#frames").inner_text() == before
    page.get_by_role("button", name="Back to live").click()
    page.wait_for_function("seq => Number(document.querySelector('#frames tr').dataset.seq) > seq", arg=newest + 3)


def test_the_address_takes_a_colleague_to_the_moment(look: Look, began: int) -> None:
    page = look(f"{PAGE}#t={began + 60 * 60_000}&x=1")
    wait_for_minute(page, 59, 61)
    expect(page.locator("#scrubber")).to_be_visible()
    expect(page.get_by_role("button", name="1×", exact=True)).to_have_attribute("aria-pressed", "true")
    # By keyboard alone: to another moment, to a stand, and away.
    page.locator("#replay-moment").focus()
    page.keyboard.press("Home")
    wait_for_minute(page, 0, 2)
    page.locator("#replay-play").focus()
    page.keyboard.press("Space")
    expect(page.locator("#rail-detail")).to_contain_text("paused")
    page.locator("#replay-moment").focus()
    page.keyboard.press("PageUp")
    wait_for_minute(page, 5, 30)
    page.locator("#replay-leave").focus()
    page.keyboard.press("Enter")
    ready(page)
    expect(page.locator("#scrubber")).to_be_hidden()


def test_a_replay_that_catches_up_is_live_again(look: Look, demo: hub.Demo) -> None:
    page = ready(look("/devices/sim-pump-1/"))
    page.wait_for_function("() => Number(document.getElementById('seq').textContent) >= 4")
    page.get_by_role("button", name="Replay", exact=True).click()
    page.get_by_role("button", name="600×").click()
    expect(page.locator("#scrubber")).to_be_hidden()
    ready(page)
    newest = demo.frames("sim-pump-1")[-1][0]
    page.wait_for_function("seq => Number(document.querySelector('#frames tr').dataset.seq) > seq", arg=newest)
    seqs = page.eval_on_selector_all("#frames tr", "rows => rows.map(row => Number(row.dataset.seq))")
    assert seqs == list(range(seqs[0], seqs[0] - len(seqs), -1))
