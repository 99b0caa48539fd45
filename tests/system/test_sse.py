"""Server-sent events on both set-ups, with real devices: what curl or a browser without WebSocket would see."""

import json
import shutil
import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Self

import httpx
import pytest

from tests.hub import PATIENCE_S, Hub, Production, eventually
from tests.system.clients import Publisher
from tests.system.test_path import NewDevice


class Event:
    """One event: its name, the id that held after it, and what it says."""

    def __init__(self, lines: list[str], last_id: str) -> None:
        fields = dict(line.split(": ", 1) for line in lines if not line.startswith(":"))
        self.kind = fields.get("event", "")
        self.id = fields.get("id", last_id)
        self.message: dict[str, Any] = json.loads(fields.get("data", "{}"))


@contextmanager
def opened(hub: Hub, query: str, last_id: str = "") -> Iterator[Iterator[Event]]:
    """Open a stream; give its events as they come."""
    headers = {"Authorization": f"Token {hub.token()}"} | ({"Last-Event-ID": last_id} if last_id else {})
    url = f"{hub.url}/api/v1/stream?{query}"
    with httpx.stream("GET", url, headers=headers, timeout=PATIENCE_S, trust_env=False) as answer:
        assert answer.status_code == 200, answer.read()
        yield events(answer.iter_lines(), last_id)


def events(lines: Iterator[str], last_id: str) -> Iterator[Event]:
    gathered: list[str] = []
    for line in lines:
        if line:
            gathered.append(line)
            continue
        event = Event(gathered, last_id)
        gathered, last_id = [], event.id
        if event.kind:
            yield event


class Source:
    """A browser's EventSource: comes back by itself, with the last id. `seqs` has what came."""

    def __init__(self, hub: Hub, device: str) -> None:
        self.seqs: list[int] = []
        self.faults: list[str] = []
        self.cuts = 0
        self._hub, self._device = hub, device
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._run, name="event source", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        self._thread.join(PATIENCE_S)

    def _run(self) -> None:
        last_id = f"{self._device}:0"
        while not self._ended.is_set():
            try:
                with opened(self._hub, f"device={self._device}", last_id) as stream:
                    for event in stream:
                        self._take(event)
                        last_id = event.id
                        if self._ended.is_set():
                            return
            except (httpx.HTTPError, AssertionError):
                pass
            self.cuts += 1
            self._ended.wait(0.2)

    def _take(self, event: Event) -> None:
        if event.kind == "data":
            self.seqs += [row[0] for row in event.message["devices"][self._device]["frames"]]
        elif event.kind in ("gap", "lag", "err", "end"):
            self.faults.append(json.dumps(event.message))


def test_a_device_is_watched_live(anywhere: Hub, new_device: NewDevice) -> None:
    device = new_device("watched")
    with opened(anywhere, f"device={device.key}") as stream, Publisher(anywhere, device):
        live = next(event for event in stream if event.message.get("phase") == "live")
        [_, _, values, _] = live.message["devices"][device.key]["frames"][0]
        assert time.time() - values["at"] < 5
        assert live.id.startswith(f"{device.key}:")


def test_curl_can_watch_a_device(anywhere: Hub, new_device: NewDevice) -> None:
    if not shutil.which("curl"):
        pytest.skip("there is no curl")
    device = new_device("curled")
    url = f"{anywhere.url}/api/v1/stream?device={device.key}"
    command = [
        "curl",
        "-sN",
        "--noproxy",
        "*",
        "--max-time",
        "60",
        "-H",
        f"Authorization: Token {anywhere.token()}",
        url,
    ]
    with Publisher(anywhere, device), subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as curl:
        assert curl.stdout is not None
        seen = {
            event.kind
            for event, _ in zip(events((line.rstrip("\n") for line in curl.stdout), ""), range(10), strict=False)
        }
        curl.kill()
    assert {"ok", "state", "live", "data"} <= seen


@pytest.mark.parametrize("anywhere", ["production"], indirect=True)
def test_a_web_process_that_is_killed_costs_no_frame(production: Production, new_device: NewDevice) -> None:
    device = new_device("resumed")
    with Source(production, device.key) as source, Publisher(production, device) as publisher:
        eventually(lambda: len(source.seqs) >= 50, "50 frames")
        production.webs[0].kill()
        production.webs[0].start()
        published = publisher.finish()
        eventually(lambda: len(source.seqs) >= published, f"all {published} frames")
    assert source.seqs == list(range(1, published + 1))
    assert source.faults == []
    assert source.cuts
