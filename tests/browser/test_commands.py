"""Commands as people give them: asked before what is dangerous, taken back while they wait, given to many at once."""

from __future__ import annotations

from collections.abc import Callable

from playwright.sync_api import Page, expect

from tests import hub
from tests.browser.conftest import PATIENCE_MS
from tests.system.clients import Paho

Look = Callable[..., Page]


def live(page: Page) -> Page:
    expect(page.locator("#rail")).to_have_attribute("data-state", "live", timeout=PATIENCE_MS)
    return page


def test_a_dangerous_command_is_asked_about_and_taken_back_while_it_waits(look: Look, demo: hub.Demo) -> None:
    with Paho(demo, demo.add_device("kiln")) as kiln:
        kiln.said("meta", {"commands": {"reboot": {"type": "action", "dangerous": True}}})
        hub.eventually(lambda: demo.ask("GET", "devices/kiln/")["commands"])
    page = live(look("/devices/kiln/"))
    button = page.get_by_role("button", name="Run reboot")
    button.click()
    dialog = page.get_by_role("dialog", name="reboot?")
    expect(dialog).to_contain_text("waits up to 60 s")
    expect(dialog.get_by_label("Why?")).to_be_focused()
    page.keyboard.press("Escape")
    expect(dialog).to_have_count(0)
    expect(page.locator("#orders .order")).to_have_count(0)
    button.click()
    dialog.get_by_role("button", name="reboot").click()  # without a reason it stays
    dialog.get_by_label("Why?").fill("It hangs")
    page.keyboard.press("Enter")
    order = page.locator("#orders .order")
    expect(order).to_contain_text("waits for the device")
    expect(order).to_contain_text("“It hangs”")
    order.get_by_role("button", name="Cancel it").click()
    expect(order).to_have_attribute("data-state", "cancelled")
    expect(order.locator(".log")).to_contain_text(f"cancelled before it was sent · by {demo.user}")


def test_ticked_devices_are_given_a_command_by_a_job_that_tells_of_each(look: Look) -> None:
    page = live(look("/"))
    for key in ("sim-pump-1", "sim-climate-1"):
        page.get_by_role("checkbox", name=f"Choose {key}").check()
    expect(page.locator("#ticked-count")).to_have_text("2 selected")
    page.get_by_role("link", name="Send a command").click()
    live(page).get_by_label("Command", exact=True).select_option("relay")
    page.get_by_role("button", name="relay on", exact=True).click()
    expect(page.locator("#preview")).to_contain_text("Will be given to 1 device; 1 cannot take it")
    expect(page.locator("#preview")).to_contain_text("sim-climate-1: ")
    page.get_by_role("button", name="Start for 1 device").click()
    expect(page.locator("#words")).to_have_text("2 of 2 settled", timeout=PATIENCE_MS)
    expect(page.locator("#state")).to_have_text("done")
    expect(page.locator("#results")).to_contain_text("refused by the hub")
    page.locator("#standings").get_by_role("button", name="succeeded").click()
    expect(page.locator("#results tr")).to_have_count(1)
    page.get_by_role("link", name="Main").click()
    expect(page.locator("#jobs .job").first).to_contain_text("relay = on for 2 chosen devices")


def test_a_tag_selects_the_devices_of_a_schedule(look: Look) -> None:
    page = live(look("/devices/sim-pump-1/"))
    page.locator("#tags").get_by_role("button", name="Change").click()
    page.locator("#tags input").fill("cellar wet")
    page.keyboard.press("Enter")
    expect(page.locator("#tags .chip")).to_have_text(["cellar", "wet"])
    page.goto("/fleets/main/jobs/new/?name=relay&args=false&tag=wet&when=cron")
    expect(live(page).locator("#preview")).to_have_text("Will be given to 1 device.")
    page.get_by_role("textbox", name="Cron").fill("0 6 * * 1-5")
    page.get_by_label("Title").fill("Lights out")
    page.get_by_role("button", name="Make the schedule").click()
    schedule = page.locator(".schedule")
    expect(schedule).to_contain_text("at 06:00 on Monday to Friday")
    expect(schedule).to_contain_text("relay = off for all devices tagged wet")
    schedule.get_by_role("button", name="Disable").click()
    expect(schedule.get_by_role("button", name="Enable")).to_be_visible()
    expect(schedule).to_contain_text("nothing happens until it is enabled")
