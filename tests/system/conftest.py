"""Real services as fixtures. One that the machine lacks skips its tests by name."""

from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AbstractContextManager, ExitStack
from itertools import count
from pathlib import Path
from typing import Any, Final, TypeVar

import pytest

from bridge.threads import Threads
from tests import hub, services
from tests.hub import Demo, Device, Hub, Production
from tests.system.stands import Stand

S = TypeVar("S")
_numbers: Final = count(1)


def opened(service: AbstractContextManager[S]) -> Iterator[S]:
    """A service for as long as its fixture lives."""
    with ExitStack() as stack:
        try:
            entered = stack.enter_context(service)
        except services.Missing as missing:
            pytest.skip(str(missing))
        yield entered


@pytest.fixture(scope="session")
def nats(tmp_path_factory: pytest.TempPathFactory) -> Iterator[services.Nats]:
    yield from opened(services.nats(tmp_path_factory.mktemp("nats")))


@pytest.fixture(scope="session")
def mosquitto(tmp_path_factory: pytest.TempPathFactory) -> Iterator[services.Service]:
    yield from opened(services.mosquitto(tmp_path_factory.mktemp("mosquitto")))


@pytest.fixture(scope="session")
def redis(tmp_path_factory: pytest.TempPathFactory) -> Iterator[services.Service]:
    yield from opened(services.redis(tmp_path_factory.mktemp("redis")))


@pytest.fixture(scope="session")
def postgres(tmp_path_factory: pytest.TempPathFactory) -> Iterator[services.Service]:
    yield from opened(services.postgres(tmp_path_factory.mktemp("postgres")))


@pytest.fixture
async def broker(tmp_path: Path) -> AsyncIterator[Stand]:
    """A broker of one's own: a session that another test left would be a subscriber."""
    for service in opened(services.mosquitto(tmp_path)):
        stand = Stand(service)
        await stand.reconcile()
        yield stand


@pytest.fixture
async def ask() -> AsyncIterator[Callable[..., Any]]:
    """Ask the database from an asynchronous test: `await ask(Frame.objects.count)`."""
    threads = Threads("test", 1)
    yield threads.run
    threads.end()


@pytest.fixture(params=["nats", "mosquitto"])
def stand(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Stand]:
    """A broker of one's own, to be changed, killed and emptied: they start in 0.1 s."""
    service: AbstractContextManager[services.Nats | services.Service] = services.mosquitto(tmp_path)
    if request.param == "nats":
        service = services.nats(tmp_path)
    for running in opened(service):
        yield Stand(running)


@pytest.fixture(scope="session")
def demo(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Demo]:
    """The demo without simulated devices."""
    for running in opened(hub.running_demo(tmp_path_factory.mktemp("demo"), simulators=False)):
        running.add_users(charlie={"brewery": "manager"})
        yield running


@pytest.fixture(scope="session")
def production(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Production]:
    """All the parts of docker-compose.yml. Whoever stops one starts it again."""
    yield from opened(hub.running_production(tmp_path_factory.mktemp("production")))


@pytest.fixture(params=["demo", "production"])
def anywhere(request: pytest.FixtureRequest) -> Hub:
    """Both set-ups, one after the other; on either, Mosquitto's clients play devices."""
    try:
        services.need("mosquitto")
    except services.Missing as missing:
        pytest.skip(str(missing))
    running: Hub = request.getfixturevalue(request.param)
    return running


@pytest.fixture
def new_device(anywhere: Hub) -> Callable[..., Device]:
    """Make a device of a name that nobody had before."""

    def make(name: str = "device", **how: Any) -> Device:
        return anywhere.add_device(f"{name}-{next(_numbers)}", **how)

    return make
