"""Who may do what on the broker: the same cases on each broker that is here."""

import asyncio
import math
import os
import secrets
import time
from pathlib import Path

import aiomqtt
import msgspec
import pytest

from bridge import mqtt
from bridge.accounts import Account, Changes
from tests import services
from tests.system.raw import Cut, Raw
from tests.system.stands import Stand


def account(key: str, version: int = 1) -> Account:
    return Account(key=key, secret=secrets.token_urlsafe(32), version=version)


def rotated(old: Account) -> Account:
    return account(old.key, old.version + 1)


PUMP = account("pump-1")
OTHER = account("pump-2")

FOREIGN_TOPICS = [
    "hub/pump-2/telemetry",
    "hub/pump-2/cmd/relay/1",
    "hub/pump-10/telemetry",
    "hub/pump/telemetry",
    "hub/PUMP-1/telemetry",
    "HUB/pump-1/telemetry",
    "/hub/pump-1/telemetry",
    "hub//pump-1/telemetry",
    "hub/pump-2/sub/pump-1/telemetry",
    "hub",
    "pump-1/telemetry",
    "$SYS/broker/uptime",
    "$CONTROL/dynamic-security/v1",
    "$MQTT/msgs/hub/pump-2/cmd/relay/1",
    "$JS/API/STREAM/LIST",
]

FOREIGN_FILTERS = [
    "#",
    "+/#",
    "+/+/cmd/#",
    "hub/#",
    "hub/+/cmd/#",
    "hub/+/receipt",
    "hub/pump-2/cmd/#",
    "hub/pump-2/cmd/relay/+",
    "hub/pump-2/receipt",
    "hub/+/desired",
    "hub/pump-2/desired",
    "hub/pump-2/sub/+/desired",
    "hub/pump-1/reported",
    "hub/pump-2/sub/+/cmd/#",
    "hub/pump-1/#",
    "hub/pump-1/+/#",
    "hub/pump-1/sub/#",
    "hub/pump-1/telemetry",
    "hub/*/cmd/#",
    "hub/>",
    "$share/thieves/#",
    "$share/thieves/hub/pump-2/cmd/#",
    "$SYS/#",
    "$CONTROL/dynamic-security/v1/response",
    "$MQTT/#",
    "$JS/#",
]

OWN_FILTERS = [
    "hub/pump-1/cmd/#",
    "hub/pump-1/cmd/+/+",
    "hub/pump-1/cmd/relay/+",
    "hub/pump-1/receipt",
    "hub/pump-1/error",
    "hub/pump-1/desired",
    "hub/pump-1/sub/+/desired",
    "hub/pump-1/sub/+/cmd/#",
    "hub/pump-1/sub/valve/cmd/#",
    "hub/pump-1/sub/+/receipt",
    "hub/pump-1/sub/+/error",
]


async def test_a_device_publishes_under_its_own_key_and_nowhere_else(stand: Stand) -> None:
    await stand.reconcile(PUMP, OTHER)
    async with stand.hub() as hub, stand.device(PUMP) as pump:
        assert await hub.subscribe("hub/#")
        for topic in FOREIGN_TOPICS:
            await pump.publish(topic, "forged")
        # What came first proves that nothing came before it.
        await pump.publish("hub/pump-1/telemetry/flow", "4.2")
        assert await hub.heard() == ("hub/pump-1/telemetry/flow", "4.2")
        await pump.publish("hub/pump-1/sub/valve/telemetry", "{}")
        assert await hub.heard() == ("hub/pump-1/sub/valve/telemetry", "{}")


async def test_a_device_cannot_reach_another_device(stand: Stand) -> None:
    await stand.reconcile(PUMP, OTHER)
    async with stand.hub() as hub, stand.device(PUMP) as pump, stand.device(OTHER) as other:
        assert await other.subscribe("hub/pump-2/cmd/#")
        for topic in FOREIGN_TOPICS:
            await pump.publish(topic, "forged")
            await pump.publish(topic, "forged", retain=True)
        await hub.publish("hub/pump-2/cmd/relay/2", "on")
        assert await other.heard() == ("hub/pump-2/cmd/relay/2", "on")


