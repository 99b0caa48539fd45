"""PURE. One simulated device: its firmware, and what fate does to it. The link asks it what to do next."""

from collections import deque

from devices import wire
from simulators.fate import Away, Fate
from simulators.firmware import POLL_S, Firmware
from telemetry_hub.device.words import Publish, Send


class Device:
    """What the link talks to. `away` is set when the device leaves; `back` ends it.

    What it sends is an answer, a report, frames, and by fate a double or something bad.
    """

    def __init__(self, firmware: Firmware, fate: Fate) -> None:
        self.firmware = firmware
        self.away: Away | None = None
        self._fate = fate
        self._extras: deque[Send] = deque()
        self._poll_at = 0.0

    @property
    def key(self) -> str:
        """Its name on the wire."""
        return self.firmware.key

    def start(self, now: float, phase_s: float = 0.0) -> None:
        """Switch it on: it measures at once, then `phase_s` later, then regularly.

        The phase keeps a thousand devices from measuring in the same instant for ever.
        """
        self.firmware.start(now)
        self.firmware.advance(now)
        self.firmware.due = now + phase_s

    def wake_at(self) -> float:
        """When it next has something to do by itself."""
        due = self.firmware.wake_at()
        return min(due, self._poll_at) if self.firmware.busy else due

    def advance(self, now: float) -> None:
        """Let time pass: measure, tell progress, and perhaps drop out."""
        self.firmware.advance(now)
        if self.firmware.busy and now >= self._poll_at:
            self._poll_at = now + POLL_S
            self.firmware.poll(now)
        self.away = self.away or self._fate.dropout(now)

    def next(self, now: float) -> Send | None:
        """What is to be sent now: answers first, for somebody waits for them."""
        waits = bool(self.firmware.talk.duties.answers)
        if not waits and self.firmware.reboot_s is not None:
            self.away = Away(now + self.firmware.reboot_s, reboot=True, polite=True)
            return None
        if not waits and self._extras:
            return self._extras[0]
        return self.firmware.next(now)

    def done(self, send: Send) -> None:
        """The broker has it."""
        if send.what in ("double", "bad"):
            self._extras.popleft()
            return
        self.firmware.talk.done(send)
        if send.what == "frames":
            self._tempt(send)

    def _tempt(self, send: Send) -> None:
        if self._fate.doubles():
            self._extras.append(Send(send.publish, "double", send.frames))
        if bad := self._fate.bad():
            publish = Publish(wire.topic(self.key, *bad.level.split("/")), bad.payload)
            self._extras.append(Send(publish, "bad"))

    def leave(self) -> None:
        """It is gone: without power nothing is measured and memory is lost."""
        if self.away and self.away.reboot:
            self.firmware.lose_power()
        self._extras.clear()

    def back(self, now: float) -> None:
        """It is there again: with a new boot, or with everything that it measured meanwhile."""
        if self.away and self.away.reboot:
            self.firmware.start(now)
        self.away = None
