"""Downloads: by an address that is signed for one command, with the credentials of its device; whole or in parts."""

from __future__ import annotations

from typing import Any

import pytest
from django.core.files.storage import default_storage

from devices import commands, downloads, firmware, registry, wire
from devices.models import Command, Device, Firmware, Fleet
from tests.django.conftest import NOW
from tests.django.updates import ADDRESS, DIGEST, IMAGE, Fetching, add, hand_over, order

pytest_plugins = ("tests.django.update_fixtures",)


def test_a_device_fetches_what_it_was_told_to(fetching: Fetching) -> None:
    answer = fetching.ask()
    assert (answer.status_code, answer.content_sent) == (200, IMAGE)
    told = {name: answer.headers.get(name) for name in ("Content-Length", "ETag", "Accept-Ranges", "Content-Encoding")}
    assert told == {
        "Content-Length": str(len(IMAGE)), "ETag": f'"{DIGEST}"', "Accept-Ranges": "bytes", "Content-Encoding": None,
    }  # fmt: skip
    assert answer.headers["Content-Type"] == "application/octet-stream"
    assert fetching.log[1:] == [
        ("received", "pump-1 asked the hub for the file; the hub sent it to the last byte"),
    ]


def test_only_looking_proves_nothing(fetching: Fetching) -> None:
    answer = fetching.ask(method="HEAD", Range="bytes=10-19")
    assert (answer.status_code, answer.content, answer.headers["Content-Length"]) == (206, b"", "10")
    assert [state for state, _ in fetching.log] == ["queued"]


@pytest.mark.parametrize(
    ("asked", "first", "end"),
    [
        ("bytes=0-", 0, 256_000),
        ("bytes=100-", 100, 256_000),
        ("bytes=100-199", 100, 200),
        ("bytes=255999-", 255_999, 256_000),
        ("bytes=255990-999999", 255_990, 256_000),
        ("bytes=-10", 255_990, 256_000),
        ("bytes=-999999", 0, 256_000),
    ],
)
def test_a_part_is_sent_where_one_is_asked_for(asked: str, first: int, end: int, fetching: Fetching) -> None:
    answer = fetching.ask(Range=asked)
    assert (answer.status_code, answer.content_sent) == (206, IMAGE[first:end])
    assert answer.headers["Content-Range"] == f"bytes {first}-{end - 1}/256000"
    assert answer.headers["Content-Length"] == str(end - first)
    assert ("last byte" in fetching.log[-1][1]) == (end == len(IMAGE))


@pytest.mark.parametrize("asked", ["bytes=256000-", "bytes=999999999-", "bytes=-0"])
def test_a_part_that_is_not_there_is_refused(asked: str, fetching: Fetching) -> None:
    answer = fetching.ask(Range=asked)
    assert (answer.status_code, answer.headers["Content-Range"]) == (416, "bytes */256000")


@pytest.mark.parametrize(
    "headers",
    [
        {"Range": "bytes=0-1,5-6"},
        {"Range": "bytes=9-3"},
        {"Range": "bytes=-"},
        {"Range": "chunks=0-1"},
        {"Range": "bytes=a-b"},
        {"Range": f"bytes={'9' * 30}-"},
        {"Range": "bytes=100-", "If-Range": f'"{"0" * 64}"'},
        {"Range": "bytes=100-", "If-Range": "Sun, 22 Nov 2026 07:00:00 GMT"},
    ],
)
def test_what_asks_for_no_part_of_this_file_gets_all_of_it(headers: dict[str, str], fetching: Fetching) -> None:
    answer = fetching.ask(**headers)
    assert (answer.status_code, answer.content_sent) == (200, IMAGE)


def test_a_part_of_the_same_file_is_sent_on(fetching: Fetching) -> None:
    answer = fetching.ask(Range="bytes=100-", If_Range=f'"{DIGEST}"')
    assert (answer.status_code, answer.content_sent) == (206, IMAGE[100:])


def test_who_does_not_say_who_it_is_is_asked(fetching: Fetching) -> None:
    for said in ("", "Basic", "Basic !!", "Basic aGFsbG8=", "Bearer x", "Basic /w=="):
        answer = fetching.ask(Authorization=said)
        assert (answer.status_code, answer.headers["WWW-Authenticate"][:5]) == (401, "Basic")
        assert answer.content == b"Send the device's key and secret, as for MQTT (HTTP Basic).\n"


