"""The main job, both ways, on the demo and on the production set-up, with devices that know nothing of this project."""

import json
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import httpx
import pytest

from tests.hub import PASSWORD, Device, Hub, eventually
from tests.system.clients import Paho, Tools

NewDevice = Callable[..., Device]

TS = 1_750_000_000_000


def head(hub: Hub, device: Device) -> dict[str, Any]:
    found: dict[str, Any] = hub.ask("GET", f"devices/{device.key}/")
    return found


def events(hub: Hub, cid: str) -> list[tuple[str, str]]:
    """What is logged of a command: state and proof."""
    return [(event["state"], event["proof"]) for event in hub.ask("GET", f"commands/{cid}/")["events"]]


def state(hub: Hub, cid: str) -> str:
    return str(hub.ask("GET", f"commands/{cid}/")["state"])


# --- readings


@pytest.mark.parametrize(
    ("suffix", "payload", "values"),
    [
        ("telemetry/temperature", "21.5", {"temperature": 21.5}),
        ("telemetry/door", "on", {"door": True}),
        ("telemetry/mode", "eco", {"mode": "eco"}),
        ("telemetry", '{"temperature": 21.5, "humidity": 40}', {"temperature": 21.5, "humidity": 40}),
        ("telemetry", f'{{"ts": {TS}, "values": {{"temperature": 20}}}}', {"temperature": 20}),
        ("telemetry", '{"dt": -5000, "temperature": 19}', {"temperature": 19}),
        ("telemetry", '{"boot": 1, "seq": 1, "values": {"temperature": 18}}', {"temperature": 18}),
        ("location", '{"lat": 52.5, "lon": 13.4, "acc": 5}', {"lat": 52.5, "lon": 13.4, "acc": 5}),
    ],
)
def test_a_reading_of_every_shape_is_on_the_socket_and_in_rest_with_one_seq(
    anywhere: Hub, new_device: NewDevice, suffix: str, payload: str, values: dict[str, Any]
) -> None:
    device = new_device()
    with anywhere.live() as live:
        assert live.sub(device.key)["head"] == {device.key: 0}
        Tools(anywhere, device).publish(suffix, payload)
        row = live.row(device.key, **values)
    assert row[0] == 1
    assert row[2] == values
    assert anywhere.frames(device.key) == [row]
    assert head(anywhere, device)["head"]["seq"] == 1


def test_a_batch_arrives_as_its_frames_at_their_own_times(anywhere: Hub, new_device: NewDevice) -> None:
    device = new_device()
    batch = json.dumps([{"ts": TS, "values": {"t": 1}}, {"ts": TS + 1000, "values": {"t": 2}}])
    with anywhere.live() as live:
        live.sub(device.key)
        Tools(anywhere, device).publish("telemetry", batch)
        row = live.row(device.key, t=2)
    found = anywhere.frames(device.key)
    assert [frame[:3] for frame in found] == [[1, TS, {"t": 1}], [2, TS + 1000, {"t": 2}]]
    assert row == found[1]


def test_what_is_sent_twice_is_stored_once(anywhere: Hub, new_device: NewDevice) -> None:
    device = new_device()
    with Paho(anywhere, device) as client:
        for _ in range(3):
            client.said("telemetry", {"boot": 7, "seq": 1, "values": {"t": 1}})
        client.said("telemetry", {"boot": 7, "seq": 2, "values": {"t": 2}})
        eventually(lambda: head(anywhere, device)["head"]["values"] == {"t": 2})
    assert [frame[2] for frame in anywhere.frames(device.key)] == [{"t": 1}, {"t": 2}]


def test_history_and_live_come_in_one_stream(anywhere: Hub, new_device: NewDevice) -> None:
    device = new_device()
    with Paho(anywhere, device) as client:
        for number in range(20):
            client.said("telemetry", {"boot": 1, "seq": number + 1, "values": {"n": number}})
        eventually(lambda: head(anywhere, device)["head"]["seq"] == 20)
        with anywhere.follower(device.key) as follower:
            eventually(lambda: follower.seqs(device.key) == list(range(1, 21)), "history")
            client.said("telemetry", {"boot": 1, "seq": 21, "values": {"n": 20}})
            eventually(lambda: follower.seqs(device.key) == list(range(1, 22)), "live")
    assert not follower.faults


