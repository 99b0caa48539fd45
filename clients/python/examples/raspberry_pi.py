"""A Raspberry Pi, or any other Linux, as a device: temperature, free disk, memory, load; settable, and restartable.

    HUB_KEY=kitchen HUB_SECRET=… HUB_HOST=hub.example.org python raspberry_pi.py

HUB_CA names a file of certificates to trust, HUB_BUFFER where to keep what has no receipt yet. `clients/python/systemd`
has the unit that starts it at boot.
"""

import asyncio
import logging
import os
import shutil
from pathlib import Path

from telemetry_hub.device import Device, Order

THERMAL = Path("/sys/class/thermal/thermal_zone0/temp")

device = Device(
    os.environ["HUB_KEY"],
    os.environ["HUB_SECRET"],
    os.environ["HUB_HOST"],
    int(os.environ["HUB_PORT"]) if "HUB_PORT" in os.environ else None,
    ca=os.environ.get("HUB_CA"),
    buffer=os.environ.get("HUB_BUFFER", "telemetry-hub.db"),
    name=os.uname().nodename,
    model=f"{os.uname().sysname} {os.uname().machine}",
    fw=os.uname().release,
)
device.metric("cpu_temperature", unit="°C", device_class="temperature")
device.metric("disk_free", unit="GB")
device.metric("memory_free", unit="MB")
device.metric("load")
every_s = 60.0


@device.setting("interval_s", type="number", min=1, max=3600, unit="s", default=60)
def interval(seconds: float) -> None:
    """How often it measures."""
    global every_s  # noqa: PLW0603  a script's one setting
    every_s = seconds


@device.command("measure", type="action")
def measure() -> None:
    """Measure now, out of turn."""
    device.publish(readings())


@device.command("restart", type="action", dangerous=True)
async def restart(order: Order) -> None:
    """End; systemd starts it again, and it then answers that it is up."""
    order.restarting()
    ended.set()


def readings() -> dict[str, float]:
    """What the kernel says."""
    found = {"load": os.getloadavg()[0], "disk_free": round(shutil.disk_usage("/").free / 1e9, 2)}
    if THERMAL.exists():
        found["cpu_temperature"] = int(THERMAL.read_text()) / 1000
    for line in Path("/proc/meminfo").read_text().splitlines():
        if line.startswith("MemAvailable:"):
            found["memory_free"] = round(int(line.split()[1]) / 1024)
    return found


ended = asyncio.Event()


async def main() -> None:
    """Measure, until it is to restart."""
    async with device:
        while not ended.is_set():
            device.publish(readings())
            try:
                await asyncio.wait_for(ended.wait(), every_s)
            except TimeoutError:
                continue


if __name__ == "__main__":
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    asyncio.run(main())
