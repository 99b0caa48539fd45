"""docs/protocol/client.md: the client in 60 lines, as it stands there, against a hub that is restarted."""

import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest

from hub.env import CHECKOUT
from tests import services
from tests.hub import PLAIN, eventually, running_demo

PAGE = (CHECKOUT / "docs/protocol/client.md").read_text(encoding="utf-8")


def program() -> str:
    (code,) = re.findall(r"^```python\n(.*?)^```", PAGE, re.DOTALL | re.MULTILINE)
    return str(code)


@contextmanager
def running(folder: Path, url: str, token: str, *devices: str) -> Iterator[subprocess.Popen[bytes]]:
    """The program, printing to a file."""
    (folder / "follow.py").write_text(program(), encoding="utf-8")
    (folder / "token.txt").write_text(token, encoding="utf-8")
    (folder / "token.txt").chmod(0o600)
    command = [sys.executable, folder / "follow.py", url, folder / "token.txt", *devices]
    with (folder / "printed").open("w") as out:
        client = subprocess.Popen(command, stdout=out, env=os.environ | PLAIN)
        try:
            yield client
        finally:
            client.kill()
            client.wait()


def test_it_has_60_lines() -> None:
    assert len([line for line in program().splitlines() if line]) <= 60


def test_it_prints_each_frame_once_through_a_restart_of_the_hub(tmp_path: Path) -> None:
    (tmp_path / "hub").mkdir()
    printed = tmp_path / "printed"
    port = ["--http-port", str(services.free_port())]

    def more_than(count: int) -> int:
        """How many frames it has printed, once they are more."""

        def lines() -> int:
            return len(printed.read_text(encoding="utf-8").splitlines())

        return eventually(lambda: lines() if lines() > count else 0, "the client printed no more")

    with ExitStack() as stack:
        try:
            with running_demo(tmp_path / "hub", devices=1, options=port) as demo:
                client = stack.enter_context(running(tmp_path, demo.socket_url, demo.token(), "sim-climate-1"))
                count = more_than(0)
            with running_demo(tmp_path / "hub", devices=1, options=port):
                more_than(count)
                assert client.poll() is None
        except services.Missing as missing:
            pytest.skip(str(missing))
    rows = [line.split(maxsplit=3) for line in printed.read_text(encoding="utf-8").splitlines()]
    seqs = [int(seq) for _, seq, _, _ in rows]
    assert seqs == list(range(seqs[0], seqs[0] + len(seqs)))
    assert all("temperature" in json.loads(values) for *_, values in rows)
