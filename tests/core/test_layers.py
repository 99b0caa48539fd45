"""The house's rules, read off the sources: who may import whom, who does no I/O, who owns which door, and bad names.

Each rule is a function from one module to what is wrong with it. It is tried on a bad source first, then on ours.
"""

import ast
import functools
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

ROOT = Path(__file__).resolve().parents[2]
ROOMS = ("hub", "bridge", "dashboard", "alarms", "simulators", "devices")

# From the roof to the cellar. A module belongs to the longest name that it starts with; it may import from the floors
# below and from its own part, never from another part of its own floor. The cellar is pure, and one part.
FLOORS: tuple[tuple[str, ...], ...] = (
    ("manage",),
    ("hub",),
    ("bridge", "dashboard", "alarms", "simulators"),
    ("devices.urls", "devices.management", "devices.apps", "devices.witness"),
    ("devices.api", "devices.admin", "devices.passwords"),
    ("devices.unclaimed", "devices.noting", "devices.signins", "devices.schedules"),
    ("devices.replay", "devices.invitations", "devices.shares"),
    (
        "devices.intake",
        "devices.jobs",
        "devices.downloads",
        "devices.history.series",
        "devices.history.exports",
        "devices.history.retention",
        "devices.history.storage",
    ),
    (
        "devices.commands",
        "devices.desired",
        "devices.learning",
        "devices.rejects",
        "devices.members",
        "devices.notes",
        "devices.tokens",
        "devices.claims",
        "devices.provisioning",
        "devices.entries",
    ),
    ("devices.offers", "devices.second_factor"),
    ("devices.registry",),
    ("devices.history.rollups",),
    ("devices.telemetry", "devices.history.repairs", "devices.arguments"),
    (
        "devices.standing",
        "devices.firmware",
        "devices.tags",
        "devices.outgoing",
        "devices.quota",
        "devices.address",
        "devices.guesses",
    ),
    (
        "devices.journal",
        "devices.history.archive",
        "devices.inbox",
        "devices.sealing",
        "devices.audit",
        "devices.rights",
        "devices.groups",
        "devices.errors",
    ),
    ("devices.models", "devices.migrations", "devices.bulk"),
    ("devices.history.timescale",),
    (
        "devices.wire",
        "devices.lifecycle",
        "devices.dialects",
        "devices.values",
        "devices.places",
        "devices.presence",
        "devices.wellknown",
        "devices.batch",
        "devices.history",
        "devices.history.buckets",
        "devices.numbering",
        "devices.dump",
        "devices.tables",
        "devices.addresses",
    ),
)
CELLAR = len(FLOORS) - 1

PURE = (
    "devices.wire",
    "devices.jobs.pace",
    "devices.lifecycle",
    "devices.dialects",
    "devices.batch",
    "dashboard.protocol",
)
OUTSIDE_WORLD = frozenset(
    "aiomqtt asyncio channels concurrent django http io logging multiprocessing os paho pathlib psycopg redis "
    "requests rest_framework secrets select shutil signal socket sqlite3 ssl structlog subprocess sys tempfile "
    "threading time urllib.request".split()
)
SEEDED_DICE = ("random", "random.Random")  # a generator that somebody hands in is an argument like any other
CLOCKS_AND_DICE = frozenset(("now", "utcnow", "today", "uuid1", "uuid4"))
DOORS_TO_THE_WORLD = frozenset(("open", "print", "input", "exec", "eval", "__import__"))
HTTP_CLIENTS = ("http.client", "urllib.request", "urllib3", "requests", "httpx", "aiohttp", "smtplib", "ftplib")
MQTT_CLIENTS = ("aiomqtt", "paho")
SAYS_NOTHING = frozenset("manager handler helper util common base core data info service process".split())


class Module(NamedTuple):
    """One source file: its dotted name and what it says."""

    name: str
    tree: ast.Module

    @property
    def imports(self) -> Iterator[str]:
        """Every dotted name it imports, anywhere in it; of `from a import b` both `a` and `a.b`."""
        for node in ast.walk(self.tree):
            if isinstance(node, ast.Import):
                yield from (alias.name for alias in node.names)
            elif isinstance(node, ast.ImportFrom) and node.module:
                yield node.module
                yield from (f"{node.module}.{alias.name}" for alias in node.names)


Rule = Callable[[Module], list[str]]


def module(name: str, source: str) -> Module:
    return Module(name, ast.parse(source))


@functools.cache
def sources() -> tuple[Module, ...]:
    paths = [ROOT / "manage.py", *(path for room in ROOMS for path in sorted((ROOT / room).rglob("*.py")))]
    return tuple(module(dotted(path), path.read_text(encoding="utf-8")) for path in paths)


def dotted(path: Path) -> str:
    return ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")


def qualified(here: Module) -> Iterator[str]:
    """Every dotted name it uses, such as os.environ."""
    return (ast.unparse(node) for node in ast.walk(here.tree) if isinstance(node, ast.Attribute))


