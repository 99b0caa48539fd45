"""`python3 manage.py test --canary …`: every secret of the run bears a mark, and it is searched for everywhere."""

import logging
import os
import tempfile
from pathlib import Path
from typing import Any

import pytest
from django.apps import apps
from django.conf import settings
from django.db import Error

from hub import logs
from tests import canary, canary_answers, hub

WITH_DATABASE = {"db", "transactional_db"}


class Watch:
    """A pytest plugin."""

    def __init__(self) -> None:
        """Before anything is made."""
        handle, name = tempfile.mkstemp(prefix="hub-canary-", suffix=".jsonl")
        os.close(handle)
        self.found = Path(name)
        os.environ[canary.FOUND] = name
        canary.plant()
        canary.commands()
        canary_answers.begin()
        settings.SECRET_KEY = canary.secrets.token_urlsafe(50)
        settings.MIDDLEWARE = ["tests.canary_answers.Answers", *settings.MIDDLEWARE]
        hub.PLAIN["DJANGO_SETTINGS_MODULE"] = "tests.canary_settings"
        self.unsearched = 0
        self._listen()

    def _listen(self) -> None:
        told = logs.configure("DEBUG")
        for name, chosen in told["loggers"].items():
            logging.getLogger(name).setLevel(chosen["level"])
        line = dict(told["formatters"]["line"])
        listener = canary.Listener()
        listener.setFormatter(line.pop("()")(**line))
        logging.getLogger().addHandler(listener)
        logging.getLogger().setLevel(logging.DEBUG)

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtest_teardown(self, item: pytest.Item) -> None:
        """While its database is there."""
        if WITH_DATABASE & set(getattr(item, "fixturenames", ())):
            try:
                rows()
            except Error:  # the test left a transaction that failed
                self.unsearched += 1

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_makereport(self, item: pytest.Item) -> Any:
        """What the test and its fixtures wrote."""
        report = yield
        os.environ["PYTEST_CURRENT_TEST"] = item.nodeid
        if report.passed:  # a failure repeats the test's own source
            canary.output(report.capstdout + report.capstderr)
        return report

    @pytest.hookimpl(trylast=True)
    def pytest_sessionfinish(self, session: pytest.Session) -> None:
        """The files of all tests, and of all that they started."""
        os.environ["PYTEST_CURRENT_TEST"] = "at the end"
        factory: pytest.TempPathFactory = session.config._tmp_path_factory  # type: ignore[attr-defined]
        canary.files(factory.getbasetemp())
        if canary.hits(self.found):
            session.exitstatus = pytest.ExitCode.TESTS_FAILED

    def pytest_terminal_summary(self, terminalreporter: Any) -> None:
        """Each hit with its place and its test."""
        hits = canary.hits(self.found)
        terminalreporter.section(f"canary: {len(hits)} hits")
        terminalreporter.line(f"The rows of {self.unsearched} tests could not be searched.")
        for hit in dict.fromkeys(hits):
            terminalreporter.line(f"{hit.place}\n  {hit.test}\n  {hit.around!r}")
        self.found.unlink()


def rows() -> None:
    """Search every row of Django's database. Sessions are kept there by their names."""
    for model in apps.get_models():
        if model._meta.label != "sessions.Session":
            for row in model._default_manager.values_list():
                canary.search(f"table {model._meta.db_table}", canary.text_of(row))
