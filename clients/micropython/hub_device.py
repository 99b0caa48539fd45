"""A device of the Telemetry Hub in MicroPython; needs `umqtt.simple` and nothing else (README.md)."""

import json
import os
import select
import time

from umqtt.simple import MQTTClient, MQTTException

# Boards count from 2000, others from 1970. A clock that was never set stands before the year from which ids count.
_EPOCH_S = 946684800 if time.gmtime(0)[0] == 2000 else 0
_SINCE_S = 1735689600
_LETTERS = "abcdefghijkmnpqrstuvwxyz23456789"
_PATIENCE_S = 10
_AGAIN_MS = 30000
_LONGEST_PAUSE_MS = 60000


class Refused(Exception):
    """Raised by a command's function: the device will not do it, and the text says why."""


class Device:
    """One device: describe it, then call `check()` often, or `run()`."""

    def __init__(  # noqa: PLR0913 - what differs between boards
        self,
        host: str,
        key: str,
        secret: str,
        *,
        port: int = 0,
        ssl: object = None,
        keepalive: int = 60,
        frames: int = 32,
        file: str | None = "hub_commands.txt",
        remembers: int = 32,
        **about: str,
    ) -> None:
        """`about`: name, model, fw; `frames`: as many are kept while away; `file`: None keeps no commands."""
        self.settings = {}  # name → value
        self.dropped = 0  # frames given up before a receipt told that they are committed
        self.login, self.ssl = (key, secret), ssl  # what an update is fetched with
        self._about = about
        self._metrics = {}
        self._commands = {}  # name → (spec, function)
        self._specs = {}  # setting → (spec, default, function)
        self._frames = []  # (n, monotonic ms, ms since 1970 or 0, values as JSON), the oldest first
        self._room = frames
        self._boot = int.from_bytes(os.urandom(4), "big")
        self._n = self._sent = 0
        self._memory = _Memory(file, remembers)
        self._answers = []  # (cid, answer), not sent yet
        self._acting = None
        self._clock, self._tick = 0, time.ticks_ms()
        self._next = self._pause = self._heard = self._pinged = self._told = 0
        self._root = "hub/" + key + "/"
        self._keepalive_ms = keepalive * 1000
        self._mqtt = _Mqtt(key, host, port, key, secret, keepalive, ssl)
        self._mqtt.set_last_will(self._root + "status", b"offline", retain=True, qos=1)
        self.connected = False

    # --- what it is

    def metric(self, name: str, **spec: str) -> None:
        """Announce a metric: unit="°C", and "class" by **{"class": "temperature"}."""
        self._metrics[name] = spec

    def command(self, name: str, **spec: object) -> object:
        """Announce a command; decorates the function that carries it out and may return a value for the answer.

        What it raises is the answer `error`, or `rejected` for Refused. A function that it returns is called when the
        answer was sent: `return machine.reset`.
        """

        def decorated(function: object) -> object:
            self._commands[name] = (spec, function)
            return function

        return decorated

    def setting(self, name: str, default: object, changed: object = None, **spec: object) -> None:
        """Announce a setting: `settings[name]` is its value, `changed(value)` is called with each new one."""
        self._specs[name] = (spec, default, changed)
        self.settings[name] = default

    # --- what it says

    def publish(self, values: dict) -> None:
        """Keep a frame, and send it as soon as the hub can be reached."""
        if len(self._frames) == self._room:
            self._frames.pop(0)
            self.dropped += 1
        self._n += 1
        ts = time.time_ns() // 1000000 + _EPOCH_S * 1000 if _now_s() else 0
        self._frames.append((self._n, self._ms(), ts, json.dumps(values)))

    @property
    def pending(self) -> int:
        """How many frames no receipt has covered yet."""
        return len(self._frames)

    def progress(self, part: float | None = None, step: str = "") -> None:
        """Say from within a command's function how far it is: from 0 to 1, and an update's step."""
        answer = {"status": "accepted"}
        if part is not None:
            answer["progress"] = part
        if step:
            answer["step"] = step
        try:
            if self.connected:
                self._say("ack/" + self._acting, json.dumps(answer), qos=0)
        except OSError as error:
            self._lost(error)

    # --- its life

    def run(self, measure: object = None, every_s: object = 10) -> None:
        """Do all there is to do, for ever; publish what `measure()` returns. `every_s`: a number, or a function."""
        last = None
        while True:
            pause_ms = int((every_s() if callable(every_s) else every_s) * 1000)
            if measure and (last is None or self._ms() - last >= pause_ms):
                last = self._ms()
                self.publish(measure())
            self.check()
            time.sleep_ms(20)

    def check(self) -> bool:
        """Do what there is to do now, and come back soon; return whether the hub's broker is there."""
        if self._acting is not None:
            return self.connected  # called by a command's function
        try:
            if not self.connected:
                if self._ms() < self._next:
                    return False
                self._connect()
            self._listen()
            self._act()
            self._flush()
        except Exception as error:  # noqa: BLE001 - umqtt ends in whatever its reading of half a packet raises
            self._lost(error)
        return self.connected

    def _connect(self) -> None:
        self._pause = min(_LONGEST_PAUSE_MS, max(1000, 2 * self._pause))
        self._mqtt.connect(timeout=_PATIENCE_S)
        self._heard = self._pinged = self._told = self._ms()
        self._poll = select.poll()
        self._poll.register(self._mqtt.sock, select.POLLIN)
        self._sent = 0
        for suffix in ("cmd/#", "receipt", "error") + (("desired",) if self._specs else ()):
            self._patiently()
            try:
                self._mqtt.subscribe(self._root + suffix, 1)
            except MQTTException:
                print("hub: the broker does not let it hear", suffix)  # an older hub knows no settings
        self.connected = True
        about = dict(self._about)
        about["metrics"] = self._metrics
        about["commands"] = {name: self._commands[name][0] for name in self._commands}
        about["settings"] = {name: self._specs[name][0] for name in self._specs}
        about["remembers"] = self._memory.survives
        self._say("meta", json.dumps(about), retain=True)
        self._say("status", "online", retain=True)
        if self._specs:
            self._say("reported", json.dumps(self.settings))
        self._pause = 0

    def _lost(self, error: object) -> None:
        self.connected = False
        pause = max(1000, self._pause)
        self._next = self._ms() + pause + pause * os.urandom(1)[0] // 512
        print("hub: away:", repr(error))
        if self._mqtt.sock:
            self._mqtt.sock.close()

    def _listen(self) -> None:
        now = self._ms()
        if self._poll.poll(0):
            self._heard = now
        if now - self._heard > self._keepalive_ms:
            raise OSError("silence")
        if now - self._pinged > self._keepalive_ms // 3:
            self._pinged = now
            self._mqtt.ping()
        while self._mqtt.check_msg() is not None:
            pass

    def _act(self) -> None:
        inbox = self._mqtt.inbox
        while inbox:
            retained, topic, payload = inbox.pop(0)
            levels = topic.decode()[len(self._root) :].split("/")
            try:
                if levels[0] == "cmd" and len(levels) == 3:
                    self._obey(levels[1], levels[2], payload, retained)
                elif levels[0] == "receipt" and not retained:
                    self._forget(json.loads(payload))
                elif levels[0] == "desired" and not retained:
                    self._take(json.loads(payload))
                else:
                    print("hub: told:", topic, payload)
            except (ValueError, KeyError, TypeError, AttributeError) as error:
                print("hub: not understood:", topic, repr(error))

    def _flush(self) -> None:
        while self._answers:
            self._say("ack/" + self._answers[0][0], self._answers[0][1])
            then = self._answers.pop(0)[2]
            if then:
                then()
        now = self._ms()
        if not self._frames or now - self._told > _AGAIN_MS:
            self._told, self._sent = now, 0
        for n, at, ts, values in self._frames:
            if n > self._sent:
                when = '"ts":%d' % ts if ts else '"dt":%d' % (at - now)
                said = '{"boot":%d,"seq":%d,%s,"values":%s}' % (self._boot, n, when, values)
                self._say("telemetry", said, qos=0)
                self._sent = n

    def _forget(self, told: dict) -> None:
        if told.get("boot") != self._boot:
            return
        self._told = self._ms()
        ranges = [(0, told["seq"])] + [tuple(pair) for pair in told.get("have", ())]
        self._frames = [kept for kept in self._frames if not any(low <= kept[0] <= high for low, high in ranges)]

    def _take(self, desired: dict) -> None:
        kept = {}
        for name, wanted in desired["values"].items():
            if name in self._specs:
                spec, default, changed = self._specs[name]
                try:
                    value = default if wanted is None else _checked(spec, wanted)
                    if changed and value != self.settings[name]:
                        changed(value)
                    self.settings[name] = value
                except Exception as error:  # noqa: BLE001 - the application's own; what it keeps to is reported
                    print("hub: kept", name, repr(error))
                kept[name] = self.settings[name]
        self._say("reported", json.dumps({"version": desired["version"], "values": kept}))

    def _obey(self, name: str, cid: str, payload: bytes, retained: int) -> None:
        known = self._memory.find(cid)
        expires_s = expiry_of(cid)
        then = None
        if known:
            answer = known[1]
        elif retained:
            answer = _answer("rejected", "it was retained; commands never are")
        elif expires_s and _now_s() > expires_s:
            answer = _answer("expired", "it came too late")
        elif name not in self._commands:
            answer = _answer("rejected", "there is no such command")
        else:
            answer, then = self._carry_out(name, cid, payload)
        self._answers.append((cid, answer, then))

    def _carry_out(self, name: str, cid: str, payload: bytes) -> tuple:
        spec, function = self._commands[name]
        then = None
        try:
            value = _parsed(spec, payload.decode())
            self._memory.begin(cid)  # a command that cannot be noted is not carried out: it could come again
            self._acting = cid
            value = function() if spec["type"] == "action" else function(value)
            if callable(value):
                value, then = None, value
            answer = json.dumps({"status": "ok"} if value is None else {"status": "ok", "value": value})
        except Refused as error:
            answer = _answer("rejected", str(error))
        except Exception as error:  # noqa: BLE001 - the application's own
            answer = _answer("error", str(error) or repr(error))
        self._acting = None
        self._memory.done(cid, answer)
        return answer, then

    def _say(self, suffix: str, text: str, *, retain: bool = False, qos: int = 1) -> None:
        self._patiently()
        self._mqtt.publish(self._root + suffix, text.encode(), retain, qos)

    def _patiently(self) -> None:
        # umqtt waits for ever once it has heard something.
        if hasattr(self._mqtt.sock, "settimeout"):
            self._mqtt.sock.settimeout(_PATIENCE_S)

    def _ms(self) -> int:
        # ticks_ms begins again after days; this goes on.
        tick = time.ticks_ms()
        self._clock += time.ticks_diff(tick, self._tick)
        self._tick = tick
        return self._clock


