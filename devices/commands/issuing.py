"""Commands are given: to one device, or the same one to many at once, as each of them announced it."""

from __future__ import annotations

import secrets
from collections import Counter
from typing import TYPE_CHECKING, Final

from django.db import transaction
from django.db.models import Count

from devices import arguments, audit, wire
from devices.commands import log
from devices.errors import Refusal, device_unknown
from devices.models import Command, CommandEvent, Device, Head

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence

    from django.contrib.auth.models import User

    from devices.groups import Order

DEFAULT_TTL_S: Final = 60
MAX_TTL_S: Final = 7 * 86_400
MAX_WAITING: Final = 50
MAX_KEY: Final = 128
MAX_REASON: Final = 200


def issue(  # noqa: PLR0913  an order has this many parts
    device: Device,
    name: str,
    args: object,
    *,
    user: User | None,
    now: int,
    ttl_s: int = DEFAULT_TTL_S,
    key: str | None = None,
    reason: str = "",
    confirmed: bool = False,
) -> tuple[Command, bool]:
    """Queue a command and ring the bridge; return it and whether it is new (False: the key was used before).

    reason     why, in a person's words; kept with it and in the audit
    confirmed  whether the person was asked: a command that is announced as dangerous is not taken otherwise

    Refusals: command_unknown, bad_args, invalid (ttl_s, key, reason), confirmation_needed (409), too_many_waiting,
    device_unknown (just deleted).
    """
    check_ttl(ttl_s)
    check_key(key)
    check_reason(reason)
    with transaction.atomic():
        # The head's lock: of two requests with one key the second finds the first one's command.
        heads = _locked_heads([device])
        if key is not None and heads and (old := Command.objects.filter(device=device, key=key).first()):
            return old, False
        draft = Draft(name, args, reason, confirmed=confirmed)
        command = draft.of(device, heads, _waiting(heads))
        command.key = key
        _queue([command], user, now, expiry(now, ttl_s))
        actor = audit.person(user) if user else None
        detail = {"name": name, "command": command.pk} | ({"reason": reason} if reason else {})
        audit.note("command.issued", device.key, detail, fleet=device.fleet, actor=actor)
    return command, True


def issue_many(  # noqa: PLR0913  as above
    devices: Sequence[Device],
    name: str,
    args: object,
    *,
    user: User | None,
    now: int,
    ttl_s: int,
    reason: str = "",
    confirmed: bool = False,
    expires_at: int | None = None,
) -> list[Command | Refusal]:
    """Queue the same command for each of at most 500 devices, in one transaction; return what each one got, in order.

    expires_at  when it ends for all of them (ms), whenever they get it; None: `ttl_s` from now

    What one device refuses (see `issue`) is returned, what is wrong for all of them is raised. The audit has one entry
    of whoever asked for many, and none of each.
    """
    check_ttl(ttl_s)
    check_reason(reason)
    ends_at = expiry(now, ttl_s) if expires_at is None else expiry(expires_at)
    draft = Draft(name, args, reason, confirmed=confirmed)
    with transaction.atomic():
        heads = _locked_heads(devices)
        waiting = _waiting(heads)
        given = [draft.tried(device, heads, waiting) for device in devices]
        _queue([one for one in given if isinstance(one, Command)], user, now, ends_at)
    return given


