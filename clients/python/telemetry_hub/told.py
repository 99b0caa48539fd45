"""PURE. What a message of the hub brought, and to whom: items for a watch, or what became of a command or a call."""

from dataclasses import dataclass

from telemetry_hub import items


@dataclass(frozen=True, slots=True)
class Ended:
    """A subscription came to its end: `code` is an error's, or why the hub ended it."""

    code: str
    message: str
    retry: bool = False


@dataclass(frozen=True, slots=True)
class Confirmed:
    """The hub took a command, or knew its key."""

    ask: str
    command: str
    new: bool


@dataclass(frozen=True, slots=True)
class Denied:
    """The hub refused a command, or what was no call."""

    id: str
    code: str
    message: str
    retry: bool


@dataclass(frozen=True, slots=True)
class Answered:
    """The answer to a call; None: it was cut off, and nobody knows whether it was done."""

    id: str
    answer: items.Answer | None


Item = items.Row | items.Gap | items.Lag | items.Summary | items.Gone | items.Event
News = Item | Ended | Confirmed | Denied | Answered


@dataclass(frozen=True, slots=True)
class Told:
    """What one message brought: for a subscription, or, without a name, for whoever wants to know.

    credit   messages that are to be given back once these items are worked off
    """

    sub: str = ""
    items: tuple[News, ...] = ()
    credit: int = 0
