"""rejects/: what could not be taken in, to those who see the device that it claims to be from."""

from typing import Any

import pytest
from django.contrib.auth.models import User

from devices import intake, registry, replay, wire
from devices.models import Device, Frame, Reject
from tests.django.conftest import NOW, refuse

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
        "position": None,
        "size": 1,
        "retain": False,
        "payload": "{",
        "payload_hex": "7b",
        "around": None,
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


@pytest.mark.parametrize("position", [0, 10, 32, 3000, 4999, 5000])
def test_what_stands_around_the_fault_is_told_however_long_the_payload_is(
    position: int, vera: User, pump: Device, api: Any
) -> None:
    payload = bytes(range(250)) * 20
    refuse(payload=payload, position=position)
    (row,) = listed(api(vera))
    start = max(position - 32, 0)
    assert row["position"] == position
    assert row["around"] == {"offset": start, "hex": payload[start : start + 64].hex()}


# --- gathered


def test_they_are_gathered_by_device_and_reason_with_the_newest_detail(
    vera: User, pump: Device, api: Any, django_assert_num_queries: Any
) -> None:
    for at, payload in enumerate((b"a", b"b", b"b")):
        refuse(payload=payload, now=at, detail=f"detail {at}")
    refuse(reason="not_utf8", now=9)
    refuse(key="stranger")
    client = api(vera)
    with django_assert_num_queries(3):  # token, user, groups
        answer = client.get(f"{URL}groups/").json()
    first, second = answer["results"]
    assert first == {
        "device": "pump-1",
        "reason": "not_json",
        "kinds": 2,
        "count": 3,
        "first_at": 0,
        "last_at": 2,
        "detail": "detail 2",
    }
    assert (second["reason"], second["last_at"], answer["next"]) == ("not_utf8", 9, None)


def test_groups_come_in_pages_too_and_are_filtered(root: User, api: Any) -> None:
    for index in range(5):
        refuse(key=f"d-{index}", payload=b"1")
        refuse(key=f"d-{index}", payload=b"2", reason="not_utf8")
    client, found, cursor = api(root), [], {}
    while True:
        answer = client.get(f"{URL}groups/", {"limit": 3, **cursor}).json()
        found += [(row["device"], row["reason"]) for row in answer["results"]]
        if answer["next"] is None:
            break
        cursor = {"cursor": answer["next"]}
    assert found == [(f"d-{index}", reason) for index in range(5) for reason in ("not_json", "not_utf8")]
    assert len(client.get(f"{URL}groups/", {"device": "d-3"}).json()["results"]) == 2


# --- replayed


def strange(payload: bytes = b'{"level": 7}', key: str = "tank", at: int = NOW) -> Reject:
    """Keep what a device sent before it was registered."""
    message = wire.Message(topic=f"hub/{key}/telemetry", payload=payload, received_at=at)
    intake.take([message], {}, at)
    return Reject.objects.latest("pk")


def test_a_reject_is_replayed_once_its_cause_is_mended(bob: User, greenhouse: Any, api: Any) -> None:
    row = strange()
    registry.create("tank", greenhouse)
    client = api(bob)
    answer = client.post(f"{URL}{row.pk}/replay/")
    assert (answer.status_code, answer.json()) == (
        200,
        {
            "result": "stored",
            "message": "Stored: 1 frame.",
            "count": 1,
            "frames": 1,
            "duplicates": 0,
            "partly": 0,
            "reason": "",
            "detail": "",
        },
    )
    again = client.post(f"{URL}{row.pk}/replay/")
    assert (again.status_code, again.json()["code"]) == (404, "reject_unknown")
    assert Frame.objects.count() == 1


def test_what_is_refused_again_says_why(bob: User, pump: Device, api: Any) -> None:
    row = strange(b'{"level": []}', key="pump-1")
    answer = api(bob).post(f"{URL}{row.pk}/replay/").json()
    assert (answer["result"], answer["reason"]) == ("refused", "bad_value")
    assert answer["detail"] in answer["message"]
    (listed_row,) = listed(api(bob))
    assert (listed_row["id"], listed_row["reason"]) == (row.pk, "bad_value")


def test_what_was_not_kept_whole_says_so(bob: User, pump: Device, api: Any) -> None:
    refuse(payload=b"x" * 70_000, reason="too_large")
    answer = api(bob).post(f"{URL}{Reject.objects.get().pk}/replay/")
    assert (answer.status_code, answer.json()["code"]) == (409, "not_whole")


