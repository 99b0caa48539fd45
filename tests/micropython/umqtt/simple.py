"""A stand-in for MicroPython's `umqtt.simple`, which its interpreter for Linux does not bring; what is documented.

Whatever runs with it has to run with the real one: `mip install umqtt.simple`.
"""

import socket
import struct

CONNECT, CONNACK, PUBLISH, PUBACK = 0x10, 0x20, 0x30, 0x40
SUBSCRIBE, SUBACK, PINGREQ, PINGRESP = 0x82, 0x90, 0xC0, 0xD0


class MQTTException(Exception):
    pass


class MQTTClient:
    def __init__(  # noqa: PLR0913, PLR0917 - as the real one has them
        self,
        client_id: str,
        server: str,
        port: int = 0,
        user: str | None = None,
        password: str | None = None,
        keepalive: int = 0,
        ssl: object = None,
    ) -> None:
        self.client_id, self.server, self.user, self.pswd = client_id, server, user, password
        self.port = port or (8883 if ssl else 1883)
        self.keepalive, self.ssl = keepalive, ssl
        self.sock = self.cb = self.will = None
        self.pid = 0

    def set_callback(self, f: object) -> None:
        self.cb = f

    def set_last_will(self, topic: str, msg: bytes, retain: bool = False, qos: int = 0) -> None:
        self.will = topic, msg, retain, qos

    def connect(self, clean_session: bool = True, timeout: float | None = None) -> int:
        self.sock = socket.socket()
        self.sock.settimeout(timeout)
        self.sock.connect(socket.getaddrinfo(self.server, self.port)[0][-1])
        if self.ssl:
            self.sock = self.ssl.wrap_socket(self.sock, server_hostname=self.server)
        flags = 0xC0 | (2 if clean_session else 0)
        body = _text(self.client_id)
        if self.will:
            topic, msg, retain, qos = self.will
            flags |= 4 | qos << 3 | (0x20 if retain else 0)
            body += _text(topic) + _text(msg)
        head = _text("MQTT") + bytes((4, flags)) + struct.pack("!H", self.keepalive)
        self._send(CONNECT, head + body + _text(self.user) + _text(self.pswd))
        answer = self.sock.read(4)
        if answer[0] != CONNACK or answer[3]:
            raise MQTTException(answer[3])
        return answer[2] & 1

    def disconnect(self) -> None:
        self.sock.write(b"\xe0\0")
        self.sock.close()

    def ping(self) -> None:
        self._send(PINGREQ, b"")

    def publish(self, topic: str, msg: bytes, retain: bool = False, qos: int = 0) -> None:
        self._send(PUBLISH | qos << 1 | retain, _text(topic) + (self._id() if qos else b"") + msg)
        if qos:
            self._await(PUBACK, 3)

    def subscribe(self, topic: str, qos: int = 0) -> None:
        self._send(SUBSCRIBE, self._id() + _text(topic) + bytes((qos,)))
        if self._await(SUBACK, 4)[3] & 0x80:
            raise MQTTException(0x80)

    def wait_msg(self) -> int | None:
        first = self.sock.read(1)
        self.sock.setblocking(True)
        if first is None:
            return None
        if first == b"":
            raise OSError(-1)
        kind = first[0]
        if kind == PINGRESP:
            self.sock.read(1)
            return None
        if kind & 0xF0 != PUBLISH:
            return kind  # whoever waits for it reads the rest
        length, shift, more = 0, 0, 0x80
        while more & 0x80:
            more = self.sock.read(1)[0]
            length |= (more & 0x7F) << shift
            shift += 7
        body = self.sock.read(length)
        end = 2 + (body[0] << 8 | body[1])
        topic = body[2:end]
        if kind & 6:
            self.cb(topic, body[end + 2 :])
            self._send(PUBACK, body[end : end + 2])
        else:
            self.cb(topic, body[end:])
        return kind

    def check_msg(self) -> int | None:
        self.sock.setblocking(False)
        return self.wait_msg()

    def _await(self, kind: int, size: int) -> bytes:
        while self.wait_msg() != kind:
            pass
        return self.sock.read(size)

    def _id(self) -> bytes:
        self.pid = self.pid % 0xFFFF + 1
        return struct.pack("!H", self.pid)

    def _send(self, kind: int, body: bytes) -> None:
        digits, length = bytearray((kind,)), len(body)
        while length > 0x7F:
            digits.append(length & 0x7F | 0x80)
            length >>= 7
        digits.append(length)
        self.sock.write(bytes(digits) + body)


def _text(what: str | bytes) -> bytes:
    what = what.encode() if isinstance(what, str) else what
    return struct.pack("!H", len(what)) + what
