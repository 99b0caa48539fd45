"""PURE. One subscription: what is asked for, where it stands, and which of the rows that come are taken.

The cursor rule: a row is taken when its seq is behind the cursor, once. `prev` beyond the cursor is a hole: the rows
are left, and the subscription is made again from the cursor, unless the hub told of the hole (`lag`, `gap`).

A subscription keeps its name; on the wire it gets a new id each time it is made, so that messages of an older one still
under way are told from those of the newer.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Literal, cast

from telemetry_hub.items import Gap, Gone, Lag, Phase, Row, Summary

Message = dict[str, Any]
# wanted: not asked for yet; paused: its user has enough for now, and it goes on from where it stands.
Stage = Literal["wanted", "asked", "history", "replay", "live", "paused", "ended"]


@dataclass(slots=True)
class Sub:
    """What somebody watches.

    request    the fields of a `sub` message
    wanted_at  when that was; what is to begin some seconds ago begins there however often it is made again
    cursor     seq of the newest row taken, by device; heads: where history ends, by what the hub said last
    at         the replay's clock
    summaries  of a fleet's devices
    """

    name: str
    request: Message
    wanted_at: int
    made: int = 0
    phase: Stage = "wanted"
    was_live: bool = False
    cursor: dict[str, int] = field(default_factory=dict)
    heads: dict[str, int] = field(default_factory=dict)
    forgiven: set[str] = field(default_factory=set)
    at: int | None = None
    summaries: dict[str, Summary] = field(default_factory=dict)

    def __post_init__(self) -> None:
        given = self.request.get("since") or {}
        self.cursor.update(given.get("cursor") or {})

    @property
    def id(self) -> str:
        """What it is called on the wire."""
        return f"{self.name}.{self.made}"

    @property
    def asked(self) -> bool:
        """Whether the hub has it."""
        return self.phase not in ("wanted", "paused", "ended")

    @property
    def devices(self) -> list[str]:
        """Return whom it watches; a fleet's devices are in its summaries."""
        return self.request.get("devices") or []

    def ask(self, now: int) -> Message:
        """Make it (again): behind its cursors, once each device has one."""
        self.made += 1
        self.phase = "asked"
        self.forgiven = set()
        message = {"type": "sub", "id": self.id, **self.request}
        if "fleet" in self.request:
            return message
        if "replay" not in self.request or self.was_live:
            message.pop("replay", None)
            message["since"] = self._since(now)
        elif self.at is not None:
            message["replay"] = {**self.request["replay"], "from": self.at}
        return message

    def _since(self, now: int) -> Message | None:
        """Where to begin. Who has no cursor yet would begin now: then all begin where they were to begin at first."""
        if all(key in self.cursor for key in self.devices):
            return {"cursor": {key: self.cursor[key] for key in self.devices}}
        since: Message | None = self.request.get("since")
        if since and "last_s" in since:
            return {"last_s": since["last_s"] + (now - self.wanted_at) / 1000}
        return since

    # -- what the hub says of it

    def accept(self, head: Mapping[str, int]) -> list[Gone]:
        """The hub took it, and says where its devices stand."""
        self.heads = dict(head)
        if "fleet" in self.request:
            return self._accept_fleet()
        self.phase = "replay" if "replay" in self.request and not self.was_live else "history"
        told = self.request.get("since") or {}
        for key, seq in head.items():
            if key in self.cursor:
                # A cursor beyond the head belongs to a journal that is gone: made anew, or restored from a backup.
                self.cursor[key] = min(self.cursor[key], seq)
            elif "last_s" not in told and self.phase != "replay":
                self.cursor[key] = seq
        return []

    def _accept_fleet(self) -> list[Gone]:
        self.phase, self.was_live = "live", True
        gone = [key for key in self.summaries if key not in self.heads]
        for key in gone:
            del self.summaries[key]
        return [Gone(key) for key in gone]

    def go_live(self) -> None:
        """History is complete: who had none stands where it ended."""
        self.phase, self.was_live = "live", True
        for key, seq in self.heads.items():
            self.cursor.setdefault(key, seq)

    def take(self, device: str, part: Message, phase: Phase) -> list[Row] | None:
        """Take what is new of one device's rows; None: there is a hole before them."""
        at = self.cursor.get(device)
        if at is not None and part["prev"] > at and device not in self.forgiven:
            return None
        new = [row for row in part["frames"] if at is None or row[0] > at]
        if new:
            self.forgiven.discard(device)
            self.cursor[device] = new[-1][0]
        return [Row(device, seq, ts, values, rest[0] if rest else 0, phase) for seq, ts, values, *rest in new]

    def gap(self, message: Message) -> Gap:
        """Some rows cannot be had: the cursor passes them, unless they are of a journal that is gone."""
        gap = Gap(message["device"], message["from"], message["to"], message["cause"])
        self.forgiven.add(gap.device)
        if self.phase == "live" or gap.last <= self.heads.get(gap.device, gap.last):
            self.cursor[gap.device] = max(self.cursor.get(gap.device, 0), gap.last)
        return gap

    def lag(self, message: Message) -> list[Lag]:
        """Some rows were skipped."""
        self.forgiven |= set(message["devices"])
        return [Lag(device, skipped) for device, skipped in message["devices"].items()]

    # -- a fleet's summaries

    def summarise(self, devices: Mapping[str, Message | None]) -> list[Summary | Gone]:
        """Take summaries; None takes a device away."""
        return [
            self._gone(key) if found is None else self._summary(key, found)
            for key, found in devices.items()
            if found is not None or key in self.summaries
        ]

    def _gone(self, key: str) -> Gone:
        del self.summaries[key]
        return Gone(key)

    def _summary(self, key: str, found: Message) -> Summary:
        fields = {name: found[name] for name in Summary.__dataclass_fields__ if name in found}
        old = self.summaries.get(key) or Summary(key, "", "never", "", 0, 0, None, {}, {})
        self.summaries[key] = replace(old, **fields)
        return self.summaries[key]

    def rename(self, device: str, name: str) -> list[Summary]:
        """A device has another name; its summary is news where it is shown."""
        old = self.summaries.get(device)
        if old is None or old.name == name:
            return []
        self.summaries[device] = replace(old, name=name)
        return [self.summaries[device]]


def phase_of(message: Message) -> Phase:
    """Return the phase of a data message."""
    return cast("Phase", message["phase"])
