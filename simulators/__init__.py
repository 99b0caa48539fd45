"""A fleet that speaks only the wire: simulated devices, each with its own MQTT connection.

Pure: models (kinds/), firmware, device, fate, fleet, script. I/O: scenario (reads files), link (the only module here
that knows aiomqtt), running, __main__. Of the hub's modules only devices.wire and devices.values may be imported.
"""
