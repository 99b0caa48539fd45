"""The hub's settings, in a process whose secrets bear a mark and whose words and answers are searched for it."""

import os

from tests import canary

canary.plant()

from hub.settings import *  # noqa: E402, F403  -- only now: settings make the first secret
from hub.settings import MIDDLEWARE, logs  # noqa: E402

LOGGING = logs.configure("DEBUG")
if canary.FOUND in os.environ:
    MIDDLEWARE = ["tests.canary_answers.Answers", *MIDDLEWARE]
    canary.commands()
