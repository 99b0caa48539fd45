"""The simulated fleet without a wire: what its devices measure, say and do. Time is made up."""

import json
import math
from collections.abc import Iterator
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from devices import wire
from simulators import __main__ as jobs
from simulators import curves, fleet, scenario, script
from simulators.device import Device
from simulators.dice import dice
from simulators.fate import BAD, Away
from simulators.firmware import BUFFER, Firmware
from simulators.kinds import KINDS
from simulators.kinds.meter import Meter
from simulators.kinds.pump import Pump
from simulators.kinds.tracker import LENGTH_M, _place
from simulators.link import Complaints
from simulators.model import Model
from simulators.script import Scenario
from telemetry_hub.device.outbox import BATCH_BYTES
from telemetry_hub.device.store import REMEMBERED
from telemetry_hub.device.words import Send

T0 = 1_760_000_000.0
CALM = Scenario(kinds={"climate": 1, "pump": 1, "tracker": 1, "door": 1, "meter": 1}, day_s=1200)
STORM = scenario.load("storm")


def play(device: Device, seconds: float, *, start: float = T0) -> Iterator[tuple[float, Send]]:
    """Let a device live as the link would, with a network and a hub that take no time; what it sends, and when."""
    device.start(start, 0.5)
    now = start
    while now < start + seconds:
        device.advance(now)
        while device.away is None and (send := device.next(now)):
            yield now, send
            device.done(send)
            received(device.firmware, now, send)
        if device.away:
            now = device.away.until
            device.leave()
            device.back(now)
        else:
            now = max(now, device.wake_at())


def received(firmware: Firmware, now: float, send: Send) -> None:
    """A receipt of the frames that were sent."""
    if send.what == "frames":
        n = max(event.n or 0 for event in read(now, send) if isinstance(event, wire.Frame))
        firmware.hear(f"hub/{firmware.key}/receipt", b'{"boot":%d,"seq":%d}' % (firmware.store.boot, n))


def read(now: float, send: Send) -> list[wire.Event]:
    message = wire.Message(topic=send.publish.topic, payload=send.publish.payload, received_at=round(now * 1000))
    return wire.read(message)[1]


def one(kind: str, seed: int = 1, **settings: Any) -> Device:
    return fleet.assemble(
        seed, [fleet.Credentials("x-1", "", kind)], Scenario(kinds={kind: 1}, day_s=1200, **settings)
    )[0]


def model(kind: str, seed: int = 1) -> Model:
    return KINDS[kind](dice(seed), 1200.0)


def values(thing: Model, now: float) -> dict[str, Any]:
    return {name: value for sample in thing.step(now) for name, value in sample.values.items()}


def live(thing: Model, seconds: float, step: float = 1.0) -> list[dict[str, Any]]:
    return [values(thing, T0 + index * step) for index in range(int(seconds / step))]


def order(firmware: Firmware, name: str, payload: str, cid: str = "c1") -> list[dict[str, Any]]:
    """Give an order; what it answers at once."""
    firmware.talk.duties.answers.clear()
    firmware.hear(f"hub/{firmware.key}/cmd/{name}/{cid}", payload.encode())
    return answers(firmware)


def answers(firmware: Firmware) -> list[dict[str, Any]]:
    said = [each.payload.decode() for each in firmware.talk.duties.answers]
    firmware.talk.duties.answers.clear()
    return [json.loads(text) if text.startswith("{") else {"status": text} for text in said]


# --- the same seed, the same fleet


def story(seed: int, n: int = 8, seconds: float = 60) -> list[object]:
    return [(now, send) for device in fleet.devices(seed, n, STORM) for now, send in play(device, seconds)]


def test_the_same_seed_tells_the_same_story() -> None:
    assert story(5) == story(5)


def test_another_seed_tells_another_story() -> None:
    assert story(5) != story(6)


def test_a_device_stays_the_same_when_others_join_its_fleet() -> None:
    few, many = fleet.devices(1, 5, CALM), fleet.devices(1, 50, CALM)
    assert [list(play(device, 30)) for device in few] == [list(play(device, 30)) for device in many[:5]]


