"""rejects/: what could not be taken in, to those who see the device that it claims to be from."""

from typing import Any

import pytest
from django.contrib.auth.models import User

from devices.models import Device
from tests.django.conftest import refuse

URL = "/api/v1/rejects/"


def listed(client: Any, **asked: Any) -> list[dict[str, Any]]:
    results: list[dict[str, Any]] = client.get(URL, asked).json()["results"]
    return results


def test_the_same_fault_again_is_counted(vera: User, pump: Device, api: Any) -> None:
    refuse("pump-1", b"{", now=1)
    refuse("pump-1", b"{", now=5)
    (row,) = listed(api(vera))
    assert row.pop("id") > 0
    assert row == {
        "device": "pump-1",
        "topic": "hub/pump-1/telemetry",
        "client": "",
        "reason": "not_json",
        "detail": "why",
        "count": 2,
        "first_at": 1,
        "last_at": 5,
        "size": 1,
        "payload": "{",
        "payload_hex": "7b",
    }


@pytest.mark.parametrize(
    ("payload", "text"),
    [(b"\xff\x00", None), (b"", ""), ("°".encode(), "°"), (b"a\x00b", "a\x00b"), ("é".encode()[:1], None)],
)
def test_a_payload_is_told_as_text_when_it_is_one_and_always_in_hex(
    payload: bytes, text: str | None, vera: User, pump: Device, api: Any
) -> None:
    refuse(payload=payload)
    (row,) = listed(api(vera))
    assert (row["payload"], row["payload_hex"]) == (text, payload.hex())


def test_a_long_payload_is_cut_even_in_the_middle_of_a_character(vera: User, pump: Device, api: Any) -> None:
    refuse(payload=b"x" + "é".encode() * 2000)
    (row,) = listed(api(vera))
    assert (row["size"], len(row["payload_hex"]), row["payload"]) == (4001, 4096, "x" + "é" * 1023)


def test_rejects_are_listed_newest_first_in_pages(vera: User, pump: Device, api: Any) -> None:
    for index in range(5):
        refuse(payload=bytes([65 + index]), now=index // 2)
    client = api(vera)
    first = client.get(URL, {"limit": 3}).json()
    second = client.get(URL, {"limit": 3, "cursor": first["next"]}).json()
    assert [row["payload"] for row in first["results"] + second["results"]] == ["E", "D", "C", "B", "A"]
    assert second["next"] is None


def test_they_are_filtered_by_device_and_reason(alice: User, pump: Device, api: Any) -> None:
    refuse()
    refuse(reason="not_utf8")
    client = api(alice)
    assert [row["reason"] for row in listed(client, reason="not_utf8")] == ["not_utf8"]
    assert listed(client, device="other") == []
    assert client.get(URL, {"reason": "because"}).status_code == 400


def test_what_names_no_device_is_for_administrators(alice: User, root: User, pump: Device, api: Any) -> None:
    refuse(key="", topic="nonsense")
    refuse(key="stranger")
    assert listed(api(alice)) == []
    assert {row["device"] for row in listed(api(root))} == {"", "stranger"}


def test_a_list_of_many_costs_as_much_as_one_of_few(
    vera: User, pump: Device, api: Any, django_assert_num_queries: Any
) -> None:
    client = api(vera)
    for index in range(20):
        refuse(payload=bytes([index]))
    with django_assert_num_queries(3):  # token, user, rejects
        client.get(URL)
