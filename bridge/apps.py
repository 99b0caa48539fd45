"""Tells Django that this room is here."""

from django.apps import AppConfig


class BridgeConfig(AppConfig):
    """The bridge as Django app: it brings the bridge command."""

    name = "bridge"