def test_five_devices_are_of_five_kinds_and_their_keys_say_so() -> None:
    assert fleet.keys(scenario.load("calm"), 6) == [
        "sim-climate-1",
        "sim-pump-1",
        "sim-tracker-1",
        "sim-door-1",
        "sim-meter-1",
        "sim-climate-2",
    ]


def test_no_two_devices_of_the_first_hundred_have_the_same_name() -> None:
    names = [device.firmware.talk.about.name for device in fleet.devices(1, 100, CALM)]
    assert len(set(names)) == 100


def test_the_kind_is_the_one_that_was_asked_for_else_the_keys_else_the_scenarios() -> None:
    asked = [("a-pump-1", "door"), ("a-pump-2", ""), ("a", "")]
    made = fleet.assemble(1, [fleet.Credentials(key, "", kind) for key, kind in asked], CALM)
    assert [device.firmware.model.kind for device in made] == ["door", "pump", "tracker"]


# --- what they say is what the wire promises


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("clockless", [0.0, 1.0])
def test_everything_that_is_said_can_be_read(kind: str, clockless: float) -> None:
    device = one(kind, clockless=clockless, duplicate=0.1, dropouts=script.Dropouts(20, (1, 60), 0.5))
    for publish in (device.firmware.will(), *device.firmware.hello()):
        assert read(T0, Send(publish, "answer"))
    said = [event for now, send in play(device, 600) for event in read(now, send)]
    assert len(said) > 200
    assert all(isinstance(event, wire.Frame) for event in said)


@pytest.mark.parametrize("kind", KINDS)
def test_each_metric_that_is_sent_was_announced_and_each_command_kept(kind: str) -> None:
    device = one(kind)
    [_, meta, _] = device.firmware.hello()
    [announced] = read(T0, Send(meta, "answer"))
    assert isinstance(announced, wire.Announce)
    sent = {name for now, send in play(device, 10) for event in read(now, send) for name in event.values}  # type: ignore[union-attr]
    assert sent - {"lat", "lon", "acc"} == set(announced.metrics)
    assert announced.commands.keys() == device.firmware.model.commands.keys()
    assert announced.name
    assert announced.model


@pytest.mark.parametrize("kind", KINDS)
def test_a_single_frame_fits_into_the_smallest_clients_packet(kind: str) -> None:
    device = fleet.assemble(1, [fleet.Credentials("sim-" + kind + "-1000", "")], CALM)[0]
    longest = max(len(send.publish.topic) + len(send.publish.payload) for _, send in play(device, 300))
    assert longest <= 256 - 7  # PubSubClient's default buffer, with its header


def test_the_deliberate_nonsense_is_refused_with_the_reason_that_it_claims() -> None:
    for bad in BAD:
        message = wire.Message(topic=f"hub/x/{bad.level}", payload=bad.payload, received_at=round(T0 * 1000))
        with pytest.raises(wire.Bad) as refused:
            wire.read(message)
        assert (bad, refused.value.reason) == (bad, bad.reason)


def test_nonsense_comes_as_often_as_the_scenario_says() -> None:
    sent = [send for _, send in play(one("meter", bad=0.2), 1500)]
    shares = {what: sum(send.what == what for send in sent) for what in ("frames", "bad")}
    assert 0.1 < shares["bad"] / shares["frames"] < 0.3


def numbers(device: Device, seconds: float) -> list[tuple[int, int]]:
    frames = [event for now, send in play(device, seconds) if send.what == "frames" for event in read(now, send)]
    return [(event.boot or 0, event.n or 0) for event in frames if isinstance(event, wire.Frame)]


@pytest.mark.parametrize("kind", KINDS)
def test_frames_are_numbered_from_one_without_a_hole(kind: str) -> None:
    found = numbers(one(kind, duplicate=0.2), 100)
    assert [n for _, n in found] == list(range(1, len(found) + 1))


def test_an_outage_of_the_network_costs_no_frame_and_late_ones_keep_their_time() -> None:
    device = one("meter", dropouts=script.Dropouts(30, (10, 50), 0.0))
    frames = [(now, each) for now, send in play(device, 600) for each in read(now, send)]
    events = [event for _, event in frames if isinstance(event, wire.Frame)]
    assert [event.n for event in events] == list(range(1, len(events) + 1))
    assert any(now * 1000 - (event.ts or 0) > 5000 for now, event in frames if isinstance(event, wire.Frame))
    # One rounding each: the times are as regular as if nothing had happened.
    gaps = {round((b.ts or 0) - (a.ts or 0), -1) for a, b in pairwise(events[1:])}
    assert len(gaps) == 1


