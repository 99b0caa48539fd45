#!/usr/bin/env python3
"""Every command of the hub, and its set-up: `python3 manage.py demo` needs nothing before it but Python and git."""

import os
import sys

from hub import bootstrap


def main() -> None:
    """Makes the environment if need be, and runs the command in it."""
    bootstrap.enter(sys.argv)
    if sys.argv[1:2] == ["demo"]:
        from hub import options  # noqa: PLC0415 -- only the demo's options stand for settings

        os.environ.update(options.environment(sys.argv[2:]))
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "hub.settings")
    from django.core.management import execute_from_command_line  # noqa: PLC0415 -- only now is Django there

    from hub import env  # noqa: PLC0415 -- needs a Python that the bootstrap has looked at

    try:
        execute_from_command_line(sys.argv)
    except env.Mistaken as mistaken:
        sys.exit(str(mistaken))


if __name__ == "__main__":
    main()
