"""The conformance suite of brokers: whatever an intruder tries, nobody hears of it, and it hears nothing.

`-k nats` or `-k mosquitto` runs it for one of them. The cases are generated (intruders.py) and go through few
connections; a failure names each that got through. That something did not arrive is shown by what was sent after it.
"""

import asyncio
import hashlib
import secrets
from collections.abc import AsyncIterator, Awaitable, Iterator, Sequence
from contextlib import AsyncExitStack, aclosing, asynccontextmanager, suppress
from itertools import product
from typing import TypeVar

import pytest

from bridge import accounts, mqtt
from bridge.accounts import Account
from tests import services
from tests.system import intruders
from tests.system.conftest import opened
from tests.system.intruders import OTHERS, OWN, SAID, TOLD, VICTIM, Case
from tests.system.raw import V5, V311, Cut, Raw, Will
from tests.system.stands import Stand


class Arena:
    """A broker where the intruder, its neighbours and the hub have accounts; `version` is what the intruder speaks."""

    def __init__(self, stand: Stand, version: int) -> None:
        self.stand = stand
        self.version = version
        self.port = stand.service.port
        self.own = mqtt.MqttUrl.parse(stand.service.url)
        self.old = secrets.token_urlsafe(32)
        keys = [OWN, *OTHERS, *(f"{name}-{n}" for name in ("thief", "honest") for n in range(len(intruders.WILLS)))]
        self.accounts = {key: Account(key=key, secret=secrets.token_urlsafe(32), version=2) for key in keys}

    async def prepare(self) -> None:
        """Give everybody an account; the victim had another secret before."""
        before = Account(key=VICTIM, secret=self.old, version=1)
        await self.stand.reconcile(before)
        await self.stand.reconcile(*self.accounts.values())

    async def device(self, key: str = OWN, **how: object) -> Raw:
        """Connect as this device."""
        how = {"version": self.version if key == OWN else V311} | how
        return await Raw.connect(self.port, key, key, self.accounts[key].secret, **how)  # type: ignore[arg-type]

    async def hub(self, client_id: str = "") -> Raw:
        """Connect as the bridge does."""
        name = client_id or f"Bridge-{self.own.username}-main-in"
        return await Raw.connect(self.port, name, self.own.username, self.own.password)

    def filled(self, text: str) -> str:
        """What an intruder can know, in place of its name."""
        own = self.accounts[OWN].secret
        known = {"hub": self.own.username or "", "own": own, "OWN": own.upper(), "old": self.old, "half": own[:20]}
        known["hash"] = hashlib.sha256(own.encode()).hexdigest()
        for name, value in known.items():
            text = text.replace(f"{{{name}}}", value)
        return text


T = TypeVar("T")

KINDS = {"nats-3.1.1": V311, "mosquitto-3.1.1": V311, "mosquitto-5": V5}


@pytest.fixture(scope="module", params=list(KINDS))
def arena(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Arena]:
    """The shipped broker, for each language that it speaks."""
    name = request.param.partition("-")[0]
    make = services.nats if name == "nats" else services.mosquitto
    for service in opened(make(tmp_path_factory.mktemp(name))):
        made = Arena(Stand(service), KINDS[request.param])
        asyncio.run(made.prepare())
        yield made


class Intruder:
    """The intruder's connection; where the broker hangs up, it comes again."""

    def __init__(self, arena: Arena) -> None:
        self._arena = arena
        self._raw: Raw | None = None
        self.overheard: list[tuple[str, bytes]] = []

    async def raw(self) -> Raw:
        self._raw = self._raw or await self._arena.device()
        return self._raw

    async def publishes(self, case: Case, payload: bytes) -> None:
        with suppress(Cut):
            raw = await self.raw()
            alias = 1 if case.version == V5 else 0
            await self._unless_cut(raw.publish(case.what, payload, case.qos, retain=case.retain, alias=alias))
            if alias:
                await self._unless_cut(raw.publish(b"", payload, case.qos, retain=case.retain, alias=alias))

    async def subscribes(self, case: Case) -> bool:
        """Whether the broker granted it."""
        raw = await self.raw()
        with suppress(Cut):
            return await self._unless_cut(raw.subscribe(case.what, case.qos))
        return False

    async def _unless_cut(self, attempt: Awaitable[T]) -> T:
        try:
            return await attempt
        except Cut:
            await self.aclose()
            raise

    async def aclose(self) -> None:
        if self._raw is not None:
            await self._raw.close()
            self.overheard += self._raw.heard
        self._raw = None


