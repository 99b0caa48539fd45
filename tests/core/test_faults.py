"""What is known against a broker, by what it calls itself."""

import pytest

from hub.faults import MENDED, faults


@pytest.mark.parametrize(
    ("version", "count"),
    [
        ("mosquitto version 1.6.12", len(MENDED)),
        ("mosquitto version 2.0.7", len(MENDED)),
        ("mosquitto version 2.0.11", 4),
        ("mosquitto version 2.0.15", 3),
        ("mosquitto version 2.0.18", 2),
        ("mosquitto version 2.0.20", 1),
        ("mosquitto version 2.0.22", 0),
        ("mosquitto version 2.1.2", 0),
        ("mosquitto version 10.0.0", 0),
        ("another broker 2.0.7", 0),
        ("", 0),
    ],
)
def test_a_fault_is_known_until_the_release_that_mended_it(version: str, count: int) -> None:
    assert len(faults(version)) == count


def test_the_newest_fault_of_debian_12s_version_is_among_those_told() -> None:
    assert any("CVE-2024-8376" in fault for fault in faults("mosquitto version 2.0.11"))