def test_a_device_without_a_clock_gives_the_same_times_by_dt() -> None:
    device = one("meter", clockless=1, dropouts=script.Dropouts(30, (10, 50), 0.0))
    found = list(play(device, 300))
    assert not any(b'"ts"' in send.publish.payload for _, send in found)
    events = [event for now, send in found for event in read(now, send) if isinstance(event, wire.Frame)]
    gaps = {round((b.ts or 0) - (a.ts or 0), -1) for a, b in pairwise(events[1:])}
    assert len(gaps) == 1


def test_a_power_cut_begins_a_new_boot_at_one() -> None:
    found = numbers(one("meter", dropouts=script.Dropouts(30, (1, 5), 1.0)), 600)
    boots = sorted({boot for boot, _ in found})
    assert len(boots) > 5
    assert all(min(n for b, n in found if b == boot) == 1 for boot in boots)
    assert found == sorted(found)


def test_what_waits_is_sent_in_batches_and_bounded() -> None:
    device = one("meter")
    device.start(T0)
    device.advance(T0 + 10 * BUFFER)
    assert device.firmware.store.kept <= BUFFER
    lost = device.firmware.store.lost
    assert lost > 0
    first = device.next(T0 + 10 * BUFFER)
    assert first is not None
    assert first.frames > 10
    assert len(first.publish.payload) <= BATCH_BYTES
    [frame, *_] = read(T0 + 10 * BUFFER, first)
    assert isinstance(frame, wire.Frame)
    assert frame.n == lost + 1  # the hub can tell how many it never got


def test_a_machine_that_slept_for_a_week_does_not_measure_a_week() -> None:
    device = one("climate")
    device.start(T0)
    device.advance(T0 + 7 * 86400)
    assert device.firmware.store.kept <= BUFFER
    assert device.firmware.due > T0 + 7 * 86400


# --- physics


@given(st.sampled_from(sorted(KINDS)), st.integers(0, 10**6), st.lists(st.floats(0, 7200), max_size=30))
def test_no_step_however_long_makes_a_sensor_show_nonsense(kind: str, seed: int, steps: list[float]) -> None:
    limits = {
        "temperature": (-10, 110),
        "humidity": (15, 95),
        "battery": (4, 100),
        "pressure": (0, 6.2),
        "flow": (0, 80),
        "power": (0, 5000),
        "voltage": (207, 253),  # EN 50160: 230 V within 10 %
        "frequency": (49.5, 50.5),
        "speed": (0, 55),
        "course": (0, 359),
        "lat": (48.2, 48.22),
        "lon": (16.355, 16.39),
    }
    thing, now = model(kind, seed), T0
    for step in [0.0, *steps]:
        now += step
        for name, value in values(thing, now).items():
            low, high = limits.get(name, (-math.inf, math.inf))
            assert isinstance(value, str) or low <= value <= high, (name, value)


@given(st.floats(-100, 100), st.floats(-100, 100), st.floats(0, 1e6), st.floats(0.1, 100))
def test_a_lag_never_overshoots(value: float, target: float, elapsed: float, tau: float) -> None:
    after = curves.approach(value, target, elapsed, tau)
    assert min(value, target) - 1e-9 <= after <= max(value, target) + 1e-9


def test_a_clock_that_is_set_back_stands_still() -> None:
    for kind in KINDS:
        thing = model(kind)
        live(thing, 20)
        values(thing, T0 - 3600)


def test_temperature_follows_the_day_and_humidity_goes_the_other_way() -> None:
    day = live(model("climate", 3), 1200, 2)
    warm = [row["temperature"] for row in day]
    damp = [row["humidity"] for row in day]
    mean_warm, mean_damp = sum(warm) / len(warm), sum(damp) / len(damp)
    assert max(warm) - min(warm) > 3
    assert sum((w - mean_warm) * (d - mean_damp) for w, d in zip(warm, damp, strict=True)) < 0


