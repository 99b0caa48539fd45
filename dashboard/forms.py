"""What people fill in."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Any

from django import forms
from django.contrib.auth.forms import AuthenticationForm

from devices import registry
from devices.history import repairs
from devices.models import Fleet, Role

if TYPE_CHECKING:
    from datetime import datetime


class SignIn(AuthenticationForm):
    """Django's form, with fields in the look of the rest."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:  # noqa: ANN401  Django's own signature
        super().__init__(*args, **kwargs)
        for field in self.fields.values():
            field.widget.attrs["class"] = "form-control"


class OfFleet(forms.Form):
    """Something for one of the fleets that the user manages."""

    fleet = forms.ModelChoiceField(
        Fleet.objects.none(),
        to_field_name="slug",
        empty_label=None,
        widget=forms.Select(attrs={"class": "form-select"}),
    )

    def __init__(self, *args: Any, user: Any, **kwargs: Any) -> None:  # noqa: ANN401  Django's own signature
        super().__init__(*args, **kwargs)
        choice = self.fields["fleet"]
        assert isinstance(choice, forms.ModelChoiceField)
        choice.queryset = registry.fleets_of(user, Role.MANAGER).order_by("name")


def _key(help_text: str, *, required: bool = True) -> forms.CharField:
    return forms.CharField(
        max_length=63,
        required=required,
        help_text=help_text,
        widget=forms.TextInput(
            attrs={
                "class": "form-control",
                "placeholder": "pump-1",
                "autocomplete": "off",
                "autocapitalize": "none",
                "spellcheck": "false",
                "pattern": "[a-z0-9][a-z0-9_\\-]{0,62}",
                "title": "Lower case letters, digits, - and _, beginning with a letter or digit.",
            },
        ),
    )


class AddDevice(OfFleet):
    """A new device. The key's rules are the registry's, which says what is wrong with one."""

    key = _key("Its MQTT user name and client id: lower case letters, digits, - and _.")
    name = forms.CharField(
        max_length=128,
        required=False,
        help_text="As people call it. A device may also name itself.",
        widget=forms.TextInput(attrs={"class": "form-control", "placeholder": "Pump in the cellar"}),
    )
    field_order = ("key", "name", "fleet")


class MakeCode(OfFleet):
    """A claim code."""

    lasts = forms.TypedChoiceField(
        label="Good for",
        coerce=lambda seconds: timedelta(seconds=int(seconds)),
        choices=[(900, "15 minutes"), (3600, "an hour"), (86_400, "24 hours")],
        widget=forms.Select(attrs={"class": "form-select"}),
    )
    key = _key(
        "Empty: the device says which. The key of a device that is there already: it gets a new secret.",
        required=False,
    )
    field_order = ("fleet", "lasts", "key")


class Table(OfFleet):
    """A table of devices."""

    file = forms.FileField(
        label="CSV file",
        help_text="First line: key, and whichever are wanted of name, model, gateway, fleet.",
        widget=forms.FileInput(attrs={"class": "form-control", "accept": ".csv,text/csv"}),
    )
    dry_run = forms.BooleanField(required=False)
    field_order = ("file", "fleet")


class Instant(forms.DateTimeField):
    """A field of the browser's own for date and time. It is UTC; a script may let people write their own time."""

    widget = forms.DateTimeInput(
        attrs={"class": "form-control", "type": "datetime-local", "step": "1"}, format="%Y-%m-%dT%H:%M:%S"
    )


class MarkBad(forms.Form):
    """Which readings of a device are bad, and why. What is wrong with them the services say."""

    start = Instant(label="From")
    end = Instant(label="To")
    metric = forms.ChoiceField(required=False, widget=forms.Select(attrs={"class": "form-select"}))
    reason = forms.CharField(
        max_length=repairs.MAX_REASON,
        widget=forms.TextInput(attrs={"class": "form-control", "placeholder": "The sensor was out for calibration"}),
    )

    def __init__(self, *args: Any, names: list[str], **kwargs: Any) -> None:  # noqa: ANN401  Django's own signature
        super().__init__(*args, **kwargs)
        choice = self.fields["metric"]
        assert isinstance(choice, forms.ChoiceField)
        choice.choices = [("", "all metrics"), *((name, name) for name in names)]

    @property
    def bad(self) -> repairs.Range:
        """What was filled in."""
        metric: str = self.cleaned_data["metric"]
        start, end = _ms(self.cleaned_data["start"]), _ms(self.cleaned_data["end"])
        return repairs.Range(frozenset((metric,)) if metric else None, start, end)


def _ms(at: datetime) -> int:
    return round(at.timestamp() * 1000)
