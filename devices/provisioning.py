"""Many devices from one table: each row is judged as one device would be, made or reported, and nothing half made.

The table is CSV with a header: key, and whichever of name, model, gateway and fleet are wanted.
"""

from __future__ import annotations

import csv
import io
from typing import TYPE_CHECKING, Final, Literal

import msgspec
from django.db import IntegrityError

from devices import registry, tables, values
from devices.errors import Refusal
from devices.models import Device

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from django.db.models import QuerySet

    from devices.models import Fleet

# Some 50 bytes a row are usual. One answer holds all of it, and somebody waits.
MOST: Final = 10_000
MAX_BYTES: Final = 4 * 1_048_576
TRIES: Final = 5
# Of a cell at most this is read: longer than anything that a row may say.
SHOWN: Final = 200
COLUMNS: Final = ("key", "name", "model", "gateway", "fleet")
# The same bounds as for one device.
LONGEST: Final = {"name": 128, "model": 128}

Result = Literal["created", "creatable", "exists", "duplicate", "invalid"]


class Row(msgspec.Struct, kw_only=True):
    """What became of a row, and why. `line`: where it begins in the file.

    created: here is its secret; creatable: it would have been, but was only judged; exists: the key is taken;
    duplicate: an earlier row has the key
    """

    line: int
    key: str
    result: Result
    reason: str = ""
    secret: str | None = None
    device: Device | None = None


class Asked(msgspec.Struct, kw_only=True):
    """Who asks: the fleets into which they may put devices, the devices through which they may have them speak.

    fleet  for rows that name none; None: the only one there is
    """

    fleets: QuerySet[Fleet]
    gateways: QuerySet[Device]
    fleet: Fleet | None = None


def provision(table: bytes, asked: Asked, *, dry_run: bool = False) -> list[Row]:
    """Make the devices of a table, but for those that cannot be made; or only say what would become of each row."""
    given = list(_read(table))
    for _ in range(TRIES):
        rows = _judged(given, asked)
        if dry_run:
            return [msgspec.structs.replace(row, secret=None) for row in rows]
        try:
            registry.create_many([row.device for row in rows if row.device])
        except IntegrityError:
            continue  # another made one of them in this moment: now it exists, and the others are made
        for row in rows:
            row.result = "created" if row.device else row.result
        return rows
    raise Refusal("conflict", "Others change the same devices or fleets at this moment; send the table again.", 409)


def counts(rows: Iterable[Row]) -> dict[str, int]:
    """Count the rows by what became of them."""
    found = dict.fromkeys(("created", "creatable", "exists", "duplicate", "invalid"), 0)
    for row in rows:
        found[row.result] += 1
    return found


def report(rows: Sequence[Row], broker: Mapping[str, tables.Cell]) -> str:
    """Write the report as CSV, with what each new device needs to connect: the only time that its secret is told."""
    columns = ("line", "key", "result", "reason", "username", "secret", "host", "port", "tls")
    return tables.written([columns, *(_told(row) + _login(row, broker) for row in rows)])


def _told(row: Row) -> list[tables.Cell]:
    return [row.line, row.key, row.result, row.reason]


def _login(row: Row, broker: Mapping[str, tables.Cell]) -> list[tables.Cell]:
    return [None] * 5 if row.secret is None else [row.key, row.secret, broker["host"], broker["port"], broker["tls"]]


# --- reading


def _read(table: bytes) -> Iterator[tuple[int, dict[str, str]]]:
    """Yield each row with the line on which it begins; empty ones are nothing. Raises Refusal."""
    if len(table) > MAX_BYTES:
        raise Refusal("too_large", f"The table has more than {MAX_BYTES} bytes; split it.", 413)
    try:
        text = table.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise _unreadable(f"it is not UTF-8 at byte {error.start}; save it as CSV UTF-8") from None
    semicolons = ";" in io.StringIO(text, newline="").readline()
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=";" if semicolons else ",", strict=True)
    try:
        columns = _columns(next(reader, []))
        before, count = reader.line_num, 0
        for cells in reader:
            line, before = before + 1, reader.line_num
            if any(cells):
                if (count := count + 1) > MOST:
                    raise Refusal("too_large", f"The table has more than {MOST} rows; split it.", 413)
                yield line, _named(columns, cells)
    except csv.Error as error:
        raise _unreadable(f"it is no CSV in line {reader.line_num}: {error}") from None


