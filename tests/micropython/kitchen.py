"""The device of the tests, run by MicroPython: `kitchen.py <port> <key> <secret> <file or "">`; says what it does."""

import sys

from hub_device import Device, Refused

_, port, key, secret, file = sys.argv
hub = Device(
    "127.0.0.1", key, secret, port=int(port), keepalive=5, frames=20, file=file or None, remembers=4, model="Test"
)
hub.metric("n", unit="°C")
hub.setting("interval_s", 0.2, lambda value: print("interval", value), type="number", min=0.05, max=3600, unit="s")
measured = []


@hub.command("led", type="bool")
def led(value: bool) -> None:
    print("led", value)
    hub.progress(0.5)


@hub.command("setpoint", type="number", min=5, max=30)
def setpoint(value: float) -> float:
    if value > 25:
        raise Refused("too hot for the cat")
    print("setpoint", value)
    return value


@hub.command("valve", type="enum", options=["open", "shut"])
def valve(value: str) -> None:
    raise ValueError("valve stuck " + value)


@hub.command("crash", type="action")
def crash() -> None:
    print("crash")
    while True:
        pass  # until its power is cut


def measure() -> dict:
    measured.append(len(measured) + 1)
    print("measured", measured[-1])
    return {"n": measured[-1]}


hub.run(measure, lambda: hub.settings["interval_s"])