async def test_a_device_hears_what_the_hub_says_to_it_and_nothing_else(stand: Stand) -> None:
    await stand.reconcile(PUMP, OTHER)
    async with stand.hub() as hub, stand.device(PUMP) as pump:
        for own in OWN_FILTERS:
            assert await pump.subscribe(own), own
        granted = [topic for topic in FOREIGN_FILTERS if await pump.subscribe(topic)]
        await hub.publish("hub/pump-2/cmd/relay/1", "on")
        await hub.publish("hub/pump-2/receipt", "{}")
        await hub.publish("hub/pump-1/error", "{}")
        assert await pump.heard() == ("hub/pump-1/error", "{}")
        # A grant of what is never delivered would do; both brokers refuse outright.
        assert granted == []


async def test_a_retained_message_reaches_only_who_may_hear_it(stand: Stand) -> None:
    await stand.reconcile(PUMP, OTHER)
    async with stand.hub() as hub, stand.device(PUMP) as pump, stand.device(OTHER) as other:
        await hub.publish("hub/pump-2/error", "retained for pump-2", retain=True)
        await pump.publish("hub/pump-1/status", "online", retain=True)
        assert not await pump.subscribe("hub/+/error")
        assert await pump.subscribe("hub/pump-1/cmd/#")
        await hub.publish("hub/pump-1/cmd/relay/1", "on")
        assert await pump.heard() == ("hub/pump-1/cmd/relay/1", "on")
        assert await other.subscribe("hub/pump-2/error")
        assert await other.heard() == ("hub/pump-2/error", "retained for pump-2")
        assert await hub.subscribe("hub/+/status")
        assert await hub.heard() == ("hub/pump-1/status", "online")


async def test_a_last_will_speaks_for_its_own_device_only(stand: Stand) -> None:
    await stand.reconcile(PUMP, OTHER)
    forged = aiomqtt.Will("hub/pump-2/status", "offline", qos=1, retain=True)
    honest = aiomqtt.Will("hub/pump-1/status", "offline", qos=1, retain=True)
    async with stand.hub() as hub:
        assert await hub.subscribe("hub/+/status")
        for will in (forged, honest):
            try:
                async with stand.device(PUMP, will=will) as pump:
                    pump.drop()
                    assert await pump.cut()
            except aiomqtt.MqttError:
                assert will is forged  # a broker may turn it away for its will
        assert await hub.heard() == ("hub/pump-1/status", "offline")


async def test_an_unknown_login_is_refused(stand: Stand) -> None:
    await stand.reconcile(PUMP)
    assert await stand.refuses(OTHER)
    assert await stand.refuses(account("pump-1"))
    assert await stand.refuses(msgspec.structs.replace(PUMP, secret=""))
    assert not await stand.refuses(PUMP)


async def test_reconcile_creates_changes_and_removes(stand: Stand) -> None:
    third = account("pump-3")
    assert await stand.reconcile(PUMP, OTHER) == Changes(added=["pump-1", "pump-2"])
    newer = rotated(PUMP)
    expected = Changes(added=["pump-3"], changed=["pump-1"], removed=["pump-2"])
    assert await stand.reconcile(newer, third) == expected
    assert [await stand.refuses(each) for each in (PUMP, newer, OTHER, third)] == [True, False, True, False]


async def test_reconcile_again_changes_nothing_and_cuts_nobody(stand: Stand) -> None:
    await stand.reconcile(PUMP, OTHER)
    async with stand.hub() as hub, stand.device(PUMP) as pump:
        assert await hub.subscribe("hub/#")
        assert not await stand.reconcile(PUMP, OTHER)
        assert await stand.reconcile(PUMP, OTHER, account("pump-3")) == Changes(added=["pump-3"])
        assert await stand.apply(rotated(OTHER), gone=("pump-3",)) == Changes(changed=["pump-2"], removed=["pump-3"])
        await pump.publish("hub/pump-1/telemetry", "{}")
        assert await hub.heard() == ("hub/pump-1/telemetry", "{}")


@pytest.mark.parametrize("whole", [True, False], ids=["reconcile", "apply"])
async def test_a_removed_account_is_cut_at_once_and_cannot_return(stand: Stand, *, whole: bool) -> None:
    await stand.reconcile(PUMP, OTHER)
    async with stand.device(PUMP) as pump:
        await (stand.reconcile(OTHER) if whole else stand.apply(gone=("pump-1",)))
        assert await pump.cut()
    assert await stand.refuses(PUMP)


@pytest.mark.parametrize("whole", [True, False], ids=["reconcile", "apply"])
async def test_a_rotated_secret_cuts_the_old_session(stand: Stand, *, whole: bool) -> None:
    await stand.reconcile(PUMP)
    newer = rotated(PUMP)
    async with stand.device(PUMP) as pump:
        await (stand.reconcile(newer) if whole else stand.apply(newer))
        assert await pump.cut()
    assert await stand.refuses(PUMP)
    assert not await stand.refuses(newer)


