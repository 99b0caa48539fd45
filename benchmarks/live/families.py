"""Gateways, each with many devices behind it on one connection, which do whatever they are told, and count it."""

from __future__ import annotations

import threading
from collections import Counter
from typing import TYPE_CHECKING, Final, Self

import httpx
from paho.mqtt import client as paho
from paho.mqtt.enums import CallbackAPIVersion

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tests.hub import Device, Production

PATIENCE_S: Final = 60.0
FLEET: Final = "families"
# Of a connection's messages so many may be under way.
INFLIGHT: Final = 1_000
# Devices that are made in one request.
AT_ONCE: Final = 2_000


class Family:
    """One gateway and those behind it. `with` connects, and says that each is online."""

    def __init__(self, hub: Production, gateway: Device, children: Sequence[str]) -> None:
        """Have been told nothing yet."""
        self.told: Counter[str] = Counter()
        self._hub, self._gateway, self._children = hub, gateway, children
        self._client = paho.Client(CallbackAPIVersion.VERSION2, gateway.key)
        self._client.username_pw_set(gateway.key, gateway.secret)
        self._client.max_inflight_messages_set(INFLIGHT)
        self._client.on_connect = lambda client, *_: client.subscribe(f"hub/{gateway.key}/sub/+/cmd/#", 1)
        self._client.on_message = self._do
        self._client.on_publish = self._acknowledged
        self._there = threading.Event()
        self._left = len(children)

    def __enter__(self) -> Self:
        self._client.on_subscribe = self._greet
        self._client.connect(self._hub.mqtt_host, self._hub.mqtt_port)
        self._client.loop_start()
        assert self._there.wait(PATIENCE_S), f"{self._gateway.key} could not say that its devices are there"
        return self

    def __exit__(self, *_: object) -> None:
        self._client.disconnect()
        self._client.loop_stop()

    def _greet(self, *_: object) -> None:
        for child in self._children:
            self._client.publish(f"hub/{self._gateway.key}/sub/{child}/status", "online", 1)

    def _acknowledged(self, *_: object) -> None:
        self._left -= 1
        if self._left == 0:
            self._there.set()

    def _do(self, _client: paho.Client, _user: object, message: paho.MQTTMessage) -> None:
        _, _, _, child, _, _, cid = message.topic.split("/")
        self.told[child] += 1
        self._client.publish(f"hub/{self._gateway.key}/sub/{child}/ack/{cid}", "ok", 1)


def made(hub: Production, gateways: int, children: int) -> list[Family]:
    """Register so many gateways with so many devices behind each."""
    families = []
    hub.ask("POST", "fleets/", json={"slug": FLEET, "manager": "mandy"})
    for number in range(gateways):
        gateway = hub.add_device(f"gate-{number}", fleet=FLEET, user="mandy")
        keys = [f"child-{number}-{place}" for place in range(children)]
        for at in range(0, children, AT_ONCE):
            rows = "".join(f"{key},{gateway.key}\n" for key in keys[at : at + AT_ONCE])
            answer = httpx.post(
                f"{hub.url}/api/v1/devices/bulk/",
                params={"fleet": FLEET},
                content=f"key,gateway\n{rows}",
                headers={"Authorization": f"Token {hub.token('mandy')}", "Content-Type": "text/csv"},
                timeout=PATIENCE_S,
                trust_env=False,
            )
            assert answer.json()["counts"]["created"] == len(keys[at : at + AT_ONCE]), answer.text[:1000]
        families.append(Family(hub, gateway, keys))
    return families
