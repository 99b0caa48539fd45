"""The demo as a newcomer meets it: one command, kept data, a clean end; and the doctor beside it."""

import os
import signal
import socket
import subprocess
import sys
from pathlib import Path

import httpx
import msgspec
import pytest
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import connect

from hub import embedded
from tests import hub, services
from tests.hub import Demo, running_demo
from tests.services import LOOPBACK, ROOT


def _pid_of_broker(folder: Path) -> int:
    return msgspec.json.decode((folder / "broker" / "nats.pid").read_bytes(), type=embedded.Mark).pid


def test_a_second_start_goes_on_where_the_first_ended(tmp_path: Path) -> None:
    with running_demo(tmp_path, devices=2) as first:
        kept = (first.user, first.password)
        first.ask("POST", "devices/", json={"key": "mine"})
        with first.live() as live:
            live.sub("sim-climate-1")
            seq = live.until(type="data")["devices"]["sim-climate-1"]["frames"][-1][0]
    with running_demo(tmp_path, devices=2) as second:
        assert (second.user, second.password) == kept
        assert second.ask("GET", "devices/mine/")["key"] == "mine"
        rows = second.frames("sim-climate-1")
        assert [row[0] for row in rows][:seq] == list(range(1, seq + 1))


def test_ctrl_c_leaves_no_process_behind(tmp_path: Path) -> None:
    with running_demo(tmp_path, devices=2) as demo:
        broker = _pid_of_broker(tmp_path)
        children = Path(f"/proc/{demo.part.pid}/task/{demo.part.pid}/children").read_text(encoding="utf-8").split()
        assert str(broker) in children
    for pid in children:
        with pytest.raises(ProcessLookupError):
            os.kill(int(pid), 0)
    assert not (tmp_path / "running.json").exists()


def test_a_broker_that_dies_is_started_again_and_the_devices_come_back(tmp_path: Path) -> None:
    with running_demo(tmp_path, devices=1) as demo, demo.live() as live:
        live.sub("sim-climate-1")
        live.until(type="data")
        os.kill(_pid_of_broker(tmp_path), signal.SIGKILL)
        hub.eventually(lambda: "starting it again" in demo.part.said(), "the demo did not notice")
        before = demo.ask("GET", "devices/sim-climate-1/")["head"]["seq"]
        hub.eventually(
            lambda: demo.ask("GET", "devices/sim-climate-1/")["head"]["seq"] > before + 1,
            "no reading came after the broker's restart",
        )


def test_a_busy_port_is_answered_by_another_one(tmp_path: Path) -> None:
    (tmp_path / "one").mkdir()
    (tmp_path / "two").mkdir()
    with running_demo(tmp_path / "one", simulators=False) as one:
        busy = ["--http-port", one.url.rpartition(":")[2], "--mqtt-port", str(one.mqtt_port)]
        with running_demo(tmp_path / "two", simulators=False, options=busy) as two:
            assert two.url != one.url
            assert two.mqtt_port != one.mqtt_port
            assert httpx.get(f"{two.url}/healthz", trust_env=False).is_success


def test_for_ends_the_demo_by_itself(tmp_path: Path) -> None:
    services.need("nats")
    command = [sys.executable, ROOT / "manage.py", "demo", "--no-browser", "--data", tmp_path, "--for", "3"]
    ports = ["--http-port", str(services.free_port()), "--mqtt-port", str(services.free_port())]
    ended = subprocess.run(
        [*command, *ports], check=False, env=os.environ | hub.PLAIN, capture_output=True, text=True, timeout=90
    )
    assert ended.returncode == 0, ended.stderr
    lines = [line.partition(":")[0] for line in ended.stdout.splitlines()]
    assert lines == ["Preparing the database …", "user", "password", "mqtt", "Hub ready", "Stopping …"]


def test_the_doctor_finds_a_running_demo_well_and_leaves_nothing_behind(tmp_path: Path) -> None:
    with running_demo(tmp_path, simulators=False) as demo:
        said = [line.split(": ")[0] for line in demo.manage("doctor").splitlines()]
        assert said[:6] == ["✓ database", "✓ clock", "✓ layer", "✓ settings", "✓ folder", "✓ people"]
        assert said[6:9] == ["✓ broker", "✓ strangers", "✓ walls"]
        assert said[9:] == ["✓ names", "✓ version", "✓ plain", "✓ path"]
        assert demo.ask("GET", "devices/")["results"] == []


def test_the_network_is_served_only_to_who_says_that_all_of_it_is_readable(tmp_path: Path) -> None:
    demo = [sys.executable, ROOT / "manage.py", "demo", "--bind", "0.0.0.0", "--data", tmp_path]
    ended = subprocess.run(demo, check=False, env=os.environ | hub.PLAIN, capture_output=True, text=True, timeout=60)
    assert ended.returncode == 1
    assert "would travel readable" in ended.stderr
    assert "--plain" in ended.stderr
    assert not (tmp_path / "hub.sqlite3").exists()


def test_other_machines_are_refused_by_a_demo_that_was_told_nothing(demo: Demo) -> None:
    answer = httpx.get(f"{demo.url}/sign-in/", headers={"Host": "hub.example.org"}, trust_env=False)
    assert (answer.status_code, "HUB_PLAIN=http" in answer.text) == (403, True)
    assert httpx.get(f"{demo.url}/sign-in/", trust_env=False).status_code == 200
    there = demo.socket_url.replace(LOOPBACK, "hub.example.org")
    with connect(there, sock=socket.create_connection((LOOPBACK, int(demo.url.rpartition(":")[2])))) as refused:
        with pytest.raises(ConnectionClosed):
            refused.recv(timeout=hub.PATIENCE_S)
        assert refused.close_code == 4403


def test_the_doctor_says_what_is_missing_and_what_to_do(tmp_path: Path) -> None:
    env = os.environ | hub.PLAIN | {"HUB_DATA": str(tmp_path)}
    doctor = [sys.executable, ROOT / "manage.py", "doctor"]
    ended = subprocess.run(doctor, check=False, env=env, capture_output=True, text=True, timeout=60)
    assert ended.returncode == 1
    assert "✗ database" in ended.stdout
    assert "manage.py migrate" in ended.stdout


_STORE_A_LOT = """
import time
from devices import telemetry, wire
now = time.time_ns() // 1_000_000
wide = {f"metric-{n}": "x" * 100 for n in range(498)}
frames = [wire.Frame(device="wide", values=wide, received_at=now - 4000 + n) for n in range(20)]
frames += [
    wire.Frame(device="wide", values={"temperature": 20.5, "humidity": 40 + n}, received_at=now - 3000 + n)
    for n in range(2000)
]
telemetry.record(frames, now)
"""


def test_a_long_history_of_large_frames_arrives_whole(tmp_path: Path) -> None:
    with running_demo(tmp_path, simulators=False) as demo:
        demo.ask("POST", "devices/", json={"key": "wide"})
        demo.manage("shell", "-v", "0", "-c", _STORE_A_LOT)
        with demo.live() as live:
            live.sub("wide", since={"last_s": 3600})
            live.until(type="live")
            data = [message["devices"]["wide"] for message in live.heard if message["type"] == "data"]
            assert [row[0] for part in data for row in part["frames"]] == list(range(1, 2021))
