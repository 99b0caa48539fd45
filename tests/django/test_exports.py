"""Exports: what is in the file, in which order, what a table program makes of it, and that it comes page by page."""

import csv
import io
import json
from collections.abc import AsyncIterator
from typing import Any

import pytest
from asgiref.sync import async_to_sync
from django.contrib.auth.models import User

from devices import tables, telemetry, wire
from devices.history import exports, repairs
from devices.history.repairs import Range
from devices.models import Device, Membership
from devices.values import DAY_MS
from tests.django.conftest import NOW, frame

URL = "/api/v1/devices/pump-1/export/"


@async_to_sync
async def collected(parts: AsyncIterator[bytes]) -> list[bytes]:
    return [part async for part in parts]


def whole(client: Any, **asked: Any) -> str:
    answer = client.get(URL, asked)
    assert answer.status_code == 200, answer.content
    return b"".join(collected(answer.streaming_content)).decode()


def table(client: Any, **asked: Any) -> list[list[str]]:
    return list(csv.reader(io.StringIO(whole(client, **asked), newline="")))


def lines(client: Any, **asked: Any) -> list[dict[str, Any]]:
    return [json.loads(line) for line in whole(client, format="ndjson", **asked).splitlines()]


def test_a_table_has_a_column_for_each_metric_and_says_when_what_happened(pump: Device, vera: User, api: Any) -> None:
    telemetry.record([frame(pump, NOW, temperature=21.5, relay=True), frame(pump, NOW + 1, mode='a "b", c\r\nd')], NOW)
    assert whole(api(vera)) == (
        "ts,ts_ms,received_ms,seq,flags,mode,relay,temperature\r\n"
        "2026-09-21T14:13:20.000Z,1790000000000,1790000000000,1,,,true,21.5\r\n"
        '2026-09-21T14:13:20.001Z,1790000000001,1790000000001,2,,"a ""b"", c\r\nd",,\r\n'
    )


def test_lines_of_json_say_the_same(pump: Device, vera: User, api: Any) -> None:
    late = wire.Frame(device=pump.key, values={"temperature": 1}, received_at=NOW + 5, ts=NOW - 5)
    telemetry.record([frame(pump, NOW, temperature=21.5, relay=True), late], NOW)
    assert lines(api(vera)) == [
        {"ts": NOW - 5, "received_at": NOW + 5, "seq": 2, "flags": ["late"], "values": {"temperature": 1}},
        {"ts": NOW, "received_at": NOW, "seq": 1, "flags": [], "values": {"temperature": 21.5, "relay": True}},
    ]


@pytest.mark.parametrize("text", ["=1+1", "+1", "-1", "@SUM(A1)", "\t=1", "\r=1", "\n=1", "＝1", "DDE;=1+1", "'=1"])
def test_a_text_is_never_a_formula_and_a_number_stays_a_number(text: str, pump: Device, vera: User, api: Any) -> None:
    telemetry.record([frame(pump, NOW, mode=text, temperature=-3.5)], NOW)
    client = api(vera)
    assert table(client)[1][5:] == [tables.guarded(text), "-3.5"]
    assert lines(client)[0]["values"] == {"mode": text, "temperature": -3.5}


def test_nor_is_the_name_of_a_metric_or_a_second_column_of_one_name(pump: Device, vera: User, api: Any) -> None:
    telemetry.record([frame(pump, NOW, **{"=cmd": 1, "seq": 2})], NOW)
    assert table(api(vera))[0] == ["ts", "ts_ms", "received_ms", "seq", "flags", "'=cmd", "values.seq"]


