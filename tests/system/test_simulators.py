"""The simulated fleet on real brokers, as somebody sees it who only listens."""

import asyncio
import json
import secrets
import signal
import sys
from asyncio.subprocess import PIPE, Process
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from django.core.management import CommandError, call_command

from bridge.accounts import Account
from devices import registry
from devices.models import Fleet
from hub import env
from hub.management.commands import simulate
from simulators import fleet, running
from simulators.counts import Counts
from simulators.script import Dropouts, Scenario
from tests.system.stands import PATIENCE_S, Client, Stand

PUMP = Account(key="sim-pump-1", secret=secrets.token_urlsafe(32), version=1)
QUICK = Scenario(kinds={"pump": 1}, interval_s=(0.05, 0.05))

Heard = tuple[str, str]


@asynccontextmanager
async def lives(stand: Stand, scenario: Scenario, *accounts: Account) -> AsyncIterator[Counts]:
    """These devices, for as long as the block takes."""
    stop, counts = asyncio.Event(), Counts()
    logins = [fleet.Credentials(account.key, account.secret) for account in accounts]
    where: dict[str, Any] = {"host": "127.0.0.1", "port": stand.service.port}
    fleet_ = asyncio.create_task(running.run(logins, **where, scenario=scenario, stop=stop, counts=counts))
    try:
        yield counts
    finally:
        stop.set()
        async with asyncio.timeout(PATIENCE_S):
            await fleet_


@asynccontextmanager
async def listener(stand: Stand, topic: str = f"hub/{PUMP.key}/#") -> AsyncIterator[Client]:
    async with stand.hub() as hub:
        assert await hub.subscribe(topic)
        yield hub


async def until(hub: Client, enough: Callable[[Heard], bool]) -> list[Heard]:
    """What is heard up to the first that is enough, with it."""
    heard = []
    async with asyncio.timeout(3 * PATIENCE_S):
        while not heard or not enough(heard[-1]):
            heard.append(await hub.heard())
    return heard


def status(text: str) -> Callable[[Heard], bool]:
    return lambda heard: heard == (f"hub/{PUMP.key}/status", text)


def frames(heard: list[Heard]) -> list[dict[str, Any]]:
    """Every frame, out of its batch."""
    found = [json.loads(payload) for topic, payload in heard if topic.endswith("/telemetry")]
    return [frame for each in found for frame in (each if isinstance(each, list) else [each])]


def numbered(n: int) -> Callable[[Heard], bool]:
    return lambda heard: any(frame["seq"] >= n for frame in frames([heard]))


async def test_a_device_says_hello_and_then_numbers_its_frames_without_a_hole(stand: Stand) -> None:
    await stand.reconcile(PUMP)
    async with listener(stand) as hub, lives(stand, QUICK, PUMP):
        heard = await until(hub, numbered(20))
    assert [topic.rsplit("/", 1)[1] for topic, _ in heard[:4]] == ["status", "meta", "reported", "telemetry"]
    assert heard[0][1] == "online"
    assert len({frame["boot"] for frame in frames(heard)}) == 1
    assert [frame["seq"] for frame in frames(heard)] == list(range(1, 21))


async def test_who_comes_later_still_learns_that_it_is_online_and_what_it_can_do(stand: Stand) -> None:
    await stand.reconcile(PUMP)
    async with lives(stand, QUICK, PUMP):
        async with listener(stand) as hub:
            await until(hub, numbered(1))
        async with listener(stand, f"hub/{PUMP.key}/status") as late:
            assert (await late.heard())[1] == "online"
        async with listener(stand, f"hub/{PUMP.key}/meta") as late:
            assert "setpoint" in json.loads((await late.heard())[1])["commands"]


async def test_whoever_ends_the_fleet_leaves_every_device_offline(stand: Stand) -> None:
    await stand.reconcile(PUMP)
    async with listener(stand) as hub:
        async with lives(stand, QUICK, PUMP):
            await until(hub, numbered(1))
        await until(hub, status("offline"))
    async with listener(stand, f"hub/{PUMP.key}/status") as late:
        assert (await late.heard())[1] == "offline"


