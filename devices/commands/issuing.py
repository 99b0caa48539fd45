"""Commands are given: to one device, or the same one to many at once, as each of them announced it."""

from __future__ import annotations

import secrets
from collections import Counter
from typing import TYPE_CHECKING, Any, Final

import msgspec
from django.contrib.auth.models import User
from django.db import transaction
from django.db.models import Count

from devices import arguments, audit, wire
from devices.commands import log
from devices.errors import Refusal, device_unknown
from devices.models import Command, CommandEvent, Device, Head

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence

    from devices.groups import Order

DEFAULT_TTL_S: Final = 60
# Devices that sleep for most of a day are told when they wake, and have the night for it.
UPDATE_TTL_S: Final = 86_400
MAX_TTL_S: Final = 7 * 86_400
MAX_WAITING: Final = 50
MAX_KEY: Final = 128
MAX_REASON: Final = 200


class Wish(msgspec.Struct, frozen=True, kw_only=True):
    """A command that somebody gives to a device.

    ttl_s      None: as is usual for such a command
    key        the same one again for the device gives the same command
    reason     why, in a person's words; kept with it and in the audit
    confirmed  whether the person was asked: a command that is announced as dangerous is not taken otherwise
    """

    device: Device
    name: str
    args: object
    user: User | None
    ttl_s: int | None = None
    key: str | None = None
    reason: str = ""
    confirmed: bool = False


def issue(
    device: Device,
    name: str,
    args: object,
    *,
    user: User | None,
    now: int,
    **more: Any,  # noqa: ANN401  the rest of a Wish
) -> tuple[Command, bool]:
    """Queue a command (`more`: see Wish) and ring the bridge; return it and whether it is new (False: by its key).

    Refusals: command_unknown, bad_args, invalid (ttl_s, key, reason), confirmation_needed (409), too_many_waiting,
    device_unknown (just deleted).
    """
    (answer,) = issue_each([Wish(device=device, name=name, args=args, user=user, **more)], now)
    if isinstance(answer, Refusal):
        raise answer
    return answer


def issue_each(wishes: Sequence[Wish], now: int) -> list[tuple[Command, bool] | Refusal]:
    """Queue what several people give at the same moment, in one transaction; return what each one got (see `issue`)."""
    wrong = [_wrong_with(wish) for wish in wishes]
    answers = iter(_issued([wish for wish, refusal in zip(wishes, wrong, strict=True) if refusal is None], now))
    return [next(answers) if refusal is None else refusal for refusal in wrong]


def _wrong_with(wish: Wish) -> Refusal | None:
    try:
        if wish.ttl_s is not None:
            check_ttl(wish.ttl_s)
        check_key(wish.key)
        check_reason(wish.reason)
    except Refusal as refusal:
        return refusal
    return None


@transaction.atomic
def _issued(wishes: Sequence[Wish], now: int) -> list[tuple[Command, bool] | Refusal]:
    # The heads' locks: of two requests with one key the second finds the first one's command.
    heads = _locked_heads([wish.device for wish in wishes])
    waiting, known = _waiting(heads), _of_keys(wishes)
    answers: list[tuple[Command, bool] | Refusal] = []
    new = []
    for wish in wishes:
        of_key = None if wish.key is None else (wish.device.pk, wish.key)
        if of_key in known and wish.device.pk in heads:
            answers.append((known[of_key], False))
            continue
        try:
            command = _drafted(wish, heads, waiting, now)
        except Refusal as refusal:
            answers.append(refusal)
            continue
        new.append(command)
        answers.append((command, True))
        if of_key is not None:
            known[of_key] = command
    _queue(new, now)
    _note(new)
    return answers


def _of_keys(wishes: Sequence[Wish]) -> dict[tuple[int, str | None] | None, Command]:
    """Return the commands that were given under these keys before, by row id of the device and key."""
    keys = {wish.key for wish in wishes if wish.key is not None}
    rows = Command.objects.filter(device__in={wish.device.pk for wish in wishes}, key__in=keys) if keys else ()
    return {(command.device_id, command.key): command for command in rows}


def _drafted(wish: Wish, heads: Collection[int], waiting: Counter[int], now: int) -> Command:
    command = Draft(wish.name, wish.args, wish.reason, confirmed=wish.confirmed).of(wish.device, heads, waiting)
    command.key, command.user = wish.key, wish.user
    ttl_s = default_ttl(wish.device, wish.name) if wish.ttl_s is None else wish.ttl_s
    command.expires_at = expiry(now, ttl_s)
    return command


def _note(commands: Sequence[Command]) -> None:
    """Have the audit tell who gave them."""
    for who in {command.user_id for command in commands}:
        theirs = [command for command in commands if command.user_id == who]
        user = theirs[0].user
        done = ((one.device.key, _detail(one), one.device.fleet) for one in theirs)
        audit.note_each("command.issued", done, audit.person(user) if user else None)


def _detail(command: Command) -> dict[str, Any]:
    return {"name": command.name, "command": command.pk} | ({"reason": command.reason} if command.reason else {})


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
        made = [one for one in given if isinstance(one, Command)]
        for command in made:
            command.user, command.expires_at = user, ends_at
        _queue(made, now)
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


def _queue(commands: Sequence[Command], now: int) -> None:
    """Store them, log that, and ring for each."""
    if not commands:
        return
    for ends_at in {command.expires_at for command in commands}:
        some = [command for command in commands if command.expires_at == ends_at]
        for command, cid in zip(some, _free_ids(ends_at, len(some)), strict=True):
            command.pk = cid
            command.created_at = command.changed_at = now
    Command.objects.bulk_create(commands)
    events = [
        CommandEvent(command=one, state="queued", at=now, proof="accepted by the hub", by=str(one.user or log.THE_HUB))
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
    return bool(device.commands.get(name, {}).get("dangerous")) or is_update(device, name)


def is_update(device: Device, name: str) -> bool:
    """Whether a device announced this as the command by which it takes firmware."""
    return bool(device.commands.get(name, {}).get("type") == "update")


def default_ttl(device: Device, name: str) -> int:
    """Return for how long a command is good unless somebody says it: an update for as long as its address is."""
    return UPDATE_TTL_S if is_update(device, name) else DEFAULT_TTL_S


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
