"""PURE. What a device lets itself be set to: desired by people, taken or not, and reported; the store keeps it."""

import json
from collections.abc import Callable, Mapping
from typing import NamedTuple

from telemetry_hub.device.arguments import Nonsense, Spec, fits
from telemetry_hub.device.store import Store
from telemetry_hub.device.words import Publish, Value, topic, written


class Setting(NamedTuple):
    """One setting: how it is announced, what it is unless somebody says otherwise, and who takes a change.

    take    is called with a value that fits; it raises ValueError for one that cannot be kept to
    """

    spec: Spec
    default: Value | None
    take: Callable[[Value], object]


class Settings:
    """One device's settings."""

    def __init__(self, key: str, store: Store, settings: Mapping[str, Setting]) -> None:
        self._key = key
        self._store = store
        self._settings = settings
        self._kept: dict[str, Value] = {}
        self.faults: list[str] = []

    def start(self) -> None:
        """Keep to what was set before the program began, else to the defaults."""
        stored = self._store.settings()
        for name, setting in self._settings.items():
            value = stored.get(name, setting.default)
            if value is not None and not self._take(name, value) and setting.default is not None:
                self._take(name, setting.default)

    def desired(self, payload: bytes) -> Publish | None:
        """Take what is desired, as far as it can be kept to; return what is to be reported."""
        try:
            given = json.loads(payload)
            version, wanted = int(given["version"]), dict(given["values"])
        except (ValueError, KeyError, TypeError):
            return None
        taken: dict[str, Value | None] = {}
        for name, value in wanted.items():
            if (setting := self._settings.get(name)) is None:
                continue
            asked = setting.default if value is None else value
            if asked is None:
                self._kept.pop(name, None)
            elif not self._take(name, asked):
                continue
            taken[name] = None if value is None else self._kept[name]
        self._store.set(version, taken)
        return self.report()

    def change(self, name: str, value: Value) -> None:
        """Keep to another value, which nobody desired from afar."""
        self._kept[name] = value
        self._store.set(None, {name: value})

    def _take(self, name: str, value: object) -> bool:
        setting = self._settings[name]
        try:
            fitting = fits(name, setting.spec, value)
            setting.take(fitting)
        except (Nonsense, ValueError) as fault:
            self.faults.append(f"{name} stays as it is: {fault}")
            return False
        self._kept[name] = fitting
        return True

    def report(self) -> Publish | None:
        """Return what says what it keeps to; None when there is nothing to be set."""
        if not self._settings:
            return None
        version = self._store.version
        said = self._kept if version is None else {"version": version, "values": self._kept}
        return Publish(topic(self._key, "reported"), written(said).encode())
