"""What holds for every test. Fixtures live next to the tests that use them."""

from collections.abc import Generator
from typing import Any

import hypothesis
import pytest
from django.conf import settings

from hub import env

# A slow machine must not fail a property that holds.
hypothesis.settings.register_profile("hub", deadline=None)
# What takes minutes: --hypothesis-profile=whole
hypothesis.settings.register_profile("whole", deadline=None, max_examples=500, print_blob=True)
hypothesis.settings.load_profile("hub")


def pytest_addoption(parser: pytest.Parser) -> None:
    """What is shortened so that it can run each time, at its whole length."""
    parser.addoption("--full", action="store_true", help="what is shortened otherwise, at its whole length")
    parser.addoption("--canary", action="store_true", help="mark every secret, and search the whole run for the mark")


def pytest_configure(config: pytest.Config) -> None:
    """Django's real password hash takes a quarter of a second on purpose; no test is about that.

    Django's test clients ask as http://testserver, which is no name of this machine; test_plain.py is about that.
    """
    settings.HUB_PLAIN = env.PLAIN
    # What is uploaded is gone with the run; test_firmware.py looks at the disk.
    settings.STORAGES = settings.STORAGES | {"default": {"BACKEND": "django.core.files.storage.InMemoryStorage"}}
    settings.PASSWORD_HASHERS = ["django.contrib.auth.hashers.MD5PasswordHasher"]
    if config.getoption("--canary"):
        from tests import canary_watch  # noqa: PLC0415  only where it is wanted: it changes the whole process

        config.pluginmanager.register(canary_watch.Watch())


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """In CI nothing is skipped: the machine has to have what the tests need."""
    report = yield
    return failed_if_skipped(report, item.nodeid)


@pytest.hookimpl(wrapper=True)
def pytest_make_collect_report(
    collector: pytest.Collector,
) -> Generator[None, pytest.CollectReport, pytest.CollectReport]:
    """The same for a module that skips itself as a whole."""
    report = yield
    return failed_if_skipped(report, collector.nodeid)


def failed_if_skipped(report: Any, name: str) -> Any:
    """The report; in CI that of a skipped test becomes a failure that repeats the reason."""
    if env.in_ci() and report.outcome == "skipped" and not hasattr(report, "wasxfail"):
        reason = report.longrepr[2] if isinstance(report.longrepr, tuple) else report.longrepr
        report.outcome = "failed"
        report.longrepr = f"{name} was skipped, which is an error in CI. {reason}"
    return report
