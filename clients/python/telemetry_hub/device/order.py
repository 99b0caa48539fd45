"""One command on its way: what its program may say of it while it is carried out."""

from collections.abc import Callable

from telemetry_hub.device.words import Outcome, Step, Value


class Rejected(Exception):
    """Raise it from a command: the device will not do that, and this is why."""


class Order:
    """One command that is carried out. A program that wants one takes it as its last argument.

    name, cid   what was ordered, and its id
    restarts    set by `restarting`
    """

    def __init__(
        self, name: str, cid: str, tell: Callable[[Outcome], None], at_start: Callable[[Outcome], None]
    ) -> None:
        self.name = name
        self.cid = cid
        self.restarts = False
        self._tell = tell
        self._at_start = at_start

    def progress(self, done: float, message: str = "") -> None:
        """Say how far it is, from 0 to 1."""
        self._tell(Outcome("accepted", message=message, progress=done))

    def step(self, step: Step, progress: float | None = None) -> None:
        """Say where an update stands."""
        self._tell(Outcome("accepted", progress=progress, step=step))

    def restarting(self, message: str = "is up again", value: Value | None = None) -> None:
        """The program ends now because of this command; when it is there again, the answer is ok."""
        self.restarts = True
        self._at_start(Outcome(value=value, message=message))
        self._tell(Outcome("accepted", step="restarting"))
