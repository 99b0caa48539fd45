"""PURE. What a client knows of the hub, what each of its messages makes of that, and what is to be said next.

No clock, no socket: `now` (ms) is given, and what is to be sent stands in `say`. The same golden conversations drive
this, the JavaScript client and the hub (tests/golden).
"""

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any, Final

from telemetry_hub import items
from telemetry_hub.orders import Ask, Order, event_of
from telemetry_hub.subs import Message, Sub, phase_of
from telemetry_hub.told import Answered, Confirmed, Denied, Ended, News, Told

# How long a command that the hub has not confirmed is given again, under the same key, after a cut.
ASK_AGAIN_MS: Final = 30_000
# Commands of others that are remembered, so that a state told twice is news once.
ORDERS_KEPT: Final = 200
SIGNED_OUT: Final = 4401
# What ends it for good: trying again would change nothing.
FINAL: Final = frozenset((4400, 4403, 4409, 4413))


@dataclass(slots=True)
class Counts:
    """Rows taken; known already; holes that nobody told of; rows skipped (lag); rows that are gone (gap)."""

    frames: int = 0
    known: int = 0
    holes: int = 0
    coalesced: int = 0
    lost: int = 0


@dataclass(slots=True)
class State:
    """One client's side of the live protocol."""

    up: bool = False
    skew: int = 0
    heartbeat_s: float = 20
    # Whether a token that was refused may be another one next time.
    renewable: bool = False
    subs: dict[str, Sub] = field(default_factory=dict)
    asks: dict[str, Ask] = field(default_factory=dict)
    calls: dict[str, Message] = field(default_factory=dict)
    orders: dict[str, Order] = field(default_factory=dict)
    counts: Counts = field(default_factory=Counts)
    say: list[Message] = field(default_factory=list)
    _lent: int = 0
    _sent: set[str] = field(default_factory=set)
    _turned_away: bool = False

    # -- what the user wants

    def want(self, name: str, request: Message, now: int) -> None:
        """Subscribe; at once when the socket is up, else with the next welcome."""
        self.pause(name)
        made = self.subs[name].made if name in self.subs else 0
        self.subs[name] = Sub(name, request, now, made)
        self._ask(self.subs[name], now)

    def pause(self, name: str) -> None:
        """Have nothing more of this for now; it keeps its place."""
        sub = self.subs.get(name)
        if sub is None or sub.phase == "ended":
            return
        if sub.asked and self.up:
            self.say.append({"type": "unsub", "id": sub.id})
        sub.phase = "paused"

    def resume(self, name: str, now: int) -> None:
        """Go on where it was paused, or try again what the hub refused for the moment."""
        sub = self.subs.get(name)
        if sub is not None and not sub.asked:
            sub.phase = "wanted"
            self._ask(sub, now)

    def drop(self, name: str) -> None:
        """Have nothing more of this at all."""
        self.pause(name)
        self.subs.pop(name, None)

    def order(self, ask: Ask) -> None:
        """Give a command."""
        self.asks[ask.id] = ask
        if self.up:
            self.say.append(ask.message)

    def call(self, id_: str, method: str, path: str, body: Any = None) -> None:  # noqa: ANN401  any JSON
        """Ask the REST API to change something."""
        self.calls[id_] = {"type": "call", "id": id_, "method": method, "path": path}
        if body is not None:
            self.calls[id_]["body"] = body
        if self.up:
            self._send_calls([id_])

    def forget(self, id_: str) -> None:
        """Wait no longer for what the hub has not answered; what is not said yet never is."""
        self.calls.pop(id_, None)
        if id_ in self.asks and not self.asks[id_].command:
            del self.asks[id_]

    def give(self, credit: int) -> None:
        """So many messages were worked off; those of an older socket count for nothing."""
        credit = min(credit, self._lent)
        if credit and self.up:
            self._lent -= credit
            self.say.append({"type": "credit", "n": credit})

    def _ask(self, sub: Sub, now: int) -> None:
        if self.up:
            self.say.append(sub.ask(now))

    def _send_calls(self, ids: Iterable[str]) -> None:
        for id_ in ids:
            self._sent.add(id_)
            self.say.append(self.calls[id_])

    # -- the socket

    def closed(self, code: int) -> tuple[bool, list[Told]]:
        """The socket is gone. Whether to come back, and what that makes known: calls that are open stay so."""
        again = code not in FINAL and (code != SIGNED_OUT or (self.renewable and not self._turned_away))
        self._turned_away |= code == SIGNED_OUT
        self.up = False
        self._lent = 0
        self.say.clear()
        for sub in self.subs.values():
            if sub.asked:
                sub.phase = "wanted"
        lost = [id_ for id_ in self.calls if id_ in self._sent]
        self._sent.clear()
        for id_ in lost:
            del self.calls[id_]
        return again, [Told(items=(Answered(id_, None),)) for id_ in lost]

    def hear(self, message: Message, now: int) -> list[Told]:
        """Take one message of the hub; what a newer hub may say besides is left."""
        match message["type"]:
            case "welcome":
                return self._welcome(message, now)
            case "ok" if "command" in message:
                return self._confirmed(message, now)
            case "answer":
                return self._answered(message)
            case "err":
                return self._refused(message)
            case "data" | "fleet":
                self._lent += 1
                return self._brought(message, now)
            case "ok" | "live" | "lag" | "gap" | "end":
                sub = self._sub_of(message)
                return [] if sub is None else self._of_sub(sub, message)
            case _:
                return self._event(message)

    def _welcome(self, message: Message, now: int) -> list[Told]:
        self.up, self._turned_away = True, False
        self.skew = message["server_ts"] - now
        self.heartbeat_s = message["heartbeat_s"]
        for sub in self.subs.values():
            if sub.phase == "wanted":
                self._ask(sub, now)
        self.say += [ask.message for ask in self.asks.values() if self._asks_again(ask, now)]
        self._send_calls(self.calls)
        return []

    def _asks_again(self, ask: Ask, now: int) -> bool:
        """Whether to give a command once more. One that the hub knows is only asked after, unless it is told anyway."""
        if not ask.command:
            return now - ask.at < ASK_AGAIN_MS
        return not any(ask.device in sub.devices for sub in self.subs.values() if sub.asked)

    # -- subscriptions

    def _sub_of(self, message: Message) -> Sub | None:
        """Whose message it is; None: of a subscription that was ended or made anew."""
        name = message.get("id", "").rpartition(".")[0]
        sub = self.subs.get(name)
        return sub if sub is not None and sub.asked and sub.id == message["id"] else None

    def _of_sub(self, sub: Sub, message: Message) -> list[Told]:
        found: list[News] = []
        match message["type"]:
            case "ok":
                found += sub.accept(message.get("head") or {})
            case "live":
                sub.go_live()
            case "gap":
                gap = sub.gap(message)
                self.counts.lost += max(0, gap.last - gap.first + 1)
                found.append(gap)
            case "lag":
                found += sub.lag(message)
                self.counts.coalesced += sum(message["devices"].values())
            case "end":
                sub.phase = "ended"
                found.append(Ended(message["reason"], ""))
        return [Told(sub.name, tuple(found))] if found else []

    def _brought(self, message: Message, now: int) -> list[Told]:
        """Take rows or summaries, which cost credit."""
        sub = self._sub_of(message)
        if sub is None:
            return [Told(credit=1)]
        if message["type"] == "fleet":
            return [Told(sub.name, tuple(sub.summarise(message["devices"])), 1)]
        sub.at = message.get("at", sub.at)
        holes = 0
        rows: list[items.Row] = []
        for device, part in message["devices"].items():
            found = sub.take(device, part, phase_of(message))
            if found is None:
                holes += 1
                continue
            rows += found
            self.counts.known += len(part["frames"]) - len(found)
        self.counts.frames += len(rows)
        if holes:
            self.counts.holes += holes
            self.pause(sub.name)
            self.resume(sub.name, now)
        return [Told(sub.name, tuple(rows), 1)]

    def _refused(self, message: Message) -> list[Told]:
        id_, retry = message["id"], bool(message.get("retry"))
        if self.asks.pop(id_, None) or self.calls.pop(id_, None):
            return [Told(items=(Denied(id_, message["code"], message["message"], retry),))]
        sub = self._sub_of(message)
        if sub is None:
            return []
        sub.phase = "ended"
        return [Told(sub.name, (Ended(message["code"], message["message"], retry),))]

    # -- commands and calls

    def _confirmed(self, message: Message, now: int) -> list[Told]:
        """The hub has a command. One that it knew before has come further meanwhile, and nobody else will say so."""
        ask = self.asks.get(message["id"])
        if ask is None:
            return []
        ask.command, new = message["command"], message.get("new", True)
        order = self.orders.setdefault(ask.command, Order())
        found: list[News] = [Confirmed(ask.id, ask.command, new)]
        if not new:
            known = ask.state(message["state"], now + self.skew)
            if not any(one.state == known.state for one in order.events) and order.add(known):
                found.append(known)
        self._tidy()
        return [Told(items=tuple(found))]

    def _answered(self, message: Message) -> list[Told]:
        if self.calls.pop(message["id"], None) is None:
            return []
        return [Told(items=(Answered(message["id"], items.Answer(message["status"], message.get("body"))),))]

    def _command_state(self, message: Message) -> list[Told]:
        event = event_of(message)
        news = self.orders.setdefault(event.command, Order()).add(event)
        self._tidy()
        return [Told(items=(event,))] if news else []

    def _tidy(self) -> None:
        """Forget asks whose command has settled, and the oldest commands."""
        for id_, ask in list(self.asks.items()):
            if ask.command and self.orders[ask.command].settled:
                del self.asks[id_]
        mine = {ask.command for ask in self.asks.values()}
        spare = [id_ for id_ in self.orders if id_ not in mine][: max(0, len(self.orders) - ORDERS_KEPT)]
        for id_ in spare:
            del self.orders[id_]

    # -- what carries no id

    def _event(self, message: Message) -> list[Told]:
        match message:
            case {"type": "cmd_state"}:
                return self._command_state(message)
            case {"type": "state", "device": device, "presence": presence, "because": because, "since": since}:
                return [Told(items=(items.Presence(device, presence, because, since),))]
            case {"type": "hub", "storing": storing, "because": because, "since": since}:
                return [Told(items=(items.Storing(storing, because, since),))]
            case {"type": "settings", "device": device, "version": version, "settings": rows}:
                return [Told(items=(items.Settings(device, version, tuple(map(_setting, rows))),))]
            case {"type": "device", "device": device, "name": name, "fleet": fleet, "enabled": enabled}:
                renamed = [Told(sub.name, tuple(sub.rename(device, name))) for sub in self.subs.values()]
                event = Told(items=(items.Registration(device, name, fleet, enabled),))
                return [event, *(told for told in renamed if told.items)]
        return []


def _setting(row: Message) -> items.Setting:
    """Read a row; what a newer hub may say besides is left."""
    known: dict[str, Any] = {name: row.get(name) for name in items.Setting.__dataclass_fields__}
    return items.Setting(**known)