def test_pages_join_without_a_seam_where_many_frames_have_one_time(
    pump: Device, vera: User, api: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(exports, "PAGE", 3)
    times = [0, 5, 5, 5, 5, 5, 5, 5, 2, 9, 9, 1]
    telemetry.record([frame(pump, NOW + ts, n=index) for index, ts in enumerate(times)], NOW)
    told = [(row["ts"] - NOW, row["seq"]) for row in lines(api(vera))]
    assert told == sorted((ts, index + 1) for index, ts in enumerate(times))


def test_only_one_page_is_read_before_the_first_is_sent(
    pump: Device, vera: User, api: Any, say: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    read: list[Any] = []
    page = exports.page
    monkeypatch.setattr(exports, "page", lambda *asked: read.append(asked) or page(*asked))
    monkeypatch.setattr(exports, "PAGE", 2)
    say(pump, 10)
    answer = api(vera).get(URL)

    @async_to_sync
    async def first_two() -> list[bytes]:
        parts = answer.streaming_content
        return [await anext(parts), await anext(parts)]

    head, part = first_two()
    assert (head[:3], part.count(b"\r\n"), len(read)) == (b"ts,", 2, 1)


def test_the_range_begins_with_from_and_ends_before_to(pump: Device, vera: User, api: Any, say: Any) -> None:
    say(pump, 4)
    told = [row["seq"] for row in lines(api(vera), **{"from": NOW + 1000, "to": NOW + 3000})]
    assert told == [2, 3]


def test_what_comes_meanwhile_is_not_in_it(pump: Device, say: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(exports, "PAGE", 2)
    say(pump, 2)
    pump.refresh_from_db()
    export = exports.of(pump, [], 0, NOW + DAY_MS, flagged=False)
    rows, place = exports.page(export, None)
    say(pump, 9, temperature=3)
    assert ([row.seq for row in rows], exports.page(export, place)) == ([1, 2], ([], None))


def test_metrics_are_chosen_by_name_and_frames_without_them_left_out(pump: Device, vera: User, api: Any) -> None:
    telemetry.record([frame(pump, NOW, a=1, b=2, c=3), frame(pump, NOW + 1, a=1), frame(pump, NOW + 2, c=4)], NOW)
    client = api(vera)
    told = table(client, metric=["c", "b"])
    assert [row[3:] for row in told] == [["seq", "flags", "b", "c"], ["1", "", "2", "3"], ["3", "", "", "4"]]
    assert [row["values"] for row in lines(client, metric="b")] == [{"b": 2}]
    refused = client.get(URL, {"metric": ["a", "x"]})
    assert (refused.status_code, refused.json()["fields"]) == (400, {"metric": "must name metrics of the device"})


def test_a_name_with_a_space_before_it_is_another_metric(pump: Device, vera: User, api: Any) -> None:
    telemetry.record([frame(pump, NOW, **{"a": 1, " a": 2})], NOW)
    assert [row["values"] for row in lines(api(vera), metric=" a")] == [{" a": 2}]


def test_bad_readings_are_left_out_and_frames_that_have_no_other(pump: Device, vera: User, api: Any) -> None:
    telemetry.record([frame(pump, NOW, a=1, b=2), frame(pump, NOW + 1, a=3), frame(pump, NOW + 2, a=4)], NOW)
    repairs.mark(pump, Range(frozenset("a"), NOW, NOW + 2), "why", None, NOW)
    client = api(vera)
    assert [(row["seq"], row["values"]) for row in lines(client)] == [(1, {"b": 2}), (3, {"a": 4})]
    assert [(row["values"], row["flags"]) for row in lines(client, repaired="include")] == [
        ({"a": 1, "b": 2}, ["repaired"]),
        ({"a": 3}, ["repaired"]),
        ({"a": 4}, []),
    ]
    assert [row[4] for row in table(client, repaired="include")] == ["flags", "repaired", "repaired", ""]


def test_the_file_has_a_name_a_type_and_is_kept_by_nobody(pump: Device, vera: User, api: Any) -> None:
    client = api(vera)
    answer = client.get(URL, {"from": NOW, "to": NOW + DAY_MS, "format": "ndjson"})
    assert answer["Content-Disposition"] == 'attachment; filename="pump-1-20260921-20260922.ndjson"'
    assert (answer["Content-Type"], answer["Cache-Control"]) == ("application/x-ndjson", "no-store")
    assert client.get(URL)["Content-Disposition"] == 'attachment; filename="pump-1.csv"'
    assert client.get(URL, headers={"Accept": "text/csv"})["Content-Type"].startswith("text/csv")


@pytest.mark.parametrize(
    "wrong", [{"format": "xlsx"}, {"format": "json"}, {"from": "today"}, {"from": 5, "to": 5}, {"to": 10**15}, {"x": 1}]
)
def test_what_cannot_be_exported_is_said_as_json(wrong: dict[str, Any], pump: Device, vera: User, api: Any) -> None:
    answer = api(vera).get(URL, wrong)
    assert (answer.status_code, answer.json()["code"]) == (400, "invalid")


def test_an_export_ends_when_the_permission_does(
    pump: Device, vera: User, api: Any, say: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(exports, "PAGE", 2)
    say(pump, 10)
    answer = api(vera).get(URL)
    Membership.objects.filter(user=vera).delete()
    with pytest.raises(Exception, match="you may not see it"):
        collected(answer.streaming_content)


def test_strangers_export_nothing(pump: Device, charlie: User, api: Any) -> None:
    assert api(charlie).get(URL).status_code == 404
    assert api(None).get(URL).status_code == 401
