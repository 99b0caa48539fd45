"""PURE. Units and device classes of metric names that everybody uses, for devices that announce none.

The classes are those of Home Assistant's sensors, the field's common vocabulary.
"""

from __future__ import annotations

from typing import Final, NamedTuple


class Kind(NamedTuple):
    """What a metric is: its unit and its device class ("" where there is none)."""

    unit: str
    device_class: str


_KINDS: Final = {
    "temperature": Kind("°C", "temperature"),
    "humidity": Kind("%", "humidity"),
    "pressure": Kind("hPa", "pressure"),
    "battery": Kind("%", "battery"),
    "voltage": Kind("V", "voltage"),
    "current": Kind("A", "current"),
    "power": Kind("W", "power"),
    "energy": Kind("kWh", "energy"),
    "frequency": Kind("Hz", "frequency"),
    "illuminance": Kind("lx", "illuminance"),
    "co2": Kind("ppm", "carbon_dioxide"),
    "voc": Kind("ppb", "volatile_organic_compounds_parts"),
    "pm25": Kind("µg/m³", "pm25"),
    "pm10": Kind("µg/m³", "pm10"),
    "rssi": Kind("dBm", "signal_strength"),
    "flow": Kind("L/min", "volume_flow_rate"),
    "distance": Kind("cm", "distance"),
    "speed": Kind("km/h", "speed"),
    "weight": Kind("kg", "weight"),
    "uptime": Kind("s", "duration"),
    "lat": Kind("°", "latitude"),
    "lon": Kind("°", "longitude"),
    "acc": Kind("m", "accuracy"),
    "alt": Kind("m", "altitude"),
    "course": Kind("°", "course"),
}
_SAME: Final = {
    "temp": "temperature",
    "tmp": "temperature",
    "hum": "humidity",
    "rh": "humidity",
    "press": "pressure",
    "bat": "battery",
    "batt": "battery",
    "volt": "voltage",
    "lux": "illuminance",
    "light": "illuminance",
    "eco2": "co2",
    "tvoc": "voc",
    "pm2_5": "pm25",
    "pm2.5": "pm25",
    "latitude": "lat",
    "longitude": "lon",
    "altitude": "alt",
}


def kind(metric: str) -> Kind:
    """Return unit and class for a metric's name, told by its last part: "env.temperature", "room_temp", "Humidity"."""
    name = metric.lower()
    for part in (name, name.rsplit(".", 1)[-1], name.rsplit("_", 1)[-1]):
        if found := _KINDS.get(_SAME.get(part, part)):
            return found
    return Kind("", "")
