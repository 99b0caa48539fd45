"""A Chromium whose tabs are real ones: what is behind is hidden, its timers sleep, and it can be frozen.

Playwright keeps every page in front on purpose, so this speaks to the browser by its own protocol.
"""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, Self

import httpx
from websockets.sync.client import connect

from tests import services
from tests.browser.conftest import CHROMIUM
from tests.hub import PATIENCE_S, eventually
from tests.services import LOOPBACK, Service

HEADLESS = ("--headless=new", "--remote-allow-origins=*", "--no-default-browser-check")


class Tab:
    """One tab, closed at the end of its `with`."""

    def __init__(self, address: str) -> None:
        self._stack = ExitStack()
        self._address = address
        self._ids = itertools.count(1)

    def __enter__(self) -> Self:
        self._socket = self._stack.enter_context(
            connect(self._address, max_size=None, max_queue=None, ping_interval=None, proxy=None)
        )
        self.ask("Page.enable")
        return self

    def __exit__(self, *_: object) -> None:
        self.ask("Page.close")
        self._stack.close()

    def ask(self, method: str, **params: Any) -> Any:
        """One command of the DevTools protocol, and its result."""
        number = next(self._ids)
        self._socket.send(json.dumps({"id": number, "method": method, "params": params}))
        while True:
            answer = json.loads(self._socket.recv(timeout=PATIENCE_S))
            if answer.get("id") == number:
                assert "error" not in answer, f"{method}: {answer}"
                return answer["result"]

    def run(self, script: str) -> Any:
        """What a script (which may wait) comes to."""
        result = self.ask("Runtime.evaluate", expression=script, awaitPromise=True, returnByValue=True)
        assert "exceptionDetails" not in result, result["exceptionDetails"]
        return result["result"].get("value")

    def until(self, condition: str) -> None:
        """Wait until this is true on the page, whatever page it is meanwhile."""

        def met() -> bool:
            result = self.ask("Runtime.evaluate", expression=f"Boolean({condition})", returnByValue=True)
            return bool(result["result"].get("value"))

        eventually(met, condition)

    def open(self, url: str) -> None:
        self.ask("Page.navigate", url=url)

    def front(self) -> None:
        self.ask("Page.bringToFront")


class Tabs:
    """A browser's tabs; whoever is in front is seen, and nobody else."""

    def __init__(self, port: int) -> None:
        self._api = f"http://{LOOPBACK}:{port}/json"

    def new(self) -> Tab:
        """One more, in front."""
        made = httpx.put(f"{self._api}/new?about:blank", trust_env=False, timeout=PATIENCE_S)
        return Tab(made.raise_for_status().json()["webSocketDebuggerUrl"])


@contextmanager
def running(folder: Path, *flags: str) -> Iterator[Tabs]:
    """Start Chromium with a profile in `folder`; it sleeps and throttles as it does for people."""
    port = services.free_port()
    command: list[str | Path] = [services.need("chromium"), *CHROMIUM, *HEADLESS, *flags]
    command += [f"--remote-debugging-port={port}", f"--user-data-dir={folder}", "about:blank"]
    browser = Service(command, port, "", folder / "chromium.log")
    browser.start()
    try:
        yield Tabs(port)
    finally:
        browser.stop()
