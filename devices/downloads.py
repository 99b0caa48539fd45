"""Downloads: who may fetch the firmware of an update, and what is noted of it.

It takes two things: the address that the command told, which is signed and good for that command alone, and the
credentials of the command's device, or of the gateway that speaks for it.
"""

from __future__ import annotations

import base64
import binascii
import logging
from hmac import compare_digest
from typing import TYPE_CHECKING, Final, NamedTuple

from django.core.cache import cache

from devices import commands, firmware, sealing
from devices.errors import Refusal
from devices.models import Command

if TYPE_CHECKING:
    from devices.models import Device, Firmware

logger = logging.getLogger(__name__)

# From when the broker was handed the command on.
GOOD_MS: Final = 86_400_000
# Wrong credentials for one update from one address, until it has to wait: no device is in the way of another.
MISSES: Final = 20
WAIT_S: Final = 900
# What may be fetched; `unknown` is what the broker may have handed over all the same.
_OPEN: Final = ("queued", "sent", "received", "unknown")


class Download(NamedTuple):
    """What may be fetched: by whom, for which command."""

    cid: str
    key: str
    firmware: Firmware

    def __str__(self) -> str:
        """Name it in a log."""
        return f"{self.firmware.version} for {self.key} (command {self.cid})"


def admit(cid: str, signature: str, authorization: str, address: str, now: int) -> Download:
    """Return what is to be sent, or refuse.

    Refusals: not_found (404, the signature is wrong), not_authenticated (401), too_many_requests (429), forbidden (403,
    another device's credentials, or disabled), gone (410, the update or the file is no more).
    """
    if not compare_digest(signature.encode(), firmware.signature(cid).encode()):
        raise Refusal("not_found", "There is nothing here.", 404)
    username, secret = _basic(authorization)
    misses = f"download-misses:{cid}:{address}"
    if cache.get(misses, 0) >= MISSES:
        text = f"Too many wrong secrets; try again in {WAIT_S} s."
        raise Refusal("too_many_requests", text, 429, retry_after_s=WAIT_S)
    command = Command.objects.filter(pk=cid).select_related("device__gateway").first()
    if command is None:
        raise _unknown()
    _check_who(command, username, secret, misses)
    return Download(cid, username, _open(command, now))


def _basic(authorization: str) -> tuple[str, str]:
    """Return name and password of HTTP's Basic; refuse what is none."""
    word, _, encoded = authorization.partition(" ")
    try:
        text = base64.b64decode(encoded.strip(), validate=True).decode() if word.lower() == "basic" else ""
    except (binascii.Error, UnicodeDecodeError):
        text = ""
    username, colon, secret = text.partition(":")
    if not colon:
        raise _unknown()
    return username, secret


def _unknown() -> Refusal:
    return Refusal("not_authenticated", "Send the device's key and secret, as for MQTT (HTTP Basic).", 401)


def _check_who(command: Command, username: str, secret: str, misses: str) -> None:
    """Refuse who is neither the command's device nor its gateway."""
    device = command.device
    one = next((one for one in (device, device.gateway) if one is not None and one.key == username), None)
    if one is None:
        raise Refusal("forbidden", "This update is for another device.", 403)
    if not _is_secret(one, secret):
        cache.add(misses, 0, WAIT_S)
        cache.incr(misses)
        raise _unknown()
    if not (one.enabled and device.enabled):
        raise Refusal("forbidden", f"{one.key if not one.enabled else device.key} is disabled.", 403)


def _is_secret(device: Device, given: str) -> bool:
    try:
        return compare_digest(sealing.unseal(device.secret_box).encode(), given.encode())
    except sealing.InvalidToken:
        return False  # sealed under another SECRET_KEY: the broker has no account for it either


def _open(command: Command, now: int) -> Firmware:
    """Return the firmware of an update that is open; refuse what is over."""
    over = command.state not in _OPEN or command.claimed_at is None
    if over or (command.state != "received" and command.expires_at <= now):
        raise _gone(f"This update is over ({command.state}).")
    if command.claimed_at is not None and command.claimed_at + GOOD_MS <= now:
        raise _gone("This address was good for 24 hours; give the update again.")
    # To a device that described no command any argument may be given: what it names is looked for as the device's own.
    args = firmware.kept_in(command) or {}
    found = firmware.find(command.device, args.get("firmware"))
    if found is None or found.sha256 != args["sha256"] or not firmware.is_kept(found):
        raise _gone("This firmware is not there any more.")
    return found


def _gone(text: str) -> Refusal:
    return Refusal("gone", text, 410)


def begin(download: Download, first: int, now: int) -> None:
    """Note that a device fetches what it was told to: so it has the command."""
    logger.info("download of %s begins at byte %d", download, first)
    go_on(download, now)


def go_on(download: Download, now: int) -> None:
    """Note that the device is at it."""
    commands.seen(download.cid, now, f"{download.key} asked the hub for the file")


def end(download: Download, now: int) -> None:
    """Note that the last byte was sent. Whether the device has them all, and whole, it has to say itself."""
    logger.info("download of %s: the last byte was sent", download)
    commands.seen(download.cid, now, "the hub sent it to the last byte")
