"""python3 manage.py storage: what the hub's tables take, and when the disk is full at this rate."""

from __future__ import annotations

import time
from typing import Any

from django.core.management.base import BaseCommand

from devices.history import storage


class Command(BaseCommand):
    """Tells the forecast."""

    help = "Tell what the hub's tables take, what a day adds, and when the disk is full at this rate."

    def handle(self, *_args: Any, **_options: Any) -> None:
        """Print it."""
        self.stdout.write(storage.in_words(storage.forecast(time.time_ns() // 1_000_000)))
