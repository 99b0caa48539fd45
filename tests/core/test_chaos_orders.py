"""What `manage.py chaos --only commands` relies on: its judge sees each way of breaking the promise, and kills kill."""

import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.chaos.orders import acts, fuse, judge
from tests.chaos.orders.acts import Act, Acts
from tests.chaos.orders.judge import Case, Told
from tests.services import ROOT

END = 1_763_700_000_000
REMEMBERED = Case("k", "c", "claimed × bridge", again=True)
FORGOTTEN = REMEMBERED._replace(again=False)


def told(state: str, cid: str = "c") -> Told:
    return Told("k", cid, state, END)


@pytest.mark.parametrize(
    ("case", "row", "times", "verdict"),
    [
        (REMEMBERED, told("succeeded"), [END], ["once"]),
        (REMEMBERED, told("expired"), [], ["expired"]),
        (REMEMBERED, told("cancelled"), [], ["expired"]),
        (REMEMBERED, told("failed"), [], ["interrupted"]),
        (REMEMBERED, told("failed"), [END], ["interrupted"]),
        (REMEMBERED, told("succeeded"), [END - 9, END], ["twice", "once"]),
        (REMEMBERED, told("succeeded"), [END + 1], ["late", "once"]),
        (REMEMBERED, told("succeeded"), [], ["untrue"]),
        (REMEMBERED, told("expired"), [END], ["untrue"]),
        (REMEMBERED, told("unknown"), [END], ["lost"]),
        (REMEMBERED, told("unknown"), [], ["lost"]),
        (REMEMBERED, told("timed_out"), [END], ["lost"]),
        (REMEMBERED, told("sent"), [], ["lost"]),
        (REMEMBERED, None, [], ["lost"]),
        (FORGOTTEN, told("unknown"), [], ["unknown"]),
        (FORGOTTEN, told("unknown"), [END], ["unknown"]),
        (FORGOTTEN, told("unknown"), [END, END], ["twice", "unknown"]),
        (FORGOTTEN, told("succeeded"), [], ["untrue"]),
        (FORGOTTEN._replace(cid=""), None, [], []),
        (REMEMBERED, told("succeeded", cid="another"), [], ["twice", "untrue"]),
    ],
)
def test_each_end_of_a_command_has_its_verdict(
    case: Case, row: Told | None, times: list[int], verdict: list[str]
) -> None:
    assert judge.verdicts(case, row, {"c": times}) == verdict


def test_what_breaks_the_promise_is_counted_where_it_happened_and_told() -> None:
    cells = judge.judged(
        ["a", "b"],
        [REMEMBERED._replace(cell="a"), REMEMBERED._replace(cell="b", key="k2", cid="c2")],
        [told("succeeded"), Told("k2", "c2", "succeeded", END)],
        {"c": [END - 1], "c2": [END - 1, END]},
    )
    assert [(cell.once, cell.twice, len(cell.broken)) for cell in cells] == [(1, 0, 0), (1, 1, 1)]
    assert judge.total(cells).broken == cells[1].broken


def test_what_nobody_asked_for_and_was_carried_out_is_seen() -> None:
    assert judge.strangers([told("succeeded")], {"c": [END], "d": [END]}) == ["d"]


def test_acts_are_read_as_they_were_written(tmp_path: Path) -> None:
    for at in (1, 2):  # two lives of one device
        Acts(tmp_path / "acts").note(Act("c", "pump", at))
    assert acts.times(tmp_path / "acts") == {"c": [1, 2]}


def test_the_victim_dies_when_its_point_is_passed_for_the_nth_time_and_only_then(tmp_path: Path) -> None:
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as victim:
        (tmp_path / "bridge.pid").write_text(str(victim.pid))
        one, another = fuse.Fuse(tmp_path), fuse.Fuse(tmp_path)
        one.arm(fuse.Fault(number=1, point="claimed", victim="bridge", nth=2))
        for point in ("claimed", "sent", "sent"):
            another.passing(point)
        assert victim.poll() is None
        another.passing("claimed")
        assert victim.wait() == -signal.SIGKILL
        assert one.struck(1)
        another.passing("claimed")  # the fuse is gone: nobody else dies


def test_whoever_is_to_die_itself_does_not_get_past_the_point(tmp_path: Path) -> None:
    fuse.Fuse(tmp_path).arm(fuse.Fault(number=1, point="acted", victim="device", nth=1))
    ended = subprocess.run([sys.executable, "-c", PASSES_ONE, tmp_path], check=False, cwd=ROOT)
    assert ended.returncode == -signal.SIGKILL


PASSES_ONE = """
import os, pathlib, sys
from tests.chaos.orders.fuse import Fuse
folder = pathlib.Path(sys.argv[1])
(folder / "device.pid").write_text(str(os.getpid()))
Fuse(folder).passing("acted")
"""
