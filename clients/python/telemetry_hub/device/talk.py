"""PURE. What one device says and hears: it puts together frames, commands and settings, and knows no socket.

`now` is an instant of a clock that is never set (s), `wall` the time of day (ms).
"""

from collections import deque
from collections.abc import Mapping
from typing import Any, NamedTuple

from telemetry_hub.device.arguments import Spec
from telemetry_hub.device.duties import Duties, Duty
from telemetry_hub.device.outbox import BATCH_BYTES, Outbox
from telemetry_hub.device.settings import Setting, Settings
from telemetry_hub.device.store import REMEMBERED, Store
from telemetry_hub.device.words import MAX_TEXT, Publish, Send, Value, topic, written

CMD, RECEIPT, ERROR, DESIRED = "cmd", "receipt", "error", "desired"


class About(NamedTuple):
    """What a device says of itself: metrics name → {"unit", "class"}, commands and settings name → {"type", …}."""

    name: str = ""
    model: str = ""
    fw: str = ""
    metrics: Mapping[str, Mapping[str, str]] = {}
    commands: Mapping[str, Spec] = {}
    settings: Mapping[str, Setting] = {}


class Heard(NamedTuple):
    """What is to be done about a message: a command, or something that a person should know."""

    duty: Duty | None = None
    answered: bool = False
    fault: str = ""


class Talk:
    """One device's side of the conversation."""

    def __init__(
        self,
        key: str,
        about: About,
        store: Store,
        *,
        batch_bytes: int = BATCH_BYTES,
        clock: bool = True,
        longest: int = MAX_TEXT,
    ) -> None:
        self.key = key
        self.about = about
        self.store = store
        self.clock = clock
        self.outbox = Outbox(key, store, batch_bytes=batch_bytes, clock=clock)
        self.duties = Duties(key, store, about.commands, longest)
        self.settings = Settings(key, store, about.settings)
        self._reports: deque[Publish] = deque()

    def start(self, wall: int) -> None:
        """The program begins."""
        self.store.start(wall)
        self.duties.start()
        self.settings.start()

    def will(self) -> Publish:
        """What the broker says when the device is gone."""
        return Publish(topic(self.key, "status"), b"offline", retain=True)

    def topics(self) -> list[str]:
        """What it has to hear."""
        return [topic(self.key, CMD, "#"), topic(self.key, RECEIPT), topic(self.key, ERROR)]

    def wishes(self) -> list[str]:
        """What it would like to hear; a hub that is older does not let it."""
        return [topic(self.key, DESIRED)] if self.about.settings else []

    def hello(self, now: float) -> list[Publish]:
        """What a connection begins with."""
        self.outbox.connected(now)
        self._reports.clear()
        said: dict[str, Any] = {"name": self.about.name, "model": self.about.model, "fw": self.about.fw}
        said |= {"metrics": self.about.metrics, "commands": self.about.commands, "remembers": REMEMBERED}
        said["settings"] = {name: setting.spec for name, setting in self.about.settings.items()}
        meta = written({name: part for name, part in said.items() if part})
        hello = [
            Publish(topic(self.key, "status"), b"online", retain=True),
            Publish(topic(self.key, "meta"), meta.encode(), retain=True),
        ]
        report = self.settings.report()
        return [*hello, report] if report else hello

    def next(self, now: float, wall: int) -> Send | None:
        """Return the next message: what somebody waits for comes first. `done` says that the broker has it."""
        if self.duties.answers:
            return Send(self.duties.answers[0], "answer")
        if self._reports:
            return Send(self._reports[0], "report")
        return self.outbox.next(now, wall)

    def done(self, send: Send) -> None:
        """The broker has it. (Of frames that says little: only a receipt has them forgotten.)"""
        if send.what == "answer":
            self.duties.told()
        elif send.what == "report":
            self._reports.popleft()
        else:
            self.outbox.done(send)

    def hear(self, about: str, payload: bytes, now: float, wall: int, *, retained: bool = False) -> Heard:
        """Take a message of the hub."""
        match about.removeprefix(topic(self.key, "")).split("/") if about.startswith(topic(self.key, "")) else ():
            case ["cmd", *levels]:
                answered, duty = self.duties.hear(levels, payload, wall, retained=retained)
                return Heard(duty, answered)
            case ["receipt"] if not retained:
                self.outbox.receipt(payload, now, wall)
            case ["error"] if not retained:
                why = self.outbox.refused(payload, now)
                # What is over the limit is dealt with: it is sent again.
                said = payload.decode(errors="replace")
                return Heard(fault="" if why == "rate_limited" else f"the hub refused something: {said}")
            case ["desired"] if not retained:
                return self._desire(payload)
        return Heard()

    def change(self, name: str, value: Value) -> None:
        """Somebody changed a setting at the device itself: it is kept, and reported."""
        self.settings.change(name, value)
        if report := self.settings.report():
            self._reports.append(report)

    def _desire(self, payload: bytes) -> Heard:
        if report := self.settings.desired(payload):
            self._reports.append(report)
        faults, self.settings.faults = self.settings.faults, []
        return Heard(fault="; ".join(faults))
