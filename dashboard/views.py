"""The pages: sign in, the fleet, a device, and how one is added. What may be seen is asked of the registry alone."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any, Final, cast

from django.conf import settings
from django.contrib.auth.views import LoginView
from django.contrib.staticfiles.storage import staticfiles_storage
from django.core.exceptions import PermissionDenied
from django.http import HttpRequest, HttpResponse, JsonResponse
from django.shortcuts import redirect, render
from django.template.loader import render_to_string
from django.urls import reverse
from django.views.decorators.http import require_GET, require_http_methods, require_POST

from dashboard import shown
from dashboard.forms import AddDevice, Except, MarkBad, Share, SignIn
from dashboard.pages import page
from dashboard.sharing import listed
from devices import guesses, numbering, registry, rejects, tags, wire
from devices.errors import Refusal
from devices.history import repairs
from devices.models import Device, Role
from devices.values import DAY_MS

if TYPE_CHECKING:
    from django.contrib.auth.models import User

SNIPPETS: Final = (
    ("shell", "Shell", "mosquitto_pub and mosquitto_sub"),
    ("python", "Python", "aiomqtt"),
    ("paho", "Python (paho)", "paho-mqtt 2"),
    ("micropython", "MicroPython", "umqtt.simple"),
    ("arduino", "Arduino", "PubSubClient, ESP32 or ESP8266"),
)
# What stands in a snippet while the secret is not shown.
NO_SECRET: Final = "<secret>"  # noqa: S105  the placeholder itself


class SignInView(LoginView):
    """The door."""

    template_name = "dashboard/sign_in.html"
    form_class = SignIn
    redirect_authenticated_user = True


@require_GET
def icon(_request: HttpRequest) -> HttpResponse:
    """Where browsers look for the picture of a page that names none."""
    return redirect(staticfiles_storage.url("dashboard/icon.svg"))


def locked(request: HttpRequest, *_: object) -> HttpResponse:
    """Say when somebody who guessed at passwords may try again; axes asks for it."""
    wait = guesses.wait_s(request)
    answer = render(request, "dashboard/locked.html", {"wait_s": wait}, status=429)
    answer["Retry-After"] = str(wait)
    return answer


@page
@require_GET
def fleet(request: HttpRequest) -> HttpResponse:
    """All devices that the user may see, with their newest readings."""
    user = cast("User", request.user)
    managed = list(registry.fleets_of(user, Role.MANAGER).order_by("name")[:2])
    context = fleet_context(user, reverse("fleet") + "devices/")
    tagged = shown.tags(registry.visible_to(user))
    for key, row in context["rows"].items():
        row["tags"] = tagged.get(key, [])
    whole = list(registry.whole_fleets_of(user, Role.OPERATOR).values_list("slug", flat=True))
    context["live"]["commanded"] = whole
    context |= {
        "tags": sorted({name for names in tagged.values() for name in names}),
        "commanded": whole,
        "sees_jobs": bool(whole) or registry.whole_fleets_of(user).exists(),
    }
    return render(request, "dashboard/fleet.html", {**context, "may_add": bool(managed), "managed": managed})


def fleet_context(user: User, at: str) -> dict[str, Any]:
    """Return what the list of all devices shows that this user may see; `at`: where their own pages are."""
    visible = registry.visible_to(user).order_by("key")
    devices, kinds = list(visible), shown.metrics(visible)
    fleets = list(registry.fleets_of(user).order_by("name").values("slug", "name"))
    summaries = {one.key: row_of(one, kinds.get(one.pk, [])) for one in devices}
    counts = {state: sum(row["presence"] == state for row in summaries.values()) for state in _STATES}
    sparks = shown.sparks(devices, kinds)
    return {
        "fleets": fleets,
        "rows": summaries,
        "blank": _BLANK,
        "counts": counts,
        "now": _now(),
        "at": at,
        "live": {"now": _now(), "fleets": fleets, "devices": summaries, "sparks": sparks, "at": at},
    }


_STATES: Final = ("online", "stale", "offline", "never")
# What the browser copies for a device that comes while the page is open.
_BLANK: Final[dict[str, Any]] = {"key": "", "presence": "never", "because": "", "ts": None, "metrics": [], "values": {}}


def row_of(device: Device, kinds: list[dict[str, str]]) -> dict[str, Any]:
    """Return what is known of a device: where it stands, and what it measures."""
    known = {"key": device.key, "fleet": device.fleet.slug, "metrics": kinds, "missing": device.head.missing}
    return {**shown.summary(device), **known}


@page
@require_GET
def device(request: HttpRequest, key: str) -> HttpResponse:
    """One device: what it measures, what it can be told, what it said, and how it connects."""
    one = registry.find(cast("User", request.user), key)
    return render(request, "dashboard/device.html", _device_context(request, one))


@page
@require_GET
def device_state(request: HttpRequest, key: str) -> JsonResponse:
    """What the device page knows, for a page that is open already: new metrics and commands, missed evidence."""
    return JsonResponse(_state(cast("User", request.user), registry.find(cast("User", request.user), key)))


@page
@require_POST
def new_secret(request: HttpRequest, key: str) -> HttpResponse:
    """Give the device a new secret, and show it this once."""
    one = registry.find(cast("User", request.user), key, Role.MANAGER)
    return credentials(request, one, registry.rotate(one), rotated=True)


@page
@require_POST
def mark_bad(request: HttpRequest, key: str) -> HttpResponse:
    """Mark readings of the device as bad."""
    user = cast("User", request.user)
    one = registry.find(user, key, Role.MANAGER)
    form = MarkBad(request.POST, names=_names(one))
    if form.is_valid():
        try:
            repairs.mark(one, form.bad, form.cleaned_data["reason"], user, _now())
        except Refusal as refusal:
            form.add_error(None, refusal.message)
        else:
            return redirect(f"{reverse('device', args=[key])}#repairs")
    return render(request, "dashboard/device.html", _device_context(request, one) | {"marking": form})


@page
@require_POST
def undo_repair(request: HttpRequest, key: str, repair: int) -> HttpResponse:
    """Take readings for good again."""
    user = cast("User", request.user)
    one = registry.find(user, key, Role.MANAGER)
    try:
        repairs.undo(repairs.find(one, repair), user, _now())
    except Refusal as refusal:
        context = _device_context(request, one) | {"not_undone": refusal.message}
        return render(request, "dashboard/device.html", context, status=refusal.status)
    return redirect(f"{reverse('device', args=[key])}#repairs")


def manager(request: HttpRequest) -> User:
    """Return who asks, if there is a fleet into which they may put devices."""
    user = cast("User", request.user)
    if not registry.fleets_of(user, Role.MANAGER).exists():
        raise PermissionDenied("Adding a device takes the role manager in a fleet; ask a manager of yours.")
    return user


@page
@require_http_methods(["GET", "POST"])
def add_device(request: HttpRequest) -> HttpResponse:
    """Register a device; then show its credentials once, and wait with the user for its first reading."""
    user = manager(request)
    form = AddDevice(request.POST or None, user=user)
    if form.is_valid():
        try:
            one, secret = registry.create(
                form.cleaned_data["key"], form.cleaned_data["fleet"], form.cleaned_data["name"]
            )
        except Refusal as refusal:
            form.add_error("key", refusal.message)
        else:
            return credentials(request, registry.find(user, one.key), secret, rotated=False)
    return render(request, "dashboard/add.html", {"form": form, "one_fleet": len(form.fields["fleet"].queryset) == 1})  # type: ignore[attr-defined]


def credentials(request: HttpRequest, one: Device, secret: str, *, rotated: bool) -> HttpResponse:
    """Show what the device logs in with, this once."""
    context = {
        "device": one,
        "secret": secret,
        "rotated": rotated,
        "mqtt": _mqtt(one),
        "snippets": _snippets(one, secret),
        "live": _state(cast("User", request.user), one),
    }
    return render(request, "dashboard/credentials.html", context)


def _device_context(request: HttpRequest, one: Device) -> dict[str, Any]:
    user = cast("User", request.user)
    state, itself = _state(user, one), Device.objects.filter(pk=one.pk)
    may_manage = registry.may(user, one, Role.MANAGER)
    return {
        "device": one,
        "shown": state,
        "live": state,
        "frames": shown.frames(one),
        "rejects": shown.rejects(rejects.select(user, {"device": one.key})),
        "events": shown.events(one),
        "repairs": shown.repairs(one),
        "marking": MarkBad(names=_names(one)),
        "export_from": _now() - DAY_MS,
        "numbering": numbering.described(one.head.numbering),
        "mqtt": _mqtt(one),
        "snippets": _snippets(one, NO_SECRET),
        "may_manage": may_manage,
        "shares": listed(user, itself) if may_manage else [],
        "sharing": Share(devices=itself),
        "roles": one.roles.select_related("user").order_by("user__username") if may_manage else [],
        "excepting": Except(),
    }


def _names(one: Device) -> list[str]:
    return list(one.metrics.order_by("name").values_list("name", flat=True))


def _state(user: User, one: Device) -> dict[str, Any]:
    return {
        **readings_of(one),
        "commands": shown.commands(one),
        "firmware": one.firmware,
        "tags": tags.of(one),
        "orders": shown.orders(one),
        "settings": shown.settings(one),
        "may_command": registry.may(user, one, Role.OPERATOR),
        "may_manage": registry.may(user, one, Role.MANAGER),
        "at": reverse("fleet") + "devices/",
    }


def readings_of(one: Device) -> dict[str, Any]:
    """Return what anybody may know who may look at a device."""
    known = {"now": _now(), "usual_ms": one.head.usual_ms, "first": shown.first(one)}
    return {**row_of(one, shown.metrics([one]).get(one.pk, [])), **known}


def _mqtt(one: Device) -> dict[str, Any]:
    """Where and as whom the device connects; a child speaks with its gateway's login."""
    gateway = one.gateway.key if one.gateway else None
    return {
        "host": settings.MQTT_PUBLIC_HOST,
        "port": settings.MQTT_PUBLIC_PORT,
        "tls": settings.MQTT_PUBLIC_TLS,
        "ca": settings.MQTT_CA.read_text(encoding="ascii").strip() if settings.MQTT_CA else "",
        "username": gateway or one.key,
        "topic": wire.topic(one.key, gateway=gateway),
    }


def _snippets(one: Device, secret: str) -> list[dict[str, str]]:
    context = {"key": one.key, "secret": secret, **_mqtt(one)}
    return [
        {"id": name, "title": title, "with": library, "text": _snippet(name, context)}
        for name, title, library in SNIPPETS
    ]


def _snippet(name: str, context: dict[str, Any]) -> str:
    return render_to_string(f"dashboard/snippets/{name}.txt", context).strip()


def _now() -> int:
    return time.time_ns() // 1_000_000