def within(name: str, part: str) -> bool:
    return name == part or name.startswith(part + ".")


def is_any(name: str, parts: tuple[str, ...] | frozenset[str]) -> bool:
    return any(within(name, part) for part in parts)


def place(name: str) -> tuple[int, str] | None:
    """The floor and the part of it to which a module belongs; None for one that has no place."""
    found = [(floor, part) for floor, parts in enumerate(FLOORS) for part in parts if within(name, part)]
    return max(found, key=lambda each: len(each[1]), default=None)


def is_pure(here: Module) -> bool:
    return is_any(here.name, PURE) or (ast.get_docstring(here.tree) or "").startswith("PURE")


# --- the rules


def only_downwards(here: Module) -> list[str]:
    mine = place(here.name)
    if here.name == "devices":
        return [f"imports {other}: the domain's door sign imports nothing" for other in here.imports]
    if mine is None:
        return ["has no floor: give it one in FLOORS"]
    return [
        f"imports {other}, which is {'beside' if theirs[0] == mine[0] else 'above'} it"
        for other in here.imports
        if (theirs := place(other))
        and (theirs[0] < mine[0] or (theirs[0] == mine[0] < CELLAR and theirs[1] != mine[1]))
    ]


def simulators_know_the_wire_only(here: Module) -> list[str]:
    if not within(here.name, "simulators"):
        return []
    return [
        f"imports {other}: a simulator is a device, and knows devices.wire, its values and the device's client only"
        for other in here.imports
        if is_any(other, (*ROOMS, "telemetry_hub"))
        and not is_any(other, ("simulators", "devices.wire", "devices.values", "telemetry_hub.device"))
        and other != "devices"
    ]


def pure_means_pure(here: Module) -> list[str]:
    if not is_pure(here):
        return []
    wrong = [f"imports {other}" for other in here.imports if is_any(other, OUTSIDE_WORLD)]
    dice = [other for other in [*here.imports, *qualified(here)] if within(other, "random")]
    wrong += [f"uses {other}: chance is an argument" for other in dice if other not in SEEDED_DICE]
    for node in ast.walk(here.tree):
        if isinstance(node, ast.Call):
            if isinstance(node.func, ast.Name) and node.func.id in DOORS_TO_THE_WORLD:
                wrong.append(f"calls {node.func.id}() in line {node.lineno}")
            if isinstance(node.func, ast.Attribute) and node.func.attr in CLOCKS_AND_DICE:
                wrong.append(f"calls .{node.func.attr}() in line {node.lineno}: time and chance are arguments")
    return wrong


def pure_imports_pure(here: Module) -> list[str]:
    if not is_pure(here):
        return []
    known = {each.name for each in sources()}
    pure = {each.name for each in sources() if is_pure(each)}
    return [f"imports {other}, which is not pure" for other in here.imports if other in known - pure - {*ROOMS}]


def one_mqtt_client(here: Module) -> list[str]:
    """A simulator speaks through the shipped client (telemetry_hub.device), which is no room of the hub."""
    if within(here.name, "bridge.mqtt"):
        return []
    return [f"imports {other}: only bridge.mqtt may" for other in here.imports if is_any(other, MQTT_CLIENTS)]


def one_door_out(here: Module) -> list[str]:
    """Where people say whom the hub asks, only devices.outgoing does: it checks the address."""
    if here.name == "devices.outgoing":
        return []
    return [f"imports {other}: only devices.outgoing may" for other in here.imports if is_any(other, HTTP_CLIENTS)]


def one_reader_of_the_environment(here: Module) -> list[str]:
    """hub.bootstrap and manage.py run before anything of ours does; hub.asgi only names the settings."""
    if here.name in ("hub.env", "hub.bootstrap", "manage", "hub.asgi"):
        return []
    names = ("os.environ", "os.environb", "os.getenv")
    wrong = [f"imports {other}" for other in here.imports if other in names]
    return wrong + [f"reads {name}: only hub.env may" for name in qualified(here) if name in names]


def one_sender(here: Module) -> list[str]:
    if here.name == "devices.groups":
        return []
    return [
        f"uses group_send in line {node.lineno}: only devices.groups may"
        for node in ast.walk(here.tree)
        if (isinstance(node, ast.Attribute) and node.attr == "group_send")
        or (isinstance(node, ast.Constant) and node.value == "group_send")
    ]


def names_that_say_something(here: Module) -> list[str]:
    files = here.name.replace("_", ".").split(".")
    classes = [node.name for node in ast.walk(here.tree) if isinstance(node, ast.ClassDef)]
    words = [(here.name, part) for part in files]
    words += [(name, word.lower()) for name in classes for word in re.findall(r"[A-Z][a-z]*", name)]
    return [f"{name}: '{word}' says nothing" for name, word in words if word.removesuffix("s") in SAYS_NOTHING]