def _columns(header: list[str]) -> list[str]:
    columns = [cell.strip().lower() for cell in header]
    known = ", ".join(COLUMNS)
    for name in columns:
        if name not in COLUMNS:
            raise _unreadable(f"its first line names a column {name[:64]!r}; known are {known}")
        if columns.count(name) > 1:
            raise _unreadable(f"its first line names the column {name!r} twice")
    if "key" not in columns:
        raise _unreadable(f"its first line must name the columns: key, and whichever are wanted of {known}")
    return columns


def _unreadable(why: str) -> Refusal:
    return Refusal("invalid", f"The table cannot be read: {why}.")


def _named(columns: list[str], cells: list[str]) -> dict[str, str]:
    """Name the cells. What is not there is empty; what is too much has no name."""
    read = [cell.strip()[:SHOWN] for cell in cells]
    named = dict.fromkeys(COLUMNS, "") | dict(zip(columns, read, strict=False))
    return named | ({"": "too much"} if any(read[len(columns) :]) else {})


# --- judging


class _Bad(Exception):
    """Why a row is no device."""

    def __init__(self, result: Result, reason: str) -> None:
        super().__init__(reason)
        self.result = result


def _judged(given: Sequence[tuple[int, dict[str, str]]], asked: Asked) -> list[Row]:
    """Judge each row as if those before it were made already."""
    judge = _Judge(asked, {cells["key"] for _, cells in given}, {cells["gateway"] for _, cells in given})
    rows = []
    for line, cells in given:
        row = Row(line=line, key=cells["key"], result="creatable")
        try:
            row.device, row.secret = judge.draft(cells)
        except _Bad as bad:
            row.result, row.reason = bad.result, str(bad)
        except Refusal as refusal:
            row.result, row.reason = "invalid", refusal.message
        rows.append(row)
    return rows


class _Judge:
    """What has to be known to judge the rows of one table, looked up once."""

    def __init__(self, asked: Asked, keys: set[str], gateways: set[str]) -> None:
        self._fleets = {fleet.slug: fleet for fleet in asked.fleets.all()}
        self._fleet = asked.fleet or (next(iter(self._fleets.values())) if len(self._fleets) == 1 else None)
        self._taken = set(Device.objects.filter(key__in=_askable(keys)).values_list("key", flat=True))
        found = asked.gateways.filter(key__in=_askable(gateways)).select_related("gateway")
        self._gateways = {device.key: device for device in found}
        self._drafts: set[str] = set()

    def draft(self, cells: dict[str, str]) -> tuple[Device, str]:
        """Return the device of a row, and its secret; raises what is wrong with the row."""
        key = cells["key"]
        registry.check_key(key)
        if "" in cells:
            raise _Bad("invalid", "It has more cells than the first line names; quote a text that has the separator.")
        if key in self._drafts:
            raise _Bad("duplicate", "An earlier row has the same key.")
        if key in self._taken:
            raise _Bad("exists", "A device of this key exists already.")
        for name, most in LONGEST.items():
            _check(name, cells[name], most)
        fleet, gateway = self._fleet_of(cells["fleet"]), self._gateway_of(key, cells["gateway"])
        device, secret = registry.draft(key, fleet, cells["name"], gateway)
        device.model = cells["model"]
        self._drafts.add(key)
        self._gateways[key] = device
        return device, secret

    def _fleet_of(self, slug: str) -> Fleet:
        fleet = self._fleets.get(slug) if slug else self._fleet
        if fleet is None:
            reason = f"There is no fleet {slug!r} that you manage." if slug else "Say which fleet it shall be in."
            raise _Bad("invalid", reason)
        return fleet

    def _gateway_of(self, key: str, gateway: str) -> Device | None:
        if gateway == key:
            raise _Bad("invalid", "A device cannot be its own gateway.")
        if gateway and gateway not in self._gateways:
            raise _Bad("invalid", f"There is no gateway {gateway!r} that you manage, nor in a row before this one.")
        return self._gateways.get(gateway)


def _askable(keys: set[str]) -> list[str]:
    """Leave out what is no key: it may be something that a database refuses to be asked for."""
    return [key for key in keys if values.is_key(key)]


def _check(name: str, text: str, most: int) -> None:
    if len(text) > most:
        raise _Bad("invalid", f"Its {name} has more than {most} characters.")
    if "\0" in text:
        raise _Bad("invalid", f"Its {name} has a NUL in it.")
