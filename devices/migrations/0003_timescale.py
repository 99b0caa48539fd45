"""The journal becomes a hypertable where TimescaleDB is present, and stays a plain table everywhere else."""

import logging

from django.apps.registry import Apps
from django.db import migrations
from django.db.backends.base.schema import BaseDatabaseSchemaEditor

from devices.history import timescale

# Moved in about 10 s. A longer journal is moved when its operator says so: nobody can write meanwhile.
MOST_ROWS = 1_000_000


def adopt_if_present(_apps: Apps, editor: BaseDatabaseSchemaEditor) -> None:
    """Do nothing where TimescaleDB is not, and put off what would take long."""
    if timescale.why_not(editor.connection):
        return
    if timescale.has_more_than(editor.connection, MOST_ROWS):
        logging.getLogger(__name__).warning(
            "TimescaleDB is here, but the journal is long: stop the bridge and run `manage.py timescale` to move it"
        )
        return
    timescale.adopt(editor.connection)


class Migration(migrations.Migration):
    dependencies = [("devices", "0002_history")]

    # A hypertable serves the models of every version: there is nothing to be undone.
    operations = [migrations.RunPython(adopt_if_present, migrations.RunPython.noop)]
