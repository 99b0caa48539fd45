"""Claim codes: who makes them, what a device gets for one, that it is good once, and that strangers learn nothing."""

import re
from datetime import timedelta
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.core.cache import cache
from django.utils import timezone

from devices import claims, members, offers, registry, sealing, tokens
from devices.errors import Refusal
from devices.models import Access, AuditEntry, ClaimCode, Device, DeviceRole, Fleet, Membership, Role
from tests.django.together import together

CLAIM = "/api/v1/claim/"
CODES = "/api/v1/fleets/greenhouse/claims/"


@pytest.fixture(autouse=True)
def nobody_has_guessed() -> None:
    cache.clear()


def made(alice: User, fleet: Fleet, **how: Any) -> str:
    return claims.make(alice, fleet, **how)[1]


def expire(code: str) -> None:
    ClaimCode.objects.filter(digest=offers.digest(code)).update(expires_at=timezone.now() - timedelta(seconds=1))


# --- the code itself


def test_a_code_is_80_random_bits_that_people_can_read() -> None:
    codes = {offers.new_code() for _ in range(100)}
    assert len(codes) == 100
    assert all(re.fullmatch(r"([0-9A-HJKMNP-TV-Z]{4}-){3}[0-9A-HJKMNP-TV-Z]{4}", code) for code in codes)


@pytest.mark.parametrize(
    "typed", ["70AB-1CDE-0FGH-11JK", "70ab1cde0fgh11jk", " 7Oab-lcde-oFGH-iLjk\r\n", "70AB 1CDE 0FGH 11JK"]
)
def test_a_code_is_the_same_however_it_is_typed(typed: str) -> None:
    assert offers.digest(typed) == offers.digest("70AB-1CDE-0FGH-11JK")


def test_a_code_is_kept_as_hash_alone(alice: User, greenhouse: Fleet) -> None:
    code = made(alice, greenhouse)
    kept = str(ClaimCode.objects.values().get()) + str(list(AuditEntry.objects.values()))
    assert code not in kept
    assert code.replace("-", "") not in kept


# --- claiming


def test_a_device_gets_what_a_manager_would_have_got(alice: User, greenhouse: Fleet, api: Any, settings: Any) -> None:
    settings.MQTT_PUBLIC_HOST, settings.MQTT_PUBLIC_PORT, settings.MQTT_PUBLIC_TLS = "mqtt.example.org", 8883, True
    asked = {"code": made(alice, greenhouse), "key": "pump-7", "name": "Pump 7", "model": "P-100"}
    answer = api(None).post(CLAIM, asked)
    device = Device.objects.get()
    where = {"host": "mqtt.example.org", "port": 8883, "tls": True, "username": "pump-7"}
    assert answer.status_code == 201
    assert answer.json() == {"key": "pump-7", "secret": sealing.unseal(device.secret_box), "mqtt": where}
    assert answer["Cache-Control"] == "no-store"
    assert (device.name, device.model, device.fleet) == ("Pump 7", "P-100", greenhouse)
    assert answer.json().keys() == api(alice).post("/api/v1/devices/", {"key": "pump-8"}).json().keys()


def test_whoever_has_no_good_code_cannot_tell_why(alice: User, greenhouse: Fleet, api: Any) -> None:
    used, expired, revoked, orphan = (made(alice, greenhouse) for _ in range(4))
    claims.claim(used, "pump-7")
    expire(expired)
    claims.revoke(greenhouse, ClaimCode.objects.get(digest=offers.digest(revoked)).pk)
    ClaimCode.objects.filter(digest=offers.digest(orphan)).update(made_by=User.objects.create_user("gone"))
    codes = (used, expired, revoked, orphan, offers.new_code(), "x")
    answers = [api(None).post(CLAIM, {"code": code, "key": key}) for code in codes for key in ("pump-7", "new", "Bad")]
    assert {(answer.status_code, answer.content) for answer in answers} == {(404, answers[0].content)}
    assert answers[0].json()["code"] == "offer_unknown"
    assert Device.objects.count() == 1


@pytest.mark.parametrize("how", ["dismissed", "demoted", "inactive"])
def test_a_code_is_good_only_while_its_maker_is_manager(how: str, alice: User, greenhouse: Fleet) -> None:
    code = made(alice, greenhouse)
    members.admit(greenhouse, User.objects.create_user("eve").username, "manager")  # type: ignore[arg-type]  # as REST has it
    if how == "dismissed":
        members.dismiss(greenhouse, "alice")
    elif how == "demoted":
        Membership.objects.filter(user=alice).update(role="operator")
    else:
        User.objects.filter(pk=alice.pk).update(is_active=False)
    with pytest.raises(Refusal, match="wrong, was used, or has expired"):
        claims.claim(code, "pump-7")


