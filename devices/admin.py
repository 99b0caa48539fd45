"""The administrator's pages. Devices change through the registry alone, so that accounts follow and doorbells ring."""

from __future__ import annotations

import time
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final, cast

from django import forms
from django.apps import apps
from django.conf import settings
from django.contrib import admin, messages
from django.contrib.auth.admin import UserAdmin as DjangoUserAdmin
from django.contrib.auth.models import Group, User
from django.db.models import F
from django.utils.html import format_html, format_html_join

from devices import dump, registry, rejects, replay
from devices.errors import Refusal
from devices.models import Command, CommandEvent, Device, Fleet, Membership, Metric, Reject
from devices.noting import Noted

if TYPE_CHECKING:
    from django.contrib.admin.options import _FieldOpts
    from django.db.models import QuerySet
    from django.http import HttpRequest
    from django.utils.safestring import SafeString

    Form = forms.ModelForm[Device]
    ModelAdmin = admin.ModelAdmin[Any]
    TabularInline = admin.TabularInline[Any, Any]
else:
    Form, ModelAdmin, TabularInline = forms.ModelForm, admin.ModelAdmin, admin.TabularInline

# Groups of rejects that a page sums up: the newest.
LISTED: Final = 50

admin.site.site_title = admin.site.site_header = "Telemetry Hub"
admin.site.unregister(User)
admin.site.unregister(Group)
if settings.SECOND_FACTOR != "off":
    # Of django-allauth's tables one is used, by devices.second_factor alone.
    for model in (*apps.get_app_config("account").get_models(), *apps.get_app_config("mfa").get_models()):
        if admin.site.is_registered(model):
            admin.site.unregister(model)


class ReadOnly:
    """What is written by the hub alone: there to be looked at."""

    def has_add_permission(self, _request: HttpRequest, _obj: object = None) -> bool:
        """Nothing is added by hand."""
        return False

    def has_change_permission(self, _request: HttpRequest, _obj: object = None) -> bool:
        """Nothing is changed by hand."""
        return False

    def has_delete_permission(self, _request: HttpRequest, _obj: object = None) -> bool:
        """Nothing is deleted by hand."""
        return False


class Members(TabularInline):
    """Who may do what in a fleet, or where a user may do what."""

    model = Membership
    extra = 0
    autocomplete_fields = ("user", "fleet")


@admin.register(User)
class UserAdmin(Noted, DjangoUserAdmin):  # type: ignore[type-arg]  # generic for the checker alone
    """People, and their roles in fleets."""

    inlines = (Members,)
    actions = ("reset_second_factor",)

    def get_inlines(self, _request: HttpRequest, obj: User | None) -> Any:  # noqa: ANN401  as the framework has it
        """Ask for roles once the user is there."""
        return self.inlines if obj else ()

    def has_reset_permission(self, request: HttpRequest) -> bool:
        """Leave it to superusers, and away where there are no second factors."""
        return settings.SECOND_FACTOR != "off" and request.user.is_active and request.user.is_superuser

    @admin.action(description="Take the second factor away: a phone is lost", permissions=["reset"])
    def reset_second_factor(self, request: HttpRequest, queryset: QuerySet[User]) -> None:
        """Have them sign in with the password alone, until they set up another."""
        from devices import second_factor  # noqa: PLC0415  its package is there only where it is on

        taken = [user.get_username() for user in queryset if second_factor.turn_off(user)]
        self.message_user(request, f"Taken away from: {', '.join(taken) or 'nobody, for none had one'}.")


KEPT: tuple[str, _FieldOpts] = (
    "What is kept, in days",
    {
        "fields": ("keep_raw", "keep_minute", "keep_hour", "keep_day"),
        "description": "Of a device, empty means as its fleet says; of a fleet, for ever.",
    },
)
SENT: tuple[str, _FieldOpts] = (
    "What a device may send",
    {
        "fields": ("rate", "burst"),
        "description": "Frames a second, and how many may come at once on top. "
        "Empty means as the fleet says, or else as the hub's settings say.",
    },
)


@admin.register(Fleet)
class FleetAdmin(Noted, ModelAdmin):
    """Fleets with their members."""

    list_display = ("name", "slug")
    search_fields = ("name", "slug")
    fieldsets = ((None, {"fields": ("name", "slug")}), KEPT, SENT)
    prepopulated_fields = {"slug": ("name",)}
    inlines = (Members,)


class Metrics(ReadOnly, TabularInline):
    """What a device measures, as it was learned."""

    model = Metric
    fields = ("name", "unit", "device_class", "type")
    extra = 0


class DeviceForm(Form):
    """A device as the registry takes it."""

    def clean_gateway(self) -> Device | None:
        """Ask the registry whether the gateway fits."""
        gateway: Device | None = self.cleaned_data["gateway"]
        try:
            registry.check_gateway(self.cleaned_data.get("key") or self.instance.key, gateway)
        except Refusal as refusal:
            raise forms.ValidationError(refusal.message) from None
        return gateway


