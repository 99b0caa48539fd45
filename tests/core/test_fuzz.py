"""The fuzzer's own parts, without the fuzzer: its oracle accepts what is right, and it begins with what is known."""

import json

import pytest

from tests.fuzz import __main__ as command
from tests.fuzz import mutations, seeds, targets

SEEDS = sorted(seeds.seeds())


def test_the_command_knows_every_target() -> None:
    assert sorted(command.NAMES) == sorted(targets.TARGETS)


@pytest.mark.parametrize("name", command.NAMES)
def test_each_decoder_takes_or_refuses_what_fuzzing_begins_with(name: str) -> None:
    for seed in SEEDS:
        targets.TARGETS[name](seed)


@pytest.mark.parametrize("name", command.NAMES)
def test_each_decoder_takes_or_refuses_what_is_made_of_it(name: str) -> None:
    short = [seed for seed in SEEDS if len(seed) < 200]
    for seed in range(2_000):
        made = mutations.changed(short[seed % len(short)], 4_096, seed * 7_919, short, lambda data, _: data[::-1])
        assert len(made) <= 4_096
        targets.TARGETS[name](made)


def test_the_oracle_finds_what_it_is_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(targets.values, "json_of", json.loads)
    monkeypatch.setattr(targets.values, "json_value", lambda *_: None)
    with pytest.raises(targets.Found, match="no finite number"):
        targets.TARGETS["json"](b'{"t":1e999}')
    with pytest.raises(ValueError, match="Expecting"):
        targets.TARGETS["json"](b"{")
    monkeypatch.setattr(targets, "PATIENCE_S", -1)
    with pytest.raises(targets.Found, match="too slow"):
        targets.timed(targets.TARGETS["scalar"])(b"1")