async def test_who_connects_while_its_account_goes_does_not_stay(stand: Stand) -> None:
    fleet = [account(f"sensor-{number}") for number in range(60)]
    await stand.reconcile(*fleet)
    port = stand.service.port
    coming = [asyncio.create_task(Raw.connect(port, each.key, each.key, each.secret)) for each in fleet]
    await asyncio.wait(coming, return_when=asyncio.FIRST_COMPLETED)
    await stand.apply(gone=tuple(each.key for each in fleet))
    came = await asyncio.gather(*coming, return_exceptions=True)
    for raw in came:
        if isinstance(raw, Raw):
            await raw.end()
            await raw.close()
        else:
            assert isinstance(raw, Cut)


async def test_apply_is_idempotent_and_knows_no_strangers(stand: Stand) -> None:
    await stand.reconcile(OTHER)
    assert await stand.apply(PUMP, gone=("nobody",)) == Changes(added=["pump-1"])
    assert not await stand.apply(PUMP, gone=("nobody",))
    assert await stand.apply(PUMP, gone=("pump-1",)) == Changes(removed=["pump-1"])


async def test_accounts_survive_a_broker_killed_hard(stand: Stand) -> None:
    await stand.reconcile(PUMP)
    stand.service.kill()
    stand.service.start()
    assert not await stand.refuses(PUMP)
    assert not await stand.reconcile(PUMP)


async def test_reconcile_refills_a_broker_that_lost_its_accounts(stand: Stand) -> None:
    await stand.reconcile(PUMP)
    stand.lose_accounts()
    assert await stand.refuses(PUMP)
    assert await stand.reconcile(PUMP) == Changes(added=["pump-1"])
    async with stand.hub() as hub, stand.device(PUMP) as pump:
        assert await pump.subscribe("hub/pump-1/cmd/#")
        await hub.publish("hub/pump-1/cmd/relay/1", "on")
        assert await pump.heard() == ("hub/pump-1/cmd/relay/1", "on")


async def test_more_accounts_than_one_message_holds(stand: Stand) -> None:
    fleet = [account(f"sensor-{number}") for number in range(120)]
    assert len((await stand.reconcile(*fleet)).added) == 120
    assert not await stand.reconcile(*fleet)
    assert not await stand.refuses(fleet[-1])
    assert len((await stand.reconcile(PUMP)).removed) == 120


async def test_devices_are_brought_to_a_broker_at_the_rate_of_a_thousand_in_fifteen_seconds(
    stand: Stand, pytestconfig: pytest.Config
) -> None:
    """A thousand with --full, on a machine that does nothing else: Mosquitto takes almost as long for them."""
    fleet = [account(f"sensor-{number}") for number in range(1000 if pytestconfig.getoption("--full") else 300)]
    await stand.reconcile()
    began, worked = time.monotonic(), seconds_worked(stand.service.pid)
    assert len((await stand.reconcile(*fleet)).added) == len(fleet)
    # By the clock, or by the broker's own, where the machine has other work.
    assert min(time.monotonic() - began, seconds_worked(stand.service.pid) - worked) <= 15 * len(fleet) / 1000
    assert [await stand.refuses(each) for each in (fleet[0], fleet[-1], PUMP)] == [False, False, True]


def seconds_worked(pid: int) -> float:
    """How long the machine's processors have worked for a process; infinitely where Linux does not say."""
    told = Path(f"/proc/{pid}/stat")
    if not told.exists():
        return math.inf
    fields = told.read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


@pytest.mark.parametrize("whole", [True, False], ids=["reconcile", "apply"])
async def test_whoever_gets_a_deleted_devices_key_gets_nothing_else_of_it(stand: Stand, *, whole: bool) -> None:
    """Its session with what is queued there, its retained messages, its secret: all of that is gone."""
    await stand.reconcile(PUMP)
    async with stand.hub() as hub:
        async with stand.device(PUMP, clean_session=False) as pump:
            assert await pump.subscribe("hub/pump-1/cmd/#")
            for topic in ("status", "telemetry/flow", "sub/valve/meta", "with/a-long/name"):
                await pump.publish(f"hub/pump-1/{topic}", "kept", retain=True)
        await hub.publish("hub/pump-1/cmd/relay/1", "queued")
        another = account("pump-1", version=2**47)
        if whole:  # the bridge was away when the device was deleted, and made again
            expected = Changes(added=["pump-1"], removed=["pump-1"])
            assert await stand.reconcile(another) == expected
        else:
            assert await stand.apply(gone=("pump-1",)) == Changes(removed=["pump-1"])
            assert await stand.apply(another) == Changes(added=["pump-1"])
        assert await stand.refuses(PUMP)
        async with stand.device(another, clean_session=False) as pump:
            assert await pump.subscribe("hub/pump-1/cmd/#")
            await hub.publish("hub/pump-1/cmd/relay/2", "its own")
            assert await pump.heard() == ("hub/pump-1/cmd/relay/2", "its own")
        assert await hub.subscribe("hub/pump-1/#")
        await hub.publish("hub/pump-1/telemetry", "after it")
        assert await hub.heard() == ("hub/pump-1/telemetry", "after it")


