"""The only room that knows aiomqtt: where the broker is, and how to talk to it.

Nothing here knows rows or groups, and of topics only that there are some.
"""

from bridge.mqtt.address import MqttUrl, MqttUrlError
from bridge.mqtt.control import ControlError, Exchange, control
from bridge.mqtt.forget import Kept, forget
from bridge.mqtt.inbound import Inbound
from bridge.mqtt.link import DisconnectedError
from bridge.mqtt.outbound import NotSentError, Outbound, UnsureError, outbound
from bridge.mqtt.visits import knock, retained

__all__ = [
    "ControlError",
    "DisconnectedError",
    "Exchange",
    "Inbound",
    "Kept",
    "MqttUrl",
    "MqttUrlError",
    "NotSentError",
    "Outbound",
    "UnsureError",
    "control",
    "forget",
    "knock",
    "outbound",
    "retained",
]
