"""PURE. The program inside a simulated device, as an honest maker would write it: no clock, no socket.

It measures when it is due, and carries out commands. What it says, keeps and remembers is the shipped client's business
(telemetry_hub.device). Instants are s since the epoch.
"""

from typing import Final

from devices.values import Value
from simulators.model import Model, Outcome
from telemetry_hub.device import words
from telemetry_hub.device.arguments import Update
from telemetry_hub.device.duties import Duty
from telemetry_hub.device.settings import Setting
from telemetry_hub.device.store import Store
from telemetry_hub.device.talk import About, Talk
from telemetry_hub.device.words import Publish, Send, Step

FIRMWARE: Final = "1.4.2"
# A quarter of an hour at one frame a second: what a small device's memory holds (100 KB).
BUFFER: Final = 900
# What fits on the small displays that are simulated here; more is refused rather than cut.
MAX_TEXT: Final = 64
# How often progress is looked at while something is under way.
POLL_S: Final = 0.5
# Until a device that was updated is there again.
_UPDATED_S: Final = 2.0
_LONGEST_INTERVAL_S: Final = 3600.0


class Firmware:
    """One device. `key` names it on the wire; `name` is what its owner calls it.

    updating   what it was ordered to install; whoever has a network fetches it, and says so with `fetched` or `failed`
    reboot_s   it restarts as soon as its answers are out, and is away for so long
    """

    def __init__(self, key: str, name: str, model: Model, *, interval_s: float, clockless: bool = False) -> None:
        self.key = key
        self.model = model
        self.model.interval = interval_s
        self.due = 0.0
        self.updating: Update | None = None
        self.reboot_s: float | None = None
        self._now = 0.0
        self._under_way: dict[str, str] = {}  # command → cid
        limits = {"type": "number", "min": min(0.5, interval_s), "max": _LONGEST_INTERVAL_S, "unit": "s"}
        settings = {"interval_s": Setting(limits, interval_s, self._measure_every)}
        about = About(name, model.product, FIRMWARE, model.metrics, model.commands, settings)
        self.talk = Talk(key, about, Store(frames=BUFFER), clock=not clockless, longest=MAX_TEXT)
        self.store = self.talk.store

    def _measure_every(self, interval_s: Value) -> None:
        self.model.interval = float(interval_s)

    @property
    def interval(self) -> float:
        """Seconds between measurements."""
        return self.model.interval

    @property
    def clockless(self) -> bool:
        """Whether it does not know what time it is."""
        return not self.talk.clock

    def start(self, now: float) -> None:
        """Power comes on, the first time or again. The instant names the boot: nothing else tells it from others."""
        self._now = now
        self.due = now
        self._under_way.clear()
        self.updating = None
        self.model.restart(now)
        self.talk.start(round(now * 1000))

    def lose_power(self) -> None:
        """What was in memory is gone; answers and settings are in flash."""
        self.store.lose()
        self.reboot_s = None

    # Time passes

    def wake_at(self) -> float:
        """When it next has something to do by itself."""
        return self.due

    def advance(self, now: float) -> None:
        """Measure everything that was due until `now`, also what was due while nobody asked."""
        self._now = now
        self._oversleep(now)
        while self.due <= now:
            self._measure(self.due)
            self.due += self.interval

    def poll(self, now: float) -> None:
        """See how far what is under way has come."""
        if not self.busy:
            return
        self.model.step(now)
        for name in tuple(self._under_way):
            if name not in ("reboot", "update"):
                self._tell(name, self.model.progress(name))

    @property
    def busy(self) -> bool:
        """Whether something is under way that `poll` can tell about."""
        return any(name not in ("reboot", "update") for name in self._under_way)

    def _oversleep(self, now: float) -> None:
        # A machine that was suspended for hours: only what the buffer can hold is worth measuring.
        missed = int((now - self.due) / self.interval) - BUFFER
        if missed > 0:
            self.due += missed * self.interval
            self.store.skip(missed)

    def _measure(self, at: float) -> None:
        for sample in self.model.step(at):
            self.store.put(round(at * 1000), sample.level, words.values(sample.values))

    # What it says and hears

    def will(self) -> Publish:
        """What the broker says when the device is gone."""
        return self.talk.will()

    def hello(self, now: float = 0.0) -> list[Publish]:
        """What a connection begins with."""
        return self.talk.hello(now)

    def next(self, now: float) -> Send | None:
        """What it wants to send now."""
        return self.talk.next(now, round(now * 1000))

    def hear(self, topic: str, payload: bytes, *, retained: bool = False) -> bool:
        """Take a message; say whether it is a command that was carried out or refused now."""
        heard = self.talk.hear(topic, payload, self._now, round(self._now * 1000), retained=retained)
        if heard.duty:
            self._obey(heard.duty)
        return heard.answered

    # Commands

    def _obey(self, duty: Duty) -> None:
        if duty.name in self._under_way:
            self._settle(duty.name, Outcome("error", message="a newer order took its place"))
        self._under_way[duty.name] = duty.cid
        self.talk.duties.tell(duty.cid)
        if isinstance(duty.argument, Update):
            self.updating = duty.argument
            self.step("downloading")
            return
        interval = self.interval
        outcome = self.model.command(duty.name, duty.argument)
        if self.interval != interval:
            self.talk.change("interval_s", self.interval)
        if outcome.reboot_s is not None:
            self._restart("reboot", outcome.reboot_s, "is up again")
        self._tell(duty.name, outcome)

    def _restart(self, name: str, away_s: float, then: str) -> None:
        """Go away as soon as all is said; the answer is given by who is there after that."""
        self.reboot_s = away_s
        self.talk.duties.settle_at_start(self._under_way[name], words.Outcome(message=then))

    def step(self, step: Step, progress: float | None = None) -> None:
        """Say where the update stands."""
        if cid := self._under_way.get("update"):
            self.talk.duties.tell(cid, words.Outcome("accepted", progress=progress, step=step))

    def fetched(self, update: Update) -> None:
        """The file is here and is the right one: install it, which takes a restart."""
        if self.updating is not update:
            return  # the power was away meanwhile, or another one was ordered
        self.updating = None
        for step in ("verified", "installing", "restarting"):
            self.step(step)
        self.talk.about = self.talk.about._replace(fw=update.version)
        self._restart("update", _UPDATED_S, f"runs {update.version}")

    def failed(self, update: Update, why: str) -> None:
        """The file is not to be had: everything stays as it is."""
        if self.updating is update:
            self.updating = None
            self._settle("update", Outcome("error", message=why))

    def _tell(self, name: str, outcome: Outcome) -> None:
        if outcome.status != "accepted":
            self._settle(name, outcome)
        elif outcome.progress is not None:
            self.talk.duties.tell(self._under_way[name], _said(outcome))

    def _settle(self, name: str, outcome: Outcome) -> None:
        self.talk.duties.settle(self._under_way.pop(name), _said(outcome))


def _said(outcome: Outcome) -> words.Outcome:
    return words.Outcome(outcome.status, outcome.value, outcome.message, outcome.progress)
