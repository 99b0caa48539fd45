"""Registers the domain with Django."""

from django.apps import AppConfig


class DevicesConfig(AppConfig):
    """The domain's application."""

    name = "devices"
    verbose_name = "Telemetry Hub"