class _Mqtt(MQTTClient):
    """Keeps what came, with the flag `retained`, which umqtt's callback is not told; acts on nothing."""

    def __init__(self, *where: object) -> None:
        super().__init__(*where)
        self.inbox = []
        self._got = None
        self.set_callback(self._came)

    def _came(self, topic: bytes, payload: bytes) -> None:
        self._got = (topic, payload)

    def wait_msg(self) -> int | None:
        op = super().wait_msg()
        if self._got:
            self.inbox.append((op & 1,) + self._got)
            self._got = None
        return op


class _Memory:
    """The last commands with their answers; in a file, so that a restart forgets none of them."""

    def __init__(self, file: str | None, size: int) -> None:
        self.survives = size if file else 0
        self._file = file
        self._size = size
        self._known = []  # [cid, answer or ""], the oldest first
        self._lines = 0
        if file:
            self._load()

    def find(self, cid: str) -> list | None:
        for known in self._known:
            if known[0] == cid:
                return known
        return None

    def begin(self, cid: str) -> None:
        """Note a command before it is carried out: after a crash nobody may take it for a new one."""
        self._write(cid + "\n")
        self._known.append([cid, _answer("error", "a restart came in between; how far it got is not known")])
        self._known = self._known[-self._size :]

    def done(self, cid: str, answer: str) -> None:
        known = self.find(cid)
        if known:
            known[1] = answer
            try:
                self._write(cid + " " + answer + "\n")
            except OSError as error:
                print("hub: not noted:", repr(error))  # after a restart its answer is that nobody knows

    def _write(self, line: str) -> None:
        if not self._file:
            return
        if self._lines >= 4 * self._size:
            self._write_anew()
        with open(self._file, "a") as file:
            file.write(line)
        self._lines += 1

    def _load(self) -> None:
        torn = ""
        try:
            with open(self._file) as file:
                for line in file:
                    torn = line if line[-1] != "\n" else ""
                    if not torn:
                        self._note(line[:-1].split(" ", 1))
                        self._lines += 1
        except OSError:
            return  # there is none yet
        if torn:
            self._write_anew()

    def _note(self, said: list) -> None:
        known = self.find(said[0])
        if known is None:
            known = [said[0], _answer("error", "a restart came in between; how far it got is not known")]
            self._known = self._known[1 - self._size :] + [known]
        if len(said) == 2:
            known[1] = said[1]

    def _write_anew(self) -> None:
        with open(self._file + ".new", "w") as file:
            file.write("".join([cid + " " + answer + "\n" for cid, answer in self._known]))
        os.rename(self._file + ".new", self._file)
        self._lines = len(self._known)