@pytest.mark.django_db(transaction=True)
def test_of_two_who_redeem_one_code_at_once_one_wins(alice: User, greenhouse: Fleet) -> None:
    code = made(alice, greenhouse)

    def claim(key: str) -> str:
        try:
            return claims.claim(code, key)[0].key
        except Refusal as refusal:
            return refusal.code

    keys = [f"pump-{number}" for number in range(4)]
    results = together(*(lambda key=key: claim(key) for key in keys))  # type: ignore[misc]  # a lambda's default has no type
    assert sorted(results)[:3] == ["offer_unknown"] * 3
    assert [device.key for device in Device.objects.all()] == [
        result for result in results if result != "offer_unknown"
    ]


def test_a_key_that_is_taken_is_refused_and_the_code_stays_good(
    alice: User, greenhouse: Fleet, pump: Device, kettle: Device
) -> None:
    code, before = made(alice, greenhouse), registry.credentials()
    for key in ("pump-1", "kettle"):
        with pytest.raises(Refusal) as refused:
            claims.claim(code, key)
        assert (refused.value.status, refused.value.code) == (409, "key_taken")
    assert registry.credentials() == before
    assert claims.claim(code, "pump-7")[0].key == "pump-7"


@pytest.mark.parametrize("key", ["", "Pump", "a/b", "x" * 64])
def test_what_is_no_key_is_refused_and_the_code_stays_good(key: str, alice: User, greenhouse: Fleet) -> None:
    code = made(alice, greenhouse)
    with pytest.raises(Refusal) as refused:
        claims.claim(code, key)
    assert list(refused.value.fields or ()) == ["key"]
    claims.claim(code, "pump-7")


def test_a_code_for_a_device_gives_it_a_new_secret(alice: User, greenhouse: Fleet, pump: Device) -> None:
    old = registry.credentials()[0]
    device, secret = claims.claim(made(alice, greenhouse, key="pump-1"), name="Renamed")
    new = registry.credentials()[0]
    assert (device.key, new.key, new.secret) == ("pump-1", "pump-1", secret)
    assert (new.secret != old.secret, new.version) == (True, old.version + 1)
    assert Device.objects.get().name == "Pump"


def test_a_code_for_a_device_that_is_not_there_yet_makes_it_and_no_other(alice: User, greenhouse: Fleet) -> None:
    code = made(alice, greenhouse, key="pump-7")
    with pytest.raises(Refusal, match="for the device pump-7 alone"):
        claims.claim(code, "pump-8")
    assert claims.claim(code)[0].key == "pump-7"


def test_a_code_cannot_be_made_for_anothers_device(alice: User, greenhouse: Fleet, kettle: Device, bob: User) -> None:
    with pytest.raises(Refusal, match="exists already"):
        made(alice, greenhouse, key="kettle")
    pump, _ = registry.create("pump-1", greenhouse)
    DeviceRole.objects.create(device=pump, user=alice, role="viewer")
    with pytest.raises(Refusal, match="exists already"):
        made(alice, greenhouse, key="pump-1")


def test_a_code_for_a_device_that_has_moved_on_is_refused(
    alice: User, greenhouse: Fleet, brewery: Fleet, pump: Device
) -> None:
    code, before = made(alice, greenhouse, key="pump-1"), registry.credentials()
    registry.change(pump, {"fleet": brewery})
    with pytest.raises(Refusal, match="exists already"):
        claims.claim(code)
    assert registry.credentials() == before


def test_what_is_done_with_codes_is_in_the_audit(alice: User, greenhouse: Fleet) -> None:
    code, other = made(alice, greenhouse), claims.make(alice, greenhouse)[0]
    claims.revoke(greenhouse, other.pk)
    claims.claim(code, "pump-7")
    rows = {row.action: row for row in AuditEntry.objects.all()}
    assert rows.keys() == {"claim_code.made", "claim_code.revoked", "device.made", "device.claimed"}
    assert {row.fleet for row in rows.values()} == {greenhouse.pk}
    pk = ClaimCode.objects.get(device__key="pump-7").pk
    for action in ("device.made", "device.claimed"):
        assert (rows[action].by, rows[action].via, rows[action].target) == ("alice", f"claim code {pk}", "pump-7")


def test_what_was_over_for_a_day_is_cleared_away(alice: User, greenhouse: Fleet) -> None:
    old, lately = claims.make(alice, greenhouse)[0], claims.make(alice, greenhouse)[0]
    ClaimCode.objects.filter(pk=old.pk).update(expires_at=timezone.now() - timedelta(days=1, seconds=1))
    ClaimCode.objects.filter(pk=lately.pk).update(expires_at=timezone.now() - timedelta(hours=23))
    new = claims.make(alice, greenhouse)[0]
    assert set(ClaimCode.objects.values_list("pk", flat=True)) == {lately.pk, new.pk}


# --- guessing


