"""Onboarding as people see it: the page of a code says who claimed it, and a table's credentials are kept as a file."""

from __future__ import annotations

import csv
import re
from collections.abc import Callable
from pathlib import Path

import httpx
from playwright.sync_api import Page, expect

from tests import hub

Look = Callable[..., Page]


def test_the_page_of_a_code_says_which_device_has_claimed_it(look: Look, demo: hub.Demo) -> None:
    page = look("/add/code/")
    page.get_by_role("button", name="Make a code").click()
    expect(page.locator("#left")).to_have_text(re.compile(r" \(1[45]:\d\d left\)"))
    address, code = (page.locator(".claim-address code").text_content() or "").split("#")
    assert page.locator("#code").text_content() == code
    assert page.locator(".qr").evaluate("picture => picture.complete && picture.naturalWidth > 0")
    answer = httpx.post(address, json={"code": code.lower(), "key": "claimed-1"}, trust_env=False)
    assert answer.status_code == 201
    expect(page.locator("#waiting-word")).to_have_text("Claimed by claimed-1")
    expect(page.locator("#left")).to_be_empty()
    page.get_by_role("link", name="To the device’s page").click()
    expect(page).to_have_url(f"{demo.url}/devices/claimed-1/")


def test_a_revoked_code_says_so_where_it_is_shown(look: Look, demo: hub.Demo) -> None:
    page = look("/add/code/", width=390)
    page.get_by_role("button", name="Make a code").click()
    expect(page.locator(".qr")).to_be_visible()
    assert page.evaluate("document.documentElement.scrollWidth") <= 390
    newest = demo.ask("GET", "fleets/main/claims/")["results"][0]
    demo.ask("DELETE", f"fleets/main/claims/{newest['id']}/")
    expect(page.locator("#waiting-word")).to_have_text("Revoked")


def test_a_tables_credentials_are_kept_as_a_file(look: Look, demo: hub.Demo, tmp_path: Path) -> None:
    table = tmp_path / "table.csv"
    table.write_text("key,name\nrow-1,First\nBad Key,\n")
    page = look("/add/table/")
    page.set_input_files("[name=file]", table)
    page.get_by_role("button", name="Add the devices").click()
    with page.expect_download() as download:
        page.get_by_role("button", name="Download the credentials").click()
    assert download.value.suggested_filename == "devices.csv"
    with Path(download.value.path()).open(newline="") as file:
        made, bad = csv.DictReader(file)
    assert (made["key"], made["result"], bad["result"]) == ("row-1", "created", "invalid")
    assert made["secret"] == page.locator("td code").nth(2).text_content()
    assert (made["host"], made["port"]) == (demo.mqtt_host, str(demo.mqtt_port))
