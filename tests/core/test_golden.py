"""The golden conversations, as the hub sees them: it takes each message that a client must send."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from dashboard import protocol

GOLDEN = sorted(Path(__file__).parents[1].joinpath("golden").glob("*.json"))
STEPS = {"watch", "client", "hub", "rendered", "pause", "resume", "order", "call", "cut", "refuse"}


def steps(path: Path) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = json.loads(path.read_text(encoding="utf-8"))["steps"]
    return found


@pytest.mark.parametrize("path", GOLDEN, ids=lambda path: path.stem)
def test_the_hub_takes_what_clients_must_say(path: Path) -> None:
    for step in steps(path):
        if "client" in step:
            assert protocol.parse(json.dumps(step["client"]))


@pytest.mark.parametrize("path", GOLDEN, ids=lambda path: path.stem)
def test_each_step_is_one_that_the_readme_explains(path: Path) -> None:
    for step in steps(path):
        assert len(step) == 1
        assert step.keys() <= STEPS
