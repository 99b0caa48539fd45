"""Where scenarios come from: a small JSON file, shipped (scenarios/) or one's own."""

from pathlib import Path
from typing import Final

from simulators.script import Scenario, Unusable, decode

_SHIPPED: Final = Path(__file__).parent / "scenarios"


def names() -> list[str]:
    """The scenarios that are shipped."""
    return sorted(path.stem for path in _SHIPPED.glob("*.json"))


def load(name: str) -> Scenario:
    """Read a shipped scenario by its name, or any by its path; Unusable says what is wrong with it."""
    path = _SHIPPED / f"{name}.json" if name in names() else Path(name)
    try:
        text = path.read_bytes()
    except OSError as error:
        reason = error.strerror or "cannot be read"
        raise Unusable(f"scenario {name!r}: {reason}; shipped are {', '.join(names())}, or give a file") from None
    try:
        return decode(text)
    except Unusable as unusable:
        raise Unusable(f"scenario {name!r}: {unusable}") from None
