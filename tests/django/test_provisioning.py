"""Many devices from a table: each row is judged like one device, what can be made is made, and the rest is told why."""

import csv
import io
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.core.management import CommandError, call_command

from devices import provisioning, registry, sealing
from devices.errors import Refusal
from devices.models import AuditEntry, Device, Fleet, Head, Membership
from tests.django.together import together

BULK = "/api/v1/devices/bulk/"


def asked(fleet: Fleet | None = None) -> provisioning.Asked:
    return provisioning.Asked(fleets=Fleet.objects.all(), gateways=Device.objects.all(), fleet=fleet)


def results(table: str | bytes, **how: Any) -> list[tuple[int, str, str]]:
    """Line, key and result of each row."""
    text = table.encode() if isinstance(table, str) else table
    return [(row.line, row.key, row.result) for row in provisioning.provision(text, asked(), **how)]


def sent(client: Any, table: str, query: str = "") -> Any:
    return client.post(BULK + query, table, content_type="text/csv")


# --- what is made


def test_each_row_is_a_device_with_a_secret_of_its_own(alice: User, greenhouse: Fleet, api: Any, settings: Any) -> None:
    settings.MQTT_PUBLIC_HOST, settings.MQTT_PUBLIC_PORT, settings.MQTT_PUBLIC_TLS = "mqtt.example.org", 1883, False
    answer = sent(api(alice), "key,name,model\npump-1,Pump,P-100\npump-2,,\n")
    told = answer.json()
    assert answer.status_code == 200
    assert answer["Cache-Control"] == "no-store"
    assert told["mqtt"] == {"host": "mqtt.example.org", "port": 1883, "tls": False}
    assert [(row["line"], row["key"], row["result"], row["reason"]) for row in told["rows"]] == [
        (2, "pump-1", "created", ""),
        (3, "pump-2", "created", ""),
    ]
    made = Device.objects.order_by("key")
    assert [(one.key, one.name, one.model, one.fleet) for one in made] == [
        ("pump-1", "Pump", "P-100", greenhouse),
        ("pump-2", "", "", greenhouse),
    ]
    assert [sealing.unseal(one.secret_box) for one in made] == [row["secret"] for row in told["rows"]]
    assert Head.objects.count() == 2
    assert [row.target for row in AuditEntry.objects.filter(action="device.made", by="alice")] == ["pump-1", "pump-2"]


def test_good_rows_are_made_and_bad_ones_are_told_with_line_and_reason(
    alice: User, pump: Device, kettle: Device, api: Any
) -> None:
    table = "key,name\nnew-1,\nBad Key,\n\npump-1,\nnew-1,\nkettle,\n,nameless\nnew-2,a,b\nnew-3,\n"
    told = sent(api(alice), table).json()
    assert [(row["line"], row["key"], row["result"]) for row in told["rows"]] == [
        (2, "new-1", "created"),
        (3, "Bad Key", "invalid"),
        (5, "pump-1", "exists"),
        (6, "new-1", "duplicate"),
        (7, "kettle", "exists"),
        (8, "", "invalid"),
        (9, "new-2", "invalid"),
        (10, "new-3", "created"),
    ]
    assert all(bool(row["reason"]) != (row["result"] == "created") for row in told["rows"])
    assert all((row["secret"] is None) != (row["result"] == "created") for row in told["rows"])
    assert told["counts"] == {"created": 2, "creatable": 0, "exists": 2, "duplicate": 1, "invalid": 3}
    assert sorted(Device.objects.values_list("key", flat=True)) == ["kettle", "new-1", "new-3", "pump-1"]


def test_a_dry_run_says_the_same_and_makes_nothing(alice: User, pump: Device, api: Any) -> None:
    table = "key\nnew-1\npump-1\nnew-1\n-\n"
    dry = sent(api(alice), table, "?dry_run=1").json()
    assert [row["result"] for row in dry["rows"]] == ["creatable", "exists", "duplicate", "invalid"]
    assert [row["secret"] for row in dry["rows"]] == [None] * 4
    assert (dry["dry_run"], Device.objects.count()) == (True, 1)
    wet = sent(api(alice), table).json()["rows"]
    assert [row["result"].replace("created", "creatable") for row in wet] == [row["result"] for row in dry["rows"]]


