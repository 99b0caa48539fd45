"""Firmware: the files that a fleet's devices can be told to install, and what an update says of one.

A file is kept by Django's default storage under a name that nobody chose; the row says what it is.
"""

from __future__ import annotations

import base64
import hashlib
import re
import secrets
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from django.conf import settings
from django.core.files.storage import default_storage
from django.db import IntegrityError, transaction
from django.db.models import Q
from django.utils.crypto import salted_hmac

from devices import audit, lifecycle, values
from devices.errors import Refusal
from devices.models import Command, Device, Firmware, Job, Schedule

if TYPE_CHECKING:
    from django.contrib.auth.models import User
    from django.core.files import File
    from django.db.models import QuerySet

    from devices.models import Fleet

FOLDER: Final = "firmware"
MAX_NOTES: Final = 10_000
MB: Final = 1_000_000
# It travels to the device, which compares it, and stands in addresses and logs.
VERSION: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._+~-]{0,63}")
# What a command to update is stored with.
PARTS: Final = frozenset(("firmware", "version", "size", "sha256"))
# A file without a row is older than this only if whoever stored it died before the row was made.
ORPHANED: Final = timedelta(hours=1)


class About(NamedTuple):
    """What people say of a file. `model`: of which devices, in any case of letters; "": of any."""

    version: str
    model: str = ""
    notes: str = ""


def add(fleet: Fleet, about: About, file: File[Any], *, user: User | None, now: int) -> Firmware:
    """Keep a file for a fleet's devices.

    Refusals: invalid (version, model, notes, an empty file; 413: too large), version_taken (409), not_kept (503).
    """
    _check(about)
    if _namesakes(fleet, about).exists():
        raise _version_taken(about)
    size, sha256 = _measured(file)
    name = f"{FOLDER}/{secrets.token_hex(16)}"
    try:
        tidy(now)
        default_storage.save(name, file)
        with transaction.atomic():
            made = Firmware.objects.create(
                **about._asdict(), fleet=fleet, file=name, size=size, sha256=sha256, user=user, created_at=now
            )
            audit.note("firmware.added", str(made), {"size": size, "sha256": sha256}, fleet=fleet)
    except (IntegrityError, OSError) as error:
        with suppress(OSError):
            default_storage.delete(name)
        raise _version_taken(about) if isinstance(error, IntegrityError) else _not_kept(error) from error
    return made


def _measured(file: File[Any]) -> tuple[int, str]:
    """Return size and SHA-256 of what was sent; refuse what cannot be taken."""
    size, sha256 = 0, hashlib.sha256()
    for part in file.chunks():
        size += len(part)
        sha256.update(part)
    if not size:
        raise _wrong_file("is empty", "invalid", 400)
    if size > settings.HUB_FIRMWARE_MB * MB:
        raise _wrong_file(f"has {size} bytes; at most {settings.HUB_FIRMWARE_MB} MB are taken", "too_large", 413)
    return size, sha256.hexdigest()


def _check(about: About) -> None:
    if not VERSION.fullmatch(about.version):
        raise _invalid("version", "must have letters, digits, . _ + ~ and - alone, at most 64, as the device announces")
    if len(about.model) > values.MAX_NAME or not about.model.isprintable():
        raise _invalid("model", "must have at most 128 characters, all of them printable")
    if len(about.notes) > MAX_NOTES or "\0" in about.notes:
        raise _invalid("notes", f"must have at most {MAX_NOTES} characters")


def _invalid(field: str, problem: str) -> Refusal:
    return Refusal("invalid", f"The {field} {problem}.", fields={field: problem})


def _wrong_file(problem: str, code: str, status: int) -> Refusal:
    return Refusal(code, f"The file {problem}.", status, {"file": problem})


def _not_kept(error: OSError) -> Refusal:
    message = f"The hub could not keep the file ({error.strerror}); have an administrator look at its disk."
    return Refusal("not_kept", message, 503)


def _version_taken(about: About) -> Refusal:
    whose = about.model or "any model"
    message = f"There is a version {about.version} for {whose} already; give this file another version, or delete it."
    return Refusal("version_taken", message, 409, {"version": "is there already"})


def _namesakes(fleet: Fleet, about: About) -> QuerySet[Firmware]:
    return Firmware.objects.filter(fleet=fleet, version=about.version, model__iexact=about.model)


def tidy(now: int) -> int:
    """Delete files that have no row, because a process died in between or a fleet was deleted; return how many."""
    try:
        _, names = default_storage.listdir(FOLDER)
    except FileNotFoundError:
        return 0
    known = set(Firmware.objects.values_list("file", flat=True))
    long_ago = datetime.fromtimestamp(now / 1000, UTC) - ORPHANED
    left = [path for name in names if (path := f"{FOLDER}/{name}") not in known]
    gone = [path for path in left if default_storage.get_modified_time(path) < long_ago]
    for path in gone:
        default_storage.delete(path)
    return len(gone)


