"""clients/micropython and clients/arduino as boards run them, with either broker and the whole hub.

MicroPython's own interpreter runs the one; the other is compiled with stubs of Arduino's core and of PubSubClient, and
with all that the compiler has against wrong use of memory.
"""

import json
import subprocess
import threading
import time
from base64 import b64decode
from collections.abc import Callable, Iterator
from hashlib import sha256
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, ClassVar, Final

import pytest

from devices import wire
from tests.hub import Device, Hub, eventually
from tests.services import LOOPBACK, Missing, need
from tests.system import boards
from tests.system.boards import Board


@pytest.fixture(params=boards.KINDS)
def board(
    request: pytest.FixtureRequest, anywhere: Hub, new_device: Callable[..., Device], tmp_path: Path
) -> Iterator[Board]:
    try:
        with boards.board_of(request.param, anywhere, new_device(), tmp_path) as running:
            yield running
    except Missing as missing:
        pytest.skip(str(missing))


# What lies between the board and the line alone.
ONE_BROKER: Final = pytest.mark.parametrize("anywhere", ["demo"], indirect=True)


def cid(number: int, seconds: int = 60) -> str:
    """The id of a command that expires in so many seconds."""
    return wire.cid((int(time.time()) + seconds) * 1000, number)


def told(board: Board, **values: Any) -> Any:
    """What the board reports after it was told of these settings."""
    before = len(board.line.heard(board.topic("reported")))
    board.line.tell(board.topic("desired"), json.dumps({"version": before, "values": values}))
    return json.loads(eventually(lambda: board.line.heard(board.topic("reported"))[before:])[0])


def test_a_board_says_what_it_is_and_obeys_and_tells_how_it_went(board: Board) -> None:
    light = board.order("light", args=True)
    assert board.result(light) == ("succeeded", "")
    assert board.result(board.order("setpoint", 28)) == ("rejected", "too hot for the cat")
    head = board.hub.ask("GET", f"devices/{board.key}/")
    assert {each["name"]: each["unit"] for each in head["metrics"]}["temperature"] == "°C"
    kinds = {each["name"]: each["type"] for each in head["commands"]}
    assert kinds.items() >= {"light": "bool", "setpoint": "number", "water": "number", "restart": "action"}.items()
    assert board.tell("light", light, "on").status == "succeeded"
    assert board.printed().count("light on") == 1


def test_what_a_board_measures_while_it_is_cut_off_is_filled_in(board: Board) -> None:
    told(board, interval_s=0.1)
    board.line.cut()
    begun = time.time() * 1000
    time.sleep(0.7)  # for as long it is alone
    ended = time.time() * 1000
    board.line.mend()

    def numbering() -> Any:
        return board.hub.ask("GET", f"devices/{board.key}/")["numbering"]

    alone = eventually(lambda: [row for row in board.hub.frames(board.key) if begun < row[1] < ended])
    found = eventually(lambda: found if (found := numbering())["newest"] > len(alone) + 3 else None)
    assert (found["missing"], found["committed"]) == (0, found["newest"])


@ONE_BROKER
def test_a_board_refuses_what_is_too_late_and_what_was_retained(board: Board) -> None:
    good = cid(2)
    assert board.tell("light", cid(1, seconds=-5), "on").status == "expired"
    assert board.tell("light", good, "on", retained=True).status == "rejected"
    assert board.tell("setpoint", cid(3), "31").status == "rejected"
    assert board.tell("nonsense", cid(4), "on").status == "rejected"
    assert "light on" not in board.printed()
    assert board.tell("light", good, "on").status == "succeeded"
    assert board.tell("light", good, "on", retained=True).status == "succeeded"
    assert board.printed().count("light on") == 1


@ONE_BROKER
def test_a_board_knows_its_commands_again_after_its_power_was_cut_in_the_middle_of_one(board: Board) -> None:
    done, torn = cid(1), cid(2)
    assert board.tell("setpoint", done, "21.5").value == 21.5
    board.line.tell(board.topic(f"cmd/water/{torn}"), "60")
    eventually(lambda: board.printed().count("water") == 1)
    board.part.kill()
    board.start()
    assert board.tell("setpoint", done, "21.5").value == 21.5
    answer = board.tell("water", torn, "60")
    assert (answer.status, answer.message[:9]) == ("failed", "a restart")
    assert board.printed().count("water") == 1