@admin.register(Device)
class DeviceAdmin(ModelAdmin):
    """Devices: making, moving, disabling, a new secret, deleting."""

    form = DeviceForm
    list_display = ("key", "name", "fleet", "presence", "gateway", "enabled")
    list_filter = ("fleet", "enabled", "head__presence")
    list_select_related = ("fleet", "gateway", "head")
    search_fields = ("key", "name")
    autocomplete_fields = ("fleet", "gateway")
    readonly_fields = ("presence", "model", "firmware", "created_at")
    fieldsets = (
        (None, {"fields": ("key", "name", "fleet", "gateway", "enabled")}),
        ("What it says", {"fields": ("presence", "model", "firmware", "created_at")}),
        KEPT,
        SENT,
    )
    inlines = (Metrics,)
    actions = ("rotate", "enable", "disable")

    @admin.display(ordering="head__presence")
    def presence(self, device: Device) -> SafeString | str:
        """Say whether it is there, and why that is said."""
        if device.pk is None:
            return "-"
        return format_html('<span title="{}">{}</span>', device.head.because, device.head.presence)

    def get_readonly_fields(self, request: HttpRequest, obj: Device | None = None) -> Any:  # noqa: ANN401  the framework's
        """Keep the key: it is the device's name at the broker."""
        fields = super().get_readonly_fields(request, obj)
        return (*fields, "key") if obj else fields

    def get_inlines(self, _request: HttpRequest, obj: Device | None) -> Any:  # noqa: ANN401  as the framework has it
        """Show metrics once there may be some."""
        return self.inlines if obj else ()

    def save_model(self, request: HttpRequest, obj: Device, form: DeviceForm, change: bool) -> None:  # noqa: FBT001  the framework's
        """Make or change it through the registry."""
        if change:
            registry.change(
                obj, cast("registry.Changes", {name: form.cleaned_data[name] for name in form.changed_data})
            )
            return
        device, secret = registry.create(obj.key, obj.fleet, obj.name, obj.gateway)
        rest = {name: form.cleaned_data[name] for name in form.changed_data if name in ("enabled", *registry.LIMITS)}
        if rest:
            registry.change(device, cast("registry.Changes", rest))
        obj.pk, obj._state.adding = device.pk, False  # noqa: SLF001  the page goes on with the row that was made
        self._tell(request, device, secret)

    def delete_model(self, _request: HttpRequest, obj: Device) -> None:
        """Delete it through the registry."""
        registry.remove(obj)

    def delete_queryset(self, _request: HttpRequest, queryset: QuerySet[Device]) -> None:
        """Delete each through the registry; those behind a gateway before it."""
        for device in queryset.order_by(F("gateway").asc(nulls_last=True)):
            registry.remove(device)

    def get_deleted_objects(self, objs: Any, request: HttpRequest) -> Any:  # noqa: ANN401  as the framework has it
        """Say what goes, without loading a journal of millions of frames to list it."""
        gone = [f"{device} ({device.key}) with its journal and its commands" for device in objs]
        going = [device.pk for device in objs]
        left = Device.objects.filter(gateway__in=going).exclude(pk__in=going)
        kept = [f"{child.key} speaks through {child.gateway}" for child in left.select_related("gateway")]
        missing = set() if self.has_delete_permission(request) else {"device"}
        return gone, {"devices": len(gone)}, missing, kept

    @admin.action(description="Make a new secret", permissions=["change"])
    def rotate(self, request: HttpRequest, queryset: QuerySet[Device]) -> None:
        """Give each a new secret, shown once."""
        for device in queryset:
            self._tell(request, device, registry.rotate(device))

    @admin.action(description="Enable", permissions=["change"])
    def enable(self, _request: HttpRequest, queryset: QuerySet[Device]) -> None:
        """Let them connect."""
        for device in queryset:
            registry.change(device, {"enabled": True})

    @admin.action(description="Disable: disconnect, and refuse what they send", permissions=["change"])
    def disable(self, _request: HttpRequest, queryset: QuerySet[Device]) -> None:
        """Let them connect no more."""
        for device in queryset:
            registry.change(device, {"enabled": False})

    def _tell(self, request: HttpRequest, device: Device, secret: str) -> None:
        shown = format_html("The secret of {} is <code>{}</code>. It is shown this once.", device.key, secret)
        self.message_user(request, shown, messages.WARNING)


class Events(ReadOnly, TabularInline):
    """What was proved of a command."""

    model = CommandEvent
    fields = ("state", "at", "proof", "by", "message", "progress")
    extra = 0