def expiry_of(cid: str) -> int:
    """Return until when a command may be carried out, in s since 1970; 0 when its id does not say."""
    if len(cid) != 12:
        return 0
    seconds = 0
    for letter in cid[:6]:
        digit = _LETTERS.find(letter)
        if digit < 0:
            return 0
        seconds = seconds * 32 + digit
    return _SINCE_S + seconds


def _now_s() -> int:
    """Return the time since 1970, or 0 from a clock that was never set."""
    now = int(time.time()) + _EPOCH_S
    return now if now > _SINCE_S else 0


def _answer(status: str, message: str) -> str:
    return json.dumps({"status": status, "message": message[:120]})


def _parsed(spec: dict, text: str) -> object:
    kind = spec["type"]
    if kind == "bool":
        if text not in ("on", "off", "true", "false"):
            raise Refused("it is neither on nor off")
        return text in ("on", "true")
    if kind == "number":
        number = float(text)
        return _checked(spec, int(number) if number == int(number) else number)
    if kind == "enum":
        for option in spec["options"]:
            if text in (option, json.dumps(option)):
                return option
        raise Refused("it is none of the options")
    return json.loads(text) if kind == "update" else text


def _checked(spec: dict, value: object) -> object:
    kind = spec["type"]
    wanted = {"bool": (bool,), "number": (int, float), "text": (str,)}.get(kind)
    if kind == "enum" and value not in spec["options"]:
        raise Refused("it is none of the options")
    if wanted and (not isinstance(value, wanted) or (kind == "number" and isinstance(value, bool))):
        raise Refused("it is no " + kind)
    if kind == "number" and not spec.get("min", value) <= value <= spec.get("max", value):
        raise Refused("it is beyond its limits")
    return value
