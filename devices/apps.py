"""Registers the domain with Django."""

from django.apps import AppConfig


class DevicesConfig(AppConfig):
    """The domain's application."""

    name = "devices"
    verbose_name = "Telemetry Hub"

    def ready(self) -> None:
        """Hear of who signs in."""
        from devices import signins  # noqa: F401, PLC0415  it needs the models