# --- status and meta


def test_status_and_the_last_will_are_presence_with_a_reason(anywhere: Hub, new_device: NewDevice) -> None:
    device = new_device()
    with anywhere.live() as live:
        live.sub(device.key)
        assert live.until(type="state")["presence"] == "never"
        client = Paho(anywhere, device)
        with client:
            client.said("status", {"state": "online", "fw": "1.2"}, retain=True)
            assert live.until(type="state", device=device.key)["presence"] == "online"
            client.vanish()
            offline = live.until(type="state", device=device.key)
        assert (offline["presence"], bool(offline["because"])) == ("offline", True)
    assert head(anywhere, device)["presence"]["state"] == "offline"


def test_a_device_that_announced_its_sleep_is_asleep_and_not_gone(anywhere: Hub, new_device: NewDevice) -> None:
    device = new_device()
    with anywhere.live() as live:
        live.sub(device.key)
        client = Paho(anywhere, device)
        with client:
            client.said("status", {"state": "online", "sleep_s": 900}, retain=True)
            live.until(type="state", device=device.key, presence="online")
            client.vanish()
            asleep = live.until(type="state", device=device.key)
        assert asleep["presence"] == "online"
        assert asleep["because"].startswith("asleep, as announced")


@pytest.mark.parametrize("word", ["online", "offline"])
def test_a_plain_word_is_a_status(anywhere: Hub, new_device: NewDevice, word: str) -> None:
    device = new_device()
    Tools(anywhere, device).publish("status", word, "-r")
    eventually(lambda: head(anywhere, device)["presence"]["state"] == word)


def test_a_device_describes_itself(anywhere: Hub, new_device: NewDevice) -> None:
    device = new_device()
    tools = Tools(anywhere, device)
    meta = """{"name": "Boiler", "model": "B-1", "fw": "2.0", "metrics": {"flow": {"unit": "l/h", "class": "volume"}},
    "commands": {"led": {"type": "bool"}, "setpoint": {"type": "number", "min": 5, "max": 30, "step": 0.5},
                 "mode": {"type": "enum", "options": ["eco", "auto"]}, "reboot": {"type": "action"}}}"""
    tools.publish("meta", meta, "-r")
    tools.publish("meta/pressure", "bar", "-r")
    tools.publish("meta/fan", '{"type": "bool"}', "-r")
    eventually(lambda: len(head(anywhere, device)["commands"]) == 5)
    told = head(anywhere, device)
    assert (told["name"], told["model"], told["firmware"]) == ("Boiler", "B-1", "2.0")
    assert {metric["name"]: metric["unit"] for metric in told["metrics"]} == {"flow": "l/h", "pressure": "bar"}
    assert {"name": "setpoint", "type": "number", "min": 5, "max": 30, "step": 0.5} in told["commands"]


# --- what is wrong