@ONE_BROKER
def test_a_board_that_restarts_by_command_has_answered_and_does_not_do_it_again(board: Board) -> None:
    restart = cid(1)
    assert board.tell("restart", restart, "").status == "succeeded"
    eventually(lambda: not board.part.alive)
    board.start()
    assert board.tell("restart", restart, "").status == "succeeded"
    assert board.tell("light", cid(2), "on").status == "succeeded"


class Files(BaseHTTPRequestHandler):
    """Gives FILE to the device that asks for it, and cuts it after the first piece."""

    asked: ClassVar[list[tuple[str, str]]] = []

    def do_GET(self) -> None:
        self.asked.append((self.headers["Range"], b64decode(self.headers["Authorization"].split()[1]).decode()))
        first = int(self.headers["Range"].removeprefix("bytes=").rstrip("-"))
        self.send_response(206 if first else 200)
        self.send_header("Content-Length", str(len(FILE) - first))
        self.end_headers()
        self.wfile.write(FILE[first : first + PIECE])

    def log_message(self, *_: object) -> None:
        pass


FILE: Final = b"firmware" * 10_000
PIECE: Final = 50_000


@pytest.fixture
def files() -> Iterator[int]:
    """The port of a server that gives FILE."""
    Files.asked.clear()
    with ThreadingHTTPServer((LOOPBACK, 0), Files) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield server.server_port
        server.shutdown()


@ONE_BROKER
def test_a_board_goes_on_with_a_download_that_was_cut_and_takes_no_other_file(board: Board, files: int) -> None:
    wanted = {"url": f"http://{LOOPBACK}:{files}/fw/x", "size": len(FILE), "version": "2"}
    wrong, right = cid(1), cid(2)
    assert board.tell("update", wrong, json.dumps({**wanted, "sha256": "0" * 64})).status == "failed"
    answer = board.tell("update", right, json.dumps({**wanted, "sha256": sha256(FILE).hexdigest()}))
    assert answer.status == "succeeded", answer
    assert (board.flash / "firmware.bin").read_bytes() == FILE
    login = f"{board.key}:{board.secret}"
    assert Files.asked == 2 * [("bytes=0-", login), (f"bytes={PIECE}-", login)]
    said = [json.loads(each) for each in board.line.heard(board.topic(f"ack/{right}")) if each != "ok"]
    steps = [step for each in said if (step := each.get("step")) not in (None, "installing")]
    assert list(dict.fromkeys(steps)) == ["downloading", "downloaded", "verified"]


@ONE_BROKER
def test_a_board_takes_settings_in_and_reports_what_it_keeps_to(board: Board) -> None:
    assert json.loads(board.line.heard(board.topic("reported"))[0]) == DEFAULTS
    assert told(board, interval_s=0.5, unknown=1) == {"version": 1, "values": {"interval_s": 0.5}}
    assert told(board, interval_s=-5, mode="auto") == {"version": 2, "values": {"interval_s": 0.5, "mode": "auto"}}
    assert told(board, interval_s="much", mode="x", quiet=True) == {
        "version": 3,
        "values": {"interval_s": 0.5, "mode": "auto", "quiet": True},
    }
    assert told(board, **dict.fromkeys(DEFAULTS)) == {"version": 4, "values": DEFAULTS}


DEFAULTS: Final = {"interval_s": 5, "mode": "eco", "quiet": False}
NONSENSE: Final = (
    *("", "{", "[", '"', "\\", "null", "{}", "[]", '{"boot"', '{"boot":', '{"have":[[1,'),
    *('{"boot":1,"seq":"x","have":{}}', '{"version":1}', '{"values":{"interval_s"', '{"version":1,"values":[]}'),
    *('{"version":1,"values":{"interval_s":"\\', "x" * 600, "[" * 600),
)


@ONE_BROKER
def test_nonsense_harms_no_board(board: Board) -> None:
    came = len(board.line.heard(board.topic("status")))
    for suffix in ("receipt", "desired", "error", "cmd", "cmd/light", "cmd/light/", "cmd/a/b/c"):
        for nonsense in NONSENSE:
            board.line.tell(board.topic(suffix), nonsense)
    assert board.tell("light", cid(1), "on").status == "succeeded"
    assert len(board.line.heard(board.topic("status"))) == came


def test_the_arduino_library_compiles_for_an_esp8266_too() -> None:
    try:
        compiler = need("c++")
    except Missing as missing:
        pytest.skip(str(missing))
    source = boards.ROOT / "tests/arduino/host.cpp"
    command = [compiler, *boards.STRICT, "-DESP8266", "-fsyntax-only", source]
    assert subprocess.run(command, check=False, capture_output=True, text=True).stderr == ""
