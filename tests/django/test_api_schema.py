"""The schema says what the API does, and the docs need nothing from elsewhere."""

from typing import Any

from django.core.management import call_command
from django.test import Client


def test_the_schema_is_made_without_a_warning(tmp_path: Any, db: None) -> None:
    call_command("spectacular", "--validate", "--fail-on-warn", "--file", str(tmp_path / "schema.yml"))
    assert "/api/v1/devices/{key}/frames/" in (tmp_path / "schema.yml").read_text()


def test_the_schema_and_the_docs_are_open_and_of_this_house(client: Client, db: None) -> None:
    assert client.get("/api/v1/schema/").status_code == 200
    docs = client.get("/api/v1/docs/")
    assert docs.status_code == 200
    assert "cdn" not in docs.content.decode()
