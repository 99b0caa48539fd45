"""A real hub with simulated devices, and a real Chromium that looks at it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack

import pytest
from playwright.sync_api import Browser, Page, sync_playwright

from tests import hub, services

# No sandbox: CI runs as root in a container. No background traffic: tests speak to the hub alone.
CHROMIUM = (
    "--no-sandbox",
    "--disable-gpu",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    # A page that a test has rewritten on its way counts as one from nowhere, which may not speak to this machine.
    "--disable-features=LocalNetworkAccessChecks",
)
PATIENCE_MS = 20_000

Look = Callable[..., Page]


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory) -> Iterator[hub.Demo]:
    with ExitStack() as stack:
        try:
            running = stack.enter_context(hub.running_demo(tmp_path_factory.mktemp("demo")))
        except services.Missing as missing:
            pytest.skip(str(missing))
        yield running


@pytest.fixture(scope="module")
def chromium() -> Iterator[Browser]:
    """For one module only: while it lives its thread has a running loop, in which no other test's could run."""
    try:
        path = services.need("chromium")
    except services.Missing as missing:
        pytest.skip(str(missing))
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=CHROMIUM)
        yield browser
        browser.close()


@pytest.fixture
def look(chromium: Browser, demo: hub.Demo) -> Iterator[Look]:
    """Open a page of the hub as its first user; a fault in a script fails the test."""
    faults: list[str] = []
    with ExitStack() as stack:

        def opened(path: str = "/", *, width: int = 1280, signed_in: bool = True, theme: str = "dark") -> Page:
            context = chromium.new_context(
                base_url=demo.url,
                viewport={"width": width, "height": 800},
                color_scheme="light" if theme == "light" else "dark",
            )
            stack.callback(context.close)
            context.set_default_timeout(PATIENCE_MS)
            page = context.new_page()
            page.on("pageerror", lambda error: faults.append(str(error)))
            page.goto("/sign-in/" if signed_in else path)
            if signed_in:
                sign_in(page, demo)
                page.goto(path)
            return page

        yield opened
    assert faults == []


def sign_in(page: Page, demo: hub.Demo) -> None:
    page.fill("[name=username]", demo.user)
    page.fill("[name=password]", demo.password)
    page.click("main button[type=submit]")
    page.wait_for_url("**/")
