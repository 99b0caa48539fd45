"""A process beside the command that measures: it is asked in lines of JSON, and answers each with one.

`serve(object)`: its asynchronous methods are the questions. `Child`: whoever asks. A fault ends the process loudly.
"""

from __future__ import annotations

import asyncio
import json
import os
import select
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

from tests.services import ROOT, child_setup

# Longer than anything that is asked for may take; what waits has a patience of its own.
PATIENCE_S: Final = 600.0
LINE: Final = 2**26


async def serve(answers: object) -> None:
    """Answer until nobody asks any more."""
    reader = asyncio.StreamReader(limit=LINE)
    await asyncio.get_running_loop().connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
    while line := await reader.readline():
        asked = json.loads(line)
        answer = await getattr(answers, asked.pop("do"))(**asked)
        sys.stdout.write(json.dumps(answer) + "\n")
        sys.stdout.flush()


class Child:
    """A process that is asked."""

    def __init__(self, module: str, log: Path, env: Mapping[str, str] | None = None) -> None:
        """Start it; what it complains of is in the log."""
        self._module, self._log = module, log
        with log.open("ab") as stderr:
            self._process = subprocess.Popen(
                [sys.executable, "-m", module],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=stderr,
                cwd=ROOT,
                env=os.environ | (env or {}),
                preexec_fn=child_setup(),  # noqa: PLW1509  system calls only
            )
        self.pid = self._process.pid

    def ask(self, do: str, **given: Any) -> Any:  # noqa: ANN401  what JSON says
        """Ask, and wait for the answer."""
        self.tell(do, **given)
        return self.answer()

    def tell(self, do: str, **given: Any) -> None:  # noqa: ANN401  as above
        """Ask, and do something else meanwhile."""
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps({"do": do, **given}).encode() + b"\n")
        self._process.stdin.flush()

    def answer(self) -> Any:  # noqa: ANN401  as above
        """Wait for the answer to what was told."""
        assert self._process.stdout is not None
        ready, _, _ = select.select([self._process.stdout], [], [], PATIENCE_S)
        line = self._process.stdout.readline() if ready else b""
        assert line, f"{self._module} does not answer: {self._log.read_text(errors='replace')[-2000:]}"
        return json.loads(line)

    def end(self) -> None:
        """End it."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.kill()
        self._process.wait()
        self._process.stdin.close()
        self._process.stdout.close()


@contextmanager
def child(module: str, log: Path, env: Mapping[str, str] | None = None) -> Iterator[Child]:
    """Start it, hand it out, end it."""
    started = Child(module, log, env)
    try:
        yield started
    finally:
        started.end()
