"""`manage.py chaos`: kills the hub's parts in mid-stream, and counts what is lost or doubled (docs/chaos.md)."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from django.core.management.base import BaseCommand, CommandError

if TYPE_CHECKING:
    from django.core.management.base import CommandParser


class Command(BaseCommand):
    """Every scenario of tests/chaos, or some."""

    help = "Kill parts of a hub of its own in mid-stream, and compare what was published with what is stored."
    requires_system_checks = ()

    def add_arguments(self, parser: CommandParser) -> None:
        """Name what may be chosen."""
        parser.add_argument("--only", nargs="+", default=[], metavar="NAME", help="these scenarios (--list names all)")
        parser.add_argument("--times", type=int, help="kills of each scenario (default: what the project promises for)")
        parser.add_argument("--frames", type=int, help="messages of the scenarios that count messages instead of kills")
        parser.add_argument("--rate", type=float, default=1000, help="frames a second (default: 1000)")
        parser.add_argument("--json", type=Path, metavar="FILE", help="write the counts there, too")
        parser.add_argument("--list", action="store_true", help="name the scenarios, and end")

    def handle(self, *_args: Any, **options: Any) -> None:
        """Run them; exit code 1 when a promise was not kept."""
        from tests.chaos import run  # noqa: PLC0415 -- the tests' packages are there by now

        if options.pop("list"):
            for line in run.described():
                self.stdout.write(line)
            return
        asked = run.Asked(**{name: options[name] for name in run.Asked._fields})
        try:
            run.chosen(asked.only)
        except KeyError as unknown:
            raise CommandError(f"There is no scenario {unknown}; --list names all.") from None
        sys.exit(run.run(asked, lambda line: print(line, flush=True)))
