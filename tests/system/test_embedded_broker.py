"""The demo's broker: what it keeps, when it ends, and what it makes of a crowded machine."""

import json
import os
import secrets
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest

from bridge import mqtt
from bridge.accounts import Account, AccountsError, nats
from bridge.accounts.porter import Caller
from hub import embedded, machine
from tests import services
from tests.system.stands import PATIENCE_S, Client, Stand

PUMP = Account(key="pump-1", secret=secrets.token_urlsafe(32), version=1)

# A hub that starts its broker, says its pid, and waits to be killed.
HUB = """
import sys
from pathlib import Path
from hub.embedded import Broker
broker = Broker(Path(sys.argv[1]), port=0)
broker.start()
print(broker.pid, flush=True)
sys.stdin.read()
"""


@pytest.fixture
def broker(tmp_path: Path) -> Iterator[services.Nats]:
    with services.nats(tmp_path) as running:
        yield running


def persistent(stand: Stand) -> Client:
    return stand.hub(clean_session=False)


def ended(pid: int) -> bool:
    """Whether a process that is not our child ends in time (a zombie has ended)."""
    deadline = time.monotonic() + PATIENCE_S
    while machine.process(pid)[1]:
        if time.monotonic() > deadline:
            return False
        time.sleep(services.POLL_S)
    return True


@pytest.mark.parametrize("hard", [False, True], ids=["stopped", "killed"])
async def test_retained_messages_and_sessions_survive_a_restart(broker: services.Nats, *, hard: bool) -> None:
    stand = Stand(broker)
    await stand.reconcile(PUMP)
    async with persistent(stand) as hub:
        assert await hub.subscribe("hub/+/telemetry")
    async with stand.device(PUMP) as pump:
        await pump.publish("hub/pump-1/status", "online", retain=True)
        await pump.publish("hub/pump-1/telemetry", "while the hub was away")
    end = broker.kill if hard else broker.stop
    end()
    broker.start()
    async with persistent(stand) as hub:
        assert await hub.heard() == ("hub/pump-1/telemetry", "while the hub was away")
        assert await hub.subscribe("hub/+/status")
        assert await hub.heard() == ("hub/pump-1/status", "online")


async def test_the_hubs_own_account_is_made_once(tmp_path: Path) -> None:
    data = tmp_path / "data"
    with services.Nats(data, port=services.free_port()) as first:
        url = first.url
    async with services.Nats(data, port=first.port) as second:
        assert second.url == url
        async with Stand(second).hub() as hub:
            assert await hub.subscribe("hub/#")


def test_the_broker_ends_with_a_hub_that_is_killed(tmp_path: Path) -> None:
    with hub_process(tmp_path) as (hub, pid):
        hub.kill()
        assert ended(pid)


def test_ctrl_c_in_the_terminal_is_for_the_hub_alone(tmp_path: Path) -> None:
    with hub_process(tmp_path) as (hub, pid):
        assert os.getpgid(pid) != os.getpgid(hub.pid)
        assert os.getsid(pid) != os.getsid(hub.pid)


class hub_process:  # noqa: N801 - reads as what it makes
    """A hub of its own with its broker's pid."""

    def __init__(self, data: Path) -> None:
        self._child = subprocess.Popen(
            [sys.executable, "-c", HUB, str(data)],
            cwd=services.ROOT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            preexec_fn=services.child_setup(),  # noqa: PLW1509 - a system call only
        )

    def __enter__(self) -> tuple[subprocess.Popen[bytes], int]:
        assert self._child.stdout is not None
        return self._child, int(self._child.stdout.readline())

    def __exit__(self, *_: object) -> None:
        self._child.kill()
        self._child.communicate()


def test_a_busy_port_makes_it_take_a_free_one(tmp_path: Path) -> None:
    with socket.socket() as occupant:
        occupant.bind(("127.0.0.1", 0))
        occupant.listen()
        busy = occupant.getsockname()[1]
        with services.Nats(tmp_path, port=busy) as broker:
            assert broker.port != busy
            assert machine.accepts("127.0.0.1", broker.port)


def test_a_free_port_is_kept_over_a_restart(broker: services.Nats) -> None:
    before = broker.port
    broker.stop()
    broker.start()
    assert broker.port == before


def test_what_a_crashed_hub_left_running_is_ended(tmp_path: Path) -> None:
    with services.Nats(tmp_path, port=services.free_port()) as left:
        orphan = left.pid
        mark = tmp_path / "broker/nats.pid"
        # As if its hub had been another process, which is gone.
        mark.write_bytes(mark.read_bytes().replace(str(os.getpid()).encode(), b"1073741824"))
        with services.Nats(tmp_path, port=left.port) as broker:
            assert broker.pid != orphan
            assert broker.port == left.port
            assert ended(orphan)


def test_a_living_hubs_broker_is_left_alone(tmp_path: Path) -> None:
    with hub_process(tmp_path) as (_, pid):
        with pytest.raises(embedded.EmbeddedError, match="another hub"):
            services.Nats(tmp_path, port=services.free_port()).start()
        assert machine.process(pid)[1]


