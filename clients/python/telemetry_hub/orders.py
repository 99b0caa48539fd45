"""PURE. Commands: what was asked for and is not confirmed yet, and what became of each, in order."""

from dataclasses import dataclass, field
from typing import Any

from telemetry_hub.items import SETTLED, CommandState

RANK = "queued sent received unknown expired timed_out cancelled rejected failed succeeded".split()


@dataclass(slots=True)
class Ask:
    """A command that this client gives. `key` makes asking again after a cut harmless; `command`: the hub's id."""

    id: str
    device: str
    name: str
    args: Any
    key: str
    at: int
    ttl_s: int | None = None
    reason: str = ""
    confirm: bool = False
    command: str = ""

    @property
    def message(self) -> dict[str, Any]:
        """What is said."""
        fields = {"id": self.id, "device": self.device, "name": self.name, "args": self.args, "key": self.key}
        if self.ttl_s is not None:
            fields["ttl_s"] = self.ttl_s
        if self.reason:
            fields["reason"] = self.reason
        return {"type": "cmd", **fields, **({"confirm": True} if self.confirm else {})}

    def state(self, state: str, at: int) -> CommandState:
        """Say where it stands, when the hub knows it already and tells no more than that."""
        proof = "the hub knew it already"
        return CommandState(self.command, self.device, self.name, self.args, state, proof, at, "", "", None)


def event_of(message: dict[str, Any]) -> CommandState:
    """Read a cmd_state message."""
    filled: dict[str, Any] = {
        "args": None,
        "proof": "",
        "by": "",
        "message": "",
        "progress": None,
        "step": "",
        "reason": "",
    }
    filled |= message
    return CommandState(**{name: filled[name] for name in CommandState.__dataclass_fields__})


@dataclass(slots=True)
class Order:
    """A command that the hub knows; `events` in the order in which they happened."""

    events: list[CommandState] = field(default_factory=list)

    @property
    def state(self) -> str:
        """Return the newest state."""
        return self.events[-1].state if self.events else ""

    @property
    def settled(self) -> bool:
        """Whether nothing more is expected."""
        return self.state in SETTLED

    def add(self, event: CommandState) -> bool:
        """Take what was told; whether it is news: the hub may tell a state twice, and the older after the newer."""
        same = [one for one in self.events if (one.state, one.step) == (event.state, event.step)]
        if same and same[0].progress == event.progress:
            return False
        self.events = [one for one in self.events if one not in same]
        self.events.append(event)
        self.events.sort(key=lambda one: (one.at, RANK.index(one.state) if one.state in RANK else -1))
        return True
