"""Devices that know nothing of this project: Debian's mosquitto_pub and mosquitto_sub, and paho."""

import json
import queue
import subprocess
import threading
import time
from contextlib import suppress
from typing import Any, Final, NamedTuple, Self

from paho.mqtt import client as paho
from paho.mqtt.enums import CallbackAPIVersion, MQTTProtocolVersion

from tests.hub import PATIENCE_S, Device, Hub, eventually
from tests.services import child_setup


class Heard(NamedTuple):
    topic: str
    payload: str
    retained: bool


class Tools:
    """One device by Debian's command-line clients."""

    def __init__(self, hub: Hub, device: Device) -> None:
        self.device = device
        self._login = [
            "-h",
            hub.mqtt_host,
            "-p",
            str(hub.mqtt_port),
            "-i",
            device.key,
            "-u",
            device.key,
            "-P",
            device.secret,
        ]

    def publish(self, suffix: str, payload: str | bytes, *options: str) -> None:
        """Publish below hub/<key>/ with QoS 1; a device that was made just now may have to knock twice."""

        def published() -> bool:
            ended = self.try_publish(suffix, payload, *options)
            assert ended.returncode == 0 or b"not authorised" in ended.stderr, ended.stderr
            return ended.returncode == 0

        eventually(published)

    def try_publish(self, suffix: str, payload: str | bytes, *options: str) -> subprocess.CompletedProcess[bytes]:
        topic = f"hub/{self.device.key}/{suffix}"
        return subprocess.run(
            ["mosquitto_pub", *self._login, "-q", "1", "-t", topic, "-s", *options],
            input=payload if isinstance(payload, bytes) else payload.encode(),
            capture_output=True,
            check=False,
            timeout=PATIENCE_S,
        )

    def listen(self) -> "Listening":
        return Listening(["mosquitto_sub", *self._login, "-q", "1", "-F", "%j", "-t", f"hub/{self.device.key}/cmd/#"])


class Listening:
    """A running mosquitto_sub."""

    def __init__(self, command: list[str]) -> None:
        self._command = command

    def __enter__(self) -> Self:
        self._child = subprocess.Popen(self._command, stdout=subprocess.PIPE, preexec_fn=child_setup())  # noqa: PLW1509
        return self

    def __exit__(self, *_: object) -> None:
        self._child.kill()
        self._child.communicate()

    def heard(self) -> Heard:
        assert self._child.stdout is not None
        said = json.loads(self._child.stdout.readline())
        return Heard(said["topic"], str(said["payload"]), bool(said["retain"]))


class Paho:
    """One device by paho: `with` connects, with a last will; `heard()` waits for the next order."""

    def __init__(
        self, hub: Hub, device: Device, *, v5: bool = False, persistent: bool = False, hears: tuple[str, ...] = ()
    ) -> None:
        self.device = device
        self._where = hub.mqtt_host, hub.mqtt_port
        self._inbox: queue.Queue[Heard] = queue.Queue()
        self._client = paho.Client(
            CallbackAPIVersion.VERSION2,
            device.key,
            clean_session=None if v5 else not persistent,
            protocol=MQTTProtocolVersion.MQTTv5 if v5 else MQTTProtocolVersion.MQTTv311,
        )
        self._client.username_pw_set(device.key, device.secret)
        self._client.will_set(self.topic("status"), "offline", 1, retain=True)
        self._client.reconnect_delay_set(1, 1)
        self._client.on_message = lambda _c, _u, message: self._inbox.put(
            Heard(message.topic, message.payload.decode(), message.retain)
        )
        filters = [(self.topic(suffix), 1) for suffix in ("cmd/#", *hears)]
        self._client.on_connect = lambda client, *_: client.subscribe(filters)
        # Publishes that the broker has acknowledged. (An info of paho's raises when it was queued while away.)
        self.acknowledged = 0
        self._client.on_publish = self._published
        self._subscribed = threading.Event()
        self._client.on_subscribe = lambda *_: self._subscribed.set()
        self._client.on_disconnect = lambda *_: self._subscribed.clear()

    def _published(self, *_: object) -> None:
        self.acknowledged += 1

    def topic(self, suffix: str) -> str:
        return f"hub/{self.device.key}/{suffix}"

    def __enter__(self) -> Self:
        self.connect()
        assert self._subscribed.wait(PATIENCE_S), f"{self.device.key} could not connect"
        return self

    def connect(self) -> None:
        """Begin to connect, and go on for ever."""
        self._client.connect_async(*self._where, keepalive=10)
        self._client.loop_start()

    def __exit__(self, *_: object) -> None:
        self._client.disconnect()
        self._client.loop_stop()

    @property
    def waiting(self) -> bool:
        """Whether something was heard that nobody has asked for yet."""
        return not self._inbox.empty()

    @property
    def connected(self) -> bool:
        return self._subscribed.is_set()

    def vanish(self) -> None:
        """Go away without a word, so that the last will speaks."""
        self._client.loop_stop()
        with suppress(AttributeError):
            self._client.socket().close()  # type: ignore[union-attr]

    def publish(self, suffix: str, payload: Any, *, retain: bool = False, qos: int = 1) -> paho.MQTTMessageInfo:
        text = payload if isinstance(payload, (str, bytes)) else json.dumps(payload)
        return self._client.publish(self.topic(suffix), text, qos, retain)

    def said(self, suffix: str, payload: Any, **how: Any) -> None:
        """Publish, and wait until the broker has it."""
        self.publish(suffix, payload, **how).wait_for_publish(PATIENCE_S)

    def heard(self) -> Heard:
        """The next order; queue.Empty when there is none."""
        return self._inbox.get(timeout=PATIENCE_S)


class Publisher:
    """Publishes numbered frames with QoS 1, steadily; paho repeats what the broker has not acknowledged."""

    EVERY_S: Final = 0.02

    def __init__(self, hub: Hub, device: Device, boot: int = 1) -> None:
        self.count = 0
        self._boot = boot
        self._paho = Paho(hub, device, persistent=True)
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._run, name="publisher", daemon=True)

    def __enter__(self) -> Self:
        self._paho.__enter__()
        self._thread.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._ended.set()
        self._thread.join()
        self._paho.__exit__(*error)

    def finish(self) -> int:
        """Publish no more, and return how many there were, once the broker has all."""
        self._ended.set()
        self._thread.join()
        eventually(lambda: self._paho.acknowledged == self.count, "the broker has everything")
        return self.count

    def _run(self) -> None:
        while not self._ended.wait(self.EVERY_S):
            self.count += 1
            frame = {"boot": self._boot, "seq": self.count, "values": {"n": self.count, "at": time.time()}}
            self._paho.publish("telemetry", frame)