def test_many_are_replayed_by_device_reason_or_id(bob: User, pump: Device, greenhouse: Any, api: Any) -> None:
    rows = [strange(b'{"level": %d}' % level) for level in range(4)]
    strange(b"{")
    registry.create("tank", greenhouse)
    client = api(bob)
    url = f"{URL}replay/"
    assert client.post(url, {"ids": [rows[0].pk, 10**9]}).json()["replayed"] == 1
    assert client.post(url, {"device": "pump-1"}).json()["replayed"] == 0
    done = client.post(url, {"device": "tank", "reason": "device_unknown"}).json()
    assert (done["replayed"], done["frames"], done["left"], done["next"]) == (3, 3, 0, None)
    assert done["message"] == "Replayed 3: 3 frames stored, 0 known already."
    done = client.post(url).json()
    assert (done["replayed"], done["refused"]) == (0, 1)


def test_a_call_does_a_bounded_part_and_says_how_to_go_on(
    bob: User, greenhouse: Any, api: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(replay, "MOST", 2)
    for level in range(3):
        strange(b'{"level": %d}' % level)
    registry.create("tank", greenhouse)
    client = api(bob)
    first = client.post(f"{URL}replay/").json()
    assert (first["replayed"], first["left"]) == (2, 1)
    assert client.post(f"{URL}replay/", {"after": first["next"]}).json()["left"] == 0
    assert Frame.objects.count() == 3


# --- discarded, and by whom


def test_a_manager_discards_one_or_a_group(alice: User, pump: Device, api: Any) -> None:
    for payload in (b"1", b"2", b"3"):
        refuse(payload=payload)
    refuse(reason="not_utf8")
    client = api(alice)
    assert client.delete(f"{URL}{Reject.objects.earliest('pk').pk}/").status_code == 204
    assert client.delete(f"{URL}?device=pump-1&reason=not_json").json() == {"discarded": 2}
    assert Reject.objects.get().reason == "not_utf8"
    assert client.delete(URL).status_code == 400
    assert Reject.objects.exists()


RIGHTS = [
    ("post", "{pk}/replay/", (403, 200, 200)),
    ("post", "replay/", (403, 200, 200)),
    ("delete", "{pk}/", (403, 403, 204)),
    ("delete", "?device=pump-1", (403, 403, 200)),
]


@pytest.mark.parametrize(("method", "rest", "statuses"), RIGHTS)
def test_operators_replay_and_managers_discard(  # noqa: PLR0913, PLR0917  the cast
    method: str, rest: str, statuses: tuple[int, ...], vera: User, bob: User, alice: User, pump: Device, api: Any
) -> None:
    for user, status in zip((vera, bob, alice), statuses, strict=True):
        Reject.objects.all().delete()
        refuse()
        url = URL + rest.format(pk=Reject.objects.get().pk)
        answer = getattr(api(user), method)(url, {"device": "pump-1"} if rest == "replay/" else None)
        assert answer.status_code == status, answer.content


@pytest.mark.parametrize("rest", ["{pk}/replay/", "{pk}/"])
def test_alices_reject_answers_charlie_like_one_that_does_not_exist(
    rest: str, charlie: User, pump: Device, api: Any
) -> None:
    refuse()
    pk = Reject.objects.get().pk
    client = api(charlie)
    ask = client.post if "replay" in rest else client.delete
    there = ask(URL + rest.format(pk=pk))
    Reject.objects.all().delete()
    not_there = ask(URL + rest.format(pk=pk))
    assert (there.status_code, there.content) == (not_there.status_code, not_there.content)
    assert there.status_code == 404


def test_charlie_replays_and_discards_nothing_of_alices(charlie: User, pump: Device, kettle: Device, api: Any) -> None:
    refuse()
    refuse(key="stranger")
    refuse(key="")
    client = api(charlie)
    ids = list(Reject.objects.values_list("pk", flat=True))
    done = client.post(f"{URL}replay/", {"ids": ids}).json()
    assert (done["replayed"], done["refused"], done["left"]) == (0, 0, 0)
    for key in ("pump-1", "stranger", "nothing", ""):
        assert client.post(f"{URL}replay/", {"device": key}).status_code in (400, 404)
        assert client.delete(f"{URL}?device={key}").status_code in (400, 404)
    assert client.delete(f"{URL}?reason=not_json").json() == {"discarded": 0}
    assert client.get(f"{URL}groups/").json()["results"] == []
    assert Reject.objects.count() == 3


def test_what_names_no_registered_device_an_administrator_replays_and_discards(root: User, api: Any) -> None:
    row = strange()
    refuse(key="", topic="nonsense")
    client = api(root)
    assert client.post(f"{URL}{row.pk}/replay/").json()["reason"] == "device_unknown"
    assert client.delete(f"{URL}?device=tank").json() == {"discarded": 1}
    assert client.delete(f"{URL}?device=").json() == {"discarded": 1}


@pytest.mark.parametrize("pk", [0, 2**63, 10**30])
def test_a_number_that_is_none_is_an_unknown_reject_too(pk: int, root: User, api: Any) -> None:
    assert api(root).post(f"{URL}{pk}/replay/").json()["code"] == "reject_unknown"
