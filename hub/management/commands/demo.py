"""`manage.py demo`: the whole hub by one command, with data that is kept."""

from __future__ import annotations

from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand, CommandError, CommandParser

from hub import embedded, options


class Command(BaseCommand):
    """Run everything in one process until Ctrl-C."""

    help = "Run the whole hub here: broker, bridge, dashboard and simulated devices."
    requires_system_checks = ()  # a second start is to take moments; `check` and CI do it

    def add_arguments(self, parser: CommandParser) -> None:
        """Take the demo's options."""
        options.add(parser)

    def handle(self, *_: Any, **chosen: Any) -> None:
        """Run; a part that cannot start says what to do."""
        if refused := options.refusal(chosen["bind"], settings.HUB_PLAIN):
            raise CommandError(refused)
        from hub import demo  # noqa: PLC0415 -- installs Twisted's reactor, which --help needs not

        try:
            fine = demo.run(chosen, self._say)
        except embedded.EmbeddedError as error:
            raise CommandError(str(error)) from error
        if not fine:
            raise CommandError("The demo ended by a fault; see above.")

    def _say(self, line: str) -> None:
        self.stdout.write(line)
        self.stdout.flush()