@pytest.mark.parametrize(
    ("suffix", "payload", "reason"),
    [
        ("telemetry", b"{", "not_json"),
        ("telemetry", b'{"t": "\xff"}', "not_utf8"),
        ("telemetry", b'{"t": 1e999}', "number_out_of_range"),
        ("telemetry", b'{"t": NaN}', "not_json"),
        ("telemetry", b'{"t": "\\u0000"}', "bad_value"),
        ("telemetry", b'{"t": "\\ud800"}', "not_json"),
        ("telemetry", b'{"t": 1' + b"0" * 5000 + b"}", "number_out_of_range"),
        ("telemetry", b"[" * 60_000, "nested_too_deep"),
        ("telemetry", b'{"t": 1, "t": 2}', "bad_value"),
        ("telemetry", b'{"device": "other", "t": 1}', "identity_mismatch"),
        ("telemetry", b'{"t": "' + b"x" * 70_000 + b'"}', "too_large"),
        ("status", b"sleepy", "bad_value"),
        ("nonsense", b"1", "topic_unknown"),
        ("meta", b"[]", "bad_value"),
    ],
)
def test_what_is_wrong_is_kept_with_its_reason_and_the_rest_goes_on(
    anywhere: Hub, new_device: NewDevice, suffix: str, payload: bytes, reason: str
) -> None:
    """Facts 27: what parses and breaks later must stop nobody else."""
    device, neighbour = new_device(), new_device("neighbour")
    Tools(anywhere, device).publish(suffix, payload)
    Tools(anywhere, neighbour).publish("telemetry", '{"t": 1}')
    Tools(anywhere, device).publish("telemetry", '{"t": 2}')
    eventually(lambda: anywhere.frames(neighbour.key) and anywhere.frames(device.key))
    (reject,) = anywhere.ask("GET", "rejects/", params={"device": device.key})["results"]
    assert (reject["reason"], reject["count"]) == (reason, 1)
    assert reject["detail"]
    assert [frame[2] for frame in anywhere.frames(device.key)] == [{"t": 2}]


# --- commands


@pytest.mark.parametrize("by", ["socket", "rest"])
@pytest.mark.parametrize("client", ["mosquitto", "paho"])
def test_a_command_goes_out_and_its_answer_comes_back(
    anywhere: Hub, new_device: NewDevice, client: str, by: str
) -> None:
    device = new_device()
    if client == "paho":
        with Paho(anywhere, device) as paho:
            paho.said("status", "online")
            order_and_answer(anywhere, device, by, paho.heard, paho.said)
        return
    Tools(anywhere, device).publish("status", "online")
    with Tools(anywhere, device).listen() as listening:
        # A second connection with the same client id would throw the listener out.
        order_and_answer(anywhere, device, by, listening.heard, None)


def order_and_answer(hub: Hub, device: Device, by: str, heard: Callable[[], Any], say: Any) -> None:
    eventually(lambda: head(hub, device)["presence"]["state"] == "online")
    with hub.live() as live:
        live.sub(device.key)
        if by == "socket":
            cid = live.command(device.key, "led", True)["command"]
        else:
            cid = hub.ask("POST", f"devices/{device.key}/commands/", json={"name": "led", "args": True})["id"]
        order = heard()
        assert order == (f"hub/{device.key}/cmd/led/{cid}", "on", False)
        assert live.command_state(cid, "sent")["proof"]
        if say is None:
            Tools(hub, device).publish(f"ack/{cid}", "ok")
        else:
            say(f"ack/{cid}", "ok")
        told = live.command_state(cid, "succeeded")
    assert (told["device"], told["name"], told["by"]) == (device.key, "led", hub.user)
    log = events(hub, cid)
    assert [entry[0] for entry in log] == ["queued", "sent", "succeeded"]
    assert all(proof for _, proof in log)
    assert log[-1][1] == "the device answered"


@pytest.mark.parametrize(
    ("answers", "states"),
    [
        (["error it jams"], ["queued", "sent", "failed"]),
        ([{"status": "rejected", "message": "not now"}], ["queued", "sent", "rejected"]),
        (
            [{"status": "accepted", "progress": 0.4}, {"status": "ok", "value": 21}],
            ["queued", "sent", "received", "succeeded"],
        ),
    ],
)
def test_what_the_device_answers_is_what_is_shown(
    anywhere: Hub, new_device: NewDevice, answers: list[Any], states: list[str]
) -> None:
    device = new_device()
    with Paho(anywhere, device) as client:
        client.said("status", "online")
        cid = anywhere.ask("POST", f"devices/{device.key}/commands/", json={"name": "valve", "args": 3})["id"]
        order = client.heard()
        assert order.payload == "3"
        for answer in answers:
            client.said(f"ack/{cid}", answer)
        eventually(lambda: state(anywhere, cid) == states[-1])
    assert [event[0] for event in events(anywhere, cid)] == states