@pytest.mark.parametrize("wanted", [0.5, 2.0, 6.0])
def test_pressure_follows_the_set_point_while_the_relay_is_on(wanted: float) -> None:
    pump = model("pump")
    values(pump, T0)
    pump.command("setpoint", wanted)
    assert values(pump, T0 + 15)["pressure"] == pytest.approx(wanted, abs=0.15)
    pump.command("relay", value=False)
    off = values(pump, T0 + 30)
    assert (off["pressure"], off["flow"], off["relay"]) == (pytest.approx(0, abs=0.05), 0, False)
    assert off["power"] < 10


def test_boost_is_faster_and_costs_more_than_eco() -> None:
    pressure, power = {}, {}
    for mode in ("eco", "boost"):
        pump = Pump(dice(1), 1200.0)
        values(pump, T0)
        pump.command("mode", mode)
        pressure[mode] = values(pump, T0 + 1)["pressure"]
        power[mode] = values(pump, T0 + 30)["power"]
    assert pressure["boost"] > pressure["eco"]
    assert power["boost"] > power["eco"]


def test_a_meters_energy_is_its_power_over_time_and_never_falls() -> None:
    rows = live(Meter(dice(4), 1200.0), 3600)
    energy = [row["energy"] for row in rows]
    assert energy == sorted(energy)
    assert energy[-1] - energy[0] == pytest.approx(sum(row["power"] for row in rows) / 3.6e6, rel=0.01)


def test_current_is_power_over_voltage() -> None:
    for row in live(model("meter"), 60):
        assert row["current"] == pytest.approx(row["power"] / row["voltage"], abs=0.01)


def test_a_vehicle_moves_as_fast_as_it_says_and_stays_on_its_route() -> None:
    rows = live(model("tracker", 2), 900)
    for a, b in pairwise(rows):
        moved = math.hypot((b["lat"] - a["lat"]) * 111_195, (b["lon"] - a["lon"]) * 74_090)
        assert moved <= max(a["speed"], b["speed"]) / 3.6 + 4  # m, with the receiver's noise
    assert 0 < rows[-1]["trip"] < 900 * 50 / 3600
    assert any(row["speed"] == 0 for row in rows), "it never met a red light"


def test_the_route_is_closed() -> None:
    (start, _), (end, _) = _place(0), _place(LENGTH_M - 0.001)
    assert start == pytest.approx(end, abs=1e-6)


def test_a_locked_door_stays_shut_and_an_open_one_cannot_be_locked() -> None:
    door = model("door", 1)
    rows = live(door, 300)
    assert {row["state"] for row in rows} >= {"open", "closed"}
    now = T0 + 300
    while values(door, now)["open"]:
        assert door.command("locked", value=True).status == "error"
        now += 1
    assert door.command("locked", value=True).status == "ok"
    assert not any(values(door, now + second)["open"] for second in range(300))


# --- commands


def started(kind: str) -> Firmware:
    device = one(kind)
    device.start(T0)
    return device.firmware


@pytest.mark.parametrize(
    ("kind", "name", "payload", "value"),
    [
        ("pump", "relay", "off", False),
        ("pump", "relay", "TRUE", True),
        ("pump", "mode", "eco", "eco"),
        ("pump", "mode", '"boost"', "boost"),
        ("climate", "interval", "2.5", 2.5),
        ("climate", "display", "Tür zu!", "Tür zu!"),
        ("door", "locked", "on", True),
    ],
)
def test_an_order_is_accepted_and_done(kind: str, name: str, payload: str, value: object) -> None:
    first, *_, last = order(started(kind), name, payload)
    assert first == {"status": "accepted"}
    assert (last["status"], last["value"]) == ("ok", value)


@pytest.mark.parametrize(
    ("kind", "name", "payload", "why"),
    [
        ("pump", "relay", "maybe", "on or off"),
        ("pump", "relay", "", "needs an argument"),
        ("pump", "setpoint", "12", "from 0.5 to 6"),
        ("pump", "setpoint", "nan", "finite"),
        ("pump", "setpoint", "1e999", "finite"),
        ("pump", "setpoint", "on", "a number"),
        ("pump", "mode", "turbo", "eco, auto, boost"),
        ("pump", "explode", "", "relay"),
        ("climate", "display", "x" * 65, "64"),
        ("climate", "interval", '{"a":1}', "a number"),
    ],
)
def test_nonsense_is_rejected_with_what_would_be_taken(kind: str, name: str, payload: str, why: str) -> None:
    [answer] = order(started(kind), name, payload)
    assert answer["status"] == "rejected"
    assert why in answer["message"]


