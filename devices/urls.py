"""Addresses of the API, below /api/v1/."""

from __future__ import annotations

from django.urls import path, re_path
from drf_spectacular.views import SpectacularAPIView, SpectacularSwaggerSplitView

from devices.api import (
    bulk,
    claims,
    commands,
    desired,
    devices,
    entries,
    events,
    export,
    fleets,
    frames,
    invitations,
    nowhere,
    rejects,
    repairs,
    roles,
    series,
    shares,
    storage,
    tokens,
    unclaimed,
)
from devices.api.throttle import Throttle

app_name = "api"
urlpatterns = [
    path("tokens/", tokens.Tokens.as_view(), name="tokens"),
    path("tokens/<slug:token>/", tokens.OneToken.as_view(), name="token"),
    path("devices/", devices.Devices.as_view(), name="devices"),
    path("devices/bulk/", bulk.Bulk.as_view(), {"key": "bulk"}, name="bulk"),
    path("devices/<str:key>/", devices.OneDevice.as_view(), name="device"),
    path("devices/<str:key>/rotate/", devices.Rotation.as_view(), name="rotate"),
    path("devices/<str:key>/frames/", frames.Frames.as_view(), name="frames"),
    path("devices/<str:key>/export/", export.Export.as_view(), name="export"),
    path("devices/<str:key>/series/", series.Series.as_view(), name="series"),
    path("devices/<str:key>/events/", events.Events.as_view(), name="events"),
    path("devices/<str:key>/repairs/", repairs.Repairs.as_view(), name="repairs"),
    path("devices/<str:key>/repairs/<int:repair>/undo/", repairs.Undoing.as_view(), name="undo-repair"),
    path("devices/<str:key>/roles/", roles.DeviceRoles.as_view(), name="device-roles"),
    path("devices/<str:key>/roles/<str:username>/", roles.OneDeviceRole.as_view(), name="device-role"),
    path("devices/<str:key>/commands/", commands.Commands.as_view(), name="commands"),
    path("devices/<str:key>/settings/", desired.Settings.as_view(), name="settings"),
    path("commands/<slug:cid>/", commands.OneCommand.as_view(), name="command"),
    path("commands/<slug:cid>/cancel/", commands.Cancellation.as_view(), name="cancel"),
    path("fleets/", fleets.Fleets.as_view(), name="fleets"),
    path("fleets/<slug:slug>/", fleets.OneFleet.as_view(), name="fleet"),
    path("fleets/<slug:slug>/members/", fleets.Members.as_view(), name="members"),
    path("fleets/<slug:slug>/members/<str:username>/", fleets.OneMember.as_view(), name="member"),
    path("fleets/<slug:slug>/invitations/", invitations.Invitations.as_view(), name="invitations"),
    path("fleets/<slug:slug>/invitations/<int:invitation>/", invitations.OneInvitation.as_view(), name="invitation"),
    path("fleets/<slug:slug>/claims/", claims.Codes.as_view(), name="claims"),
    path("fleets/<slug:slug>/claims/<int:code>/", claims.OneCode.as_view(), name="claim-code"),
    path("claim/", claims.Claim.as_view(), name="claim"),
    path("rejects/", rejects.Rejects.as_view(), name="rejects"),
    path("rejects/groups/", rejects.Groups.as_view(), name="reject-groups"),
    path("rejects/replay/", rejects.Replays.as_view(), name="replays"),
    path("rejects/<int:pk>/", rejects.OneReject.as_view(), name="reject"),
    path("rejects/<int:pk>/replay/", rejects.Replay.as_view(), name="replay"),
    path("shares/", shares.Shares.as_view(), name="shares"),
    path("shares/<slug:share>/", shares.OneShare.as_view(), name="share"),
    path("audit/", entries.Entries.as_view(), name="audit"),
    path("unclaimed/", unclaimed.Unclaimed.as_view(), name="unclaimed"),
    path("unclaimed/<str:key>/claim/", unclaimed.Claim.as_view(), name="claim-unclaimed"),
    path("storage/", storage.Storage.as_view(), name="storage"),
    path("schema/", SpectacularAPIView.as_view(throttle_classes=[Throttle]), name="schema"),
    path(
        "docs/",
        SpectacularSwaggerSplitView.as_view(
            url_name="api:schema", template_name="devices/docs.html", throttle_classes=[Throttle]
        ),
        name="docs",
    ),
    re_path("", nowhere.Nowhere.as_view()),
]