def test_who_sends_wrong_codes_has_to_wait_and_others_have_not(alice: User, greenhouse: Fleet, api: Any) -> None:
    code, guess = made(alice, greenhouse), {"code": "7Q2M-XK4R-0000-0000", "key": "spy"}
    for _ in range(20):
        assert api(None).post(CLAIM, guess).status_code == 404
    locked = api(None).post(CLAIM, {"code": code, "key": "pump-7"})
    assert (locked.status_code, locked.json()["code"]) == (429, "too_many_requests")
    assert api(None).post(CLAIM, {"code": code, "key": "pump-7"}, REMOTE_ADDR="192.0.2.1").status_code == 201


def test_what_is_refused_for_another_reason_is_no_guess(alice: User, greenhouse: Fleet, pump: Device, api: Any) -> None:
    code = made(alice, greenhouse)
    for _ in range(25):
        assert api(None).post(CLAIM, {"code": code, "key": "pump-1"}).status_code == 409


# --- making, listing, revoking over REST


def test_a_code_is_told_once_with_the_address_for_its_qr(alice: User, api: Any) -> None:
    answer = api(alice).post(CODES, {"lasts_s": 60})
    told = answer.json()
    assert answer.status_code == 201
    assert answer["Cache-Control"] == "no-store"
    assert told["url"] == f"http://testserver/api/v1/claim/#{told['code']}"
    assert 59_000 <= told["expires_at"] - told["created_at"] <= 61_000
    listed = api(alice).get(CODES).json()["results"]
    assert [row["id"] for row in listed] == [told["id"]]
    assert told["code"] not in str(listed)


def test_a_code_lasts_a_quarter_of_an_hour_if_nothing_is_said(alice: User, api: Any) -> None:
    told = api(alice).post(CODES, {}).json()
    assert 899_000 <= told["expires_at"] - told["created_at"] <= 901_000


@pytest.mark.parametrize("lasts", [0, 59, 86_401, "long"])
def test_a_code_lasts_neither_seconds_nor_days(lasts: Any, alice: User, greenhouse: Fleet, api: Any) -> None:
    answer = api(alice).post(CODES, {"lasts_s": lasts})
    assert (answer.status_code, list(answer.json()["fields"])) == (400, ["lasts_s"])
    if isinstance(lasts, int):
        with pytest.raises(Refusal, match="from one minute to 24 hours"):
            claims.make(alice, greenhouse, lasts=timedelta(seconds=lasts))


def test_what_became_of_a_code_is_told_by_number(alice: User, greenhouse: Fleet, api: Any) -> None:
    client = api(alice)
    first, second = (client.post(CODES, {}).json() for _ in range(2))
    state = lambda code: {name: client.get(f"{CODES}{code['id']}/").json()[name] for name in ("state", "device")}  # noqa: E731
    assert state(first) == {"state": "open", "device": None}
    claims.claim(first["code"], "pump-7")
    expire(second["code"])
    assert state(first) == {"state": "claimed", "device": "pump-7"}
    assert state(second) == {"state": "expired", "device": None}
    assert client.get(CODES).json()["results"] == []


def test_a_revoked_code_is_gone_and_a_used_one_cannot_be_revoked(alice: User, greenhouse: Fleet, api: Any) -> None:
    client = api(alice)
    revoked, used = (client.post(CODES, {}).json() for _ in range(2))
    assert client.delete(f"{CODES}{revoked['id']}/").status_code == 204
    claims.claim(used["code"], "pump-7")
    for gone in (revoked["id"], used["id"], 10**30):
        assert client.delete(f"{CODES}{gone}/").status_code == 404
    with pytest.raises(Refusal):
        claims.claim(revoked["code"], "pump-8")


@pytest.mark.parametrize(("method", "rest"), [("get", ""), ("post", ""), ("get", "1/"), ("delete", "1/")])
def test_codes_are_managers_business(
    method: str, rest: str, bob: User, charlie: User, greenhouse: Fleet, api: Any
) -> None:
    assert getattr(api(bob), method)(CODES + rest).status_code == 403
    assert getattr(api(charlie), method)(CODES + rest).status_code == 404
    assert getattr(api(None), method)(CODES + rest).status_code == 401
    assert not ClaimCode.objects.exists()


def test_a_code_of_another_fleet_is_not_there(
    alice: User, charlie: User, brewery: Fleet, greenhouse: Fleet, api: Any
) -> None:
    theirs = claims.make(charlie, brewery)[0]
    for method in ("get", "delete"):
        assert getattr(api(alice), method)(f"{CODES}{theirs.pk}/").status_code == 404
    assert ClaimCode.objects.filter(pk=theirs.pk).exists()


def test_a_token_that_manages_one_device_makes_no_codes(alice: User, pump: Device) -> None:
    _, secret = tokens.make(alice, "narrow", access=Access.MANAGE, devices=[pump])
    user = tokens.by_secrets([secret])[secret].user
    with pytest.raises(Refusal):
        registry.find_fleet(user, "greenhouse", Role.MANAGER)