def remove(firmware: Firmware) -> None:
    """Delete a file and its row; refused while somebody may still be told to fetch it (409)."""
    with transaction.atomic():
        if user := _in_use(firmware):
            raise Refusal("in_use", f"{firmware} cannot be deleted yet: {user}.", 409)
        name, fleet = str(firmware.file.name), firmware.fleet
        audit.note("firmware.removed", str(firmware), {"sha256": firmware.sha256}, fleet=fleet)
        firmware.delete()
        transaction.on_commit(lambda: default_storage.delete(name))


def _in_use(firmware: Firmware) -> str:
    """Say what refers to it."""
    still_open = sorted(set(lifecycle.MOVES) - lifecycle.CLOSED)
    told = Command.objects.filter(device__fleet=firmware.fleet_id, state__in=still_open, args__sha256=firmware.sha256)
    if one := told.filter(args__firmware=firmware.pk).select_related("device").first():
        return f"an update of {one.device.key} to it is open; wait for its end, or cancel it"
    named = {"fleet": firmware.fleet_id, "args__firmware": firmware.pk}
    if Job.objects.filter(state__in=("running", "stopped"), **named).exists():
        return "a job rolls it out; cancel that first"
    if Schedule.objects.filter(enabled=True, next_at__isnull=False, **named).exists():
        return "a schedule will roll it out; delete that first"
    return ""


def is_kept(firmware: Firmware) -> bool:
    """Whether the file is there."""
    return default_storage.exists(str(firmware.file.name))


def opened(firmware: Firmware) -> File[Any]:
    """Open the file."""
    return default_storage.open(str(firmware.file.name))


def of(fleet: Fleet) -> QuerySet[Firmware]:
    """Select a fleet's, the newest first."""
    return Firmware.objects.filter(fleet=fleet).select_related("fleet", "user").order_by("-pk")


def fitting(device: Device) -> QuerySet[Firmware]:
    """Select what a device can be told to install: its fleet's, for its model or for any."""
    rows = of(device.fleet)
    return rows.filter(Q(model="") | Q(model__iexact=device.model)) if device.model else rows.filter(model="")


def find(device: Device, pk: object) -> Firmware | None:
    """Return one of them; None: there is none, or it is for others."""
    return fitting(device).filter(pk=pk).first() if isinstance(pk, int) and 0 < pk <= values.MAX_COUNTER else None


def announced(rows: list[Firmware], devices: QuerySet[Device]) -> dict[int, int]:
    """Return how many of these devices announce each of these versions."""
    versions = {row.version for row in rows}
    said = list(devices.filter(firmware__in=versions).values_list("fleet_id", "firmware", "model"))
    return {
        row.pk: sum(
            fleet == row.fleet_id and version == row.version and row.model.casefold() in ("", model.casefold())
            for fleet, version, model in said
        )
        for row in rows
    }


# --- updates


def asked(device: Device, name: str, args: object) -> dict[str, Any]:
    """Return what an update is stored with; refuse what names no firmware that fits the device."""
    if not isinstance(args, dict) or args.keys() != {"firmware"} or isinstance(args["firmware"], bool):
        message = f'{name} takes {{"firmware": id}}: which of the fleet’s firmware to install.'
        raise Refusal("bad_args", message, fields={"args": 'must be {"firmware": id}'})
    if (firmware := find(device, args["firmware"])) is None:
        what = f"a {device.model}" if device.model else "a device that has not said its model"
        message = (
            f"There is no firmware {args['firmware']} in {device.fleet} for {what}; firmware/ lists what there is."
        )
        raise Refusal("bad_args", message, fields={"args": "must name a firmware of the fleet for its model"})
    if not settings.HUB_ADDRESS:
        message = "The hub does not know under which address devices reach it: have HUB_ORIGINS set."
        raise Refusal("address_unknown", message, 409)
    return {"firmware": firmware.pk, "version": firmware.version, "size": firmware.size, "sha256": firmware.sha256}


def kept_in(command: Command) -> dict[str, Any] | None:
    """Return what a command to update was stored with; None: it is another one."""
    args = command.args
    return args if isinstance(args, dict) and args.keys() == PARTS else None


def told(command: Command) -> object:
    """Return a command's argument as its device is told it: of an update where to fetch what, as short as it can be."""
    if (kept := kept_in(command)) is None:
        return command.args
    return {"url": address(command.pk), "size": kept["size"], "sha256": kept["sha256"], "version": kept["version"]}


def address(cid: str) -> str:
    """Return where the firmware of an update is fetched; nobody can make up the address of another."""
    return f"{settings.HUB_ADDRESS}/fw/{cid}/{signature(cid)}"


def signature(cid: str) -> str:
    """Sign a command's id. 96 bits are enough for what lives for a day: PubSubClient takes packets of 256 bytes."""
    digest = salted_hmac("devices.firmware", cid, algorithm="sha256").digest()
    return base64.urlsafe_b64encode(digest[:12]).decode()


def outcome(command: Command) -> dict[str, Any] | None:
    """Return which version an update was for, and what its device announces by now; None: it is no update."""
    if (kept := kept_in(command)) is None:
        return None
    version, said = kept["version"], command.device.firmware
    return {"version": version, "announced": said, "installed": said == version}
