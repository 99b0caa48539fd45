"""`telemetry-hub` as its users run it: a child process, a pipe, Ctrl-C, exit codes; no traceback, whatever is wrong."""

import csv
import json
import os
import shutil
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
import websockets

from tests.hub import ROOT, Hub, eventually
from tests.services import child_setup
from tests.system.clients import Paho
from tests.system.test_path import NewDevice

pytestmark = pytest.mark.parametrize("anywhere", ["demo"], indirect=True)
COMMAND = [sys.executable, "-m", "telemetry_hub"]
PATIENCE_S = 30.0


def environment(hub: Hub, **more: str) -> dict[str, str]:
    plain = {name: value for name, value in os.environ.items() if not name.startswith("HUB_")}
    client = str(ROOT / "clients" / "python")
    return {**plain, "PYTHONPATH": client, "NO_PROXY": "*", "HUB_URL": hub.url, "HUB_TOKEN": hub.token(), **more}


def ran(hub: Hub, *words: str, **env: str) -> subprocess.CompletedProcess[str]:
    """Run it to its end."""
    return subprocess.run(
        [*COMMAND, *words],
        env=environment(hub, **env),
        capture_output=True,
        text=True,
        check=False,
        timeout=PATIENCE_S,
    )


class Watching:
    """A running `telemetry-hub watch`."""

    def __init__(self, child: subprocess.Popen[str]) -> None:
        self.child = child

    def line(self) -> str:
        assert self.child.stdout is not None
        return self.child.stdout.readline().rstrip("\n")

    def ended(self, number: int | None = None) -> tuple[int, str]:
        """The exit code, after a signal if one is given, and what it told beside."""
        if number is not None:
            self.child.send_signal(number)
        _, told = self.child.communicate(timeout=PATIENCE_S)
        return self.child.returncode, told


@contextmanager
def watching(hub: Hub, *words: str) -> Iterator[Watching]:
    child = subprocess.Popen(
        [*COMMAND, "watch", *words],
        env=environment(hub),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=child_setup(),  # noqa: PLW1509  as all children of the tests
    )
    killer = threading.Timer(2 * PATIENCE_S, child.kill)
    killer.start()
    try:
        yield Watching(child)
    finally:
        killer.cancel()
        child.kill()
        child.communicate()


def test_rows_are_printed_one_a_line_as_they_come_until_ctrl_c(anywhere: Hub, new_device: NewDevice) -> None:
    device = new_device()
    with Paho(anywhere, device) as client, watching(anywhere, device.key, "--since", "1h") as watch:
        for n in range(2):
            client.said("telemetry", {"n": n, "on": True, "mode": "eco"})
            at, key, seq, *values = watch.line().split()
            assert (key, seq, values) == (device.key, f"#{n + 1}", [f"n={n}", "on=true", 'mode="eco"'])
            assert datetime.fromisoformat(at) <= datetime.now(UTC) + timedelta(seconds=1)
        assert watch.ended(signal.SIGINT) == (0, "")


def test_whoever_has_enough_may_close_the_pipe(anywhere: Hub, new_device: NewDevice) -> None:
    device = new_device()
    with Paho(anywhere, device) as client:
        for n in range(5):
            client.said("telemetry", {"n": n})
        eventually(lambda: len(anywhere.frames(device.key)) == 5)
        shell = f"{' '.join(COMMAND)} watch {device.key} --since 1h --json | head -n 1; echo ${{PIPESTATUS[0]}}"
        ended = subprocess.run(
            ["bash", "-c", shell],
            env=environment(anywhere),
            capture_output=True,
            text=True,
            check=True,
            timeout=PATIENCE_S,
        )
        first, code = ended.stdout.splitlines()
        assert json.loads(first)["values"] == {"n": 0}
        assert (code, ended.stderr) == ("0", "")


def test_json_and_csv_are_for_programs(anywhere: Hub, new_device: NewDevice) -> None:
    device = new_device()
    with Paho(anywhere, device) as client:
        client.said("telemetry", {"temp": 21.5, "hum": 40})
        eventually(lambda: len(anywhere.frames(device.key)) == 1)
        with watching(anywhere, device.key, "--since", "1h", "--json") as watch:
            row = json.loads(watch.line())
            assert row.keys() == {"device", "seq", "ts", "values", "flags", "phase"}
            assert (row["seq"], row["values"], row["phase"]) == (1, {"temp": 21.5, "hum": 40}, "history")
        with watching(anywhere, device.key, "--since", "1h", "--csv", "--metrics", "hum,none") as watch:
            (found,) = csv.DictReader([watch.line(), watch.line()])
            assert (found["device"], found["seq"], found["hum"], found["none"]) == (device.key, "1", "40", "")


def test_what_was_is_printed_again_at_its_pace_and_ends(anywhere: Hub, new_device: NewDevice) -> None:
    device, start = new_device(), datetime.now(UTC)
    with Paho(anywhere, device) as client:
        for n in range(3):
            client.said("telemetry", {"n": n})
    eventually(lambda: len(anywhere.frames(device.key)) == 3)
    times = ["--replay", start.isoformat(), "--to", datetime.now(UTC).isoformat(), "--speed", "1000"]
    ended = ran(anywhere, "watch", device.key, "--json", *times)
    assert (ended.returncode, ended.stderr) == (0, "")
    assert [json.loads(line)["values"]["n"] for line in ended.stdout.splitlines()] == [0, 1, 2]