@given(st.sampled_from(sorted(KINDS)), st.text(max_size=30), st.binary(max_size=80))
def test_whatever_is_ordered_is_answered_so_that_the_hub_can_read_it(kind: str, name: str, payload: bytes) -> None:
    firmware = started(kind)
    for each in (name.replace("/", ""), *firmware.model.commands):
        firmware.hear(f"hub/x-1/cmd/{each}/cid-{each[:3]}", payload)
    assert firmware.talk.duties.answers
    for publish in firmware.talk.duties.answers:
        if "#" not in publish.topic and "+" not in publish.topic and publish.topic.isprintable():
            [event] = read(T0, Send(publish, "answer"))
            assert isinstance(event, wire.Ack)


def test_a_command_is_carried_out_once_however_often_it_comes() -> None:
    firmware = started("pump")
    assert order(firmware, "relay", "off", "a")[-1]["status"] == "ok"
    assert order(firmware, "relay", "on", "b")[-1]["status"] == "ok"
    assert order(firmware, "relay", "off", "a") == [{"status": "ok", "value": False}]  # the answer again, not the deed
    assert values(firmware.model, T0 + 1)["relay"] is True


def test_a_doubled_command_is_known_even_behind_many_others() -> None:
    firmware = started("pump")
    order(firmware, "relay", "off", "first")
    for index in range(REMEMBERED - 1):
        order(firmware, "relay", "on", f"c{index}")
    order(firmware, "relay", "off", "first")
    assert values(firmware.model, T0 + 1)["relay"] is True


def test_a_retained_command_is_refused() -> None:
    firmware = started("pump")
    firmware.hear("hub/x-1/cmd/relay/r", b"off", retained=True)
    assert answers(firmware)[0]["status"] == "rejected"
    assert values(firmware.model, T0 + 1)["relay"] is True


def test_what_is_no_command_for_it_is_not_answered() -> None:
    firmware = started("pump")
    for topic in ("hub/x-1/receipt", "hub/x-1/cmd/relay", "hub/other/cmd/relay/1", "hub/x-1/cmd/relay/1/2"):
        assert not firmware.hear(topic, b"on")
    assert not firmware.talk.duties.answers


def test_a_set_point_tells_its_progress_until_it_is_reached() -> None:
    device = one("pump")
    device.start(T0)
    order(device.firmware, "setpoint", "6")
    said: list[dict[str, Any]] = []
    now = T0
    while device.firmware.busy and now < T0 + 30:
        now = max(now, device.wake_at())
        device.advance(now)
        said += answers(device.firmware)
    assert said[-1] == {"status": "ok", "value": 6.0}
    progress = [each["progress"] for each in said[:-1]]
    assert progress == sorted(progress)
    assert len(progress) > 3


def test_a_newer_set_point_takes_the_place_of_an_older_one() -> None:
    firmware = started("pump")
    order(firmware, "setpoint", "6", "old")
    [old, *new] = order(firmware, "setpoint", "5", "new")
    assert (old["status"], new[0]["status"]) == ("error", "accepted")


def test_a_restart_is_answered_before_and_after() -> None:
    device = one("pump")
    said = play(device, 60)
    next(said)
    device.firmware.hear("hub/x-1/cmd/reboot/r1", b"")
    boot = device.firmware.store.boot
    acks = [send.publish.payload for _, send in said if send.what == "answer"]
    assert acks == [b'{"status":"accepted"}', b'{"status":"ok","message":"is up again"}']
    assert device.firmware.store.boot > boot


def test_a_restart_takes_the_device_away_politely() -> None:
    device = one("pump")
    device.start(T0)
    device.firmware.hear("hub/x-1/cmd/reboot/r1", b"")
    while send := device.next(T0):
        device.done(send)
    assert device.away == Away(T0 + 2, reboot=True, polite=True)


def test_an_interval_that_was_ordered_is_kept() -> None:
    device = one("climate")
    said = play(device, 40)
    next(said)
    device.firmware.hear("hub/x-1/cmd/interval/i", b"4")
    times = [now for now, send in said if send.what == "frames"][2:]
    assert {round(b - a, 3) for a, b in pairwise(times)} == {4.0}