def test_an_offline_devices_command_waits_and_is_sent_when_it_comes(anywhere: Hub, new_device: NewDevice) -> None:
    device = new_device()
    cid = anywhere.ask("POST", f"devices/{device.key}/commands/", json={"name": "led", "args": "on"})["id"]
    with anywhere.live() as live:
        live.sub(device.key)
        assert live.command_state(cid, "queued")
        with Paho(anywhere, device) as client:
            client.said("status", "online")
            order = client.heard()
            assert order.topic.endswith(f"/cmd/led/{cid}")
            client.said(f"ack/{cid}", "ok")
            live.command_state(cid, "succeeded")


def test_a_command_whose_time_is_over_is_never_sent(anywhere: Hub, new_device: NewDevice) -> None:
    device = new_device()
    asked = {"name": "led", "args": "on", "ttl_s": 1}
    cid = anywhere.ask("POST", f"devices/{device.key}/commands/", json=asked)["id"]
    eventually(lambda: state(anywhere, cid) == "expired")
    with Paho(anywhere, device) as client:
        client.said("status", "online")
        later = anywhere.ask("POST", f"devices/{device.key}/commands/", json={"name": "led", "args": "off"})["id"]
        order = client.heard()
        assert order.topic.endswith(later)
    assert [event[0] for event in events(anywhere, cid)] == ["queued", "expired"]


def test_nothing_that_was_ordered_is_left_behind_as_retained(anywhere: Hub, new_device: NewDevice) -> None:
    device = new_device()
    with Paho(anywhere, device) as client:
        client.said("status", "online")
        anywhere.ask("POST", f"devices/{device.key}/commands/", json={"name": "led", "args": "on"})
        assert client.heard()
    with Paho(anywhere, device) as client:
        marker = anywhere.ask("POST", f"devices/{device.key}/commands/", json={"name": "led", "args": "off"})["id"]
        client.said("status", "online")
        order = client.heard()
        assert order.topic.endswith(marker)


# --- who may what


def test_another_users_device_answers_like_one_that_does_not_exist(anywhere: Hub, new_device: NewDevice) -> None:
    device = new_device()

    def answers(key: str) -> list[Any]:
        def told(answer: httpx.Response) -> tuple[int, str]:
            return answer.status_code, answer.text.replace(key, "KEY")

        order = {"name": "led", "args": "on"}
        rest = [
            told(anywhere.rest("GET", f"devices/{key}/", user="charlie")),
            told(anywhere.rest("PATCH", f"devices/{key}/", user="charlie", json={"name": "mine"})),
            told(anywhere.rest("DELETE", f"devices/{key}/", user="charlie")),
            told(anywhere.rest("POST", f"devices/{key}/rotate/", user="charlie")),
            told(anywhere.rest("GET", f"devices/{key}/frames/", user="charlie")),
            told(anywhere.rest("GET", f"devices/{key}/commands/", user="charlie")),
            told(anywhere.rest("POST", f"devices/{key}/commands/", user="charlie", json=order)),
        ]
        with anywhere.live("charlie") as live:
            said = [live.sub(key), live.command(key, "led", "on")]
        socket = [(message["type"], message["code"], message["message"].replace(key, "KEY")) for message in said]
        with signed_in(anywhere, "charlie") as browser:
            page = told(browser.get(f"/devices/{key}/"))
        return [*rest, *socket, page[0]]

    theirs, nobodys = answers(device.key), answers("nobody-has-this")
    assert theirs == nobodys
    assert {answer[0] for answer in theirs[:7]} == {404}
    assert theirs[-1] == 404
    assert head(anywhere, device)["name"] == ""


