"""`manage.py doctor`: checks the whole path, and says how to mend what is wrong."""

from __future__ import annotations

import asyncio
from typing import Any, Final

from django.core.management.base import BaseCommand, CommandError

from hub import doctor

# What works and should not stay as it is ends the command with 0, for it is no reason to wake anybody.
MARKS: Final[dict[doctor.Verdict, str]] = {"well": "✓", "unwise": "!", "sick": "✗"}


class Command(BaseCommand):
    """Examine a running hub; exit code 1 when something is wrong."""

    help = (
        "Check the whole path: database, clock, layer, broker, accounts, a frame in and a command out; and whether "
        "anything is open that should not be. ✓ is well, ! unwise, ✗ sick."
    )

    def handle(self, *_: Any, **__: Any) -> None:
        """Say a line for each part."""
        if not asyncio.run(doctor.examine(self._say)):
            raise CommandError("Something is wrong; see the line marked ✗.")

    def _say(self, verdict: doctor.Verdict, name: str, found: str) -> None:
        self.stdout.write(f"{MARKS[verdict]} {name}: {found}")
        self.stdout.flush()
