"""What people fill in."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Any

from django import forms
from django.contrib.auth.forms import AuthenticationForm, PasswordChangeForm, UserCreationForm
from django.contrib.auth.models import User

from devices import entries, firmware, registry
from devices.history import repairs
from devices.models import Device, DeviceRole, Fleet, Role

if TYPE_CHECKING:
    from collections.abc import Callable
    from datetime import datetime

    from django.db.models import QuerySet


if TYPE_CHECKING:
    Form = forms.BaseForm
    PersonForm = UserCreationForm[User]
else:
    Form = object
    PersonForm = UserCreationForm


class Dressed(Form):
    """Gives a form's fields the look of the rest, and ids of their own: a page may have several forms."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:  # noqa: ANN401  Django's own signature
        super().__init__(*args, **{"auto_id": f"{type(self).__name__.lower()}_%s", **kwargs})
        for field in self.fields.values():
            select = isinstance(field.widget, forms.Select)
            field.widget.attrs.setdefault("class", "form-select" if select else "form-control")


class SignIn(Dressed, AuthenticationForm):
    """Django's form."""


class NewPerson(Dressed, PersonForm):
    """An account for who was invited. It shows the rules for passwords before they are broken."""


class ChangePassword(Dressed, PasswordChangeForm):
    """The old password, and a new one by the rules, which are shown before they are broken.

    knows   whether this is the password: as it is asked for at the door, where wrong ones are counted
    """

    def __init__(self, *args: Any, knows: Callable[[str], bool], **kwargs: Any) -> None:  # noqa: ANN401  Django's own
        super().__init__(*args, **kwargs)
        self._knows = knows

    def clean_old_password(self) -> str:
        """Refuse a wrong one."""
        given: str = self.cleaned_data["old_password"]
        if not self._knows(given):
            raise forms.ValidationError(self.error_messages["password_incorrect"], code="password_incorrect")
        return given


class MakeToken(Dressed, forms.Form):
    """What a token is for, and what it is good for. It takes the password: a page that was left open makes none."""

    name = forms.CharField(max_length=128, widget=forms.TextInput(attrs={"placeholder": "Grafana"}))
    access = forms.ChoiceField(
        label="It may at most", choices=[("read", "look"), ("command", "command"), ("manage", "change")]
    )
    fleets = forms.ModelMultipleChoiceField(
        Fleet.objects.none(),
        to_field_name="slug",
        required=False,
        help_text="Good for their devices alone. None chosen here and below: for all that you may see.",
        widget=forms.SelectMultiple(attrs={"size": 4}),
    )
    devices = forms.ModelMultipleChoiceField(
        Device.objects.none(),
        to_field_name="key",
        required=False,
        help_text="Good for these devices alone, or besides those of the fleets.",
        widget=forms.SelectMultiple(attrs={"size": 4}),
    )
    days = forms.TypedChoiceField(
        label="Valid for",
        coerce=int,
        choices=[(1, "a day"), (31, "a month"), (90, "90 days"), (365, "a year")],
        initial=90,
    )
    password = forms.CharField(
        label="Your password",
        strip=False,
        max_length=4096,
        widget=forms.PasswordInput(attrs={"autocomplete": "current-password"}),
    )

    def __init__(self, *args: Any, user: Any, **kwargs: Any) -> None:  # noqa: ANN401  Django's own signature
        super().__init__(*args, **kwargs)
        fleets, devices = self.fields["fleets"], self.fields["devices"]
        assert isinstance(fleets, forms.ModelMultipleChoiceField)
        assert isinstance(devices, forms.ModelMultipleChoiceField)
        fleets.queryset = registry.fleets_of(user).order_by("name")
        devices.queryset = registry.visible_to(user).order_by("key")


class Invite(Dressed, forms.Form):
    """What somebody is invited to be."""

    role = forms.ChoiceField(choices=Role.choices)
    name = forms.CharField(
        label="For", max_length=128, required=False, widget=forms.TextInput(attrs={"placeholder": "Carol, night shift"})
    )
    days = forms.TypedChoiceField(
        label="Valid for", coerce=int, choices=[(1, "a day"), (7, "a week"), (31, "a month")], initial=7
    )


class MakeFleet(Dressed, forms.Form):
    """A new fleet. The slug's rules are the registry's, which says what is wrong with one."""

    name = forms.CharField(max_length=128, widget=forms.TextInput(attrs={"placeholder": "Greenhouse"}))
    slug = forms.CharField(
        max_length=63,
        help_text="Its name in addresses: lower case letters, digits, - and _.",
        widget=forms.TextInput(
            attrs={"placeholder": "greenhouse", "autocapitalize": "none", "spellcheck": "false", "autocomplete": "off"}
        ),
    )
    manager = forms.CharField(
        max_length=150,
        required=False,
        help_text="User name of its first member. Without one you can invite somebody.",
        widget=forms.TextInput(attrs={"autocapitalize": "none", "spellcheck": "false", "autocomplete": "off"}),
    )