@contextmanager
def signed_in(hub: Hub, user: str) -> Iterator[httpx.Client]:
    """A browser in which this person has signed in."""
    with httpx.Client(base_url=hub.url, trust_env=False, follow_redirects=True, timeout=30) as browser:
        browser.get("/sign-in/")
        form = {"username": user, "password": PASSWORD, "csrfmiddlewaretoken": browser.cookies["csrftoken"]}
        assert browser.post("/sign-in/", data=form, headers={"Referer": hub.url}).is_success
        assert "sessionid" in browser.cookies
        yield browser


def test_a_stranger_sees_nothing(anywhere: Hub) -> None:
    assert httpx.get(f"{anywhere.url}/api/v1/devices/", trust_env=False).status_code == 401
    assert httpx.get(f"{anywhere.url}/", trust_env=False).headers["location"].startswith("/sign-in/")


# --- accounts at the broker


def test_a_new_device_can_connect_within_a_second(anywhere: Hub, new_device: NewDevice) -> None:
    new_device()  # so that nothing is done for the first time
    device = new_device()
    made = time.monotonic()
    while Tools(anywhere, device).try_publish("telemetry", '{"t": 1}').returncode:
        assert time.monotonic() < made + 10
    took = time.monotonic() - made
    assert took < 2, f"{took:.2f} s"  # one, and as much again for a busy machine


def test_a_disabled_device_is_cut_and_comes_back_when_it_is_enabled(anywhere: Hub, new_device: NewDevice) -> None:
    device = new_device()
    with Paho(anywhere, device) as client:
        anywhere.ask("PATCH", f"devices/{device.key}/", json={"enabled": False})
        eventually(lambda: not client.connected)
        assert Tools(anywhere, device).try_publish("telemetry", "{}").returncode != 0
        anywhere.ask("PATCH", f"devices/{device.key}/", json={"enabled": True})
        eventually(lambda: client.connected)


def test_a_deleted_device_is_cut_and_cannot_return(anywhere: Hub, new_device: NewDevice) -> None:
    device = new_device()
    with Paho(anywhere, device) as client:
        anywhere.ask("DELETE", f"devices/{device.key}/")
        eventually(lambda: not client.connected)
    assert Tools(anywhere, device).try_publish("telemetry", '{"t": 1}').returncode != 0
    assert anywhere.rest("GET", f"devices/{device.key}/").status_code == 404


def test_a_rotated_secret_cuts_the_old_one(anywhere: Hub, new_device: NewDevice) -> None:
    device = new_device()
    with Paho(anywhere, device) as client:
        fresh = Device(device.key, anywhere.ask("POST", f"devices/{device.key}/rotate/")["secret"])
        eventually(lambda: not client.connected)
    eventually(lambda: Tools(anywhere, fresh).try_publish("telemetry", '{"t": 1}').returncode == 0)
    assert Tools(anywhere, device).try_publish("telemetry", '{"t": 1}').returncode != 0


def test_a_device_that_is_made_again_gets_in_with_its_new_secret(anywhere: Hub, new_device: NewDevice) -> None:
    device = new_device()
    eventually(lambda: Tools(anywhere, device).try_publish("telemetry", '{"t": 1}').returncode == 0)
    anywhere.ask("DELETE", f"devices/{device.key}/")
    again = anywhere.add_device(device.key)
    eventually(lambda: Tools(anywhere, again).try_publish("telemetry", '{"t": 1}').returncode == 0)
    assert Tools(anywhere, device).try_publish("telemetry", '{"t": 1}').returncode != 0


def test_a_device_speaks_for_itself_alone(anywhere: Hub, new_device: NewDevice) -> None:
    device, other = new_device(), new_device("other")
    with Paho(anywhere, device) as client:
        client._client.publish(f"hub/{other.key}/telemetry", '{"t": 1}', 1)
        # nats-server ends the connection, Mosquitto drops the message; both let the device come back.
        eventually(lambda: client.connected)
    Tools(anywhere, other).publish("telemetry", '{"t": 2}')
    eventually(lambda: anywhere.frames(other.key))
    assert [frame[2] for frame in anywhere.frames(other.key)] == [{"t": 2}]
