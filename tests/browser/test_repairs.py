"""Repairs as people make them: in their own time of day, with the hub keeping UTC."""

from __future__ import annotations

import pytest
from playwright.sync_api import Browser, Page, expect

from tests import hub
from tests.browser.conftest import PATIENCE_MS, sign_in

PUMP = "/devices/sim-pump-1/"
# What people type into the field for an instant, in the zone of their browser.
TYPED = "at => new Date(at - new Date(at).getTimezoneOffset() * 60000).toISOString().slice(0, 19)"


@pytest.mark.parametrize("zone", ["Asia/Kolkata", "America/New_York"])
def test_readings_are_marked_in_ones_own_time_and_taken_for_good_again(
    zone: str, chromium: Browser, demo: hub.Demo
) -> None:
    context = chromium.new_context(base_url=demo.url, timezone_id=zone, viewport={"width": 1280, "height": 800})
    context.set_default_timeout(PATIENCE_MS)
    page = context.new_page()
    page.goto("/sign-in/")
    sign_in(page, demo)
    page.goto(PUMP)
    end = demo.ask("GET", "devices/sim-pump-1/")["head"]["ts"] // 1000 * 1000
    start = end - 5000
    page.click(".marking summary")

    fill(page, zone, end, start)
    expect(page.locator(".marking .fault")).to_contain_text("end after it begins")
    expect(page.locator("#id_start")).to_have_value(page.evaluate(TYPED, end))

    fill(page, zone, start, end)
    page.wait_for_url(f"**{PUMP}#repairs")
    made = demo.ask("GET", "devices/sim-pump-1/repairs/")["results"][0]
    assert (made["from"], made["to"], made["reason"], made["undone_at"]) == (start, end, zone, None)

    page.locator("tr", has_text=zone).get_by_role("button", name="Undo").click()
    expect(page.locator("tr", has_text=zone)).to_contain_text("undone by")
    context.close()


def fill(page: Page, reason: str, start: int, end: int) -> None:
    expect(page.locator(".marking [data-zone]").first).to_have_text("your time")
    page.fill("#id_start", page.evaluate(TYPED, start))
    page.fill("#id_end", page.evaluate(TYPED, end))
    page.fill("#id_reason", reason)
    page.click(".marking button")
