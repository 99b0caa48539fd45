"""Units and classes of names that everybody uses."""

import pytest

from devices import wellknown


@pytest.mark.parametrize(
    ("name", "unit", "device_class"),
    [
        ("temperature", "°C", "temperature"),
        ("Temperature", "°C", "temperature"),
        ("temp", "°C", "temperature"),
        ("env.temperature", "°C", "temperature"),
        ("room_temp", "°C", "temperature"),
        ("battery_voltage", "V", "voltage"),
        ("pm2.5", "µg/m³", "pm25"),
        ("pm2_5", "µg/m³", "pm25"),
        ("latitude", "°", "latitude"),
        ("wifi.rssi", "dBm", "signal_strength"),
    ],
)
def test_a_name_that_everybody_uses_brings_unit_and_class(name: str, unit: str, device_class: str) -> None:
    assert wellknown.kind(name) == (unit, device_class)


@pytest.mark.parametrize("name", ["", ".", "_", "foo", "temperature.", "temperatures", "Ω", "a.b_c"])
def test_any_other_name_brings_neither(name: str) -> None:
    assert wellknown.kind(name) == ("", "")
