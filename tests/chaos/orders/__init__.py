"""Commands under kill -9: fault points, a device that remembers, whoever asks, and the judge (docs/chaos.md)."""