class Draft:
    """An order before it is anybody's."""

    def __init__(self, name: str, args: object, reason: str, *, confirmed: bool) -> None:
        """Keep what is ordered."""
        self.name = name
        self.args = args
        self.reason = reason
        self.confirmed = confirmed

    def of(self, device: Device, heads: Collection[int], waiting: Counter[int]) -> Command:
        """Return it as a device's command, not stored yet, or refuse it. `heads`, `waiting`: by row id of devices."""
        if device.pk not in heads:
            raise device_unknown(device.key)
        args = arguments.of_command(device, self.name, self.args)
        if is_dangerous(device, self.name) and not self.confirmed:
            message = f"{device.key} calls {self.name} dangerous: confirm it (`confirm`: true), and say why (`reason`)."
            raise Refusal("confirmation_needed", message, 409)
        if waiting[device.pk] >= MAX_WAITING:
            message = f"{MAX_WAITING} commands wait for {device.key} already; wait for it, or cancel some."
            raise Refusal("too_many_waiting", message, 429)
        waiting[device.pk] += 1
        return Command(device=device, name=self.name, args=args, reason=self.reason)

    def tried(self, device: Device, heads: Collection[int], waiting: Counter[int]) -> Command | Refusal:
        """Return it as a device's command, or why it cannot be."""
        try:
            return self.of(device, heads, waiting)
        except Refusal as refusal:
            return refusal


def _locked_heads(devices: Sequence[Device]) -> set[int]:
    """Lock the heads of those that are still there, in the order in which ingest does."""
    rows = Head.objects.select_for_update(of=("self",)).filter(pk__in=[device.pk for device in devices])
    return set(rows.order_by("pk").values_list("pk", flat=True))


def _waiting(devices: Collection[int]) -> Counter[int]:
    rows = Command.objects.filter(device__in=devices, state="queued").values_list("device")
    return Counter(dict(rows.annotate(count=Count("pk"))))


def _queue(commands: Sequence[Command], user: User | None, now: int, expires_at: int) -> None:
    """Store them, log that, and ring for each."""
    if not commands:
        return
    for command, cid in zip(commands, _free_ids(expires_at, len(commands)), strict=True):
        command.pk = cid
        command.user = user
        command.created_at = command.changed_at = now
        command.expires_at = expires_at
    Command.objects.bulk_create(commands)
    events = [
        CommandEvent(command=one, state="queued", at=now, proof="accepted by the hub", by=str(user or log.THE_HUB))
        for one in commands
    ]
    rung: list[Order] = [{"type": "device.order", "device": one.device.key, "command": one.pk} for one in commands]
    log.write(events, *rung)


def _free_ids(expires_at: int, count: int) -> list[str]:
    """Return as many ids as are wanted which nobody has. Of ten thousand of one second two would often be the same."""
    free: dict[str, None] = {}
    while len(free) < count:
        drawn = {wire.cid(expires_at, secrets.randbits(30)) for _ in range(count - len(free))}
        taken = set(Command.objects.filter(pk__in=drawn).values_list("pk", flat=True))
        free.update(dict.fromkeys(drawn - taken))
    return list(free)


def expiry(now: int, ttl_s: int = 0) -> int:
    """Return when a command ends that is given now (ms): on the second, so that its id can say it."""
    return -(-(now + ttl_s * 1000) // 1000) * 1000


def is_dangerous(device: Device, name: str) -> bool:
    """Whether a device announced that people are to be asked before it is told so. An update always is."""
    spec = device.commands.get(name, {})
    return bool(spec.get("dangerous")) or spec.get("type") == "update"


def check_reason(reason: str) -> None:
    """Refuse what is no reason that can be kept."""
    if len(reason) > MAX_REASON or "\0" in reason:
        message = f"The reason must have at most {MAX_REASON} characters."
        raise Refusal("invalid", message, fields={"reason": f"must have at most {MAX_REASON} characters"})


def check_ttl(ttl_s: object) -> None:
    """Refuse what is no time to live."""
    if isinstance(ttl_s, bool) or not isinstance(ttl_s, int) or not 1 <= ttl_s <= MAX_TTL_S:
        message = f"ttl_s must be a whole number of seconds from 1 to {MAX_TTL_S}."
        raise Refusal("invalid", message, fields={"ttl_s": "is out of range"})


def check_key(key: str | None) -> None:
    """Refuse what cannot be an idempotency key."""
    if key is not None and not (key.isprintable() and 0 < len(key) <= MAX_KEY):
        message = f"key must have 1 to {MAX_KEY} printable characters; a UUID does."
        raise Refusal("invalid", message, fields={"key": "is not valid"})
