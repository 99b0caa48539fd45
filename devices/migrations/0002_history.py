# Made with Django 5.2.19 on 2026-11-21 13:18

from typing import Any

import django.core.validators
import django.db.models.deletion
from django.apps.registry import Apps
from django.conf import settings
from django.db import migrations, models


def number_on(apps: Apps, _schema_editor: object) -> None:
    """Go on from the newest number of each device; what came before it was not looked at for gaps."""
    heads: Any = apps.get_model("devices", "Head")
    for head in heads.objects.filter(boot__isnull=False, n__isnull=False).iterator():
        head.numbering = {"before": 0, "told_at": 0, "boots": [[head.boot, head.n + 1, head.n, 0, []]]}
        head.save(update_fields=["numbering"])


class Migration(migrations.Migration):

    dependencies = [
        ('devices', '0001_initial'),
        migrations.swappable_dependency(settings.AUTH_USER_MODEL),
    ]

    operations = [
        migrations.CreateModel(
            name='Rolled',
            fields=[
                ('device', models.OneToOneField(on_delete=django.db.models.deletion.CASCADE, primary_key=True, related_name='rolled', serialize=False, to='devices.device')),
                ('seq', models.BigIntegerField(default=0)),
                ('raw_from', models.BigIntegerField(default=0)),
                ('minute_from', models.BigIntegerField(default=0)),
                ('hour_from', models.BigIntegerField(default=0)),
                ('day_from', models.BigIntegerField(default=0)),
            ],
        ),
        migrations.AddField(
            model_name='device',
            name='burst',
            field=models.PositiveIntegerField(blank=True, null=True, validators=[django.core.validators.MinValueValidator(1)]),
        ),
        migrations.AddField(
            model_name='device',
            name='keep_day',
            field=models.PositiveIntegerField(blank=True, null=True, validators=[django.core.validators.MinValueValidator(1)]),
        ),
        migrations.AddField(
            model_name='device',
            name='keep_hour',
            field=models.PositiveIntegerField(blank=True, null=True, validators=[django.core.validators.MinValueValidator(1)]),
        ),
        migrations.AddField(
            model_name='device',
            name='keep_minute',
            field=models.PositiveIntegerField(blank=True, null=True, validators=[django.core.validators.MinValueValidator(1)]),
        ),
        migrations.AddField(
            model_name='device',
            name='keep_raw',
            field=models.PositiveIntegerField(blank=True, null=True, validators=[django.core.validators.MinValueValidator(1)]),
        ),
        migrations.AddField(
            model_name='device',
            name='rate',
            field=models.PositiveIntegerField(blank=True, null=True, validators=[django.core.validators.MinValueValidator(1)]),
        ),
        migrations.AddField(
            model_name='fleet',
            name='burst',
            field=models.PositiveIntegerField(blank=True, null=True, validators=[django.core.validators.MinValueValidator(1)]),
        ),
        migrations.AddField(
            model_name='fleet',
            name='keep_day',
            field=models.PositiveIntegerField(blank=True, null=True, validators=[django.core.validators.MinValueValidator(1)]),
        ),
        migrations.AddField(
            model_name='fleet',
            name='keep_hour',
            field=models.PositiveIntegerField(blank=True, null=True, validators=[django.core.validators.MinValueValidator(1)]),
        ),
        migrations.AddField(
            model_name='fleet',
            name='keep_minute',
            field=models.PositiveIntegerField(blank=True, null=True, validators=[django.core.validators.MinValueValidator(1)]),
        ),
        migrations.AddField(
            model_name='fleet',
            name='keep_raw',
            field=models.PositiveIntegerField(blank=True, null=True, validators=[django.core.validators.MinValueValidator(1)]),
        ),
        migrations.AddField(
            model_name='fleet',
            name='rate',
            field=models.PositiveIntegerField(blank=True, null=True, validators=[django.core.validators.MinValueValidator(1)]),
        ),
        migrations.AddField(
            model_name='head',
            name='missing',
            field=models.BigIntegerField(default=0),
        ),
        migrations.AddField(
            model_name='head',
            name='numbering',
            field=models.JSONField(default=dict),
        ),
        migrations.AddField(
            model_name='reject',
            name='position',
            field=models.IntegerField(null=True),
        ),
        migrations.AddField(
            model_name='reject',
            name='qos',
            field=models.SmallIntegerField(default=0),
        ),
        migrations.AddField(
            model_name='reject',
            name='retain',
            field=models.BooleanField(default=False),
        ),
        migrations.AddField(
            model_name='reject',
            name='size',
            field=models.IntegerField(default=0),
        ),
        migrations.CreateModel(
            name='Rollup',
            fields=[
                ('pk', models.CompositePrimaryKey('device_id', 'tier', 'ts', blank=True, editable=False, primary_key=True, serialize=False)),
                ('tier', models.IntegerField()),
                ('ts', models.BigIntegerField()),
                ('values', models.JSONField()),
                ('device', models.ForeignKey(db_index=False, on_delete=django.db.models.deletion.CASCADE, related_name='rollups', to='devices.device')),
            ],
        ),
        migrations.CreateModel(
            name='Event',
            fields=[
                ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                ('at', models.BigIntegerField()),
                ('kind', models.CharField(choices=[('presence', 'presence'), ('boot', 'boot'), ('numbering', 'numbering'), ('repair', 'repair'), ('replay', 'replay')], max_length=12)),
                ('state', models.CharField(blank=True, max_length=8)),
                ('because', models.CharField(max_length=200)),
                ('device', models.ForeignKey(on_delete=django.db.models.deletion.CASCADE, related_name='events', to='devices.device')),
            ],
            options={
                'indexes': [models.Index(models.F('device'), models.OrderBy(models.F('at'), descending=True), name='event_newest')],
            },
        ),
        migrations.CreateModel(
            name='Repair',
            fields=[
                ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                ('metrics', models.JSONField(null=True)),
                ('start', models.BigIntegerField()),
                ('end', models.BigIntegerField()),
                ('reason', models.CharField(max_length=200)),
                ('at', models.BigIntegerField()),
                ('undone_at', models.BigIntegerField(null=True)),
                ('rebuilt', models.BooleanField(default=False)),
                ('rebuilt_to', models.BigIntegerField(default=0)),
                ('device', models.ForeignKey(on_delete=django.db.models.deletion.CASCADE, related_name='repairs', to='devices.device')),
                ('undone_by', models.ForeignKey(null=True, on_delete=django.db.models.deletion.SET_NULL, related_name='+', to=settings.AUTH_USER_MODEL)),
                ('user', models.ForeignKey(null=True, on_delete=django.db.models.deletion.SET_NULL, related_name='+', to=settings.AUTH_USER_MODEL)),
            ],
            options={
                'indexes': [models.Index(condition=models.Q(('rebuilt', False)), fields=['device'], name='repair_to_rebuild')],
            },
        ),
        migrations.RunPython(number_on, migrations.RunPython.noop),
        migrations.RemoveField(
            model_name='head',
            name='boot',
        ),
        migrations.RemoveField(
            model_name='head',
            name='n',
        ),
    ]