def test_a_fleet_is_printed_as_it_changes(anywhere: Hub, new_device: NewDevice) -> None:
    device = new_device()
    with Paho(anywhere, device) as client, watching(anywhere, "--fleet", "main") as watch:
        client.said("telemetry", {"n": 42})
        while True:
            words = watch.line().split()
            if words[1:] == [device.key, "online", "n=42"]:
                break
        assert watch.ended(signal.SIGINT)[0] == 0


def test_a_command_is_told_with_its_proofs_and_ends_with_0_when_it_succeeded(
    anywhere: Hub, new_device: NewDevice
) -> None:
    device = new_device()
    with Paho(anywhere, device) as client:
        client.said("status", "online")
        for answer, code in (("ok", 0), ("error too hot", 1)):
            answering = threading.Thread(target=lambda said=answer: acknowledge(client, said))
            answering.start()
            ended = ran(anywhere, "send", device.key, "relay", "on", "--ttl", "30", "--reason", "why", "--confirm")
            answering.join()
            assert (ended.returncode, ended.stderr) == (code, "")
            lines = ended.stdout.splitlines()
            assert lines[0].startswith("command ")
            assert any(" sent (" in line for line in lines)
            assert (" succeeded (" if code == 0 else "too hot") in lines[-1]


def acknowledge(client: Paho, answer: str) -> None:
    client.said(f"ack/{client.heard().topic.rpartition('/')[2]}", answer)


def test_a_command_that_nobody_took_is_not_done(anywhere: Hub, new_device: NewDevice) -> None:
    ended = ran(anywhere, "send", new_device().key, "relay", "on", "--ttl", "1")
    assert ended.returncode == 1
    assert "expired" in ended.stdout


@pytest.mark.parametrize(
    ("words", "env", "code", "says"),
    [
        (["watch", "nobody"], {}, 4, "There is no device 'nobody'"),
        (["watch", "--fleet", "nowhere"], {}, 4, "nowhere"),
        (["send", "nobody", "relay"], {}, 4, "There is no device 'nobody'"),
        (["watch", "pump-1"], {"HUB_TOKEN": "wrong"}, 4, "the token is wrong or expired"),
        (["watch", "pump-1", "--token", "wrong"], {}, 4, "the token is wrong or expired"),
        (
            ["watch", "pump-1", "--wait", "0"],
            {"HUB_URL": "http://127.0.0.1:9"},
            3,
            "no hub answers at ws://127.0.0.1:9",
        ),
        (["watch", "pump-1"], {"HUB_URL": "127.0.0.1:8000"}, 2, "begins with http://"),
        (["watch", "pump-1"], {"HUB_URL": ""}, 2, "HUB_URL"),
        (["watch", "pump-1"], {"HUB_TOKEN": ""}, 2, "HUB_TOKEN"),
        (["watch"], {}, 2, "name devices, or --fleet"),
        (["watch", "p", "--since", "soon"], {}, 2, "1h"),
        (["watch", "p", "--replay", "yesterday"], {}, 2, "2026-11-20T10:00Z"),
        (["watch", "p", "--to", "2026-11-20T10:00Z"], {}, 2, "--replay"),
    ],
)
def test_what_is_wrong_is_said_in_one_line(
    anywhere: Hub, words: list[str], env: dict[str, str], code: int, says: str
) -> None:
    ended = ran(anywhere, *words, **env)
    assert (ended.returncode, ended.stdout) == (code, "")
    assert says in ended.stderr
    assert "Traceback" not in ended.stderr


def test_another_server_is_no_hub(anywhere: Hub) -> None:
    ended = ran(anywhere, "watch", "pump-1", "--wait", "0", "--hub", f"{anywhere.url}/elsewhere")
    assert ended.returncode == 3
    assert "no hub answers" in ended.stderr
    assert "Traceback" not in ended.stderr


def python(*words: str | Path) -> None:
    ended = subprocess.run(
        [sys.executable, "-m", *words], capture_output=True, text=True, check=False, timeout=4 * PATIENCE_S
    )
    assert ended.returncode == 0, ended.stdout + ended.stderr


def test_the_package_has_all_that_it_needs_when_it_is_installed(anywhere: Hub, tmp_path: Path) -> None:
    """Into an environment of its own, from a copy, without network: pip's own check of what a wheel lacks."""
    pytest.importorskip("setuptools")
    source = shutil.copytree(ROOT / "clients" / "python", tmp_path / "source")
    home, pip = tmp_path / "venv", ["pip", "--disable-pip-version-check"]
    python(*pip, "wheel", "--no-build-isolation", "--no-deps", "--no-index", "-w", tmp_path, source)
    (wheel,) = tmp_path.glob("*.whl")
    python("venv", "--without-pip", home)
    python(*pip, "--python", home / "bin" / "python", "install", "--no-deps", "--no-index", wheel)
    (installed,) = home.glob("lib/python*/site-packages")
    assert (installed / "telemetry_hub" / "py.typed").exists()
    only_websockets = tmp_path / "needed"
    only_websockets.mkdir()
    (only_websockets / "websockets").symlink_to(Path(websockets.__file__).parent)
    ended = subprocess.run(
        [home / "bin" / "telemetry-hub", "watch", "nobody", "--hub", anywhere.url],
        env={"PYTHONPATH": str(only_websockets), "NO_PROXY": "*", "HUB_TOKEN": anywhere.token()},
        capture_output=True,
        text=True,
        check=False,
        timeout=PATIENCE_S,
    )
    assert (ended.returncode, ended.stdout) == (4, "")
    assert "There is no device 'nobody'" in ended.stderr
