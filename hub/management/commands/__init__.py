"""One module for each `manage.py` command of the whole product; a room's own commands live in that room."""
