"""Watch devices of a Telemetry Hub live, and give them commands: `from telemetry_hub import live`."""
