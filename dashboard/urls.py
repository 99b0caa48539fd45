"""The pages' addresses."""

from django.contrib.auth.views import LogoutView
from django.urls import path

from dashboard import inbox, onboarding, views

urlpatterns = [
    path("sign-in/", views.SignInView.as_view(), name="sign-in"),
    path("sign-out/", LogoutView.as_view(), name="sign-out"),
    path("favicon.ico", views.icon),
    path("", views.fleet, name="fleet"),
    path("add/", views.add_device, name="add-device"),
    path("add/code/", onboarding.make_code, name="make-code"),
    path("add/code/<slug:slug>/revoke/", onboarding.revoke_code, name="revoke-code"),
    path("add/table/", onboarding.add_table, name="add-table"),
    path("unclaimed/", onboarding.unclaimed_publishers, name="unclaimed"),
    path("unclaimed/<str:key>/claim/", onboarding.claim_publisher, name="claim-unclaimed"),
    path("rejects/", inbox.inbox, name="rejects"),
    path("rejects/replay/", inbox.replay_rejects, name="replay-rejects"),
    path("rejects/discard/", inbox.discard_rejects, name="discard-rejects"),
    path("devices/<str:key>/", views.device, name="device"),
    path("devices/<str:key>/state.json", views.device_state, name="device-state"),
    path("devices/<str:key>/repairs/", views.mark_bad, name="mark-bad"),
    path("devices/<str:key>/repairs/<int:repair>/undo/", views.undo_repair, name="undo-repair"),
    path("devices/<str:key>/secret/", views.new_secret, name="new-secret"),
]
