"""Tells Django that this room is here."""

from django.apps import AppConfig


class DashboardConfig(AppConfig):
    """The dashboard as Django app: it brings templates and static files."""

    name = "dashboard"
