"""schedules/: jobs that start by themselves, and what became of each time."""

from __future__ import annotations

from typing import TYPE_CHECKING

from drf_spectacular.utils import extend_schema
from rest_framework import serializers
from rest_framework.response import Response

from devices import registry, schedules
from devices.api.asked import LAST_MS, Shape, Strict, View, body, now, query, user_of
from devices.api.jobs import CampaignAsked, CampaignShape, asked_by
from devices.api.pages import Paged, page, paged
from devices.models import Role

if TYPE_CHECKING:
    from rest_framework.request import Request


class ScheduleAsked(CampaignAsked):
    """A schedule: what, and when."""

    title = serializers.CharField(max_length=schedules.MAX_TITLE, default="", allow_blank=True)
    at = serializers.IntegerField(
        min_value=0, max_value=LAST_MS, default=None, allow_null=True, help_text="once, then (ms)"
    )
    cron = serializers.CharField(
        max_length=128, default=None, allow_null=True, help_text="or: minute, hour, day of month, month, day of week"
    )
    zone = serializers.CharField(max_length=64, default="UTC", help_text="the time zone of cron, such as Europe/Berlin")


class ScheduleChanged(Strict):
    """What can be changed of a schedule."""

    title = serializers.CharField(max_length=schedules.MAX_TITLE, required=False, allow_blank=True)
    enabled = serializers.BooleanField(required=False)


class ScheduleShape(CampaignShape):
    """A schedule, and when it is due next (null: never again)."""

    id = serializers.IntegerField()
    title = serializers.CharField(allow_blank=True)
    cron = serializers.CharField(allow_blank=True, help_text="empty: once")
    zone = serializers.CharField()
    next_at = serializers.IntegerField(allow_null=True)
    enabled = serializers.BooleanField()


class SchedulesAsked(Paged):
    """Which schedules to list."""

    fleet = serializers.CharField(required=False, help_text="slug")


class RunShape(Shape):
    """One time that it was due: the job that was made, or why none was."""

    due_at = serializers.IntegerField()
    job = serializers.CharField(source="job_id", allow_null=True)
    missed = serializers.CharField(allow_blank=True)


class Schedules(View):
    """Schedules of the fleets that one sees all of."""

    @extend_schema(
        operation_id="schedules_list", parameters=[SchedulesAsked], responses=paged("Schedule", ScheduleShape)
    )
    def get(self, request: Request) -> Response:
        """List schedules, the newest first."""
        user, asked = user_of(request), query(request, SchedulesAsked)
        rows = schedules.visible_to(user)
        if "fleet" in asked:
            rows = rows.filter(fleet=registry.find_whole_fleet(user, asked["fleet"]))
        return page(rows, ("-pk",), ScheduleShape, asked)

    @extend_schema(request=ScheduleAsked, responses={201: ScheduleShape})
    def post(self, request: Request) -> Response:
        """Make a schedule. Its devices are selected anew each time."""
        user, said = user_of(request), body(request, ScheduleAsked)
        when = {name: said[name] for name in ("title", "at", "cron", "zone")}
        made = schedules.make(asked_by(user, said), user, now(), **when)
        return Response(ScheduleShape(made).data, status=201)


class OneSchedule(View):
    """One schedule."""

    @extend_schema(responses=ScheduleShape)
    def get(self, request: Request, schedule: int) -> Response:
        """Tell what it does, and when next."""
        return Response(ScheduleShape(schedules.find(user_of(request), schedule)).data)

    @extend_schema(request=ScheduleChanged, responses=ScheduleShape)
    def patch(self, request: Request, schedule: int) -> Response:
        """Rename it, turn it off, or on again: from now on, and in your name."""
        user = user_of(request)
        found = schedules.find(user, schedule, Role.OPERATOR)
        said = body(request, ScheduleChanged, partial=True)
        changed = schedules.change(found, user, now(), title=said.get("title"), enabled=said.get("enabled"))
        return Response(ScheduleShape(changed).data)

    @extend_schema(responses={204: None})
    def delete(self, request: Request, schedule: int) -> Response:
        """Delete it; the jobs that it made stay."""
        schedules.remove(schedules.find(user_of(request), schedule, Role.OPERATOR))
        return Response(status=204)


class Runs(View):
    """The times that a schedule was due."""

    @extend_schema(operation_id="schedules_runs", parameters=[Paged], responses=paged("Run", RunShape))
    def get(self, request: Request, schedule: int) -> Response:
        """List them, the newest first; the last thousand are kept."""
        rows = schedules.find(user_of(request), schedule).runs.all()
        return page(rows, ("-due_at",), RunShape, query(request, Paged))
