"""The hub's settings, but on the layer that keeps its groups as keys in Redis, and forgets their members soon."""

from typing import Any

from hub.settings import *  # noqa: F403
from hub.settings import REDIS_URL

CHANNEL_LAYERS: dict[str, Any] = {
    "default": {
        "BACKEND": "channels_redis.core.RedisChannelLayer",
        "CONFIG": {"hosts": [{"address": REDIS_URL}], "prefix": "hub", "group_expiry": 3},
    }
}
