"""jobs/: one command for a selection of a fleet's devices, and what becomes of each."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from drf_spectacular.utils import extend_schema, inline_serializer
from rest_framework import serializers
from rest_framework.response import Response

from devices import commands, jobs, lifecycle, registry, values
from devices.api.asked import Shape, Strict, View, body, now, query, user_of
from devices.api.pages import Paged, page, paged
from devices.models import Role
from devices.models.jobs import STATES

if TYPE_CHECKING:
    from django.contrib.auth.models import User
    from rest_framework.request import Request

# Where a device of a job stands: its command's state, or that it has none yet, or will get none.
STANDINGS: Final = (*lifecycle.MOVES, "waiting", "refused")
EXAMPLES: Final = 10


class SelectionAsked(Strict):
    """Which devices of the fleet: all that is given holds for each. Nothing: the whole fleet."""

    tag = serializers.CharField(required=False)
    presence = serializers.CharField(required=False)
    devices = serializers.ListField(child=serializers.CharField(max_length=128), required=False, help_text="keys")


class CampaignAsked(Strict):
    """What is asked of which devices, and how fast."""

    fleet = serializers.CharField(help_text="slug")
    name = serializers.CharField(max_length=values.MAX_NAME, trim_whitespace=False)
    args = serializers.JSONField(default=None, allow_null=True, help_text="one value, as the devices announced it")
    ttl_s = serializers.IntegerField(
        default=None,
        allow_null=True,
        help_text="how long each command may wait for its device, once it is given; null: a minute, an update a day",
    )
    reason = serializers.CharField(max_length=commands.MAX_REASON, default="", allow_blank=True)
    confirm = serializers.BooleanField(default=False, help_text="needed where devices call the command dangerous")
    selection = SelectionAsked(default=dict)
    rate = serializers.IntegerField(default=None, allow_null=True, help_text="commands a second; null: at once")
    stages = serializers.ListField(
        child=serializers.IntegerField(),
        default=list,
        help_text="rising shares in %, the last 100: each waits for all before",
    )
    limit = serializers.IntegerField(
        default=None, allow_null=True, help_text="% of the closed commands that may have failed before the job stops"
    )


class JobAsked(CampaignAsked):
    """A job."""

    key = serializers.CharField(max_length=128, required=False, help_text="the same key again gives the same job")


class CampaignShape(Shape):
    """What was asked."""

    fleet = serializers.CharField(source="fleet.slug")
    name = serializers.CharField()
    args = serializers.JSONField(allow_null=True)
    ttl_s = serializers.IntegerField()
    reason = serializers.CharField(allow_blank=True)
    selection = serializers.JSONField()
    rate = serializers.IntegerField(allow_null=True)
    stages = serializers.ListField(child=serializers.IntegerField())
    limit = serializers.IntegerField(allow_null=True)
    by = serializers.CharField(source="user.username", default=None, allow_null=True, help_text="who answers for it")
    created_at = serializers.IntegerField()


class JobShape(CampaignShape):
    """A job, and where its devices stand."""

    id = serializers.CharField()
    state = serializers.ChoiceField(STATES)
    because = serializers.CharField(help_text="why it stopped, or was cancelled")
    stage = serializers.IntegerField(help_text="which of the stages is being issued, from 0")
    total = serializers.IntegerField(help_text="devices")
    issued = serializers.IntegerField(help_text="that have their command, or were refused it")
    counts = serializers.DictField(child=serializers.IntegerField(), help_text=f"devices by {', '.join(STANDINGS)}")
    changed_at = serializers.IntegerField()


class JobsAsked(Paged):
    """Which jobs to list."""

    fleet = serializers.CharField(required=False, help_text="slug")
    state = serializers.ChoiceField(STATES, required=False)


class ResultsAsked(Paged):
    """Which devices to list."""

    state = serializers.ChoiceField(STANDINGS, required=False)


class ResultShape(Shape):
    """One device of a job: where it stands, and what it said, or why it gets no command."""

    device = serializers.CharField(source="key")
    name = serializers.CharField(allow_blank=True)
    state = serializers.ChoiceField(STANDINGS, source="standing")
    command = serializers.CharField(source="cid", allow_null=True)
    message = serializers.CharField(allow_blank=True)
    at = serializers.IntegerField(allow_null=True, help_text="when its command changed last")


Preview = inline_serializer(
    "JobPreview",
    {
        "devices": serializers.IntegerField(help_text="that are selected"),
        "refused": serializers.IntegerField(help_text="of these, that would not take the command"),
        "dangerous": serializers.IntegerField(help_text="of these, that call the command dangerous"),
        "examples": inline_serializer(
            "JobExample", {"device": serializers.CharField(), "refused": serializers.CharField()}, many=True
        ),
    },
)


def asked_by(user: User, said: dict[str, Any]) -> jobs.Asked:
    """Return what somebody asks, of a fleet that they may command."""
    fleet = registry.find_whole_fleet(user, said["fleet"], Role.OPERATOR)
    given = {name: said[name] for name in jobs.Asked.__struct_fields__ if name in said}
    return jobs.Asked(**given | {"fleet": fleet, "confirmed": said["confirm"]})


class Jobs(View):
    """Jobs of the fleets that one sees all of."""

    @extend_schema(operation_id="jobs_list", parameters=[JobsAsked], responses=paged("Job", JobShape))
    def get(self, request: Request) -> Response:
        """List jobs, the newest first. Their counts are at most a second old."""
        user, asked = user_of(request), query(request, JobsAsked)
        rows = jobs.visible_to(user)
        if "fleet" in asked:
            rows = rows.filter(fleet=registry.find_whole_fleet(user, asked["fleet"]))
        if "state" in asked:
            rows = rows.filter(state=asked["state"])
        return page(rows, ("-created_at", "-pk"), JobShape, asked)

    @extend_schema(request=JobAsked, responses={200: JobShape, 201: JobShape})
    def post(self, request: Request) -> Response:
        """Start a job (201); the same `key` again gives the one that there is (200)."""
        user, said = user_of(request), body(request, JobAsked)
        job, new = jobs.start(asked_by(user, said), user, now(), said.get("key"))
        return Response(JobShape(job).data, status=201 if new else 200)


class Previews(View):
    """What a job would do."""

    @extend_schema(request=JobAsked, responses=Preview)
    def post(self, request: Request) -> Response:
        """Say how many devices would get the command, and which would not take it. Nothing is made."""
        user = user_of(request)
        plan = jobs.plan(asked_by(user, body(request, JobAsked)), user)
        examples = [{"device": key, "refused": reason} for _, key, reason in plan.refused[:EXAMPLES]]
        sizes = {"devices": plan.total, "refused": len(plan.refused), "dangerous": len(plan.dangerous)}
        return Response({**sizes, "examples": examples})


class OneJob(View):
    """One job."""

    @extend_schema(responses=JobShape)
    def get(self, request: Request, job: str) -> Response:
        """Tell where it stands, counted at this moment."""
        found = jobs.find(user_of(request), job)
        found.counts = jobs.counts(found)
        return Response(JobShape(found).data)


class Results(View):
    """What became of each device."""

    @extend_schema(operation_id="jobs_results", parameters=[ResultsAsked], responses=paged("Result", ResultShape))
    def get(self, request: Request, job: str) -> Response:
        """List the devices of a job in their turn."""
        asked = query(request, ResultsAsked)
        rows = jobs.results(jobs.find(user_of(request), job), asked.get("state"))
        return page(rows, ("position",), ResultShape, asked)


class Change(View):
    """What people do with a job that is there."""

    verb = ""

    @extend_schema(request=None, responses=JobShape)
    def post(self, request: Request, job: str) -> Response:
        """Stop, resume or cancel it; too late (409) once it is over."""
        user = user_of(request)
        change = {"stop": jobs.stop, "resume": jobs.resume, "cancel": jobs.cancel}[self.verb]
        return Response(JobShape(change(jobs.find(user, job, Role.OPERATOR), user, now())).data)