@admin.register(Command)
class CommandAdmin(ReadOnly, ModelAdmin):
    """Commands with their log."""

    list_display = ("id", "device", "name", "args", "state", "user")
    list_filter = ("state",)
    list_select_related = ("device", "user")
    search_fields = ("id", "device__key", "name")
    ordering = ("-created_at", "-id")
    inlines = (Events,)


class ByDevice(admin.SimpleListFilter):
    """The devices with the newest rejects."""

    title = "device"
    parameter_name = "key"

    def lookups(self, _request: HttpRequest, _admin: object) -> list[tuple[str, str]]:
        """Name those of the newest groups."""
        keys = dict.fromkeys(group["key"] for group in rejects.newest_groups(Reject.objects.all())[:LISTED])
        return [(f"={key}", key or "(none named)") for key in keys]

    def queryset(self, _request: HttpRequest, queryset: QuerySet[Reject]) -> QuerySet[Reject]:
        """Select those of the device; "=" stands before it, for a key may be empty."""
        chosen = self.value()
        return queryset if chosen is None else queryset.filter(key=chosen.removeprefix("="))


@admin.register(Reject)
class RejectAdmin(ReadOnly, ModelAdmin):
    """Messages that could not be taken in: by device and reason, to be replayed or discarded."""

    list_display = ("topic", "reason", "detail", "count", "last")
    list_filter = ("reason", ByDevice)
    search_fields = ("key", "topic")
    ordering = ("-last_at", "-id")
    change_list_template = "devices/reject_list.html"
    fields = ("key", "topic", "reason", "detail", "position", "text", "hex", "size", "retain", "count", "first", "last")
    readonly_fields = ("text", "hex", "first", "last")
    actions = ("replay", "discard")

    class Media:
        """Long lines of payloads are broken."""

        css = {"all": ("devices/admin.css",)}

    def changelist_view(self, request: HttpRequest, extra_context: dict[str, Any] | None = None) -> Any:  # noqa: ANN401  the framework's
        """Show what there is of each device and reason above the list."""
        groups = rejects.newest_groups(Reject.objects.all())[:LISTED]
        return super().changelist_view(request, {**(extra_context or {}), "groups": groups})

    def get_queryset(self, request: HttpRequest) -> QuerySet[Reject]:
        """Read payloads where they are shown alone: a list of them would be megabytes."""
        rows: QuerySet[Reject] = super().get_queryset(request)
        return rows.defer("payload")

    def has_decide_permission(self, request: HttpRequest) -> bool:
        """Replaying and discarding for all fleets is for who may do everything."""
        return bool(request.user.is_active and request.user.is_superuser)

    @admin.display(description="payload")
    def text(self, reject: Reject) -> SafeString:
        """Show the payload as text, with escapes for what is none and the fault marked."""
        return format_html('<pre class="payload">{}</pre>', _marked(_dump(reject).text))

    @admin.display(description="payload in hex")
    def hex(self, reject: Reject) -> SafeString:
        """Show the payload's bytes, the one at fault marked."""
        lines = ((line.offset, _marked(line.hex, 47), _marked(line.text)) for line in _dump(reject).lines)
        return format_html("<pre>{}</pre>", format_html_join("\n", "{}  {}  {}", lines))

    @admin.display(description="first came", ordering="first_at")
    def first(self, reject: Reject) -> datetime:
        """Show when it came first."""
        return _instant(reject.first_at)

    @admin.display(description="came last", ordering="last_at")
    def last(self, reject: Reject) -> datetime:
        """Show when it came last."""
        return _instant(reject.last_at)

    @admin.action(description="Replay: take them in again", permissions=["decide"])
    def replay(self, request: HttpRequest, queryset: QuerySet[Reject]) -> None:
        """Take them in again; what is refused again stays."""
        done = replay.many(queryset, time.time_ns() // 1_000_000, request.user.get_username())
        self.message_user(request, done.message, messages.WARNING if done.refused or done.cut else messages.SUCCESS)

    @admin.action(description="Discard: delete them for good", permissions=["decide"])
    def discard(self, request: HttpRequest, queryset: QuerySet[Reject]) -> None:
        """Delete them without replaying them."""
        self.message_user(request, f"Discarded {rejects.discard(queryset, request.user.get_username())}.")


def _dump(reject: Reject) -> dump.Dump:
    return dump.dump(bytes(reject.payload), reject.position, reject.size)


def _marked(parts: dump.Parts, width: int = 0) -> SafeString:
    fault = format_html("<mark>{}</mark>", parts.fault) if parts.fault else ""
    room = " " * (width - len(parts.before + parts.fault + parts.after))
    return format_html("{}{}{}{}", parts.before, fault, parts.after, room)


def _instant(ms: int) -> datetime:
    return datetime.fromtimestamp(ms / 1000, UTC)
