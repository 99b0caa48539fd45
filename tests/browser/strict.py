"""A watched browser: what its pages complain of, whom they ask, and whether strangers' text has run in them."""

from __future__ import annotations

from typing import Any
from urllib.parse import urlsplit

from playwright.sync_api import BrowserContext, ConsoleMessage, Dialog, Request

LISTEN = """
addEventListener("securitypolicyviolation", (event) => violated(
  `${event.violatedDirective} ${event.blockedURI} ${event.sourceFile}:${event.lineNumber} ${event.sample}`));
"""


class Watched:
    """Everything wrong that happened in any page of this context, as `<address of the page>: <what>`."""

    def __init__(self, context: BrowserContext, host: str) -> None:
        self.wrong: list[str] = []
        self._host = host
        context.expose_binding("violated", lambda source, what: self._note(source["page"].url, f"violates {what}"))
        context.expose_binding("__xss", lambda source, *_: self._note(source["page"].url, "strangers' text has run"))
        context.add_init_script(LISTEN)
        context.on("console", self._said)
        context.on("weberror", lambda error: self._note(error.page.url if error.page else "", str(error.error)))
        context.on("dialog", self._opened)
        context.on("request", self._asked)

    def _note(self, page: str, what: str) -> None:
        self.wrong.append(f"{page}: {what}")

    def _said(self, message: ConsoleMessage) -> None:
        here = message.page.url if message.page else ""
        refused = message.text.startswith("Failed to load resource") and message.location["url"] == here
        if message.type in ("error", "warning") and not refused:  # a page may be one that says 403 or 404
            self._note(here, message.text)

    def _opened(self, dialog: Dialog) -> None:
        self._note(dialog.page.url if dialog.page else "", f"opens a dialog: {dialog.message}")
        dialog.dismiss()

    def _asked(self, request: Request) -> None:
        where: Any = urlsplit(request.url)
        if where.netloc != self._host and where.scheme not in ("data", "blob"):
            self._note(request.frame.url, f"asks {request.url}")
