"""The two set-ups as fixtures, for the test files that import them by name. Each is started once."""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from itertools import count
from typing import Any, Final

import pytest

from tests import hub, services
from tests.hub import Demo, Device, Hub, Production

_numbers: Final = count(1)


@contextmanager
def _present(made: AbstractContextManager[Any]) -> Iterator[Any]:
    try:
        with made as running:
            yield running
    except services.Missing as missing:
        pytest.skip(str(missing))


@pytest.fixture(scope="session")
def demo(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Demo]:
    """The demo without simulated devices."""
    with _present(hub.running_demo(tmp_path_factory.mktemp("demo"), simulators=False)) as running:
        running.add_users(charlie={"brewery": "manager"})
        yield running


@pytest.fixture(scope="session")
def production(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Production]:
    """All the parts of docker-compose.yml. Whoever stops one starts it again."""
    with _present(hub.running_production(tmp_path_factory.mktemp("production"))) as running:
        running.add_users(charlie={"brewery": "manager"})
        yield running


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
