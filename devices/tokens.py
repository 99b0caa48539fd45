"""Tokens: what programs sign in with, and links that show devices. Told once, kept as hash, ended by time or hand."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Final

from django.db import transaction
from django.db.models import Q
from django.utils import timezone
from knox.crypto import hash_token

from devices import audit, registry, rights
from devices.errors import Refusal
from devices.models import Access, Device, Role, Token

if TYPE_CHECKING:
    from collections.abc import Iterable

    from django.contrib.auth.models import User
    from django.db.models import QuerySet

    from devices.models import Fleet

LASTS: Final = timedelta(days=90)
LONGEST: Final = timedelta(days=366)
# `used_at` is noted no more often than this: a write for each request would cost more than the request.
NOTED: Final = timedelta(minutes=1)


def good() -> QuerySet[Token]:
    """Select the tokens that have not expired."""
    found: QuerySet[Token] = Token.objects.filter(Q(expiry=None) | Q(expiry__gt=timezone.now()))
    return found


def by_secrets(secrets: Iterable[str]) -> dict[str, Token]:
    """Return the good tokens of active users among these secrets, each with its user narrowed to it.

    One query, and no difference in time between a token that is nearly right and one that is not: hashes are compared.
    """
    digests = {hash_token(secret): secret for secret in secrets if secret.isascii() and secret.isprintable()}
    found = {}
    for token in good().filter(pk__in=digests, user__is_active=True).select_related("user"):
        rights.narrow(token.user, rights.scope_in(token))
        found[digests[token.pk]] = token
    used(found.values())
    return found


def used(tokens: Iterable[Token]) -> None:
    """Note that these were used, where that was not noted lately."""
    now = timezone.now()
    due = [token.pk for token in tokens if token.used_at is None or now - token.used_at >= NOTED]
    if due:
        Token.objects.filter(pk__in=due).update(used_at=now)


def make(  # noqa: PLR0913  a token has this many parts
    user: User,
    name: str,
    *,
    access: Access = Access.MANAGE,
    fleets: Iterable[Fleet] | None = None,
    devices: Iterable[Device] | None = None,
    lasts: timedelta = LASTS,
    link: bool = False,
) -> tuple[Token, str]:
    """Make a token and return it with its secret, which is told this once. What has expired is cleared away."""
    if not timedelta(0) < lasts <= LONGEST:
        raise Refusal("invalid", f"A token lasts at most {LONGEST.days} days.", fields={"expires_in_s": "is too long"})
    narrowed = [None if rows is None else sorted(row.pk for row in rows) for rows in (fleets, devices)]
    with transaction.atomic():
        Token.objects.filter(user=user, expiry__lte=timezone.now()).delete()
        token, secret = Token.objects.create(
            user, expiry=lasts, name=name, access=access, fleets=narrowed[0], devices=narrowed[1], link=link
        )
        _note(token, "made")
    return token, secret


def share(user: User, devices: list[Device], name: str, lasts: timedelta) -> tuple[Token, str]:
    """Make a link that shows these devices, of which the user has to be manager, to whoever has it."""
    for device in devices:
        if not registry.may(user, device, Role.MANAGER):
            raise Refusal("forbidden", f"Sharing {device} takes the role manager; ask one.", 403)
    if not devices:
        raise Refusal("invalid", "A link shows at least one device.", fields={"devices": "is empty"})
    return make(user, name, access=Access.READ, devices=devices, lasts=lasts, link=True)


def revoke(user: User, token_key: str) -> None:
    """End one of the user's own tokens: whoever uses it is refused from now on, and cut off within a second."""
    token = Token.objects.filter(user=user, token_key=token_key).first()
    if token is None:
        raise Refusal("not_found", f"You have no token {token_key!r}.", 404)
    end(token)


def end(token: Token) -> None:
    """End a token, whosever it is."""
    with transaction.atomic():
        _note(token, "revoked")
        token.delete()


def _note(token: Token, done: str) -> None:
    """Write down what was done to a token; of a link, for each fleet of which it shows something."""
    named = f"{token.name} ({token.token_key})"
    if not token.link:
        narrowed = {"fleets": token.fleets, "devices": token.devices}
        detail = {name: pks for name, pks in narrowed.items() if pks is not None}
        audit.note(f"token.{done}", named, {"access": str(token.access), **detail})
        return
    shown: dict[Fleet | None, list[str]] = {}
    for device in Device.objects.filter(pk__in=token.devices or ()).select_related("fleet").order_by("key"):
        shown.setdefault(device.fleet, []).append(device.key)
    for fleet, keys in (shown or {None: []}).items():
        audit.note(f"link.{done}", named, {"by": token.user.username, "devices": keys}, fleet=fleet)
