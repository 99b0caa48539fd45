"""The Arduino library's example in MicroPython; the device and its flash come from the environment, for tests.

HUB_PORT, HUB_KEY, HUB_SECRET; HUB_FLASH: its folder.
"""

import os
import time

import hub_update
from hub_device import Device, Refused

hub = Device(
    "127.0.0.1",
    os.getenv("HUB_KEY"),
    os.getenv("HUB_SECRET"),
    port=int(os.getenv("HUB_PORT")),
    file=os.getenv("HUB_FLASH") + "/hub_commands.txt",
    frames=200,
    name="Kitchen",
    model="K-1",
    fw="1.0",
)
hub.metric("temperature", unit="°C")
hub.setting("interval_s", 5, type="number", min=0.1, max=3600, unit="s")
hub.setting("mode", "eco", type="enum", options=["eco", "auto"])
hub.setting("quiet", False, type="bool")


@hub.command("light", type="bool")
def light(on: bool) -> None:
    print("light on" if on else "light off")


@hub.command("setpoint", type="number", min=5, max=30, unit="°C")
def setpoint(value: float) -> float:
    if value > 25:
        raise Refused("too hot for the cat")
    return value


@hub.command("water", type="number", min=1, max=60, unit="s")
def water(seconds: int) -> None:
    print("water")
    for second in range(seconds):
        time.sleep(1)
        hub.progress((second + 1) / seconds)


@hub.command("update", type="update")
def update(wanted: dict) -> str:
    hub_update.fetch(hub, wanted, os.getenv("HUB_FLASH") + "/firmware.bin")
    return wanted["version"]


@hub.command("restart", type="action", dangerous=True)
def restart() -> object:
    return lambda: os.system("kill $PPID")  # noqa: S605


hub.run(lambda: {"temperature": 21.5, "uptime_s": time.ticks_ms() // 1000}, lambda: hub.settings["interval_s"])
