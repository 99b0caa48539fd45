"""python3 manage.py audit: what was done last; whether all of it is as it was written; all of it, for elsewhere."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from django.core.management.base import BaseCommand, CommandError

from devices import audit, entries
from devices.models import AuditEntry

if TYPE_CHECKING:
    from django.core.management.base import CommandParser

LAST = 20


class Command(BaseCommand):
    """Tells, checks, or exports the audit."""

    help = "Tell who did what to whom; with --verify, check that nothing was changed or taken out."

    def add_arguments(self, parser: CommandParser) -> None:
        """Name what may be asked for."""
        what = parser.add_mutually_exclusive_group()
        what.add_argument("--verify", action="store_true", help="check every entry; exit code 1: the chain is broken")
        what.add_argument("--export", action="store_true", help="print all of it as NDJSON, with the digests")

    def handle(self, *_args: Any, **asked: Any) -> None:
        """Do one of them."""
        if asked["verify"]:
            self.verify()
        elif asked["export"]:
            self.export()
        else:
            for row in reversed(AuditEntry.objects.order_by("-pk")[:LAST]):
                self.stdout.write(line(row))

    def verify(self) -> None:
        """Check the chain, and say how far it goes: for whoever compares that with what was written down elsewhere."""
        try:
            head = audit.verify()
        except audit.Broken as broken:
            raise CommandError(str(broken)) from None
        self.stdout.write(f"All {head.seq} entries are as they were written. Digest: {head.digest or 'none'}")

    def export(self) -> None:
        """Print the chain."""
        audit.link_all()
        after: int | None = 0
        while after is not None:
            rows = entries.page(AuditEntry.objects.all(), after, audit.BATCH)
            self.stdout.write(entries.written(rows, "ndjson"), ending="")
            after = rows[-1].seq if len(rows) == audit.BATCH else None


def line(row: AuditEntry) -> str:
    """Write an entry as a line."""
    at = datetime.fromtimestamp(row.at / 1000, UTC)
    where = f" [{row.fleet_name}]" if row.fleet_name else ""
    return f"{at:%Y-%m-%d %H:%M:%S} {row.by} {entries.words(row)}{where}{f' ({row.via})' if row.via else ''}"