def test_a_pid_that_now_is_somebody_elses_is_left_alone(tmp_path: Path) -> None:
    folder = tmp_path / "broker"
    folder.mkdir()
    with subprocess.Popen(["sleep", "60"]) as stranger:
        (folder / "nats.pid").write_text(f'{{"pid": {stranger.pid}, "parent": 1}}')
        with services.Nats(tmp_path, port=services.free_port()):
            assert stranger.poll() is None
        stranger.send_signal(signal.SIGKILL)


def test_it_starts_in_half_a_second(tmp_path: Path) -> None:
    began = time.monotonic()
    with services.Nats(tmp_path, port=services.free_port()):
        assert time.monotonic() - began < 0.5


def test_a_broker_that_cannot_start_says_why(tmp_path: Path) -> None:
    (tmp_path / "broker").mkdir()
    (tmp_path / "broker/store").write_text("not a folder")
    with pytest.raises(embedded.EmbeddedError, match="last words"):
        services.Nats(tmp_path, port=services.free_port()).start()


async def test_accounts_of_a_broker_that_died_say_so(broker: services.Nats) -> None:
    os.kill(broker.pid, signal.SIGKILL)
    with pytest.raises(AccountsError, match="not running"):
        await Stand(broker).reconcile(PUMP)


@pytest.mark.parametrize("host", ["0.0.0.0", "::1"])
async def test_it_can_listen_for_the_whole_network(tmp_path: Path, host: str) -> None:
    async with services.Nats(tmp_path, host=host, port=services.free_port()) as broker:
        assert mqtt.MqttUrl.parse(broker.url).host == {"0.0.0.0": "127.0.0.1"}.get(host, host)


async def test_what_could_not_be_kept_is_in_force_at_once_and_kept_by_the_next_reconcile(broker: services.Nats) -> None:
    stand = Stand(broker)
    await stand.reconcile(PUMP)
    in_the_way = broker.folder / "accounts.json.new"
    in_the_way.mkdir()
    with pytest.raises(OSError, match="directory"):
        await stand.reconcile()
    assert await stand.refuses(PUMP)
    in_the_way.rmdir()
    assert (await stand.reconcile()).removed == ["pump-1"]
    broker.stop()
    broker.start()
    assert await stand.refuses(PUMP)


async def test_nobody_but_the_porter_comes_in_by_the_servers_own_protocol(broker: services.Nats) -> None:
    stand = Stand(broker)
    await stand.reconcile(PUMP)
    [told] = broker.folder.glob("nats-server_*.ports")
    port = int(json.loads(told.read_bytes())["nats"][0].rpartition(":")[2])
    own = mqtt.MqttUrl.parse(broker.url)
    for login in ({"user": own.username, "pass": own.password}, {"user": PUMP.key, "pass": PUMP.secret}, {}):
        with socket.create_connection(("127.0.0.1", port), timeout=PATIENCE_S) as caller:
            caller.sendall(f"CONNECT {json.dumps(login)}\r\nPING\r\n".encode())
            answers = caller.makefile("rb").read()
        assert b"Authorization Violation" in answers
        assert b"PONG" not in answers


async def test_no_secret_of_a_device_is_in_the_brokers_files_nor_the_hubs_but_in_its_own(broker: services.Nats) -> None:
    stand = Stand(broker)
    await stand.reconcile(PUMP)
    async with stand.hub() as hub, stand.device(PUMP, clean_session=False) as pump:
        assert await hub.subscribe("hub/#")
        assert await pump.subscribe("hub/pump-1/cmd/#")
    assert await stand.refuses(msgspec.structs.replace(PUMP, key="pump-2"))
    broker.stop()
    own = mqtt.MqttUrl.parse(broker.url).password
    assert own
    found = {file.name: file.read_bytes() for file in broker.folder.rglob("*") if file.is_file()}
    assert "nats.log" in found
    assert not [name for name, content in found.items() if PUMP.secret.encode() in content]
    assert [name for name, content in found.items() if own.encode() in content] == ["own.json"]


async def test_who_was_let_in_before_its_account_went_is_thrown_out(tmp_path: Path) -> None:
    async def forget(_: object) -> None:
        """Nothing is kept where there is no broker."""

    thrown: list[int] = []
    book = nats.Nats(tmp_path, thrown.extend, forget)
    book.open()
    await book.reconcile([PUMP])
    caller = Caller(connection=7, mqtt=True, client_id=PUMP.key, user=PUMP.key, secret=PUMP.secret)
    gone = msgspec.structs.replace(caller, connection=8)
    assert book.admit(gone)
    book.left(8)
    assert book.admit(caller)
    await book.apply([], [PUMP.key])
    assert thrown == [7]
    assert book.admit(caller) is None


EARLIER = '{"own":"Hub-1","own_hash":"$2a$","devices":{"pump-1":{"version":1,"hash":"$2a$"}}}'


@pytest.mark.parametrize("book", ["", "{", EARLIER])
async def test_a_book_that_cannot_be_read_or_is_of_an_earlier_kind_is_filled_again(tmp_path: Path, book: str) -> None:
    (tmp_path / "broker").mkdir()
    (tmp_path / "broker/accounts.json").write_text(book)
    with services.nats(tmp_path) as broker:
        stand = Stand(broker)
        assert await stand.refuses(PUMP)
        assert (await stand.reconcile(PUMP)).added == ["pump-1"]
        assert not await stand.refuses(PUMP)
