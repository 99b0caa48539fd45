"""Which devices of a fleet a job is for."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, get_args

from devices import presence, registry, values
from devices.errors import Refusal
from devices.models import Role

if TYPE_CHECKING:
    from collections.abc import Mapping

    from django.contrib.auth.models import User
    from django.db.models import QuerySet

    from devices.models import Device, Fleet

BY: Final = ("tag", "presence", "devices")
# Of those that are refused so many are named.
NAMED: Final = 10


def check_selection(selection: Mapping[str, Any]) -> None:
    """Refuse what selects nothing that there could be. An empty one is the whole fleet."""
    for name in selection:
        if name not in BY:
            raise _invalid(f"It knows {', '.join(BY)}, and not {str(name)[:64]!r}.")
    if "tag" in selection and not (isinstance(selection["tag"], str) and values.is_key(selection["tag"])):
        raise _invalid("tag must be a tag: lower case letters, digits, - and _.")
    if "presence" in selection and selection["presence"] not in get_args(presence.Presence):
        raise _invalid(f"presence must be one of {', '.join(get_args(presence.Presence))}.")
    if "devices" in selection:
        keys = selection["devices"]
        if not (isinstance(keys, list) and keys and all(isinstance(key, str) for key in keys)):
            raise _invalid("devices must be a list of keys, one at least.")


def select(user: User, fleet: Fleet, selection: Mapping[str, Any]) -> QuerySet[Device]:
    """Return the devices of this fleet that are selected and that this user may command; no selection: all of them.

    A key that is named and not among them is refused, alike whether it exists or not.
    """
    rows = registry.visible_to(user, Role.OPERATOR).filter(fleet=fleet)
    if "devices" in selection:
        keys = set(selection["devices"])
        rows = rows.filter(key__in=[key for key in keys if values.is_key(key)])
        _none_missing(fleet, sorted(keys - set(rows.values_list("key", flat=True))))
    if "tag" in selection:
        rows = rows.filter(tags__name=selection["tag"])
    if "presence" in selection:
        rows = rows.filter(head__presence=selection["presence"])
    return rows


def _none_missing(fleet: Fleet, missing: list[str]) -> None:
    if missing:
        named = ", ".join(repr(key[:63]) for key in missing[:NAMED])
        more = f" and {len(missing) - NAMED} more" if len(missing) > NAMED else ""
        message = f"In the fleet {fleet} there is no device {named}{more} that you may command; take them out."
        raise Refusal("device_unknown", message, 404, {"selection": f"names {named}{more}"})


def _invalid(problem: str) -> Refusal:
    return Refusal("invalid", f"The selection cannot be used. {problem}", fields={"selection": problem})