async def test_a_device_that_vanishes_is_declared_offline_by_its_will_and_its_frames_come_late(stand: Stand) -> None:
    await stand.reconcile(PUMP)
    outages = Scenario(kinds={"pump": 1}, interval_s=(0.05, 0.05), dropouts=Dropouts(0.5, (0.5, 0.5)))
    async with listener(stand) as hub, lives(stand, outages, PUMP) as counts:
        heard = await until(hub, status("offline"))
        heard += await until(hub, status("online"))
        last = frames(heard)[-1]["seq"]
        heard += await until(hub, numbered(last + 5))
    assert counts.dropouts >= 1
    seqs = [frame["seq"] for frame in frames(heard)]
    # What was under way when the connection broke may come twice (at least once); nothing is missing.
    assert sorted(set(seqs)) == list(range(1, max(seqs) + 1))
    assert len({frame["boot"] for frame in frames(heard)}) == 1
    assert any(payload.startswith("[") for _, payload in heard), "what was kept comes in batches"


async def test_a_device_that_lost_its_power_comes_back_with_a_new_boot(stand: Stand) -> None:
    await stand.reconcile(PUMP)
    cuts = Scenario(kinds={"pump": 1}, interval_s=(0.05, 0.05), dropouts=Dropouts(0.5, (0.2, 0.2), reboot=1.0))
    async with listener(stand) as hub, lives(stand, cuts, PUMP):
        await until(hub, status("offline"))
        before = await until(hub, status("online"))
        after = await until(hub, numbered(1))
    assert not frames(before)
    assert frames(after)[0]["seq"] == 1


async def test_a_command_is_acknowledged_done_and_shown(stand: Stand) -> None:
    await stand.reconcile(PUMP)
    async with listener(stand) as hub, lives(stand, QUICK, PUMP):
        await until(hub, numbered(1))
        await hub.publish(f"hub/{PUMP.key}/cmd/relay/c1", "off")
        heard = await until(hub, lambda heard: any(not frame["values"]["relay"] for frame in frames([heard])))
    acks = [json.loads(payload) for topic, payload in heard if topic == f"hub/{PUMP.key}/ack/c1"]
    assert acks == [{"status": "accepted"}, {"status": "ok", "value": False}]


async def test_nonsense_is_rejected_on_the_wire(stand: Stand) -> None:
    await stand.reconcile(PUMP)
    async with listener(stand) as hub, lives(stand, QUICK, PUMP):
        await until(hub, numbered(1))
        await hub.publish(f"hub/{PUMP.key}/cmd/setpoint/c2", "a lot")
        heard = await until(hub, lambda heard: heard[0] == f"hub/{PUMP.key}/ack/c2")
    assert json.loads(heard[-1][1])["status"] == "rejected"


async def test_a_restart_of_the_broker_costs_no_frame(stand: Stand) -> None:
    await stand.reconcile(PUMP)
    async with lives(stand, QUICK, PUMP) as counts:
        async with listener(stand) as hub:
            heard = await until(hub, numbered(5))
        connects = counts.connects
        # Nobody listens while the fleet comes back, so what it sends then has to be told by its numbers.
        stand.service.stop()
        await asyncio.to_thread(stand.service.start)
        async with listener(stand) as hub:
            heard = await until(hub, numbered(frames(heard)[-1]["seq"] + 20))
            assert counts.connects == connects + 1
        last = frames(heard)[-1]["seq"]
        assert counts.lost == 0
    # Each counted frame was acknowledged by the broker, and all up to the last one were.
    assert counts.frames >= last


async def test_a_device_whose_account_comes_later_gets_in_by_itself(stand: Stand) -> None:
    async with listener(stand) as hub, lives(stand, QUICK, PUMP) as counts:
        async with asyncio.timeout(PATIENCE_S):
            while not counts.refused:  # noqa: ASYNC110  a count rings no bell
                await asyncio.sleep(0.01)
        await stand.reconcile(PUMP)
        heard = await until(hub, numbered(3))
    assert frames(heard)[0]["seq"] == 1


