"""commands/: orders to devices, and the evidence of what became of them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from drf_spectacular.utils import extend_schema, extend_schema_field
from rest_framework import serializers
from rest_framework.response import Response

from devices import commands, firmware, lifecycle, registry, values
from devices.api.asked import Shape, Strict, View, body, now, query, user_of
from devices.api.pages import Paged, page, paged
from devices.errors import Refusal
from devices.models import Command, Role

if TYPE_CHECKING:
    from rest_framework.request import Request


class CommandAsked(Strict):
    """An order."""

    name = serializers.CharField(max_length=values.MAX_NAME, trim_whitespace=False)
    args = serializers.JSONField(default=None, allow_null=True, help_text="one value, as the device announced it")
    ttl_s = serializers.IntegerField(
        required=False,
        help_text=f"how long it may wait for the device; without it {commands.DEFAULT_TTL_S}, for an update a day",
    )
    key = serializers.CharField(max_length=128, required=False, help_text="the same key again gives the same command")
    reason = serializers.CharField(max_length=commands.MAX_REASON, default="", allow_blank=True, help_text="why")
    confirm = serializers.BooleanField(default=False, help_text="that somebody wants it although it is dangerous")


class CommandShape(Shape):
    """A command and its newest state."""

    id = serializers.CharField()
    device = serializers.CharField(source="device.key")
    name = serializers.CharField()
    args = serializers.JSONField()
    state = serializers.ChoiceField(list(lifecycle.MOVES))
    key = serializers.CharField(allow_null=True)
    by = serializers.CharField(source="user.username", allow_null=True)
    created_at = serializers.IntegerField()
    changed_at = serializers.IntegerField()
    expires_at = serializers.IntegerField()
    sends = serializers.IntegerField(help_text="how often it was handed to the broker")
    reason = serializers.CharField(help_text="why it was given")


class EventShape(Shape):
    """What happened, by what proof, and who did it."""

    state = serializers.ChoiceField(list(lifecycle.MOVES))
    at = serializers.IntegerField()
    proof = serializers.CharField()
    by = serializers.CharField()
    message = serializers.CharField(help_text="what the device said")
    progress = serializers.FloatField(allow_null=True)
    step = serializers.CharField(help_text="of an update: downloading, downloaded, verified, installing, restarting")


class InstalledShape(Shape):
    """What is known of an update besides what its device answered."""

    version = serializers.CharField()
    announced = serializers.CharField(help_text="by the device, as its own version; newest word")
    installed = serializers.BooleanField(help_text="whether these are the same")


class WholeCommand(CommandShape):
    """A command with its log."""

    events = serializers.SerializerMethodField()
    firmware = serializers.SerializerMethodField(help_text="of an update: what it was for, and what is announced now")

    @extend_schema_field(InstalledShape(allow_null=True))
    def get_firmware(self, command: Command) -> Any:  # noqa: ANN401  as below
        """Compare what an update was for with what its device announces."""
        return firmware.outcome(command)

    @extend_schema_field(EventShape(many=True))
    def get_events(self, command: Command) -> Any:  # noqa: ANN401  what the framework makes of rows
        """Everything that was proved, in order."""
        return EventShape(command.events.all(), many=True).data


class Commands(View):
    """The commands of a device."""

    @extend_schema(operation_id="devices_commands_list", parameters=[Paged], responses=paged("Command", CommandShape))
    def get(self, request: Request, key: str) -> Response:
        """List commands, newest first."""
        rows = Command.objects.filter(device=registry.find(user_of(request), key)).select_related("device", "user")
        return page(rows, ("-created_at", "-pk"), CommandShape, query(request, Paged))

    @extend_schema(request=CommandAsked, responses={200: WholeCommand, 201: WholeCommand})
    def post(self, request: Request, key: str) -> Response:
        """Queue a command (201); the same `key` again gives the one that there is (200)."""
        user = user_of(request)
        device = registry.find(user, key, Role.OPERATOR)
        asked = body(request, CommandAsked)
        command, new = commands.issue(
            device,
            asked["name"],
            asked["args"],
            user=user,
            now=now(),
            ttl_s=asked.get("ttl_s"),
            key=asked.get("key"),
            reason=asked["reason"],
            confirmed=asked["confirm"],
        )
        return Response(WholeCommand(command).data, status=201 if new else 200)


class OneCommand(View):
    """One command."""

    @extend_schema(responses=WholeCommand)
    def get(self, request: Request, cid: str) -> Response:
        """Tell its state and everything that led to it."""
        return Response(WholeCommand(_find(request, cid)).data)


class Cancellation(View):
    """The end of a command that nobody has sent yet."""

    @extend_schema(request=None, responses=WholeCommand)
    def post(self, request: Request, cid: str) -> Response:
        """Cancel it; too late (409) once it is on its way."""
        user = user_of(request)
        command = _find(request, cid)
        registry.find(user, command.device.key, Role.OPERATOR)
        cancelled = commands.cancel(cid, now(), by=user.get_username())
        command = _find(request, cid)
        if not cancelled and command.state != "cancelled":
            told = "being sent" if command.state == "queued" else command.state
            raise Refusal("too_late", f"It is {told} already, so it cannot be cancelled any more.", 409)
        return Response(WholeCommand(command).data)


def _find(request: Request, cid: str) -> Command:
    """Return one command; what does not exist and what may not be seen are refused alike."""
    rows = Command.objects.filter(device__in=registry.visible_to(user_of(request)).values("pk"))
    command = rows.filter(pk=cid).select_related("device", "user").first()
    if command is None:
        raise Refusal("command_unknown", f"There is no command {cid!r}, or you may not see it.", 404)
    return command