RULES: dict[Rule, list[tuple[str, str]]] = {
    only_downwards: [
        ("devices.models", "from devices import telemetry"),
        ("devices.telemetry", "import bridge.mqtt"),
        ("bridge.worker", "from dashboard.protocol import Since"),
        ("dashboard.views", "def f():\n    from bridge import mqtt"),
        ("devices.registry", "from devices.commands import issue"),
        ("dashboard.views", "from hub import env"),
        ("devices.wire", "from devices.models import Device"),
        ("devices.newcomer", ""),
        ("devices", "from devices import wire"),
    ],
    simulators_know_the_wire_only: [
        ("simulators.pump", "from devices import commands"),
        ("simulators.pump", "import devices.models"),
        ("simulators.pump", "from telemetry_hub import live"),
    ],
    pure_means_pure: [
        ("devices.wire", "import time"),
        ("devices.dialects.shelly", "from django.conf import settings"),
        ("devices.batch", "from datetime import UTC, datetime\nat = datetime.now(UTC)"),
        ("dashboard.protocol", "text = open('x').read()"),
        ("devices.lifecycle", "import uuid\nname = uuid.uuid4()"),
        ("devices.anything", '"""PURE. As it says."""\nimport random\nx = random.random()'),
        ("devices.wire", "from random import randint"),
        ("devices.wire", "import urllib.request"),
    ],
    pure_imports_pure: [("devices.batch", "from devices import telemetry")],
    one_mqtt_client: [
        ("dashboard.views", "import aiomqtt"),
        ("hub.doctor", "from paho.mqtt import client"),
        ("simulators.link", "import aiomqtt"),
    ],
    one_door_out: [("devices.webhooks", "import httpx"), ("bridge.worker", "from urllib.request import urlopen")],
    one_reader_of_the_environment: [
        ("hub.settings", "import os\nx = os.environ['X']"),
        ("bridge.worker", "from os import getenv"),
        ("devices.models", "import os\nx = os.getenv('X')"),
    ],
    one_sender: [
        ("bridge.worker", "await layer.group_send('device', {})"),
        ("dashboard.views", "send = getattr(layer, 'group_send')"),
    ],
    names_that_say_something: [
        ("devices.utils", ""),
        ("bridge.message_handlers", ""),
        ("devices.models", "class DeviceManager: ..."),
    ],
}


def everywhere(rule: Rule) -> str:
    return "\n".join(f"{here.name} {wrong}" for here in sources() for wrong in rule(here))


@pytest.mark.parametrize(("rule", "name", "bad"), [(rule, *bad) for rule, rows in RULES.items() for bad in rows])
def test_each_rule_finds_what_it_forbids(rule: Rule, name: str, bad: str) -> None:
    assert rule(module(name, bad))


@pytest.mark.parametrize(
    ("rule", "name", "good"),
    [
        (only_downwards, "hub.urls", "import dashboard.views, bridge.mqtt, devices.api"),
        (only_downwards, "bridge.accounts.nats", "from bridge import accounts\nfrom devices import registry"),
        (only_downwards, "devices.dialects.native", "from devices import wire\nfrom devices.dialects import Order"),
        (
            simulators_know_the_wire_only,
            "simulators.pump",
            "from devices import wire\nfrom telemetry_hub.device import words",
        ),
        (pure_means_pure, "devices.wire", "from datetime import UTC, datetime\nat = datetime.fromtimestamp(0, UTC)"),
        (pure_means_pure, "bridge.worker", "import time, asyncio"),
        (pure_means_pure, "devices.wire", "from random import Random\ndef f(rng: Random): return rng.random()"),
        (one_reader_of_the_environment, "hub.env", "import os\nx = os.environ"),
        (names_that_say_something, "devices.telemetry", "class Database: ..."),
    ],
)
def test_no_rule_finds_what_is_allowed(rule: Rule, name: str, good: str) -> None:
    assert rule(module(name, good)) == []


def test_imports_go_downwards_and_never_sideways() -> None:
    assert not everywhere(only_downwards)


def test_simulators_know_nothing_but_the_wire() -> None:
    assert not everywhere(simulators_know_the_wire_only)


def test_pure_modules_do_no_io_and_read_no_clock() -> None:
    assert not everywhere(pure_means_pure)


def test_pure_modules_import_only_pure_modules() -> None:
    assert not everywhere(pure_imports_pure)


def test_only_the_bridge_knows_the_mqtt_client() -> None:
    assert not everywhere(one_mqtt_client)


def test_only_outgoing_asks_other_machines() -> None:
    assert not everywhere(one_door_out)


def test_only_env_reads_the_environment() -> None:
    assert not everywhere(one_reader_of_the_environment)


def test_only_groups_sends_to_groups() -> None:
    assert not everywhere(one_sender)


def test_no_file_or_class_has_a_name_that_says_nothing() -> None:
    assert not everywhere(names_that_say_something)
