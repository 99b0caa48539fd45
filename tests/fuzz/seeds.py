"""What fuzzing begins with: the examples of the protocol's reference, the golden messages, and the hostile tables."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path

import msgspec

from bridge.accounts import dynsec
from tests.core import test_wire

ROOT = Path(__file__).resolve().parents[2]
EXAMPLE = re.compile(r"`([^`\n]+)`|^(\{.+\})$", re.MULTILINE)


def seeds() -> set[bytes]:
    """Any of them for any target: a target that knows nothing of one learns how to refuse it."""
    return {seed for found in (examples(), golden(), hostile(), answers()) for seed in found}


def examples() -> Iterator[bytes]:
    """Each piece of code in the reference."""
    for page in ("mqtt.md", "live.md"):
        for inline, line in EXAMPLE.findall((ROOT / "docs" / "protocol" / page).read_text()):
            yield (inline or line).encode()


def golden() -> Iterator[bytes]:
    """Each object in the golden files."""
    for path in sorted((ROOT / "tests" / "golden").glob("*.json")):
        for part in _objects(json.loads(path.read_text())):
            yield json.dumps(part, ensure_ascii=False, separators=(",", ":")).encode()


def _objects(value: object) -> Iterator[dict[str, object]]:
    if isinstance(value, dict):
        yield value
    for item in value.values() if isinstance(value, dict) else value if isinstance(value, list) else ():
        yield from _objects(item)


def answers() -> Iterator[bytes]:
    """What the broker answers about its accounts."""
    acl = dynsec.Acl(acltype="publishClientSend", topic="hub/pump/#", priority=1, allow=True)
    role = dynsec.Role(rolename="pump", acls=[acl])
    client = dynsec.Client(username="pump", textname="hub", roles=[role])
    found = dynsec.Found(clients=[client], client=client, role=role, acls=[acl])
    for response in (
        dynsec.Response(command="listClients", data=found),
        dynsec.Response(command="getClient", error="Client not found"),
    ):
        yield msgspec.json.encode(dynsec.Responses(responses=[response]))
        yield msgspec.json.encode(dynsec.Responses(responses=[response, response]))


def hostile() -> Iterator[bytes]:
    """What must be refused, with its topic in front, too."""
    for payload, _ in test_wire.HOSTILE_JSON:
        yield payload
    for topic, payload, _ in test_wire.HOSTILE:
        yield payload
        yield topic.encode() + b"\n" + payload
