"""The pages' addresses."""

from django.contrib.auth.views import LogoutView
from django.urls import path

from dashboard import account, entries, firmware, inbox, jobs, onboarding, people, schedules, share, sharing, views
from dashboard.invitation import invitation

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
    path("account/", account.account, name="account"),
    path("account/password/", account.change_password, name="change-password"),
    path("tokens/", account.own_tokens, name="tokens"),
    path("tokens/<slug:token>/revoke/", account.revoke_token, name="revoke-token"),
    path("audit/", entries.audit, name="audit"),
    path("fleets/", people.make_fleet, name="make-fleet"),
    path("fleets/<slug:slug>/", people.people, name="people"),
    path("fleets/<slug:slug>/members/", people.admit, name="admit"),
    path("fleets/<slug:slug>/members/dismiss/", people.dismiss, name="dismiss"),
    path("fleets/<slug:slug>/invitations/", people.invite, name="invite"),
    path("fleets/<slug:slug>/invitations/<int:invitation>/revoke/", people.revoke_invitation, name="revoke-invitation"),
    path("fleets/<slug:slug>/firmware/", firmware.of_fleet, name="firmware"),
    path("fleets/<slug:slug>/firmware/<int:file>/remove/", firmware.remove, name="remove-firmware"),
    path("invitation/<str:code>/", invitation, name="invitation"),
    path("jobs/", jobs.all_jobs, name="all-jobs"),
    path("jobs/<slug:job>/", jobs.one_job, name="job"),
    path("fleets/<slug:slug>/jobs/", jobs.fleet_jobs, name="jobs"),
    path("fleets/<slug:slug>/jobs/new/", jobs.new_job, name="new-job"),
    path("fleets/<slug:slug>/schedules/", schedules.fleet_schedules, name="schedules"),
    path("shares/", sharing.share_devices, name="share-devices"),
    path("shares/<slug:share>/revoke/", sharing.revoke_share, name="revoke-share"),
    path("share/<str:secret>/", share.share, name="share"),
    path("share/<str:secret>/<str:key>/", share.shared_device, name="shared-device"),
    path("share/<str:secret>/<str:key>/state.json", share.shared_state, name="shared-state"),
    path("devices/<str:key>/", views.device, name="device"),
    path("devices/<str:key>/state.json", views.device_state, name="device-state"),
    path("devices/<str:key>/repairs/", views.mark_bad, name="mark-bad"),
    path("devices/<str:key>/repairs/<int:repair>/undo/", views.undo_repair, name="undo-repair"),
    path("devices/<str:key>/roles/", people.except_for, name="except-for"),
    path("devices/<str:key>/roles/end/", people.end_exception, name="end-exception"),
    path("devices/<str:key>/secret/", views.new_secret, name="new-secret"),
]
