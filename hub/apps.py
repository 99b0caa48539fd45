"""Tells Django that the composition root is here, and has its deployment checks loaded."""

from django.apps import AppConfig


class HubConfig(AppConfig):
    """The composition root as Django app: the commands and the deployment checks."""

    name = "hub"

    def ready(self) -> None:
        """Importing the checks registers them."""
        from hub import checks  # noqa: F401, PLC0415 -- needs the app registry
