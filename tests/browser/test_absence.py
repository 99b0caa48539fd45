"""A page that was offline, throttled, hidden or frozen: complete or says so, and never lies about being live.

Short here, so that CI runs them; `python -m pytest tests/browser/test_absence.py --full -s`: as people are away.
What the page showed at each repaint is compared with the journal, and what it took with all that was stored.
"""

from __future__ import annotations

import json
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Final, NamedTuple

import httpx
import pytest

from tests import hub, services
from tests.browser import strait, tabs
from tests.browser.strait import Strait
from tests.browser.tabs import Tab, Tabs
from tests.hub import eventually
from tests.services import LOOPBACK
from tests.system.clients import Paho

KEY: Final = "away-1"
EVERY_S: Final = 0.05
# The promise: what is called live is not later than this.
LATE_MS: Final = 1000
# A machine with other work stalls by itself, the hub with it.
SLACK_MS: Final = 500
# A link that stalls while it was fast is noticed by its silence: 2 s until somebody asks, 1.5 s without an answer.
NOTICED_MS: Final = 4500
NARROW: Final = 20_000
# Metrics of this many bytes in all, twenty times a second, are three times what a narrow passage lets through.
HEAVY: Final = {f"text-{number}": "x" * 100 for number in range(30)}
# Chromium lets the timers of hidden pages run once a minute after five minutes; in a short test after five seconds.
SLEEPY: Final = "--enable-features=IntensiveWakeUpThrottling:grace_period_seconds/5"

# Notes at each repaint what the page shows, and takes all rows with the library as the page does.
WATCH: Final = """
(async () => {
  const { connect } = await import("/static/live/index.js");
  window.took = [];
  window.told = [];
  const own = connect();
  const watch = own.watch({ devices: [KEY], since: null }, {
    rows: (_device, rows) => window.took.push(...rows.map(([seq]) => seq)),
    gap: (gap) => window.told.push(["gap", gap]),
    lag: (devices) => window.told.push(["lag", devices]),
  });
  while (watch.sub.phase !== "live") await new Promise((done) => setTimeout(done, 20));
  window.begun = watch.sub.heads[KEY];
  window.shown = [];
  const note = () => {
    const [rail, seq] = [document.getElementById("rail"), document.getElementById("seq")];
    window.shown.push([Date.now(), rail.dataset.state, rail.innerText.replace("\\n", " "), Number(seq.textContent)]);
    requestAnimationFrame(note);
  };
  note();
})()
"""


class Shown(NamedTuple):
    """What the page showed at one repaint."""

    at: int
    state: str
    words: str
    seq: int


class Feed(threading.Thread):
    """A device that sends steadily."""

    def __init__(self, demo: hub.Demo, device: hub.Device) -> None:
        super().__init__(daemon=True)
        self.more: dict[str, str] = {}
        self._where = demo, device
        self._ended = threading.Event()

    def run(self) -> None:
        with Paho(*self._where) as device:
            count = 0
            while not self._ended.wait(EVERY_S):
                count += 1
                device.publish("telemetry", json.dumps({"count": count, **self.more}))

    def end(self) -> None:
        self._ended.set()
        self.join()


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Tabs]:
    try:
        with tabs.running(tmp_path_factory.mktemp("chromium"), SLEEPY) as running:
            yield running
    except services.Missing as missing:
        pytest.skip(str(missing))


@pytest.fixture(scope="module")
def feeding(demo: hub.Demo) -> Iterator[Feed]:
    feed = Feed(demo, demo.add_device(KEY))
    feed.start()
    yield feed
    feed.end()


@pytest.fixture(scope="module")
def passage(demo: hub.Demo) -> Iterator[Strait]:
    with strait.before(int(demo.url.rpartition(":")[2])) as opened:
        yield opened


@pytest.fixture(scope="module")
def page(browser: Tabs, demo: hub.Demo, feeding: Feed, passage: Strait) -> Iterator[Tab]:
    """The device's page, live, through the passage."""
    url = f"http://{LOOPBACK}:{passage.port}"
    with browser.new() as tab:
        tab.ask("Network.enable")
        for name, value in cookies(url, demo).items():
            tab.ask("Network.setCookie", name=name, value=value, url=url)
        tab.open(f"{url}/devices/{KEY}/")
        tab.until("document.getElementById('rail')?.dataset.state === 'live'")
        tab.run(WATCH.replace("KEY", json.dumps(KEY)))
        yield tab


def cookies(url: str, demo: hub.Demo) -> dict[str, str]:
    """A session's, as the sign-in page gives them."""
    with httpx.Client(base_url=url, trust_env=False, timeout=hub.PATIENCE_S) as client:
        client.get("/sign-in/")
        form = {"username": demo.user, "password": demo.password, "csrfmiddlewaretoken": client.cookies["csrftoken"]}
        assert client.post("/sign-in/", data=form).status_code == httpx.codes.FOUND
        return dict(client.cookies)


@pytest.fixture(autouse=True)
def _as_it_was(feeding: Feed, passage: Strait) -> Iterator[None]:
    """What one test narrowed is wide again for the next."""
    yield
    feeding.more, passage.rate = {}, None
    passage.clear()


@pytest.fixture
def seconds(request: pytest.FixtureRequest) -> Any:
    """How long an absence is: short, or as long as asked for by --full."""
    return lambda short, full: full if request.config.getoption("--full") else short


