"""`python -m telemetry_hub`: the command line."""

import sys

from telemetry_hub.cli import main

sys.exit(main())