async def test_what_a_device_has_said_stays_when_its_secret_changes(stand: Stand) -> None:
    await stand.reconcile(PUMP)
    async with stand.hub() as hub:
        async with stand.device(PUMP) as pump:
            await pump.publish("hub/pump-1/status", "kept", retain=True)
        await stand.apply(rotated(PUMP))
        assert await hub.subscribe("hub/+/status")
        assert await hub.heard() == ("hub/pump-1/status", "kept")


async def test_a_removal_that_was_cut_short_is_finished(mosquitto: services.Service) -> None:
    stand = Stand(mosquitto)
    await stand.reconcile(PUMP)
    async with stand.device(PUMP) as pump:
        await pump.publish("hub/pump-1/status", "kept", retain=True)
    async with mqtt.control(mqtt.MqttUrl.parse(mosquitto.url)) as exchange:
        await exchange(b'{"commands":[{"command":"deleteClient","username":"pump-1"}]}')
    assert await stand.reconcile() == Changes(removed=["pump-1"])
    async with stand.hub() as hub:
        assert await hub.subscribe("hub/#")
        await hub.publish("hub/pump-1/telemetry", "after it")
        assert await hub.heard() == ("hub/pump-1/telemetry", "after it")
    assert not await stand.reconcile()


async def test_what_a_broker_killed_half_way_left_of_an_account_is_replaced(mosquitto: services.Service) -> None:
    stand = Stand(mosquitto)
    await stand.reconcile()
    url = mqtt.MqttUrl.parse(mosquitto.url)
    async with mqtt.control(url) as exchange:
        await exchange(b'{"commands":[{"command":"createRole","rolename":"device:pump-1"}]}')
        await exchange(b'{"commands":[{"command":"createClient","username":"pump-2","password":"by hand"}]}')
    # A role without its client may be that of a device whose removal was cut short.
    assert await stand.reconcile(PUMP, OTHER) == Changes(added=["pump-1", "pump-2"], removed=["pump-1"])
    assert not await stand.reconcile(PUMP, OTHER)
    for each in (PUMP, OTHER):
        async with stand.device(each) as device:
            assert await device.subscribe(f"hub/{each.key}/cmd/#")
    await stand.reconcile()


async def test_an_account_made_by_hand_is_left_alone(mosquitto: services.Service) -> None:
    stand = Stand(mosquitto)
    await stand.reconcile(PUMP)
    async with mqtt.control(mqtt.MqttUrl.parse(mosquitto.url)) as exchange:
        await exchange(b'{"commands":[{"command":"createClient","username":"grafana","password":"by hand"}]}')
    assert await stand.reconcile() == Changes(removed=["pump-1"])
    assert not await stand.refuses(Account(key="grafana", secret="by hand", version=1))


async def test_a_device_named_like_the_hub_is_refused(mosquitto: services.Service) -> None:
    stand = Stand(mosquitto)
    with pytest.raises(ValueError, match="device key"):
        await stand.reconcile(account("Hub-test"))


async def test_the_files_of_a_broker_are_private_and_hold_no_device_secret(stand: Stand) -> None:
    await stand.reconcile(PUMP)
    for file in stand.files:
        assert file.stat().st_mode & 0o077 == 0
        assert PUMP.secret not in file.read_text()


NO_KEYS = ["", "Pump", "pump/1", "pump.1", "pump 1", "*", ">", "+", "#", "-pump", "a" * 64, "pump\n", "pümp"]


@pytest.mark.parametrize("key", NO_KEYS)
def test_a_key_that_a_broker_could_misread_makes_no_account(key: str) -> None:
    with pytest.raises(ValueError, match="device key"):
        account(key)


def test_an_account_shows_no_secret() -> None:
    assert PUMP.secret not in repr(PUMP)
