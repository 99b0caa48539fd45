"""A fleet that speaks only the wire: simulated devices, each with its own MQTT connection.

Pure: models (kinds/), firmware, device, fate, fleet, script. I/O: scenario (reads files), link (the shipped client's
connection), running, __main__. Of the hub's modules only devices.wire and devices.values may be imported: what a device
says, keeps and remembers is telemetry_hub.device, so that what is shipped is what is exercised.
"""

import sys
from pathlib import Path

# The shipped client is no package of the hub's environment; the simulators run it from the checkout.
_CLIENT = str(Path(__file__).resolve().parents[1] / "clients" / "python")
if _CLIENT not in sys.path:
    sys.path.append(_CLIENT)