def test_neither_the_address_nor_the_credentials_are_enough(fetching: Fetching, kettle: Device) -> None:
    foreign = registry.rotate(kettle)
    other = wire.cid(NOW, 7)
    cid = fetching.command.pk
    asked = {
        401: [{"who": (fetching.device.key, "wrong")}, {"path": firmware.address(other).removeprefix(ADDRESS)}],
        403: [{"who": (kettle.key, foreign)}, {"who": (kettle.key, "wrong")}, {"who": ("nobody", "x")}],
        404: [{"path": f"/fw/{cid}/{firmware.signature(other)}"}, {"path": f"/fw/{cid}/x"}],
    }
    found = {status: {fetching.ask(**one).status_code for one in ways} for status, ways in asked.items()}  # type: ignore[arg-type]  # as above
    assert found == {401: {401}, 403: {403}, 404: {404}}
    assert [state for state, _ in fetching.log] == ["queued"]


def test_what_was_signed_under_another_key_leads_nowhere(fetching: Fetching, settings: Any) -> None:
    settings.SECRET_KEY = "another one"
    assert fetching.ask().status_code == 404


def test_a_secret_that_was_changed_is_good_no_more(fetching: Fetching) -> None:
    registry.rotate(fetching.device)
    assert fetching.ask().status_code == 401


def test_a_gateway_fetches_for_those_who_speak_through_it(fetching: Fetching, greenhouse: Fleet) -> None:
    gateway, secret = registry.create("gate", greenhouse)
    assert fetching.ask(who=("gate", secret)).status_code == 403
    Device.objects.filter(pk=fetching.device.pk).update(gateway=gateway)
    assert fetching.ask(who=("gate", secret)).content_sent == IMAGE
    assert fetching.log[-1][1].startswith("gate asked")
    Device.objects.filter(pk=gateway.pk).update(enabled=False)
    assert fetching.ask(who=("gate", secret)).content == b"gate is disabled.\n"


def test_a_disabled_device_fetches_nothing(fetching: Fetching) -> None:
    registry.change(fetching.device, {"enabled": False})
    answer = fetching.ask()
    assert (answer.status_code, answer.content) == (403, b"pump-1 is disabled.\n")


@pytest.mark.parametrize("state", ["succeeded", "failed", "rejected", "timed_out", "expired", "cancelled"])
def test_what_is_over_is_not_sent_any_more(state: str, fetching: Fetching) -> None:
    Command.objects.update(state=state)
    answer = fetching.ask()
    assert (answer.status_code, answer.content) == (410, f"This update is over ({state}).\n".encode())


@pytest.mark.parametrize(
    ("changes", "status"),
    [
        ({"claimed_at": None, "state": "queued"}, 410),
        ({"expires_at": NOW}, 410),
        ({"expires_at": NOW, "state": "received"}, 200),
        ({"state": "unknown"}, 200),
        ({"claimed_at": NOW - 86_400_000, "state": "received"}, 410),
    ],
)
def test_an_address_is_good_for_a_day_while_its_command_is_open(
    changes: dict[str, Any], status: int, fetching: Fetching
) -> None:
    Command.objects.update(**changes)
    assert fetching.ask().status_code == status


def test_a_file_that_was_lost_is_told_as_gone(fetching: Fetching) -> None:
    default_storage.delete(Firmware.objects.get().file.name or "")
    assert fetching.ask().status_code == 410


def test_nobody_fetches_another_fleets_file_by_making_up_a_command(fetching: Fetching, brewery: Fleet) -> None:
    """A device that described no command may be told anything; the hub signs it, and looks again."""
    foreign = add(brewery, image=b"secret")
    Device.objects.update(commands={})
    forged = {"firmware": foreign.pk, "version": "1.5.0", "size": 6, "sha256": foreign.sha256}
    made, _ = commands.issue(Device.objects.get(key="pump-1"), "update", forged, user=None, now=NOW)
    hand_over(made)
    assert fetching.ask(firmware.address(made.pk).removeprefix(ADDRESS)).status_code == 410


def test_who_guesses_secrets_has_to_wait_and_is_in_nobodys_way(fetching: Fetching) -> None:
    wrong = (fetching.device.key, "wrong")
    found = [fetching.ask(who=wrong).status_code for _ in range(downloads.MISSES + 1)]
    assert found == [*[401] * downloads.MISSES, 429]
    assert (fetching.ask().status_code, int(fetching.ask().headers["Retry-After"])) == (429, downloads.WAIT_S)
    another = order(fetching.device, add(fetching.device.fleet, "1.6.0"))
    hand_over(another)
    assert fetching.ask(firmware.address(another.pk).removeprefix(ADDRESS)).status_code == 200


def test_a_device_that_answered_first_is_shown_to_have_done_both(fetching: Fetching) -> None:
    Command.objects.update(state="received")
    fetching.command.events.create(state="received", at=NOW, proof="the device answered")
    fetching.ask()
    fetching.ask(Range="bytes=5-")
    assert fetching.log[-1][1] == (
        "the device answered; pump-1 asked the hub for the file; the hub sent it to the last byte"
    )