@pytest.mark.parametrize(
    ("row", "problem"),
    [
        ("Pump,,,,", "lower case"),
        ("x,,,x,", "its own gateway"),
        ("x,,,nobody,", "no gateway 'nobody'"),
        ("x,,,kettle,", "no gateway 'kettle'"),
        ("x,,,child,", "itself speaks through a gateway"),
        ("x,,,,brewery", "no fleet 'brewery'"),
        ("x," + "n" * 129 + ",,,", "name has more than 128"),
        ("x,,a\0b,,", "NUL"),
    ],
)
def test_a_row_is_judged_as_one_device_would_be(
    row: str, problem: str, alice: User, pump: Device, kettle: Device, api: Any
) -> None:
    registry.create("child", pump.fleet, gateway=pump)
    (told,) = sent(api(alice), f"key,name,model,gateway,fleet\n{row}\n").json()["rows"]
    assert (told["result"], problem in told["reason"]) == ("invalid", True), told


def test_gateways_and_those_behind_them_may_be_in_one_table(greenhouse: Fleet) -> None:
    table = "key,gateway\nleaf-0,gw-1\ngw-1,\nleaf-1,gw-1\nleaf-2,leaf-1\n"
    assert [result for _, _, result in results(table)] == ["invalid", "created", "created", "invalid"]
    leaf = Device.objects.get(key="leaf-1")
    assert (leaf.gateway and leaf.gateway.key, list(registry.account_versions())) == ("gw-1", ["gw-1"])


def test_a_row_may_name_its_fleet_and_the_rest_go_where_the_table_goes(alice: User, brewery: Fleet, api: Any) -> None:
    Membership.objects.create(fleet=brewery, user=alice, role="manager")
    table = "key,fleet\na,brewery\nb,greenhouse\nc,\n"
    told = sent(api(alice), table).json()["rows"]
    assert [(row["result"], row["reason"]) for row in told][2] == ("invalid", "Say which fleet it shall be in.")
    assert sent(api(alice), "key\nc\n", "?fleet=brewery").json()["counts"]["created"] == 1
    fleets = Device.objects.order_by("key").values_list("key", "fleet__slug")
    assert list(fleets) == [("a", "brewery"), ("b", "greenhouse"), ("c", "brewery")]


@pytest.mark.django_db(transaction=True)
def test_two_tables_with_the_same_rows_at_once_make_each_device_once(greenhouse: Fleet) -> None:
    table = "key\n" + "".join(f"d-{number}\n" for number in range(50))
    both = together(lambda: results(table), lambda: results(table))
    assert sorted(result for rows in both for _, _, result in rows) == ["created"] * 50 + ["exists"] * 50
    assert Device.objects.count() == Head.objects.count() == 50


