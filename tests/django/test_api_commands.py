"""commands/: give, repeat, look at, cancel. What becomes of them is shown by their log."""

from typing import Any

import pytest
from django.contrib.auth.models import User

from devices import commands, entries
from devices.models import AuditEntry, Command, Device, Head

URL = "/api/v1/devices/pump-1/commands/"


def give(client: Any, name: str = "relay", args: Any = "on", **more: Any) -> Any:
    return client.post(URL, {"name": name, "args": args, **more})


def test_an_operator_gives_a_command_and_sees_it_queued(bob: User, pump: Device, api: Any) -> None:
    answer = give(api(bob))
    assert answer.status_code == 201
    made = answer.json()
    assert (made["state"], made["device"], made["name"], made["args"], made["by"]) == (
        "queued",
        "pump-1",
        "relay",
        True,
        "bob",
    )
    shown = api(bob).get(f"/api/v1/commands/{made['id']}/").json()
    assert [(event["state"], event["by"]) for event in shown["events"]] == [("queued", "bob")]


def test_a_given_command_rings_the_bridge(
    bob: User, pump: Device, api: Any, django_capture_on_commit_callbacks: Any
) -> None:
    with django_capture_on_commit_callbacks() as rung:
        give(api(bob))
    told = [message["type"] for callback in rung for message in callback.args]
    assert told == ["device.order", "device.command_state"]  # to the bridge; to those who watch


def test_a_repeated_key_gives_the_first_command(bob: User, pump: Device, api: Any) -> None:
    client = api(bob)
    first, again = give(client, key="abc"), give(client, args="off", key="abc")
    assert (first.status_code, again.status_code) == (201, 200)
    assert first.json()["id"] == again.json()["id"]
    assert Command.objects.count() == 1


@pytest.mark.parametrize(
    ("asked", "status", "code"),
    [
        ({"name": "relay", "args": "maybe"}, 400, "bad_args"),
        ({"name": "setpoint", "args": 31}, 400, "bad_args"),
        ({"name": "setpoint", "args": "warm"}, 400, "bad_args"),
        ({"name": "fly"}, 400, "command_unknown"),
        ({"name": "relay\u0000", "args": "on"}, 400, "invalid"),
        ({"name": "relay", "args": "on", "ttl_s": 0}, 400, "invalid"),
        ({"name": "relay", "args": "on", "ttl_s": 10**9}, 400, "invalid"),
        ({"name": "relay", "args": "on", "ttl": 5}, 400, "invalid"),
        ({"name": "relay", "args": "on", "reason": "x" * 201}, 400, "invalid"),
        ({"name": "relay", "args": "on", "confirm": "perhaps"}, 400, "invalid"),
        ({"args": "on"}, 400, "invalid"),
        ({}, 400, "invalid"),
    ],
)
def test_what_the_device_cannot_take_is_refused(
    asked: dict[str, Any], status: int, code: str, bob: User, pump: Device, api: Any
) -> None:
    answer = api(bob).post(URL, asked)
    assert (answer.status_code, answer.json()["code"]) == (status, code)
    assert not Command.objects.exists()


@pytest.mark.parametrize("args", [{"a": [1, None]}, "text", None, 21.5, True, ["x"]])
def test_a_device_that_announced_nothing_takes_any_value(args: Any, bob: User, pump: Device, api: Any) -> None:
    Device.objects.update(commands={})
    answer = give(api(bob), "anything", args)
    assert (answer.status_code, answer.json()["args"]) == (201, args)


@pytest.mark.parametrize("args", ["a\u0000b", {"a": "\u0000"}, {"\u0000": 1}, ["\u0000"], "x" * 5000])
def test_what_no_database_stores_is_refused(args: Any, bob: User, pump: Device, api: Any) -> None:
    Device.objects.update(commands={})
    assert give(api(bob), "anything", args).status_code == 400


def test_a_dangerous_command_takes_a_confirmation_and_keeps_its_reason(bob: User, pump: Device, api: Any) -> None:
    Device.objects.update(commands={"reboot": {"type": "action", "dangerous": True}})
    refused = give(api(bob), "reboot", None, reason="it hangs")
    assert (refused.status_code, refused.json()["code"]) == (409, "confirmation_needed")
    assert not Command.objects.exists()
    made = give(api(bob), "reboot", None, reason="it hangs", confirm=True)
    assert (made.status_code, made.json()["reason"]) == (201, "it hangs")
    assert (
        entries.words(AuditEntry.objects.get(action="command.issued")) == "gave pump-1 the command reboot: “it hangs”"
    )


def test_a_viewer_may_look_and_not_command(vera: User, pump: Device, api: Any) -> None:
    answer = give(api(vera))
    assert (answer.status_code, answer.json()["code"]) == (403, "forbidden")
    assert "operator" in answer.json()["message"]
    assert api(vera).get(URL).status_code == 200


def test_the_fifty_first_waiting_command_is_refused(bob: User, pump: Device, api: Any) -> None:
    for _ in range(commands.MAX_WAITING):
        commands.issue(pump, "reboot", None, user=bob, now=1)
    answer = give(api(bob))
    assert (answer.status_code, answer.json()["code"]) == (429, "too_many_waiting")


def test_commands_are_listed_newest_first_in_pages(vera: User, pump: Device, api: Any) -> None:
    made = [commands.issue(pump, "reboot", None, user=None, now=now)[0].pk for now in (1, 2, 2, 2, 3)]
    client, seen, asked = api(vera), [], {"limit": 2}
    while True:
        answer = client.get(URL, asked).json()
        seen += [row["id"] for row in answer["results"]]
        if answer["next"] is None:
            break
        asked["cursor"] = answer["next"]
    assert (seen[0], seen[-1]) == (made[4], made[0])
    assert sorted(seen) == sorted(made)


def test_a_list_of_many_costs_as_much_as_one_of_few(
    vera: User, bob: User, pump: Device, api: Any, django_assert_num_queries: Any
) -> None:
    client = api(vera)
    for now in range(20):
        commands.issue(pump, "reboot", None, user=bob, now=now)
    with django_assert_num_queries(4):  # token, user, device, commands
        client.get(URL)


def test_a_waiting_command_is_cancelled_once_and_for_all(bob: User, pump: Device, api: Any) -> None:
    client = api(bob)
    url = f"/api/v1/commands/{give(client).json()['id']}/cancel/"
    for _ in range(2):
        answer = client.post(url)
        assert (answer.status_code, answer.json()["state"]) == (200, "cancelled")
    assert [event["state"] for event in answer.json()["events"]] == ["queued", "cancelled"]
    assert answer.json()["events"][1]["by"] == "bob"


def test_a_command_on_its_way_is_not_cancelled(bob: User, pump: Device, api: Any) -> None:
    Head.objects.update(presence="online")
    command, _ = commands.issue(pump, "reboot", None, user=bob, now=1)
    orders = commands.claim(None, 2)
    assert orders
    answer = api(bob).post(f"/api/v1/commands/{command.pk}/cancel/")
    assert (answer.status_code, answer.json()["code"]) == (409, "too_late")
    commands.sent(orders, 3)
    assert "sent" in api(bob).post(f"/api/v1/commands/{command.pk}/cancel/").json()["message"]


def test_a_viewer_cannot_cancel(vera: User, bob: User, pump: Device, api: Any) -> None:
    cid = give(api(bob)).json()["id"]
    assert api(vera).post(f"/api/v1/commands/{cid}/cancel/").status_code == 403
