"""What strangers write stays text on every page, and every page works under the hub's content policy.

A real browser goes to each address of a hub into which devices and people brought everything that could be markup, a
script or an address: nothing of it runs, asks another host, or is only kept from that by the policy; all of it is read.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import closing
from typing import Final
from urllib.parse import quote, urlsplit

import pytest
from playwright.sync_api import Browser, BrowserContext, Page, expect

from tests import hub, services
from tests.browser import strangers
from tests.browser.conftest import PATIENCE_MS
from tests.browser.strict import Watched
from tests.routes import filled, routes

# Whoever goes there is signed in no more.
LEAVES: Final = ("/sign-out/", "/admin/logout/")
# An answer without an end.
ENDLESS: Final = "/api/v1/stream"
DEVICE: Final = f"/devices/{strangers.KEY}/"
TOLD: Final = quote(" ".join(strangers.POLYGLOTS), safe="")
# What a page shows once all that can be opened is open, and what it consists of that no text could be the reason of.
SEEN: Final = """() => {
  for (const one of document.querySelectorAll("details")) one.open = true;
  const made = [...document.querySelectorAll("*")].filter((one) => one.matches("base, iframe, object, embed, math")
    || [...one.attributes].some(({ name }) => name.startsWith("on"))
    || /^javascript:/i.test(one.href ?? one.action ?? ""));
  const values = [...document.querySelectorAll("input:not([type=hidden])")].map((field) => field.value);
  const text = [document.body.innerText, ...values].join("\\n");
  return { text, made: made.map((one) => one.outerHTML.slice(0, 200)) };
}"""

# Strangers' markup in a page that takes it for its own.
PUT: Final = "(markup) => { document.body.innerHTML = markup; document.getElementById('go')?.click(); }"


def flat(text: str) -> str:
    """As it is compared: a page may break lines and write in capitals."""
    return re.sub(r"\s+", "", text).casefold()


class Visitor:
    """Somebody who looks at pages and remembers what was seen."""

    def __init__(self, context: BrowserContext, host: str) -> None:
        self.watched = Watched(context, host)
        self.seen = ""

    def look(self, page: Page) -> None:
        found = page.evaluate(SEEN)
        self.seen += flat(found["text"])
        self.watched.wrong += [f"{page.url}: has {one}" for one in found["made"]]


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory) -> Iterator[hub.Demo]:
    """A hub without simulators: all that it knows is from strangers."""
    try:
        with hub.running_demo(tmp_path_factory.mktemp("demo"), simulators=False) as running:
            yield running
    except services.Missing as missing:
        pytest.skip(str(missing))


def addresses(demo: hub.Demo) -> list[str]:
    """Every address of the hub, with what is there."""
    command = demo.ask("GET", f"devices/{strangers.KEY}/commands/")["results"][0]["id"]
    there = {"key": strangers.KEY, "slug": "fleet-0", "username": demo.user, "token": "x", "cid": command, "repair": 1}
    numbers = dict.fromkeys(("pk", "id", "content_type_id", "object_id", "invitation", "code", "file", "signature"), 1)
    there |= {"job": demo.ask("GET", "jobs/")["results"][0]["id"], "schedule": 1}
    samples = {**there, **numbers, "share": "x", "secret": "x", "url": "nowhere", "app_label": "devices"}
    samples["admin/devices/command/<path:object_id>"] = command
    # Nobody's: the pages of one are Django's own, as those of our models are.
    samples |= {f"admin/axes/{kind}/<path:object_id>": 0 for kind in ("accessattempt", "accesslog", "accessfailurelog")}
    return sorted({filled(route, samples) for route in routes()} - {*LEAVES, ENDLESS})


def more() -> list[str]:
    """Addresses of what is seen nowhere else, and such as hold strangers' texts themselves."""
    pages = [f"/devices/named-{index}/" for index in range(strangers.TALKATIVE)]
    pages += [f"/rejects/?device=named-{index}" for index in range(3)]
    asked = ("rejects/?reason", "rejects/?device", "admin/devices/device/?q", "api/v1/docs/?lang")
    pages += [f"/fleets/main/{page}/" for page in ("jobs", "jobs/new", "schedules")]
    return [*pages, *(f"/{one}={TOLD}" for one in asked)]


