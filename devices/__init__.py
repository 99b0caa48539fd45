"""The domain: what a device is, what it said, and what it was told."""
