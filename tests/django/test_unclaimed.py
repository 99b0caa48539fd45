"""Publishers that nobody has registered: who sees them, what is known of them, and how they become devices."""

from typing import Any

import pytest
from django.contrib.auth.models import User

from devices import intake, registry, rejects, unclaimed, wire
from devices.errors import Refusal
from devices.models import AuditEntry, Device, Fleet, Frame, Reject
from tests.django.conftest import NOW, refuse

URL = "/api/v1/unclaimed/"


def publish(topic: str, payload: bytes = b'{"t": 1}', at: int = NOW) -> None:
    """Have somebody publish this, whether or not they are registered."""
    message = wire.Message(topic=topic, payload=payload, received_at=at)
    intake.take([message], registry.directory(), at)


def claim(key: str, fleet: Fleet, *, replayed: bool = True) -> unclaimed.Claimed:
    return unclaimed.claim(key, fleet, "", NOW, "root", replayed=replayed)


@pytest.fixture
def foreign(settings: Any) -> None:
    """A broker whose accounts are not ours."""
    settings.MQTT, settings.BROKER_ACCOUNTS = object(), "none"


# --- who is known


def test_unknown_publishers_are_listed_by_key_with_what_they_send(root: User, pump: Device, api: Any) -> None:
    publish("hub/tank/telemetry/level", b"7", NOW)
    publish("hub/tank/telemetry/level", b"7", NOW + 10)
    publish("hub/tank/status", b"online \xff", NOW + 20)
    publish("hub/boiler/telemetry", b'{"t": 60}', NOW + 5)
    publish("hub/pump-1/telemetry", b'{"t": 1}')
    refuse("pump-1")
    boiler, tank = api(root).get(URL).json()["results"]
    assert boiler["key"] == "boiler"
    assert boiler["sample"] == '{"t": 60}'
    assert tank == {
        "key": "tank",
        "first_at": NOW,
        "last_at": NOW + 10,
        "count": 2,
        "topics": ["hub/tank/telemetry/level"],
        "topic": "hub/tank/telemetry/level",
        "sample": "7",
    }


def test_who_sends_much_is_known_by_a_little(greenhouse: Fleet) -> None:
    for number in range(8):
        publish(f"hub/tank/telemetry/m{number}", b"x" * 1000, NOW + number)
    (row,) = unclaimed.publishers()
    assert (len(row["sample"]), row["newest_topic"], row["messages"]) == (256, "hub/tank/telemetry/m7", 8)
    assert unclaimed.topics_of(["tank"])["tank"] == [f"hub/tank/telemetry/m{number}" for number in range(5)]


def test_a_list_of_publishers_costs_as_much_as_one(root: User, api: Any, django_assert_max_num_queries: Any) -> None:
    for number in range(20):
        publish(f"hub/tank-{number}/telemetry")
    client = api(root)
    with django_assert_max_num_queries(6):
        assert len(client.get(URL).json()["results"]) == 20


def test_what_names_no_key_that_can_be_is_counted_and_cannot_be_claimed(greenhouse: Fleet, monkeypatch: Any) -> None:
    for topic in ("hub/Tank 1/telemetry", "hub/Tank 1/telemetry", "hub/-x/status", "other/tank"):
        publish(topic)
    assert (list(unclaimed.publishers()), unclaimed.beyond()) == ([], {"crowd": 0, "keyless": 4})
    monkeypatch.setattr(rejects, "MAX_STRANGE", 2)
    for number in range(5):
        publish(f"hub/tank-{number}/telemetry")
    assert len(unclaimed.publishers()) == 2
    assert unclaimed.beyond() == {"crowd": 3, "keyless": 4}


@pytest.mark.parametrize("key", ["Tank 1", "nobody", "pump-1", "", "a\0", "x" * 300])
def test_only_who_publishes_unregistered_can_be_claimed(key: str, greenhouse: Fleet, pump: Device) -> None:
    publish("hub/Tank 1/telemetry")
    refuse("pump-1")
    with pytest.raises(Refusal) as refused:
        claim(key, greenhouse)
    assert refused.value.status == 404
    assert Device.objects.count() == 1


# --- claiming


@pytest.mark.usefixtures("foreign")
def test_a_claimed_publisher_is_a_device_with_what_it_had_sent(root: User, greenhouse: Fleet, api: Any) -> None:
    for second in range(3):
        publish("hub/tank/telemetry", b'{"level": %d}' % second, NOW + 1000 * second)
    answer = api(root).post(f"{URL}tank/claim/", {"name": "Tank", "fleet": "greenhouse"})
    told = answer.json()
    assert (answer.status_code, answer["Cache-Control"]) == (201, "no-store")
    assert (told["key"], told["secret"], told["mqtt"]["username"]) == ("tank", None, "tank")
    assert (told["replayed"]["replayed"], told["replayed"]["frames"]) == (3, 3)
    assert list(Frame.objects.order_by("seq").values_list("ts", "values")) == [
        (NOW + 1000 * second, {"level": second}) for second in range(3)
    ]
    assert Device.objects.get().name == "Tank"
    assert api(root).get(URL).json()["results"] == []
    actions = AuditEntry.objects.filter(by="root").order_by("pk").values_list("action", "target")
    assert list(actions) == [("device.made", "tank"), ("rejects.replayed", "tank")]


def test_what_it_had_sent_may_be_left(greenhouse: Fleet) -> None:
    publish("hub/tank/telemetry")
    assert claim("tank", greenhouse, replayed=False).replayed is None
    assert (Frame.objects.count(), Reject.objects.count()) == (0, 1)


@pytest.mark.parametrize(
    ("mqtt", "accounts", "ours"), [(None, "none", True), (object(), "dynsec", True), (object(), "none", False)]
)
def test_a_secret_is_told_where_it_opens_the_broker(
    mqtt: Any, accounts: str, ours: bool, greenhouse: Fleet, settings: Any
) -> None:
    settings.MQTT, settings.BROKER_ACCOUNTS = mqtt, accounts
    publish("hub/tank/telemetry")
    done = claim("tank", greenhouse)
    assert done.secret == (registry.credentials()[0].secret if ours else None)


def test_who_speaks_through_a_gateway_is_registered_behind_it(greenhouse: Fleet) -> None:
    publish("hub/gw-1/sub/leaf/telemetry", at=NOW)
    with pytest.raises(Refusal, match="speaks through gw-1, which is not registered either") as refused:
        claim("leaf", greenhouse)
    assert refused.value.status == 409
    registry.create("gw-1", greenhouse)
    done = claim("leaf", greenhouse)
    assert (done.device.gateway and done.device.gateway.key, done.secret) == ("gw-1", None)
    assert Frame.objects.get().device == done.device


# --- who may


def test_strangers_are_administrators_business(alice: User, root: User, api: Any) -> None:
    publish("hub/tank/telemetry")
    for method, url in (("get", URL), ("post", f"{URL}tank/claim/")):
        assert getattr(api(alice), method)(url).status_code == 403
        assert getattr(api(None), method)(url).status_code == 401
    assert not Device.objects.exists()
