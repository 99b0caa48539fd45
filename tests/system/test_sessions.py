"""A device's journal, recorded and played into a shadow through a real broker and a real hub: the same comes of it."""

import re
from pathlib import Path

import pytest
from django.core.management import CommandError, call_command

from simulators import session
from simulators.session import Header
from tests.hub import Production, eventually
from tests.system.clients import Paho

TS = 1_790_000_000_000


def sums(said: str) -> dict[str, tuple[str, str]]:
    """What was told: end → frames, sum."""
    return {end: (n, digest) for end, n, digest in re.findall(r"(\w+): +(\d+) frames, sha256 (\w{64})", said)}


def test_a_session_played_ten_times_as_fast_gives_the_same_frames_and_the_same_sum(
    production: Production, tmp_path: Path
) -> None:
    original, shadow, file = production.add_device("original"), production.add_device("shadow"), tmp_path / "one.jsonl"
    with Paho(production, original) as client:
        for n in range(30):
            when = TS + 1000 * n - (2500 if n % 10 == 9 else 0)  # some come late
            values = {"n": n, "temperature": 20 + n / 7, "on": n % 2 == 0, "env": {"mode": "eco"}}
            client.said("telemetry", {"boot": 1, "seq": n + 1, "ts": when, "values": values})
        client.said("location", {"lat": 48.2, "lon": 16.4, "ts": TS + 30_500})
        eventually(lambda: len(production.frames(original.key)) == 31)
    said = production.manage("record", original.key, "-o", str(file))
    assert '"frames":31' in said
    where = ["--host", production.mqtt_host, "--port", str(production.mqtt_port)]
    told = sums(production.manage("simulate", "--scenario", str(file), "--as", shadow.key, "--speed", "10", *where))
    assert told["recorded"] == told["sent"] == told["stored"]
    assert told["stored"][0] == "31"
    rows, again = production.frames(original.key), production.frames(shadow.key)
    assert [row[2] for row in again] == [row[2] for row in rows]
    assert [row[1] - again[0][1] for row in again] == [row[1] - rows[0][1] for row in rows]
    copy = tmp_path / "again.jsonl"
    assert production.manage("record", shadow.key, "-o", str(copy)).split(": ", 1)[1] == said.split(": ", 1)[1]


def test_what_cannot_be_played_is_told_in_a_sentence(tmp_path: Path) -> None:
    file = tmp_path / "session.jsonl"
    header, *_ = session.written(Header(device="tank"), [])
    file.write_bytes(header)
    for asked, why in [
        (["--scenario", str(file)], "say with --as"),
        (["--scenario", str(file), "--as", "other"], "no end"),
        (["--scenario", "calm", "--as", "other"], "is none"),
    ]:
        with pytest.raises(CommandError, match=why):
            call_command("simulate", *asked)