class Watch:
    """The hub and the neighbours, each with all that it may hear."""

    def __init__(self, hub: Raw, devices: dict[str, Raw]) -> None:
        self.hub = hub
        self.devices = devices

    async def until_after(self, intruder: Raw) -> list[bytes]:
        """Wait until everything is through that the intruder has sent, and return what was heard of anybody."""
        await intruder.publish(f"hub/{OWN}/telemetry/mark".encode(), b"mark", 1)
        await self.hub.hear(b"mark")
        return await self.now()

    async def now(self) -> list[bytes]:
        """What was heard until now."""
        for key, device in self.devices.items():
            await self.hub.publish(f"hub/{key}/cmd/mark/1".encode(), b"mark", 1)
            await device.hear(b"mark")
        return [said for each in (self.hub, *self.devices.values()) for _, said in each.heard]


@asynccontextmanager
async def watching(arena: Arena) -> AsyncIterator[Watch]:
    async with AsyncExitStack() as stack:
        hub = await stack.enter_async_context(await arena.hub())
        assert await hub.subscribe(b"hub/#")
        devices = {}
        for key in OTHERS:
            devices[key] = await stack.enter_async_context(await arena.device(key))
            for filter_ in accounts.subscribable(key):
                assert await devices[key].subscribe(filter_.encode())
        yield Watch(hub, devices)


def through(cases: Sequence[Case], heard: Sequence[bytes]) -> list[str]:
    """Which attempts were heard of."""
    return [str(cases[int(said.removeprefix(b"forged "))]) for said in heard if said.startswith(b"forged ")]


async def test_what_is_published_under_a_foreign_name_reaches_nobody(arena: Arena) -> None:
    cases = intruders.publishes(arena.version)
    async with watching(arena) as watch:
        async with aclosing(Intruder(arena)) as intruder:
            for number, case in enumerate(cases):
                await intruder.publishes(case, b"forged %d" % number)
            heard = await watch.until_after(await intruder.raw())
        async with await arena.hub("Bridge-later") as later:
            assert await later.subscribe(b"hub/#")
            await watch.hub.publish(b"hub/mark", b"later", 1)
            await later.hear(b"later")
        assert through(cases, [*heard, *(said for _, said in later.heard)]) == []


async def test_through_a_foreign_filter_nothing_is_heard(arena: Arena) -> None:
    async with await arena.hub() as hub, aclosing(Intruder(arena)) as intruder:
        for topic in intruders.KEPT_FROM_IT:
            await hub.publish(topic.encode(), b"kept", 1, retain=True)
        cases = intruders.subscribes(arena.version)
        granted = [str(case) for case in cases if await intruder.subscribes(case)]
        raw = await intruder.raw()
        assert await raw.subscribe(f"hub/{OWN}/cmd/#".encode())
        for topic in intruders.KEPT_FROM_IT:
            await hub.publish(topic.encode(), b"live", 1)
            await hub.publish(topic.encode(), b"", 1, retain=True)
        await hub.publish(f"hub/{OWN}/cmd/relay/1".encode(), b"mark", 1)
        await raw.hear(b"mark")
        await intruder.aclose()
    # A grant of what is never delivered would do; both brokers refuse outright.
    assert granted == []
    assert intruder.overheard == [(f"hub/{OWN}/cmd/relay/1", b"mark")]


async def test_a_foreign_last_will_is_not_spoken(arena: Arena) -> None:
    cases = intruders.wills(arena.version)
    async with watching(arena) as watch:
        for number, case in enumerate(cases):
            forged = Will(case.what, b"forged %d" % number, case.qos, case.retain)
            with suppress(Cut):  # a broker may turn it away for its will
                thief = await arena.device(f"thief-{number}", will=forged, version=arena.version)
                await thief.vanish()
            # Its neighbour goes the same way after it, with a will of its own.
            honest = Will(f"hub/honest-{number}/status".encode(), b"honest %d" % number, case.qos)
            neighbour = await arena.device(f"honest-{number}", will=honest, version=arena.version)
            await neighbour.vanish()
        for number in range(len(cases)):
            await watch.hub.hear(b"honest %d" % number)
        assert through(cases, await watch.now()) == []


