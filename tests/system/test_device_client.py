"""The Python client's device on both set-ups: readings, commands and settings, as a program has them."""

import asyncio
import os
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from telemetry_hub.device import Device, Order, Rejected
from tests.hub import Demo, Hub, eventually
from tests.hub import Device as Account
from tests.services import LOOPBACK
from tests.system.wiretap import line_to

CLIENT = Path(__file__).resolve().parents[2] / "clients/python"
NewDevice = Callable[..., Account]
PATIENCE_S = 30


def client(hub: Hub, account: Account, **how: Any) -> Device:
    return Device(account.key, account.secret, hub.mqtt_host, hub.mqtt_port, tls=False, **how)


@asynccontextmanager
async def alive(device: Device) -> AsyncIterator[Device]:
    async with asyncio.timeout(2 * PATIENCE_S), device:
        yield device


async def ask(hub: Hub, method: str, path: str, **options: Any) -> Any:
    return await asyncio.to_thread(hub.ask, method, path, **options)


async def settled(hub: Hub, account: Account, name: str, args: Any = None) -> dict[str, Any]:
    """Give a command, and wait until it has ended."""
    asked = {"name": name, "args": args}
    given = await ask(hub, "POST", f"devices/{account.key}/commands/", json=asked)

    def ended() -> dict[str, Any] | None:
        found: dict[str, Any] = hub.ask("GET", f"commands/{given['id']}/")
        return found if found["state"] in ("succeeded", "failed", "rejected", "expired") else None

    found = await asyncio.to_thread(eventually, ended, f"{name} has ended")
    assert found is not None
    return found


async def test_what_is_published_is_in_the_hubs_database_once_its_receipt_is_here(
    anywhere: Hub, new_device: NewDevice, tmp_path: Path
) -> None:
    account = new_device("kitchen")
    device = client(anywhere, account, buffer=tmp_path / "kitchen.db", name="Kitchen", fw="1.2")
    device.metric("temperature", unit="°C", device_class="temperature")
    for n in range(500):  # before there is any connection
        device.publish(temperature=20 + n / 100, n=n, at=1_790_000_000 + n)
    async with alive(device):
        device.locate(48.2, 16.4, acc=5)
        await device.received()
        assert (device.waiting, device.lost, device.refused) == (0, 0, 0)
        rows = await asyncio.to_thread(anywhere.frames, account.key)
        told = await ask(anywhere, "GET", f"devices/{account.key}/")
    assert [row[2] for row in rows[:500]] == [{"temperature": 20 + n / 100, "n": n} for n in range(500)]
    assert rows[500][2] == {"lat": 48.2, "lon": 16.4, "acc": 5}
    assert (told["name"], told["presence"]["state"], told["numbering"]["missing"]) == ("Kitchen", "online", 0)


async def test_commands_are_carried_out_by_plain_and_by_asynchronous_functions(
    anywhere: Hub, new_device: NewDevice
) -> None:
    account = new_device("kitchen")
    device = client(anywhere, account)
    done: list[Any] = []

    @device.command("led", type="bool")
    async def led(on: bool) -> None:
        done.append(on)

    @device.command("heat", type="number", min=5, max=30)
    def heat(degrees: float, order: Order) -> float:
        order.progress(0.5)
        if degrees > 25:
            raise Rejected("too hot for the plants")
        return degrees

    @device.command("blink", type="action")
    def blink() -> None:
        raise OSError("no lamp")

    async with alive(device):
        device.publish(ready=True)
        await device.received()
        assert (await settled(anywhere, account, "led", True))["state"] == "succeeded"
        heated = await settled(anywhere, account, "heat", 21.5)
        refused = await settled(anywhere, account, "heat", 28)
        failed = await settled(anywhere, account, "blink")
    assert done == [True]
    assert heated["state"] == "succeeded"
    assert 0.5 in [event["progress"] for event in heated["events"]]
    assert (refused["state"], refused["events"][-1]["message"]) == ("rejected", "too hot for the plants")
    assert (failed["state"], failed["events"][-1]["message"]) == ("failed", "OSError: no lamp")


async def test_a_flood_beyond_the_hubs_limit_arrives_whole(anywhere: Hub, new_device: NewDevice) -> None:
    account = new_device("flooder")
    await ask(anywhere, "PATCH", f"devices/{account.key}/", json={"rate": 500, "burst": 200})
    device = client(anywhere, account)
    for n in range(1500):
        device.publish(n=n)
    async with alive(device):
        await device.received()
        rows = await asyncio.to_thread(anywhere.frames, account.key)
    assert sorted(row[2]["n"] for row in rows) == list(range(1500))


async def test_a_connection_that_breaks_before_the_broker_answers_is_made_again_at_once(
    anywhere: Hub, new_device: NewDevice
) -> None:
    account = new_device("kitchen")
    answers = f"hub/{account.key}/ack/c1"
    with line_to(anywhere.mqtt_port) as line:
        device = Device(account.key, account.secret, LOOPBACK, line.port, tls=False)
        device.command("led", type="bool")(print)
        async with alive(device):
            device.publish(n=1)
            await device.received()
            line.is_mute = True
            line.tell(f"hub/{account.key}/cmd/led/c1", "on")
            await asyncio.to_thread(eventually, lambda: line.heard(answers), "it answers")
            line.cut()
            line.mend()
            said = len(line.heard(answers))
            async with asyncio.timeout(5):  # whoever waits for the broker's word waits for ten
                await asyncio.to_thread(eventually, lambda: len(line.heard(answers)) > said, "it answers again")


async def test_who_leaves_says_good_bye(anywhere: Hub, new_device: NewDevice) -> None:
    account = new_device("kitchen")
    async with alive(client(anywhere, account)) as device:
        device.publish(t=1)
        await device.received()

    def presence() -> bool:
        return bool(anywhere.ask("GET", f"devices/{account.key}/")["presence"]["state"] == "offline")

    assert await asyncio.to_thread(eventually, presence, "offline")


async def test_the_example_for_a_raspberry_pi_runs_on_any_linux(demo: Demo, tmp_path: Path) -> None:
    account = await asyncio.to_thread(demo.add_device, "raspberry")
    login = {"HUB_KEY": account.key, "HUB_SECRET": account.secret, "HUB_HOST": demo.mqtt_host}
    more = {"HUB_PORT": str(demo.mqtt_port), "HUB_BUFFER": str(tmp_path / "pi.db"), "PYTHONPATH": str(CLIENT)}
    example = await asyncio.create_subprocess_exec(
        sys.executable, CLIENT / "examples/raspberry_pi.py", env=os.environ | login | more
    )
    try:
        rows = await asyncio.to_thread(eventually, lambda: demo.frames(account.key), "it measures")
        assert {"load", "disk_free", "memory_free"} <= rows[0][2].keys()
        assert (await settled(demo, account, "measure"))["state"] == "succeeded"
    finally:
        example.terminate()
        await example.wait()
    assert (tmp_path / "pi.db").stat().st_mode & 0o77 == 0
