"""Devices as clients/micropython and clients/arduino make them, as real programs: the same kitchen in both."""

import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any, Final

from devices import wire
from tests.hub import Device, Hub, Part, eventually
from tests.services import LOOPBACK, ROOT, need
from tests.system.wiretap import Line, line_to

KINDS: Final = ("micropython", "arduino")
STUBS: Final = ROOT / "tests/arduino/stubs"
LIBRARY: Final = ROOT / "clients/arduino/TelemetryHub"
STRICT: Final = ("-std=c++11", "-Wall", "-Wextra", "-Werror", f"-I{STUBS}", f"-I{LIBRARY}/src")
# A board has no memory to lose, and nobody to tell of a fault.
SANITISED: Final = ("-fsanitize=address,undefined", "-fno-sanitize-recover=all", "-DESP32", "-DHUB_FRAMES=200")


@cache
def _arduino(folder: str) -> list[str]:
    program = f"{folder}/kitchen"
    subprocess.run([need("c++"), *STRICT, *SANITISED, ROOT / "tests/arduino/host.cpp", "-o", program], check=True)
    return [program]


def _micropython() -> list[str]:
    return [str(need("micropython")), str(ROOT / "tests/micropython/kitchen.py")]


class Board:
    """One running kitchen behind a line to the broker; its flash is a folder that outlasts it."""

    def __init__(self, kind: str, hub: Hub, device: Device, line: Line, folder: Path) -> None:
        self.hub, self.line, self.flash = hub, line, folder
        self.key, self.secret = device
        self._log = folder / "board.log"
        env = {
            "HUB_HOST": LOOPBACK,
            "HUB_PORT": str(line.port),
            "HUB_KEY": device.key,
            "HUB_SECRET": device.secret,
            "HUB_FLASH": str(folder),
            "MICROPYPATH": os.pathsep.join([f"{ROOT}/tests/micropython", f"{ROOT}/clients/micropython", ".frozen"]),
        }
        command = _micropython() if kind == "micropython" else _arduino(str(folder.parent))
        self.part = Part(command, 0, "", self._log, env=env)

    def topic(self, suffix: str) -> str:
        return f"hub/{self.key}/{suffix}"

    def start(self) -> None:
        """Start (again), and wait for its first frame."""
        before = len(self.line.heard(self.topic("telemetry")))
        self.part.launch()
        eventually(lambda: self.line.heard(self.topic("telemetry"))[before:], f"a frame: {self.printed()}")

    def printed(self) -> list[str]:
        return self._log.read_text(errors="replace").splitlines()

    def order(self, name: str, args: Any = None) -> str:
        """Have the hub send a command."""
        asked = {"name": name} if args is None else {"name": name, "args": args}
        return str(self.hub.ask("POST", f"devices/{self.key}/commands/", json=asked)["id"])

    def result(self, cid: str) -> tuple[str, str]:
        """What became of a command of the hub, and what its device said."""

        def settled() -> Any:
            found = self.hub.ask("GET", f"commands/{cid}/")
            return None if found["state"] in ("queued", "sent", "received") else found

        found = eventually(settled, f"an answer: {self.printed()}")
        return found["state"], found["events"][-1]["message"]

    def tell(self, name: str, cid: str, argument: str, *, retained: bool = False) -> wire.Ack:
        """Send it a command past the hub; what it answers."""
        before = len(self.answers(cid))
        self.line.tell(self.topic(f"cmd/{name}/{cid}"), argument, retained=retained)
        return eventually(lambda: self.answers(cid)[before:], f"an answer: {self.printed()}")[0]

    def answers(self, cid: str) -> list[wire.Ack]:
        """What it has answered to a command, as the hub reads it; not how far it was."""
        found = [
            wire.read(wire.Message(topic=topic, payload=payload.encode(), received_at=0))[1][0]
            for topic, payload in list(self.line.said)
            if topic == self.topic(f"ack/{cid}")
        ]
        return [ack for ack in found if isinstance(ack, wire.Ack) and ack.status != "received"]


@contextmanager
def board_of(kind: str, hub: Hub, device: Device, folder: Path) -> Iterator[Board]:
    with line_to(hub.mqtt_port) as line:
        board = Board(kind, hub, device, line, folder)
        try:
            board.start()
            yield board
        finally:
            board.part.kill()
