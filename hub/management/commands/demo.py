"""`manage.py demo`: the whole hub by one command, with data that is kept."""

from __future__ import annotations

from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from hub import demo, embedded


class Command(BaseCommand):
    """Run everything in one process until Ctrl-C."""

    help = "Run the whole hub here: broker, bridge, dashboard and simulated devices."
    requires_system_checks = []  # a second start is to take moments; `check` and CI do it

    def add_arguments(self, parser: CommandParser) -> None:
        """Take the options that hub.demo knows."""
        demo.add_options(parser)

    def handle(self, *_args: Any, **options: Any) -> None:
        """Run; a part that cannot start says what to do."""
        try:
            fine = demo.Demo(options, self._say).run()
        except embedded.EmbeddedError as error:
            raise CommandError(str(error)) from error
        if not fine:
            raise CommandError("the demo ended by a fault")

    def _say(self, line: str) -> None:
        self.stdout.write(line)
        self.stdout.flush()