def now_ms() -> int:
    return time.time_ns() // 1_000_000


def shown(page: Tab, since: int) -> list[Shown]:
    """What the page showed from then on."""
    return [Shown(*one) for one in page.run("window.shown") if one[0] >= since]


def times(demo: hub.Demo) -> dict[int, int]:
    """When each frame came, by its seq."""
    return {seq: ts for seq, ts, *_ in demo.frames(KEY)}


def late(one: Shown, came: dict[int, int]) -> int:
    """For how long the oldest frame that was not shown had been there."""
    return max(0, one.at - came.get(one.seq + 1, one.at))


def honest(page: Tab, demo: hub.Demo, since: int, within_ms: int = LATE_MS) -> None:
    """Whatever was called live since then was."""
    seen, came = shown(page, since), times(demo)
    assert seen
    lies = [one for one in seen if one.state == "live" and late(one, came) > within_ms + SLACK_MS]
    assert not lies, f"{len(lies)} of {len(seen)} repaints; the first: {lies[0]}, {late(lies[0], came)} ms late"


def live_again(page: Tab, demo: hub.Demo, since: int) -> None:
    """It did not lie, and all of it is there again soon."""
    page.until(f"window.shown.some(([at, state]) => at > {since} && state === 'live')")
    time.sleep(2)
    honest(page, demo, since)
    seen, came = shown(page, since), times(demo)
    assert late(seen[-1], came) <= LATE_MS
    tell(seen, came, since)


def tell(seen: list[Shown], came: dict[int, int], since: int) -> None:
    """Figures for whoever looks (-s)."""
    level = next(one for one in seen if one.state == "live" and late(one, came) <= LATE_MS)
    worst = max(late(one, came) for one in seen if one.at >= level.at)
    words = list(dict.fromkeys(one.words.partition("·")[0].strip() for one in seen))
    sys.stdout.write(
        f"\n  live and level {level.at - since} ms after; then at most {worst} ms late; said: {words[:12]}\n"
    )


def complete(page: Tab, demo: hub.Demo) -> None:
    """The page took each frame that was stored since it was opened, once and in order."""
    begun = page.run("window.begun")
    last = max(times(demo))
    page.until(f"window.took.at(-1) >= {last}")
    took = [seq for seq in page.run("window.took") if seq <= last]
    assert took == list(range(begun + 1, last + 1))
    assert page.run("window.told") == []
    sys.stdout.write(f"  {len(took)} frames taken of {last - begun} stored\n")


@contextmanager
def offline(page: Tab, passage: Strait) -> Iterator[None]:
    """No network: the browser knows, and nothing comes through."""
    conditions = {"latency": 0, "downloadThroughput": -1, "uploadThroughput": -1}
    passage.close()
    page.ask("Network.emulateNetworkConditions", offline=True, **conditions)
    yield
    passage.clear()
    page.ask("Network.emulateNetworkConditions", offline=False, **conditions)


def test_a_page_that_was_offline_says_so_and_is_complete_again(
    page: Tab, demo: hub.Demo, passage: Strait, seconds: Any
) -> None:
    with offline(page, passage):
        page.until("document.getElementById('rail').dataset.state === 'down'")
        time.sleep(seconds(4, 60))
        assert page.run("document.documentElement.dataset.link") == "down"
    live_again(page, demo, now_ms())
    complete(page, demo)


def test_a_narrow_passage_is_wide_enough_for_what_a_page_needs(
    page: Tab, demo: hub.Demo, passage: Strait, seconds: Any
) -> None:
    passage.rate, since = NARROW, now_ms()
    time.sleep(seconds(3, 60))
    live_again(page, demo, since)
    complete(page, demo)


def test_a_passage_too_narrow_is_told_of_and_made_up_for(
    page: Tab, demo: hub.Demo, feeding: Feed, passage: Strait, seconds: Any
) -> None:
    passage.rate, since = NARROW, now_ms()
    feeding.more = HEAVY
    time.sleep(seconds(4, 60))
    honest(page, demo, since, NOTICED_MS)
    assert any(one.state != "live" and "behind" in one.words for one in shown(page, since))
    feeding.more, passage.rate = {}, None
    live_again(page, demo, now_ms())
    complete(page, demo)


def test_a_page_in_the_background_keeps_up_and_is_true_at_its_first_repaint(
    page: Tab, demo: hub.Demo, browser: Tabs, seconds: Any
) -> None:
    with browser.new() as other:
        eventually(lambda: page.run("document.hidden"))
        time.sleep(seconds(8, 600))
        assert not other.run("document.hidden")
        since = now_ms()
        page.front()
        eventually(lambda: not page.run("document.hidden"))
    live_again(page, demo, since)
    complete(page, demo)


def test_a_frozen_page_says_that_it_does_not_know_until_it_does(
    page: Tab, demo: hub.Demo, browser: Tabs, seconds: Any
) -> None:
    with browser.new():
        eventually(lambda: page.run("document.hidden"))
        page.ask("Page.setWebLifecycleState", state="frozen")
        time.sleep(seconds(4, 60))
        since = now_ms()
        page.ask("Page.setWebLifecycleState", state="active")
        page.front()
        eventually(lambda: not page.run("document.hidden"))
    live_again(page, demo, since)
    complete(page, demo)
