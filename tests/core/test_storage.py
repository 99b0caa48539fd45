"""When the disk is full, by arithmetic."""

import pytest

from devices.history.storage import Forecast, full_in_days, in_words, size


def made(**given: int | None) -> Forecast:
    plain = {"frames": 1000, "frames_a_day": 100, "bytes": 1000, "bytes_a_day": 100, "for_ever": 100, "balance": 0}
    return Forecast(**{**plain, "free": 10_000, "full_in_days": None, **given})


@pytest.mark.parametrize(
    ("given", "days"),
    [
        ({}, 100),
        ({"free": None}, None),
        ({"bytes_a_day": 0, "for_ever": 0}, None),
        ({"for_ever": 0, "balance": 3000}, None),
        ({"for_ever": 0, "balance": 20_000}, 100),
        ({"for_ever": 10, "balance": 3000}, 20 + 800),
        ({"for_ever": 10, "balance": 500}, 1000),
    ],
)
def test_the_disk_is_full_when_what_stays_has_filled_it(given: dict[str, int | None], days: int | None) -> None:
    assert full_in_days(made(**given)) == days


def test_it_is_told_in_words() -> None:
    forecast = made(balance=5000)
    forecast.full_in_days = 42
    assert in_words(forecast) == (
        "1,000 frames; the database has 1 kB.\n"
        "The last day added 100 frames: 100 bytes with their roll-ups, of which 100 bytes are kept for ever.\n"
        "What is kept for a time comes to 5 kB at this rate.\n"
        "10 kB are free: full in about 42 days at this rate."
    )


@pytest.mark.parametrize(
    ("count", "said"),
    [(0, "0 bytes"), (999, "999 bytes"), (1500, "1.5 kB"), (2.5e9, "2.5 GB"), (1.2e16, "12,000.0 TB")],
)
def test_bytes_are_said_as_people_do(count: float, said: str) -> None:
    assert size(count) == said
