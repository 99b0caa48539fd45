"""What a fleet did, counted."""

import msgspec


class Counts(msgspec.Struct):
    """devices and, of them, connected now; connects ever; refused logins.

    frames    that the broker has; late or not, each counts once
    doubles   publishes sent again on purpose; bad: that nobody can take in
    lost      frames that fell out of a buffer or were in memory when the power went
    commands  carried out or refused; answers: acks to them that the broker has
    dropouts  times that a device vanished
    """

    devices: int = 0
    connected: int = 0
    connects: int = 0
    refused: int = 0
    frames: int = 0
    doubles: int = 0
    bad: int = 0
    lost: int = 0
    commands: int = 0
    answers: int = 0
    dropouts: int = 0

    def __str__(self) -> str:
        """One line for a person: what is not nought."""
        rest = {name: getattr(self, name) for name in self.__struct_fields__[2:]}
        told = [f"{self.connected} of {self.devices} devices connected"]
        return ", ".join(told + [f"{name} {count}" for name, count in rest.items() if count])