class Except(Dressed, forms.Form):
    """Who shall be what for one device."""

    user = forms.CharField(
        label="User name",
        max_length=150,
        widget=forms.TextInput(attrs={"autocomplete": "off", "autocapitalize": "none", "spellcheck": "false"}),
    )
    role = forms.ChoiceField(choices=[*Role.choices, (DeviceRole.NONE, "None: it is hidden from them")])


class Share(Dressed, forms.Form):
    """What a link shows, and for how long."""

    devices = forms.ModelMultipleChoiceField(
        Device.objects.none(), to_field_name="key", widget=forms.SelectMultiple(attrs={"size": 6})
    )
    name = forms.CharField(
        max_length=128, required=False, widget=forms.TextInput(attrs={"placeholder": "For the plumber"})
    )
    lasts = forms.TypedChoiceField(
        label="Valid for",
        coerce=int,
        choices=[(1, "an hour"), (24, "a day"), (7 * 24, "a week"), (31 * 24, "a month")],
        initial=24,
    )

    def __init__(self, *args: Any, devices: QuerySet[Device], **kwargs: Any) -> None:  # noqa: ANN401  Django's own signature
        super().__init__(*args, **kwargs)
        choice = self.fields["devices"]
        assert isinstance(choice, forms.ModelMultipleChoiceField)
        choice.queryset = devices.order_by("key")


class Admit(Dressed, forms.Form):
    """Who shall be what in a fleet."""

    user = forms.CharField(
        label="User name",
        max_length=150,
        widget=forms.TextInput(attrs={"autocomplete": "off", "autocapitalize": "none", "spellcheck": "false"}),
    )
    role = forms.ChoiceField(choices=Role.choices)


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


class AddFirmware(Dressed, forms.Form):
    """A file that devices can be told to install. What may be in each field the service says."""

    file = forms.FileField(
        allow_empty_file=True, widget=forms.FileInput, error_messages={"required": "Choose the file, once more."}
    )
    version = forms.CharField(
        max_length=128,
        help_text="As the device announces it once it has it.",
        widget=forms.TextInput(attrs={"placeholder": "1.5.0", "autocomplete": "off", "spellcheck": "false"}),
    )
    model = forms.CharField(
        max_length=128,
        required=False,
        help_text="Only devices of this model can be told to take it. Empty: any.",
        widget=forms.TextInput(attrs={"placeholder": "any", "autocomplete": "off", "spellcheck": "false"}),
    )
    notes = forms.CharField(
        max_length=firmware.MAX_NOTES,
        required=False,
        widget=forms.Textarea(attrs={"rows": 2, "placeholder": "What is new"}),
    )


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


class Sift(Dressed, forms.Form):
    """Which entries of the audit to show; empty is all."""

    fleet = forms.ModelChoiceField(Fleet.objects.none(), to_field_name="slug", required=False, empty_label="all")
    by = forms.CharField(label="Who", max_length=150, required=False)
    action = forms.ChoiceField(label="What", required=False)
    since = Instant(label="From", required=False)
    until = Instant(label="To", required=False)

    def __init__(self, *args: Any, user: Any, **kwargs: Any) -> None:  # noqa: ANN401  Django's own signature
        super().__init__(*args, **kwargs)
        fleet, action = self.fields["fleet"], self.fields["action"]
        assert isinstance(fleet, forms.ModelChoiceField)
        assert isinstance(action, forms.ChoiceField)
        fleet.queryset = registry.fleets_of(user, Role.MANAGER).order_by("name")
        kinds = sorted({name.partition(".")[0] for name in entries.WORDS})
        action.choices = [("", "all"), *((kind, kind.replace("_", " ")) for kind in kinds)]

    @property
    def chosen(self) -> entries.Chosen:
        """What was filled in."""
        asked = {name: value for name, value in self.cleaned_data.items() if value}
        chosen: entries.Chosen = {}
        if "fleet" in asked:
            chosen["fleet"] = asked["fleet"].pk
        if "by" in asked:
            chosen["by"] = asked["by"]
        if "action" in asked:
            chosen["action"] = asked["action"]
        if "since" in asked:
            chosen["since"] = _ms(asked["since"])
        if "until" in asked:
            chosen["until"] = _ms(asked["until"])
        return chosen


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
