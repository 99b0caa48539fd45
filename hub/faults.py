"""PURE. Published faults of Mosquitto's broker, by the release that mended them.

From its own list of past vulnerabilities, its change log, and the CVE records; those of clients and of features that
the hub does not use are left out.
"""

from __future__ import annotations

import re
from typing import Final

MENDED: Final = {
    (2, 0, 8): "CVE-2021-34432 (a client can end it)",
    (2, 0, 10): "CVE-2021-28166 (a client can end it)",
    (2, 0, 11): "CVE-2021-34431 (a client can use up its memory)",
    (2, 0, 12): "CVE-2021-34434 (a withdrawn right to subscribe stays), CVE-2021-41039 (a client can use up its time)",
    (2, 0, 16): "CVE-2023-0809, CVE-2023-3592, CVE-2023-28366 (anybody who reaches it can use up its memory)",
    (2, 0, 19): "CVE-2024-8376 (a client can end it)",
    (2, 0, 21): "what was left of CVE-2023-28366",
}


def faults(version: str) -> list[str]:
    """Return what is known against a broker that calls itself `mosquitto version 2.0.11`; nothing for another one."""
    found = re.match(r"mosquitto version (\d+)\.(\d+)\.(\d+)", version)
    if found is None:
        return []
    have = tuple(map(int, found.groups()))
    return [fault for mended, fault in MENDED.items() if have < mended]
