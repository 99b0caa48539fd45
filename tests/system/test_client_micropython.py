"""clients/micropython as boards run it: by the MicroPython interpreter, against both brokers and the whole hub."""

import json
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib import util
from pathlib import Path
from typing import Any

import pytest

from devices import wire
from tests.hub import BIN, Device, Hub, eventually
from tests.services import ROOT, Service
from tests.system.wiretap import Line, line_to

NewDevice = Callable[..., Device]

pytestmark = pytest.mark.skipif(
    util.find_spec("micropython_unix") is None, reason="the MicroPython interpreter is missing: Linux x86-64 has one"
)


class Board:
    """tests/micropython/kitchen.py behind a line; `file` is its flash."""

    def __init__(self, hub: Hub, device: Device, line: Line, folder: Path, *, file: bool = True) -> None:
        self.hub, self.key, self.line = hub, device.key, line
        self._log = folder / "board.log"
        self.flash = folder / "flash.txt"
        program = [BIN / "micropython", ROOT / "tests/micropython/kitchen.py", str(line.port), device.key]
        path = f"{ROOT}/tests/micropython:{ROOT}/clients/micropython:.frozen"
        self.part = Service(
            [*program, device.secret, str(self.flash) if file else ""],
            0,
            "",
            self._log,
            env={"MICROPYPATH": path},
        )

    def start(self) -> None:
        """Start (again), and wait for its first frame."""
        topic = f"hub/{self.key}/telemetry"
        before = len(self.line.heard(topic))
        self.part.launch()
        eventually(lambda: self.line.heard(topic)[before:])

    def done(self, what: str) -> int:
        """How often it did this."""
        return self._log.read_text().splitlines().count(what)

    def order(self, name: str, args: Any = None) -> str:
        asked = {"name": name} if args is None else {"name": name, "args": args}
        return str(self.hub.ask("POST", f"devices/{self.key}/commands/", json=asked)["id"])

    def answer(self, cid: str) -> tuple[str, str]:
        """What became of a command, when its device has answered."""

        def settled() -> Any:
            found = self.hub.ask("GET", f"commands/{cid}/")
            return found if found["state"] not in ("queued", "sent", "received") else None

        found = eventually(settled)
        return found["state"], found["events"][-1]["message"]

    def tell(self, name: str, cid: str, argument: str, *, retained: bool = False) -> Any:
        """Send it a command past the hub; what it answers next."""
        before = len(self.answers(cid))
        self.line.tell(f"hub/{self.key}/cmd/{name}/{cid}", argument, retained=retained)
        return eventually(lambda: self.answers(cid)[before:])[0]

    def answers(self, cid: str) -> list[Any]:
        answers = [json.loads(payload) for payload in self.line.heard(f"hub/{self.key}/ack/{cid}")]
        return [answer for answer in answers if answer["status"] != "accepted"]

    def numbers(self) -> list[int]:
        return [row[2]["n"] for row in self.hub.frames(self.key) if "n" in row[2]]


@pytest.fixture
def board(anywhere: Hub, new_device: NewDevice, tmp_path: Path) -> Iterator[Board]:
    with board_of(anywhere, new_device(), tmp_path) as running:
        yield running


@contextmanager
def board_of(hub: Hub, device: Device, folder: Path, **how: bool) -> Iterator[Board]:
    with line_to(hub.mqtt_port) as line:
        board = Board(hub, device, line, folder, **how)
        try:
            board.start()
            yield board
        finally:
            board.part.kill()


def test_a_board_reports_obeys_once_and_fills_in_what_it_measured_while_it_was_cut_off(board: Board) -> None:
    eventually(lambda: board.numbers()[:2] == [1, 2])
    cid = board.order("led", args=True)
    assert board.answer(cid) == ("succeeded", "")
    again = board.tell("led", cid, "on")
    assert (again, board.done("led True")) == ({"status": "ok"}, 1)
    assert board.answer(board.order("setpoint", 28)) == ("rejected", "too hot for the cat")
    assert board.answer(board.order("valve", "shut")) == ("failed", "valve stuck shut")

    board.line.cut()
    seen = board.numbers()[-1]
    eventually(lambda: board.done(f"measured {seen + 5}"))
    board.line.mend()
    numbers = eventually(lambda: found if (found := board.numbers())[-1] > seen + 5 else None)
    assert sorted(numbers) == list(range(1, len(numbers) + 1))


def test_a_board_refuses_what_is_too_late_and_what_was_retained(board: Board) -> None:
    late = wire.cid((int(time.time()) - 5) * 1000, 1)
    good = wire.cid((int(time.time()) + 60) * 1000, 2)
    assert board.tell("led", late, "on")["status"] == "expired"
    assert board.tell("led", good, "on", retained=True)["status"] == "rejected"
    assert board.done("led True") == 0
    assert board.tell("led", good, "on")["status"] == "ok"
    assert board.done("led True") == 1


def test_a_board_takes_settings_in_and_reports_what_it_keeps_to(board: Board) -> None:
    def told(**values: Any) -> Any:
        before = len(board.line.heard(f"hub/{board.key}/reported"))
        board.line.tell(f"hub/{board.key}/desired", json.dumps({"version": before, "values": values}))
        return json.loads(eventually(lambda: board.line.heard(f"hub/{board.key}/reported")[before:])[0])

    assert json.loads(board.line.heard(f"hub/{board.key}/reported")[0]) == {"interval_s": 0.2}
    assert told(interval_s=0.1, unknown=1) == {"version": 1, "values": {"interval_s": 0.1}}
    assert told(interval_s=-5) == {"version": 2, "values": {"interval_s": 0.1}}
    assert told(interval_s=None) == {"version": 3, "values": {"interval_s": 0.2}}
    assert (board.done("interval 0.1"), board.done("interval 0.2")) == (1, 1)


def test_a_board_knows_its_commands_again_after_it_crashed_in_the_middle_of_one(board: Board) -> None:
    done = wire.cid((int(time.time()) + 60) * 1000, 1)
    torn = wire.cid((int(time.time()) + 60) * 1000, 2)
    assert board.tell("setpoint", done, "21.5") == {"status": "ok", "value": 21.5}
    board.line.tell(f"hub/{board.key}/cmd/crash/{torn}", "")
    eventually(lambda: board.done("crash"))
    board.part.kill()
    board.start()
    assert board.tell("setpoint", done, "21.5") == {"status": "ok", "value": 21.5}
    assert board.tell("crash", torn, "")["status"] == "error"
    assert (board.done("setpoint 21.5"), board.done("crash")) == (1, 1)
