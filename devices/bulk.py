"""Many group messages in one round trip, where the layer is Redis' publish and subscribe.

Channels sends one message at a time, and waits for Redis each time. This knows the layer's private names
(channels_redis 4.3); a contract test pins them.
"""

from __future__ import annotations

from collections import defaultdict
from typing import TYPE_CHECKING, Any, Final

from channels_redis.pubsub import RedisPubSubChannelLayer

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

# Messages in one round trip: enough to make it cheap, few enough to lose little when it fails.
AT_ONCE: Final = 100


def at_once(layer: object) -> int:
    """Return how many messages this layer takes in one round trip."""
    return AT_ONCE if isinstance(layer, RedisPubSubChannelLayer) else 1


async def publish(layer: Any, sends: Iterable[tuple[str, Mapping[str, Any]]]) -> None:  # noqa: ANN401  no types
    """Send each message to its group; raises what Redis does, and then nobody knows which of them arrived."""
    here = layer._get_layer()  # noqa: SLF001
    by_shard = defaultdict(list)
    for group, message in sends:
        name = here._get_group_channel_name(group)  # noqa: SLF001
        by_shard[here._get_shard(name)].append((name, layer.serialize(message)))  # noqa: SLF001
    for shard, messages in by_shard.items():
        async with shard._lock:  # noqa: SLF001
            shard._ensure_redis()  # noqa: SLF001
            pipeline = shard._redis.pipeline(transaction=False)  # noqa: SLF001
            for name, data in messages:
                pipeline.publish(name, data)
            await pipeline.execute()
