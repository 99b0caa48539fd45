"""Why nothing can be stored, in words: from what the drivers really raise."""

import psycopg
import pytest
from django.db import DatabaseError, InternalError, OperationalError, ProgrammingError

from bridge.holding import because
from bridge.lead import NotLeadingError


def raised(kind: type[DatabaseError], cause: Exception | None, text: str = "no matter") -> DatabaseError:
    error = kind(text)
    error.__cause__ = cause
    return error


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (raised(OperationalError, psycopg.errors.DiskFull()), "the database's disk is full"),
        (raised(OperationalError, psycopg.errors.OutOfMemory()), "the database has no room left"),
        (raised(InternalError, psycopg.errors.ReadOnlySqlTransaction()), "the database is read-only"),
        (raised(OperationalError, psycopg.errors.AdminShutdown()), "the database is away"),
        (raised(OperationalError, psycopg.errors.CannotConnectNow()), "the database is away"),
        (raised(OperationalError, psycopg.OperationalError("connection refused")), "the database is away"),
        (raised(OperationalError, psycopg.errors.InvalidPassword()), "the database refuses the hub's password"),
        (raised(ProgrammingError, psycopg.errors.InsufficientPrivilege()), "the database does not let the hub write"),
        (psycopg.errors.DiskFull(), "the database's disk is full"),
        (OperationalError("database or disk is full"), "the database's disk is full"),
        (OperationalError("attempt to write a readonly database"), "the database is read-only"),
        (OperationalError("database is locked"), "another program keeps the database locked"),
        (NotLeadingError("this bridge has lost its lock"), "this bridge looks whether it is still the active one"),
        (
            raised(ProgrammingError, psycopg.errors.UndefinedTable(), 'relation "x" does not exist\nLINE 1'),
            'the database cannot: relation "x" does not exist',
        ),
    ],
)
def test_why_nothing_can_be_stored(error: DatabaseError, words: str) -> None:
    assert because(error) == words