# --- scenarios and jobs


@pytest.mark.parametrize("name", scenario.names())
def test_a_shipped_scenario_can_be_used_and_says_what_it_is_about(name: str) -> None:
    assert scenario.load(name).about


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("{", "truncated"),
        ("{}", "kinds"),
        ('{"kinds":{}}', "empty"),
        ('{"kinds":{"toaster":1}}', "toaster"),
        ('{"kinds":{"pump":1},"bad":2}', "bad"),
        ('{"kinds":{"pump":1},"dropout":{}}', "dropout"),
        ('{"kinds":{"pump":1},"interval_s":[2,1]}', "smaller"),
        ('{"kinds":{"pump":1},"interval_s":[0,1]}', "interval_s"),
    ],
)
def test_a_mistaken_scenario_is_refused_by_name(text: str, why: str) -> None:
    with pytest.raises(script.Unusable, match=why):
        script.decode(text.encode())


def test_a_scenario_that_is_not_there_names_those_that_are() -> None:
    with pytest.raises(script.Unusable, match="calm, flaky, storm"):
        scenario.load("hurricane")


@pytest.mark.parametrize("text", ["", "{", '{"devices":[{"key":"a","secret":["hush"]}]}', '{"devices":[],"port":0}'])
def test_a_mistaken_job_is_explained_without_its_secrets(text: str) -> None:
    with pytest.raises(jobs.Mistaken) as mistaken:
        jobs.read(text.encode())
    assert "hush" not in str(mistaken.value)
    assert "devices" in str(mistaken.value)


def test_a_secret_is_not_shown_by_accident() -> None:
    assert "hush" not in repr(fleet.Credentials("a", "hush"))


def test_a_thousand_devices_without_a_broker_make_one_line_of_log(caplog: pytest.LogCaptureFixture) -> None:
    complaints = Complaints()
    with caplog.at_level("INFO"):
        for index in range(1000):
            complaints.hear(f"d-{index}", "Connection refused", 100.0)
        complaints.hear("d-7", "Connection refused", 111.0)
    assert [line.split("(")[1] for line in caplog.messages] == [
        "failures before that: 0)",
        "failures before that: 999)",
    ]


# --- updates and settings


UPDATE = {"url": "https://hub.example.org/fw/1", "size": 10, "sha256": "0" * 64, "version": "2.0"}


def test_a_pump_that_got_its_file_restarts_with_the_new_version() -> None:
    device = one("pump")
    said = play(device, 60)
    next(said)
    device.firmware.hear("hub/x-1/cmd/update/u1", json.dumps(UPDATE).encode())
    assert device.firmware.updating is not None
    device.firmware.fetched(device.firmware.updating)
    acks = [json.loads(send.publish.payload) for _, send in said if send.what == "answer"]
    assert [ack.get("step", ack["status"]) for ack in acks] == [
        "accepted",
        "downloading",
        "verified",
        "installing",
        "restarting",
        "ok",
    ]
    assert json.loads(device.firmware.hello()[1].payload)["fw"] == "2.0"


def test_a_pump_that_did_not_get_its_file_stays_what_it_is() -> None:
    firmware = started("pump")
    firmware.hear("hub/x-1/cmd/update/u1", json.dumps(UPDATE).encode())
    assert firmware.updating is not None
    firmware.failed(firmware.updating, "404")
    assert answers(firmware)[-1] == {"status": "error", "message": "404"}
    assert json.loads(firmware.hello()[1].payload)["fw"] == "1.4.2"


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_obeys_its_interval_and_says_so(kind: str) -> None:
    device = one(kind)
    said = play(device, 40)
    next(said)
    device.firmware.hear("hub/x-1/desired", b'{"version":3,"values":{"interval_s":4}}')
    sent = list(said)
    [report] = [json.loads(send.publish.payload) for _, send in sent if send.what == "report"]
    assert report == {"version": 3, "values": {"interval_s": 4}}
    times = sorted({now for now, send in sent if send.what == "frames"})[2:]
    assert {round(b - a, 3) for a, b in pairwise(times)} == {4.0}
