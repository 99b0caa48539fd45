"""Share links: who sees and ends which, and what one opens. They are tokens (devices.tokens) for people."""

from __future__ import annotations

from typing import TYPE_CHECKING

from django.db.models import Q

from devices import registry, rights, tokens
from devices.errors import Refusal
from devices.models import Role

if TYPE_CHECKING:
    from django.contrib.auth.models import User
    from django.db.models import QuerySet

    from devices.models import Device, Token


def of(user: User, devices: QuerySet[Device] | None = None) -> QuerySet[Token]:
    """Select one's own links, and all others that show what one manages; only those that show one of `devices`."""
    links = tokens.good().filter(link=True)
    shows = dict(links.values_list("pk", "devices"))
    if devices is not None:
        wanted = set(devices.values_list("pk", flat=True))
        shows = {link: pks for link, pks in shows.items() if not wanted.isdisjoint(pks)}
    managed = set(registry.visible_to(user, Role.MANAGER).values_list("pk", flat=True)) if shows else set()
    theirs = [link for link, pks in shows.items() if not managed.isdisjoint(pks)]
    own = Q(user=user, pk__in=list(shows)) if rights.scope_of(user).whole else Q(pk__in=())
    found: QuerySet[Token] = links.filter(own | Q(pk__in=theirs)).select_related("user").order_by("-created", "-digest")
    return found


def seen(user: User, links: list[Token]) -> dict[str, list[str]]:
    """Return of each of these links (by its id) the keys of the devices that it shows, as far as the user sees them."""
    pks = {pk for link in links for pk in link.devices or ()}
    keys = dict(registry.visible_to(user).filter(pk__in=pks).order_by("key").values_list("pk", "key"))
    return {link.token_key: [keys[pk] for pk in link.devices or () if pk in keys] for link in links}


def revoke(user: User, token_key: str) -> None:
    """End a link: an open page of it is ended within a second."""
    link = of(user).filter(token_key=token_key).first()
    if link is None:
        raise Refusal("not_found", f"There is no link {token_key!r} that you could revoke.", 404)
    tokens.end(link)


def opened(secret: str) -> User | None:
    """Return the user that a link lets its visitors be: its maker, who sees these devices and does nothing."""
    link = tokens.by_secrets([secret]).get(secret)
    if link is None or not link.link:
        return None
    user: User = link.user
    return user
