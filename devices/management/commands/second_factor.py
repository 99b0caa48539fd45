"""`second_factor --reset NAME`: take somebody's second factor away, whose phone is lost."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from django.conf import settings
from django.contrib.auth.models import User
from django.core.management.base import BaseCommand, CommandError

from devices import audit

if TYPE_CHECKING:
    from django.core.management.base import CommandParser


class Command(BaseCommand):
    """Takes a second factor away."""

    help = "Take somebody's second factor away: signing in takes the password alone, until they set up another."

    def add_arguments(self, parser: CommandParser) -> None:
        """Name what may be said."""
        parser.add_argument("--reset", metavar="NAME", required=True, help="the user name of whoever has lost theirs")

    def handle(self, *_: Any, reset: str, **__: Any) -> None:
        """Do it, or say why there is nothing to do."""
        if settings.SECOND_FACTOR == "off":
            raise CommandError("HUB_SECOND_FACTOR is off: nobody is asked for a second factor.")
        from devices import second_factor  # noqa: PLC0415  its package is there only where it is on

        user = User.objects.filter(username=reset).first()
        if user is None:
            raise CommandError(f"There is nobody called {reset!r}.")
        with audit.acting(audit.THE_HUB._replace(via="manage.py second_factor")):
            taken = second_factor.turn_off(user)
        if not taken:
            raise CommandError(f"{reset} has no second factor.")
        self.stdout.write(f"{reset} signs in with the password alone now.")