async def test_nobody_comes_in_by_a_foreign_client_id(arena: Arena) -> None:
    cases = intruders.takeovers(arena.version)
    let_in = []
    async with watching(arena) as watch:
        for case, clean in product(cases, (True, False)):
            with suppress(Cut):
                name = arena.filled(case.what.decode()).encode()
                secret = arena.accounts[OWN].secret
                raw = await Raw.connect(arena.port, name, OWN, secret, version=arena.version, clean=clean)
                await raw.close()
                let_in.append(str(case))
        assert let_in == []
        # Whoever's place they wanted is still there.
        await watch.now()


async def test_nobody_comes_in_by_a_false_login(arena: Arena) -> None:
    let_in = []
    for case in intruders.logins(arena.version):
        user, _, secret = arena.filled(case.what.decode()).partition(":")
        for client_id in dict.fromkeys((user, OWN)):
            with suppress(Cut):
                raw = await Raw.connect(arena.port, client_id, user, secret, version=arena.version)
                await raw.close()
                let_in.append(str(case))
    for user in (None, OWN, arena.own.username):
        with suppress(Cut):
            raw = await Raw.connect(arena.port, OWN, user, None, version=arena.version)
            await raw.close()
            let_in.append(f"{user} without a secret")
    assert let_in == []


async def test_what_is_a_devices_own_works(arena: Arena) -> None:
    """Without this, a broker that refuses everything would pass all of the above."""
    said = [f"hub/{OWN}/{leaf}" for leaf in (*SAID, "sub/valve/status", "sub/valve/ack/1", "anything/else")]
    told = [f"hub/{OWN}/{root}{leaf}" for root in ("", "sub/valve/") for leaf in TOLD]
    async with await arena.hub() as hub, await arena.device(will=Will(b"hub/pump-1/status", b"gone", 1)) as device:
        assert await hub.subscribe(b"hub/#", 2)
        filters = [*accounts.subscribable(OWN), f"hub/{OWN}/cmd/+/+", f"hub/{OWN}/sub/valve/cmd/#", *told]
        for filter_, qos in product(filters, (0, 1, 2)):
            assert await device.subscribe(filter_.encode(), qos), filter_
        for topic, qos, retain in product(said, (0, 1, 2), (True, False)):
            payload = f"{topic} {qos} {retain}".encode()
            await device.publish(topic.encode(), payload, qos, retain=retain)
            await hub.hear(payload)
        for topic, qos in product(told, (0, 1, 2)):
            payload = f"{topic} {qos}".encode()
            await hub.publish(topic.encode(), payload, qos)
            await device.hear(payload)
        async with await arena.hub("Bridge-later") as later:
            assert await later.subscribe(f"hub/{OWN}/#".encode())
            for topic in said:
                await later.hear(f"{topic} 2 True".encode())
                await later.publish(topic.encode(), b"", 1, retain=True)
        await device.vanish()
        await hub.hear(b"gone")


@pytest.mark.parametrize("name", KINDS)
def test_there_are_eight_hundred_cases_or_more(name: str) -> None:
    cases = intruders.cases(KINDS[name])
    assert len(set(cases)) == len(cases) >= 800


async def test_a_thousand_takeovers_do_not_cut_the_victim(arena: Arena) -> None:
    let_in = 0
    over = asyncio.Event()

    async def intrude(times: int) -> None:
        nonlocal let_in
        for _ in range(times):
            with suppress(Cut):
                raw = await Raw.connect(arena.port, VICTIM, OWN, arena.accounts[OWN].secret, version=arena.version)
                let_in += 1
                await raw.close()

    async def live(victim: Raw, hub: Raw) -> int:
        """Publish and listen without a pause: how often both went through."""
        times = 0
        while not over.is_set():
            times += 1
            await victim.publish(f"hub/{VICTIM}/telemetry".encode(), b"said %d" % times, 1)
            await hub.hear(b"said %d" % times)
            await hub.publish(f"hub/{VICTIM}/cmd/relay/1".encode(), b"told %d" % times, 1)
            await victim.hear(b"told %d" % times)
        return times

    async with await arena.hub() as hub, await arena.device(VICTIM) as victim:
        assert await hub.subscribe(b"hub/#")
        assert await victim.subscribe(f"hub/{VICTIM}/cmd/#".encode())
        living = asyncio.create_task(live(victim, hub))
        await asyncio.gather(*(intrude(50) for _ in range(20)))
        over.set()
        assert await living > 1
        assert let_in == 0
