"""PURE. The program inside a simulated device, as an honest maker would write it: no clock, no socket.

It measures when it is due, numbers its frames (boot, seq), keeps them until the broker has them, carries out each
command once, and says what became of it. Instants are s since the epoch; what goes out is in ms.
"""

from collections import OrderedDict, deque
from typing import Any, Final, NamedTuple

import msgspec

from devices import wire
from devices.values import Value
from simulators import orders
from simulators.model import Model, Outcome

FIRMWARE: Final = "1.4.2"
# A quarter of an hour at one frame a second: what a small device's memory holds (100 KB).
BUFFER: Final = 900
# At most so many frames in one publish: about 3 KB, which small clients can still send.
BATCH: Final = 20
# A hub repeats a command within minutes; nobody issues 256 of them to one device meanwhile.
REMEMBERED: Final = 256
# How often progress is looked at while something is under way.
POLL_S: Final = 0.5


class Publish(NamedTuple):
    """One MQTT message to send, always QoS 1."""

    topic: str
    payload: bytes
    retain: bool = False


class Frame(NamedTuple):
    """One frame that waits to be sent: when (ms), its numbers, its topic's last level, its values."""

    at: int
    boot: int
    seq: int
    level: str
    values: dict[str, Value]


class Firmware:
    """One device. `key` names it on the wire; `name` is what its owner calls it."""

    def __init__(self, key: str, name: str, model: Model, *, interval_s: float, clockless: bool = False) -> None:
        self.key = key
        self.name = name
        self.model = model
        self.clockless = clockless
        self.boot = 0
        self.seq = 0
        self.due = 0.0
        self.frames: deque[Frame] = deque()
        self.answers: deque[Publish] = deque()
        self.lost = 0  # frames that fell out of a full buffer
        self.reboot_s: float | None = None  # it restarts as soon as its answers are out
        self._interval_s = interval_s
        self._under_way: dict[str, str] = {}  # command → cid
        self._remembered: OrderedDict[str, Publish] = OrderedDict()

    @property
    def interval(self) -> float:
        """Seconds between measurements."""
        return self.model.interval or self._interval_s

    def start(self, now: float) -> None:
        """Power comes on, the first time or again. The instant names the boot: nothing else tells it from others."""
        self.boot = max(self.boot + 1, round(now * 1000))
        self.seq = 0
        self.due = now
        self.model.restart(now)
        if "reboot" in self._under_way:
            self._settle("reboot", Outcome(message="is up again"))
        for name in tuple(self._under_way):
            self._settle(name, Outcome("error", message="lost its power meanwhile"))

    def lose_power(self) -> None:
        """What was in memory is gone; answers and settings are in flash."""
        self.lost += len(self.frames)
        self.frames.clear()
        self.reboot_s = None

    # What it says unasked

    def will(self) -> Publish:
        """What the broker says when the device is gone."""
        return Publish(wire.topic(self.key, wire.STATUS), b"offline", retain=True)

    def hello(self) -> list[Publish]:
        """What a connection begins with."""
        about: dict[str, Any] = {
            "name": self.name,
            "model": self.model.product,
            "fw": FIRMWARE,
            "metrics": self.model.metrics,
            "commands": self.model.commands,
        }
        return [
            Publish(wire.topic(self.key, wire.STATUS), b"online", retain=True),
            Publish(wire.topic(self.key, wire.META), msgspec.json.encode(about), retain=True),
        ]

    # Time passes

    def wake_at(self) -> float:
        """When it next has something to do by itself."""
        return self.due

    def advance(self, now: float) -> None:
        """Measure everything that was due until `now`, also what was due while nobody asked."""
        self._oversleep(now)
        while self.due <= now:
            self._measure(self.due)
            self.due += self.interval

    def poll(self, now: float) -> None:
        """See how far what is under way has come."""
        if not self._under_way:
            return
        self.model.step(now)
        for name in tuple(self._under_way):
            if name != "reboot":
                self._tell(name, self.model.progress(name))

    @property
    def busy(self) -> bool:
        """Whether something is under way that `poll` can tell about."""
        return any(name != "reboot" for name in self._under_way)

    def _oversleep(self, now: float) -> None:
        # A machine that was suspended for hours: only what the buffer can hold is worth measuring.
        missed = int((now - self.due) / self.interval) - BUFFER
        if missed > 0:
            self.due += missed * self.interval
            self.seq += missed
            self.lost += missed

    def _measure(self, at: float) -> None:
        for sample in self.model.step(at):
            self.seq += 1
            self.frames.append(Frame(round(at * 1000), self.boot, self.seq, sample.level, sample.values))
        while len(self.frames) > BUFFER:
            self.frames.popleft()
            self.lost += 1

    # What waits to be sent

    def waiting(self, now: float) -> tuple[Publish, int] | None:
        """The next publish of frames, and how many they are; `sent` takes them away once the broker has them."""
        if not self.frames:
            return None
        level = self.frames[0].level
        batch: list[Frame] = []
        for frame in self.frames:
            if frame.level != level or len(batch) == BATCH:
                break
            batch.append(frame)
        topic = wire.topic(self.key, level)
        if level == wire.LOCATION:  # has no batch form
            return Publish(topic, msgspec.json.encode(self._entry(batch[0], now, nested=False))), 1
        entries = [self._entry(frame, now) for frame in batch]
        return Publish(topic, msgspec.json.encode(entries[0] if len(entries) == 1 else entries)), len(batch)

    def sent(self, count: int) -> None:
        """The broker has the first `count` frames."""
        for _ in range(count):
            self.frames.popleft()

    def _entry(self, frame: Frame, now: float, *, nested: bool = True) -> dict[str, Any]:
        clock = {"dt": min(0, frame.at - round(now * 1000))} if self.clockless else {"ts": frame.at}
        values = {"values": frame.values} if nested else frame.values
        return {**clock, "boot": frame.boot, "seq": frame.seq, **values}

    # Commands

    def hear(self, topic: str, payload: bytes, *, retained: bool = False) -> bool:
        """Take a command; say whether it was carried out or refused now (False: seen before, or no command)."""
        match topic.removeprefix(wire.topic(self.key, wire.CMD) + "/").split("/"):
            case [name, cid] if topic.startswith(wire.topic(self.key, wire.CMD) + "/") and cid:
                pass
            case _:
                return False
        if (answer := self._remembered.get(cid)) is not None:
            self.answers.append(answer)  # sent twice; the answer may have been lost
            return False
        self._obey(name, cid, payload, retained=retained)
        return True

    def _obey(self, name: str, cid: str, payload: bytes, *, retained: bool) -> None:
        if retained:
            self._answer(cid, Outcome("rejected", message="a command must not be retained: nobody knows how old it is"))
            return
        try:
            value = orders.read(self.model.commands, name, payload)
        except orders.Nonsense as nonsense:
            self._answer(cid, Outcome("rejected", message=str(nonsense)))
            return
        if name in self._under_way:
            self._settle(name, Outcome("error", message="a newer order took its place"))
        self._under_way[name] = cid
        self._answer(cid, Outcome("accepted"))
        outcome = self.model.command(name, value)
        self.reboot_s = outcome.reboot_s or self.reboot_s
        self._tell(name, outcome)

    def _tell(self, name: str, outcome: Outcome) -> None:
        if outcome.status != "accepted":
            self._settle(name, outcome)
        elif outcome.progress is not None:
            self._answer(self._under_way[name], outcome)

    def _settle(self, name: str, outcome: Outcome) -> None:
        self._answer(self._under_way.pop(name), outcome)

    def _answer(self, cid: str, outcome: Outcome) -> None:
        answer = Publish(wire.topic(self.key, wire.ACK, cid), _ack(outcome))
        self._remembered[cid] = answer
        self.answers.append(answer)
        while len(self._remembered) > REMEMBERED:
            self._remembered.popitem(last=False)


def _ack(outcome: Outcome) -> bytes:
    """`ok` where that says all, else JSON."""
    given = {
        "status": outcome.status,
        "value": outcome.value,
        "message": outcome.message or None,
        "progress": outcome.progress,
    }
    said = {name: item for name, item in given.items() if item is not None}
    return b"ok" if said == {"status": "ok"} else msgspec.json.encode(said)
