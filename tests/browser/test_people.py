"""People in a real browser: a share link shows a device live to who has no account, and ends when it is revoked."""

from __future__ import annotations

import re
from collections.abc import Callable

from playwright.sync_api import Page, expect

from tests import hub
from tests.browser.conftest import PATIENCE_MS

Look = Callable[..., Page]
PUMP = "sim-pump-1"


def shared(demo: hub.Demo, *keys: str) -> tuple[str, str]:
    """Share these devices; return the link's id, and where it leads."""
    made = demo.ask("POST", "shares/", json={"devices": list(keys), "name": "Open day"})
    return made["id"], made["url"].removeprefix(demo.url)


def live(page: Page) -> Page:
    expect(page.locator("#rail")).to_have_attribute("data-state", "live", timeout=PATIENCE_MS)
    return page


def test_a_link_shows_a_device_live_without_an_account_and_ends_when_it_is_revoked(look: Look, demo: hub.Demo) -> None:
    link, path = shared(demo, PUMP)
    page = live(look(f"{path}{PUMP}/", signed_in=False))
    assert not page.context.cookies()
    before = int(page.locator("#seq").inner_text())
    page.wait_for_function("seq => Number(document.getElementById('seq').textContent) > seq", arg=before + 1)
    expect(page.locator("#commands")).to_have_count(0)
    expect(page.get_by_text(demo.user, exact=True)).to_have_count(0)
    demo.rest("DELETE", f"shares/{link}/")
    expect(page.locator("#notice")).to_contain_text("This link has expired or was revoked")
    expect(page.locator("#rail")).to_have_attribute("data-state", "down")
    page.reload()
    expect(page.get_by_role("heading", name="Nothing is shared here")).to_be_visible()


def test_a_link_over_several_lists_them_live_and_leads_to_each(look: Look, demo: hub.Demo) -> None:
    _, path = shared(demo, PUMP, "sim-climate-1")
    page = live(look(path, signed_in=False))
    rows = page.locator("#rows tr[data-key^=sim-]")
    expect(rows).to_have_count(2)
    cell = page.locator(f"#rows tr[data-key={PUMP}] .readings")
    expect(cell).not_to_have_text(cell.inner_text())
    page.get_by_role("link", name=re.compile("pump", re.IGNORECASE)).click()
    live(page)
    page.get_by_role("link", name="All shared devices").click()
    expect(rows).to_have_count(2)


def test_a_link_s_page_looks_back_with_the_link_alone(look: Look, demo: hub.Demo) -> None:
    _, path = shared(demo, PUMP)
    page = live(look(f"{path}{PUMP}/", signed_in=False))
    with page.expect_response(lambda answer: "/export/" in answer.url) as asked:
        page.get_by_role("button", name="Replay").click()
    assert asked.value.status == 200
    expect(page.locator("#rail")).to_have_attribute("data-state", "replay")


def test_in_a_browser_with_a_session_the_link_s_page_is_the_link_s(look: Look, demo: hub.Demo) -> None:
    link, path = shared(demo, PUMP)
    page = live(look(f"{path}{PUMP}/"))
    demo.rest("DELETE", f"shares/{link}/")
    expect(page.locator("#notice")).to_contain_text("This link has expired or was revoked")
    page.goto("/")
    live(page)


def test_who_is_invited_makes_an_account_by_the_link_and_is_in(look: Look, demo: hub.Demo) -> None:
    path = demo.ask("POST", "fleets/main/invitations/", json={"role": "viewer"})["url"].removeprefix(demo.url)
    page = look(path, signed_in=False)
    page.get_by_label("Username").fill("carol")
    page.locator("[name=password1]").fill("a long enough one")
    page.locator("[name=password2]").fill("a long enough one")
    page.get_by_role("button", name="Make an account and join").click()
    expect(page.get_by_text("You are viewer of Main now.")).to_be_visible()
    expect(page.locator("#rows tr[data-key^=sim-]")).to_have_count(5)
    again = look(path, signed_in=False)
    expect(again.get_by_role("heading", name="This link leads nowhere")).to_be_visible()


def test_no_secret_of_a_link_is_in_the_log(demo: hub.Demo, look: Look) -> None:
    _, path = shared(demo, PUMP)
    look(f"{path}none/", signed_in=False)
    assert path.split("/")[2] not in demo.part.said()
    assert "/share/[hidden]" in demo.part.said()
