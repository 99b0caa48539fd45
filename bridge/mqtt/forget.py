"""What a broker keeps of a client that is no more: taken away, so that nobody inherits it with the name."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Final

import aiomqtt

from bridge.mqtt import link
from bridge.mqtt.link import DisconnectedError

if TYPE_CHECKING:
    from bridge.mqtt.address import MqttUrl

# Client id → the filters of all that it may have published.
Kept = Mapping[str, Sequence[str]]

# How many at the same time: a fleet that is deleted takes a while on its own, and others wait behind it.
ABREAST: Final = 20


async def forget(url: MqttUrl, kept: Kept) -> None:
    """End these clients' sessions, with what is queued in them, and withdraw what is retained under these filters.

    It is done by our account under their ids: none of them may have an account of its own any more.
    """
    turns = asyncio.Semaphore(ABREAST)
    try:
        async with asyncio.TaskGroup() as tasks:
            for client_id, filters in kept.items():
                tasks.create_task(_forget(url, client_id, filters, turns))
    except ExceptionGroup as failed:
        raise DisconnectedError(f"{url!r}: {failed.exceptions[0]}") from failed


async def _forget(url: MqttUrl, client_id: str, filters: Sequence[str], turns: asyncio.Semaphore) -> None:
    # To connect with a clean session is to end the one that was there.
    async with turns, link.client(url, identifier=client_id, clean_session=True) as client:
        for filter_ in filters:
            await _withdraw(client, filter_)


async def _withdraw(client: aiomqtt.Client, filter_: str) -> None:
    await client.subscribe(filter_, qos=0)
    # What is retained comes before the answer to what we ask next.
    await client.unsubscribe(filter_)
    for _ in range(len(client.messages)):
        message = await anext(client.messages)
        if message.retain:
            # With QoS 0 it is not kept for whoever is away, and would be told of an empty message later.
            await client.publish(message.topic.value, b"", qos=0, retain=True)