def test_a_thousand_devices_take_a_handful_of_statements(
    greenhouse: Fleet, django_assert_max_num_queries: Any, django_capture_on_commit_callbacks: Any
) -> None:
    table = "key,name\n" + "".join(f"d-{number},Device {number}\n" for number in range(1000))
    # SQLite takes 999 values in one.
    full = sum(-(-1000 * len(each._meta.concrete_fields) // 999) for each in (Device, Head, AuditEntry))
    with django_assert_max_num_queries(full + 5), django_capture_on_commit_callbacks() as rung:
        assert {result for _, _, result in results(table)} == {"created"}
    assert len(rung) == 1


# --- what a table is


@pytest.mark.parametrize(
    "table",
    [
        b"\xef\xbb\xbfkey,name\r\nd-1,Gr\xc3\xbcn\r\n",
        b"key;name\nd-1;Gr\xc3\xbcn",
        b' Key , NAME \n d-1 ,"Gr\xc3\xbcn"\n\n,\n',
        b"name,key\rGr\xc3\xbcn,d-1\r",
        b'name;key\n"Gr\xc3\xbcn";d-1;;\n',
    ],
)
def test_tables_are_read_as_programs_write_them(table: bytes, greenhouse: Fleet) -> None:
    assert results(table) == [(2, "d-1", "created")]
    assert Device.objects.get().name == "Grün"


def test_a_line_is_counted_where_the_row_begins(greenhouse: Fleet) -> None:
    assert results('key,name\nd-1,"two\nlines"\n\nd-2,\n') == [(2, "d-1", "created"), (5, "d-2", "created")]


@pytest.mark.parametrize(
    ("table", "status", "problem"),
    [
        (b"", 400, "must name the columns"),
        (b"name\nPump\n", 400, "must name the columns"),
        (b"key,colour\n", 400, "a column 'colour'; known are key, name, model, gateway, fleet"),
        (b"key,key\n", 400, "'key' twice"),
        (b"key\nd-\xff\n", 400, "not UTF-8 at byte 6"),
        (b'key\n"d-1\n', 400, "no CSV in line"),
        (b"key\n" + b"x" * 200_000, 400, "no CSV in line"),
        (b"key\n" + b"d\n" * 10_001, 413, "more than 10000 rows"),
        (b"key\n" + b" " * 4_194_304, 413, "more than 4194304 bytes"),
    ],
)
def test_what_is_no_table_is_refused_whole(table: bytes, status: int, problem: str, greenhouse: Fleet) -> None:
    with pytest.raises(Refusal) as refused:
        results(table)
    assert (refused.value.status, problem in refused.value.message) == (status, True), refused.value.message
    assert not Device.objects.exists()


def test_an_empty_table_makes_nothing(greenhouse: Fleet) -> None:
    assert results("key\n\n") == []


def test_no_secret_is_an_option_or_a_formula() -> None:
    assert not [secret for secret in (sealing.new_secret() for _ in range(500)) if secret.startswith("-")]


# --- who may


def test_tables_are_managers_business(bob: User, alice: User, charlie: User, brewery: Fleet, api: Any) -> None:
    told = sent(api(bob), "key\nd-1\n").json()
    assert [row["result"] for row in told["rows"]] == ["invalid"]
    assert sent(api(alice), "key\nd-1\n", "?fleet=brewery").status_code == 404
    assert sent(api(None), "key\nd-1\n").status_code == 401
    assert not Device.objects.exists()


def test_only_csv_is_a_table_and_only_known_parameters_are_heard(alice: User, api: Any) -> None:
    assert api(alice).post(BULK, {"key": "d-1"}).status_code == 415
    assert sent(api(alice), "key\nd-1\n", "?dryrun=1").status_code == 400
    assert not Device.objects.exists()


def test_a_device_may_be_called_bulk(alice: User, greenhouse: Fleet, api: Any) -> None:
    registry.create("bulk", greenhouse)
    client = api(alice)
    assert client.patch(BULK, {"name": "Bulk"}).json()["name"] == "Bulk"
    assert client.get(BULK).json()["key"] == "bulk"
    assert client.delete(BULK).status_code == 204


# --- from the shell


def provision(tmp_path: Any, table: str, *words: str) -> list[dict[str, str]]:
    file, out = tmp_path / "devices.csv", io.StringIO()
    file.write_text(table)
    call_command("provision", "--csv", str(file), *words, stdout=out)
    return list(csv.DictReader(io.StringIO(out.getvalue())))


def test_the_shell_prints_the_report_as_csv(tmp_path: Any, greenhouse: Fleet, settings: Any) -> None:
    settings.MQTT_PUBLIC_HOST, settings.MQTT_PUBLIC_PORT, settings.MQTT_PUBLIC_TLS = "mqtt.example.org", 8883, True
    made, bad = provision(tmp_path, "key,name\nd-1,=1+1\nBad,\n")
    secret = sealing.unseal(Device.objects.get().secret_box)
    assert made == {
        "line": "2",
        "key": "d-1",
        "result": "created",
        "reason": "",
        "username": "d-1",
        "secret": secret,
        "host": "mqtt.example.org",
        "port": "8883",
        "tls": "true",
    }
    assert (bad["key"], bad["result"], bad["secret"], bad["host"]) == ("Bad", "invalid", "", "")


def test_the_shell_can_only_look(tmp_path: Any, db: None) -> None:
    assert [row["result"] for row in provision(tmp_path, "key\nd-1\n", "--dry-run")] == ["creatable"]
    assert not Device.objects.exists()
    assert not Fleet.objects.exists()


def test_the_first_table_makes_the_fleet_main(tmp_path: Any, db: None) -> None:
    provision(tmp_path, "key\nd-1\n")
    assert Device.objects.get().fleet.slug == "main"


@pytest.mark.parametrize(
    "words",
    [[], ["d-1", "--csv", "x"], ["--csv", "/nowhere.csv"], ["--csv", "x", "--rotate"], ["d-1", "--dry-run"]],
)
def test_what_does_not_go_together_is_said(words: list[str], greenhouse: Fleet) -> None:
    with pytest.raises(CommandError):
        call_command("provision", *words)
    assert not Device.objects.exists()
