"""`timescale`: make the journal a hypertable where TimescaleDB came after the migrations, or the journal was long."""

from __future__ import annotations

from typing import Any

from django.core.management.base import BaseCommand, CommandError
from django.db import connection, transaction

from devices.history import timescale


class Command(BaseCommand):
    """Does what the migration does, however long the journal is."""

    help = (
        "Make the journal a TimescaleDB hypertable. Stop the bridge before: all rows are moved, and nobody can write "
        "meanwhile. There is no way back but a dump; docs/production.md says what is gained and what it costs."
    )

    def handle(self, *_: Any, **__: Any) -> None:
        """Say what stands in the way, or do it in one transaction."""
        if reason := timescale.why_not(connection):
            raise CommandError(reason)
        with transaction.atomic():
            done = timescale.adopt(connection)
        self.stdout.write("The journal is a hypertable now." if done else "The journal is a hypertable already.")
