"""The second factor: codes of an authenticator app (TOTP), and recovery codes. Imported only where it is on.

The rows and the arithmetic are django-allauth's (docs/adr/0026-a-second-factor-without-allauths-pages.md). What one row
knows besides is ours: the newest time step whose code was taken, so that none is taken twice, and how often in a row a
code was wrong. Both change under the row's lock, whichever process is asked.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Final
from urllib.parse import quote

from allauth.core.internal.cryptokit import compare_user_code
from allauth.mfa.adapter import DefaultMFAAdapter
from allauth.mfa.models import Authenticator
from allauth.mfa.recovery_codes.internal.auth import RecoveryCodes
from allauth.mfa.totp.internal import auth as totp
from allauth.mfa.utils import decrypt
from django.conf import settings
from django.db import transaction

from devices import audit, sealing
from devices.errors import HalfWay, Refusal

if TYPE_CHECKING:
    from django.contrib.auth.models import User

ISSUER: Final = "Telemetry Hub"
APP: Final = Authenticator.Type.TOTP
RECOVERY: Final = Authenticator.Type.RECOVERY_CODES


class Sealed(DefaultMFAAdapter):  # type: ignore[misc]  # it has no types
    """Has django-allauth keep its secrets as those of devices are kept."""

    def encrypt(self, text: str) -> str:
        """Encrypt for the database."""
        return sealing.seal(text)

    def decrypt(self, encrypted_text: str) -> str:
        """Decrypt what is in it."""
        try:
            return sealing.unseal(encrypted_text)
        except sealing.InvalidToken:
            raise Refusal(
                "second_factor_unreadable",
                "This second factor was sealed under another SECRET_KEY; whoever runs the hub can take it away.",
                401,
            ) from None


def has(user: User) -> bool:
    """Say whether this person has one."""
    return bool(Authenticator.objects.filter(user=user, type=APP).exists())


def prove(user: User, code: str) -> None:
    """Return if this code, or none where none is needed, lets in whose password was right. Else raise a Refusal."""
    if not has(user):
        if settings.SECOND_FACTOR == "required":
            raise HalfWay(user, unset=True)
    elif not code:
        raise HalfWay(user, unset=False)
    else:
        check(user, code)


def check(user: User, code: str) -> None:
    """Take a code of the app, or a recovery code, this once; raise a Refusal if it is wrong or was taken before."""
    with transaction.atomic():
        row = Authenticator.objects.select_for_update().get(user=user, type=APP)
        now, wrong = time.time(), row.data.get("wrong", 0)
        if now - row.data.get("wrong_at", 0) > settings.AXES_COOLOFF_TIME.total_seconds():
            wrong = 0
        locked = wrong >= settings.AXES_FAILURE_LIMIT
        good = not locked and (_by_app(row, code) or _by_recovery(user, code))
        if not locked:
            row.data |= {"wrong": 0} if good else {"wrong": wrong + 1, "wrong_at": now}
            row.save()
    if locked:
        raise Refusal("too_many_requests", "Too many wrong codes; wait a quarter of an hour, then try again.", 429)
    if not good:
        raise Refusal("second_factor_wrong", "This code is wrong, or was used before. Wait for the next one.", 401)


def _by_app(row: Authenticator, code: str) -> bool:
    step = _step(decrypt(row.data["secret"]), code, after=row.data["step"])
    if step is None:
        return False
    row.data["step"] = step
    return True


def _step(secret: str, code: str, after: int = 0) -> int | None:
    """Find the time step to which a code belongs, among those that count now and are later than `after`."""
    for step in totp.yield_hotp_counters_from_time():
        expected = totp.format_hotp_value(totp.hotp_value(secret, step))
        if step > after and compare_user_code(actual=code, expected=expected):
            return int(step)
    return None


def _by_recovery(user: User, code: str) -> bool:
    return bool(RecoveryCodes(Authenticator.objects.get(user=user, type=RECOVERY)).validate_code(code))


def new_secret() -> str:
    """Make a secret of 160 random bits, in letters that people can type into an app."""
    return str(totp.generate_totp_secret())


def address(user: User, secret: str) -> str:
    """Return what an authenticator app reads from a QR code."""
    label = quote(f"{ISSUER}:{user.get_username()}", safe="")
    return f"otpauth://totp/{label}?secret={secret}&issuer={quote(ISSUER)}"


@transaction.atomic
def set_up(user: User, secret: str, code: str) -> list[str]:
    """Give this person a second factor, once a code proves that their app has it; return the recovery codes."""
    step = _step(secret, code)
    if step is None:
        raise Refusal("second_factor_wrong", "This code is wrong. Is the clock of your phone right?", 401)
    if has(user):
        raise Refusal("conflict", "You have a second factor already. Turn it off first.", 409)
    row = totp.TOTP.activate(user, secret).instance
    row.data["step"] = step
    row.save()
    audit.note("second_factor.set_up", user.get_username())
    return list(RecoveryCodes.activate(user).generate_codes())


def codes_left(user: User) -> int:
    """Count the recovery codes that were not used."""
    return len(RecoveryCodes(Authenticator.objects.get(user=user, type=RECOVERY)).get_unused_codes())


@transaction.atomic
def turn_off(user: User) -> bool:
    """Take it away from this person, and say whether there was one. What is open stays open."""
    rows, _ = Authenticator.objects.filter(user=user).delete()
    if rows:
        audit.note("second_factor.turned_off", user.get_username())
    return bool(rows)
