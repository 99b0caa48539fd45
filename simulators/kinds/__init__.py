"""PURE. The kinds of things there are: one module each."""

from typing import Final

from simulators.kinds.climate import Climate
from simulators.kinds.door import Door
from simulators.kinds.meter import Meter
from simulators.kinds.pump import Pump
from simulators.kinds.tracker import Tracker
from simulators.model import Model

KINDS: Final[dict[str, type[Model]]] = {model.kind: model for model in (Climate, Pump, Tracker, Door, Meter)}
