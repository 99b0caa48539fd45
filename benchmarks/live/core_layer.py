"""The hub's settings with Channels' core layer for Redis instead of the pub/sub one; for benchmarks.fanout."""

from hub.settings import *  # noqa: F403  all of them
from hub.settings import ENV

CHANNEL_LAYERS = {
    "default": {
        "BACKEND": "channels_redis.core.RedisChannelLayer",
        "CONFIG": {"hosts": [{"address": ENV.redis_url}], "prefix": "core"},
    }
}