def test_strangers_texts_are_texts_on_every_page(chromium: Browser, demo: hub.Demo) -> None:
    people = strangers.Strangers(demo)
    context = chromium.new_context(base_url=demo.url)
    context.set_default_timeout(PATIENCE_MS)
    with closing(context):
        visitor = Visitor(context, urlsplit(demo.url).netloc)
        page, fleet = context.new_page(), context.new_page()
        sign_in(page, visitor)
        page.goto(DEVICE)
        fleet.goto("/")
        expect(page.locator("#rail")).to_have_attribute("data-state", "live")
        spoken = people.speak()
        wait_for(page, spoken)
        visitor.look(page)
        visitor.look(fleet)
        fleet.close()
        people.err()
        people.plan()
        for address in [*addresses(demo), *more()]:
            answer = page.request.get(address, max_redirects=0)
            if answer.ok and answer.headers.get("content-type", "").startswith("text/html"):
                page.goto(address)
                visitor.look(page)
        for address in (f"/{TOLD}", f"/admin/{TOLD}", f"/devices/{TOLD}/"):
            page.goto(address)
            visitor.look(page)
        people.texts += add_a_device(page, visitor)
    assert visitor.watched.wrong == []
    assert [text for text in people.texts if flat(text) not in visitor.seen] == []


@pytest.mark.parametrize(
    ("markup", "noted"),
    [
        ("<img src=x onerror=__xss()>", "violates script-src-attr inline"),
        ("<p style='color: red'>", "violates style-src-attr inline"),
        ("<img src=//evil.example/x>", "violates img-src http://evil.example/x"),
        ("<iframe srcdoc='<script>parent.__xss()</script>'></iframe>", "violates script-src-elem inline"),
        ("<form action=//evil.example/><button id=go>", "violates form-action http://evil.example/"),
    ],
)
def test_markup_would_be_noticed_and_would_do_nothing(
    markup: str, noted: str, chromium: Browser, demo: hub.Demo
) -> None:
    with closing(chromium.new_context(base_url=demo.url)) as context:
        visitor = Visitor(context, urlsplit(demo.url).netloc)
        page = context.new_page()
        page.goto("/sign-in/")
        page.evaluate(
            "(markup) => { document.body.innerHTML = markup; document.getElementById('go')?.click(); }", markup
        )
        hub.eventually(lambda: page.evaluate("1") and any(noted in one for one in visitor.watched.wrong))
        assert not any("has run" in one for one in visitor.watched.wrong)


def test_a_script_that_runs_would_be_noticed(chromium: Browser, demo: hub.Demo) -> None:
    with closing(chromium.new_context(base_url=demo.url, bypass_csp=True)) as context:
        visitor = Visitor(context, urlsplit(demo.url).netloc)
        page = context.new_page()
        page.goto("/sign-in/")
        page.evaluate(PUT, "<img src=x onerror=__xss()>")
        hub.eventually(lambda: page.evaluate("1") and any("has run" in one for one in visitor.watched.wrong))


def sign_in(page: Page, visitor: Visitor) -> None:
    page.goto(f"/sign-in/?next={TOLD}")
    visitor.look(page)
    page.goto("/sign-in/")
    page.fill("[name=username]", strangers.USER)
    page.fill("[name=password]", hub.PASSWORD)
    page.click("main button[type=submit]")
    page.wait_for_url("**/")


def add_a_device(page: Page, visitor: Visitor) -> list[str]:
    """By hand: first with a key that is none, then well; return what was written."""
    key, name = strangers.planted("key")[2], strangers.planted("new")[4]
    page.goto("/add/")
    page.fill("[name=name]", name)
    for written in (key, "added"):
        page.fill("[name=key]", written)
        with page.expect_navigation():
            page.click("main button[type=submit]")
        visitor.look(page)
    expect(page.locator("#secret")).to_be_visible()
    return [key, name]


def wait_for(page: Page, texts: list[str]) -> None:
    """Wait until an open page shows all of these by itself."""
    flattened = f"({SEEN})().text.replace(/\\s+/g, '').toLowerCase()"
    all_seen = "((seen) => texts.every((one) => seen.includes(one)))"
    page.wait_for_function(f"(texts) => {all_seen}({flattened})", arg=[flat(one) for one in texts])
