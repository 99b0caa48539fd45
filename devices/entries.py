"""Entries of the audit as people and programs read them: who may read which, in words, and as an export."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, Final, Literal, TypedDict

from devices import audit, registry, rights, tables
from devices.models import AuditEntry, Role

if TYPE_CHECKING:
    from collections.abc import Iterable

    from django.contrib.auth.models import AnonymousUser, User
    from django.db.models import QuerySet

Format = Literal["csv", "ndjson"]
COLUMNS: Final = (*audit.FIELDS, "before", "digest")

# What was done, as the end of a sentence that begins with who did it. What is not here is told by its name.
WORDS: Final = {
    "claim_code.made": "made the claim code {target}",
    "claim_code.revoked": "revoked the claim code {target}",
    "command.cancelled": "cancelled the command {name} to {target}",
    "command.issued": "gave {target} the command {name}",
    "device.changed": "changed the device {target}: {changes}",
    "device.claimed": "claimed the device {target} with the code {code}",
    "device.made": "registered the device {target}",
    "device.moved_in": "moved the device {target} here",
    "device.removed": "deleted the device {target}",
    "device.secret_changed": "gave the device {target} a new secret",
    "exception.ended": "ended the exception of {target}",
    "exception.made": "set the role of {target} to {role}",
    "fleet.changed": "changed the fleet {target}: {changes}",
    "fleet.made": "made the fleet {target}",
    "fleet.removed": "deleted the fleet {target}",
    "invitation.accepted": "took the invitation for {target}, as {role}",
    "invitation.made": "invited {target} as {role}",
    "invitation.revoked": "revoked the invitation for {target}, as {role}",
    "link.made": "shared {devices} by the link {target}",
    "link.revoked": "revoked the link {target}, which showed {devices}",
    "member.admitted": "made {target} {role}",
    "member.changed": "made {target} {role}",
    "member.dismissed": "dismissed {target}",
    "password.changed": "changed their password",
    "readings.marked_bad": "marked readings of {target} as bad",
    "readings.taken_for_good": "took readings of {target} for good again",
    "rejects.discarded": "discarded {count} rejects of {target}",
    "rejects.replayed": "replayed {count} rejects of {target}",
    "second_factor.set_up": "set up a second factor",
    "second_factor.turned_off": "turned off the second factor of {target}",
    "session.begun": "signed in from {address}",
    "session.locked": "was locked out at {address}, as {target}",
    "session.refused": "was refused from {address}, as {target}",
    "setting.wanted": "changed what {target} shall keep to: {changes}",
    "token.made": "made the token {target}",
    "token.revoked": "revoked the token {target}",
    "user.changed": "changed the account {target}: {fields}",
    "user.made": "made the account {target}",
    "user.removed": "deleted the account {target}",
}


class Chosen(TypedDict, total=False):
    """Which entries; `fleet` as row id, `since` and `until` in ms, `action` a whole one or its first word."""

    fleet: int
    by: str
    action: str
    since: int
    until: int


def visible_to(user: User | AnonymousUser) -> QuerySet[AuditEntry]:
    """Select what the user may read: administrators all, managers what was done in their fleets."""
    if rights.administers(user):
        return AuditEntry.objects.all()
    return AuditEntry.objects.filter(fleet__in=registry.fleets_of(user, Role.MANAGER).values("pk"))


def select(user: User | AnonymousUser, chosen: Chosen) -> QuerySet[AuditEntry]:
    """Select of what the user may read what is asked for."""
    rows = visible_to(user)
    if "fleet" in chosen:
        rows = rows.filter(fleet=chosen["fleet"])
    if "by" in chosen:
        rows = rows.filter(by=chosen["by"])
    if "action" in chosen:
        whole = "." in chosen["action"]
        rows = rows.filter(action=chosen["action"]) if whole else rows.filter(action__startswith=f"{chosen['action']}.")
    if "since" in chosen:
        rows = rows.filter(at__gte=chosen["since"])
    if "until" in chosen:
        rows = rows.filter(at__lt=chosen["until"])
    return rows


def words(row: AuditEntry) -> str:
    """Say what was done."""
    said = WORDS.get(row.action, f"{row.action.replace('.', ' ').replace('_', ' ')} {{target}}")
    return said.format_map(_Told(row))


class _Told(dict[str, str]):
    """What the words name of an entry; what an entry does not have is left open."""

    def __init__(self, row: AuditEntry) -> None:
        super().__init__({name: _plain(value) for name, value in row.detail.items()})
        self["target"] = row.target
        pairs = {name: value for name, value in row.detail.items() if isinstance(value, list) and len(value) == 2}  # noqa: PLR2004  from, to
        self["changes"] = "; ".join(f"{name} from {_plain(a)} to {_plain(b)}" for name, (a, b) in pairs.items())

    def __missing__(self, _name: str) -> str:
        return "…"


def _plain(value: object) -> str:
    if isinstance(value, list):
        return ", ".join(map(_plain, value)) or "nothing"
    return "nothing" if value in ("", None) else str(value)


# --- export


def head(form: Format) -> str:
    """Begin an export."""
    return tables.written([COLUMNS]) if form == "csv" else ""


def page(rows: QuerySet[AuditEntry], after: int, size: int) -> list[AuditEntry]:
    """Return the next entries of the chain behind a seq."""
    return list(rows.filter(seq__gt=after).order_by("seq")[:size])


def written(rows: list[AuditEntry], form: Format) -> str:
    """Write entries, each with the digest before it, so that it can be checked although its neighbour is missing."""
    told = list(_with_the_digest_before(rows))
    if form == "ndjson":
        return "".join(f"{json.dumps(one)}\n" for one in told)
    return tables.written([_cell(one[name]) for name in COLUMNS] for one in told)


def _with_the_digest_before(rows: list[AuditEntry]) -> Iterable[dict[str, Any]]:
    wanted = [row.seq - 1 for row in rows if row.seq is not None]
    digests = dict(AuditEntry.objects.filter(seq__in=wanted).values_list("seq", "digest"))
    for row in rows:
        assert row.seq is not None
        yield {**audit.told(row), "before": digests.get(row.seq - 1, "")}


def _cell(value: Any) -> tables.Cell:  # noqa: ANN401  a field's value
    return json.dumps(value) if isinstance(value, dict) else value