# --- as a process of its own


@asynccontextmanager
async def child(stand: Stand) -> AsyncIterator[Process]:
    """`python -m simulators` with its job; whoever leaves the block has ended it."""
    job = {
        "host": "127.0.0.1",
        "port": stand.service.port,
        "scenario": "calm",
        "seed": 7,
        "devices": [{"key": PUMP.key, "secret": PUMP.secret, "kind": "pump"}],
    }
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "simulators", stdin=PIPE, stdout=PIPE, cwd=env.CHECKOUT
    )
    assert process.stdin is not None
    process.stdin.write(json.dumps(job).encode() + b"\n")
    try:
        yield process
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()


@pytest.mark.parametrize("end", ["stdin", "SIGTERM", "SIGINT"])
async def test_the_process_ends_politely_when_told_or_when_its_parent_is_gone(stand: Stand, end: str) -> None:
    await stand.reconcile(PUMP)
    async with listener(stand) as hub, child(stand) as process:
        await until(hub, numbered(1))
        if end == "stdin":
            assert process.stdin is not None
            process.stdin.close()
        else:
            process.send_signal(signal.Signals[end])
        await until(hub, status("offline"))
        async with asyncio.timeout(PATIENCE_S):
            assert await process.wait() == 0
        assert process.stdout is not None
        assert b"0 of 1 devices connected" in await process.stdout.read()


async def test_a_mistaken_job_ends_the_process_with_a_sentence() -> None:
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "simulators", stdin=PIPE, stderr=PIPE, cwd=env.CHECKOUT
    )
    async with asyncio.timeout(PATIENCE_S):
        _, said = await process.communicate(b'{"devices": 1}\n')
    assert process.returncode == 1
    assert said.decode().startswith("job: ")
    assert "Traceback" not in said.decode()


# --- as a command


def test_simulate_with_given_credentials_needs_no_database(
    stand: Stand, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    asyncio.run(stand.reconcile(PUMP))
    file = tmp_path / "credentials.json"
    file.touch(mode=0o600)
    file.write_text(json.dumps([{"key": PUMP.key, "secret": PUMP.secret, "mqtt": {"host": "elsewhere"}}]))
    where = ["--host", "127.0.0.1", "--port", str(stand.service.port)]
    call_command("simulate", "--credentials", str(file), "--rate", "20", "--for", "0.5", *where)
    said = capsys.readouterr().out
    assert "connects 1, frames" in said
    assert PUMP.secret not in said


@pytest.mark.django_db
def test_simulate_registers_what_is_missing_and_leaves_what_is_there() -> None:
    first = simulate.Command().registered(fleet.keys(QUICK, 2, "toy-"))
    again = simulate.Command().registered(fleet.keys(QUICK, 3, "toy-"))
    assert [login.key for login in again] == ["toy-pump-1", "toy-pump-2", "toy-pump-3"]
    assert again[:2] == first


@pytest.mark.django_db
def test_simulate_does_not_take_a_device_of_another_fleet() -> None:
    registry.create("sim-pump-1", Fleet.objects.create(slug="real", name="Real"))
    with pytest.raises(CommandError, match="another fleet"):
        simulate.Command().registered(["sim-pump-1"])


@pytest.mark.parametrize(("content", "why"), [("[", "truncated"), ('[{"key": "a", "secret": 4711}]', "secret")])
def test_a_mistaken_file_of_credentials_is_explained(tmp_path: Path, content: str, why: str) -> None:
    file = tmp_path / "credentials.json"
    file.touch(mode=0o600)
    file.write_text(content)
    with pytest.raises(CommandError, match=why) as mistaken:
        call_command("simulate", "--credentials", str(file))
    assert "4711" not in str(mistaken.value)
