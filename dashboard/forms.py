"""What people fill in."""

from __future__ import annotations

from typing import Any

from django import forms
from django.contrib.auth.forms import AuthenticationForm

from devices import registry
from devices.models import Fleet, Role


class SignIn(AuthenticationForm):
    """Django's form, with fields in the look of the rest."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:  # noqa: ANN401  Django's own signature
        super().__init__(*args, **kwargs)
        for field in self.fields.values():
            field.widget.attrs["class"] = "form-control"


class AddDevice(forms.Form):
    """A new device. The key's rules are the registry's, which says what is wrong with one."""

    key = forms.CharField(
        max_length=63,
        help_text="Its MQTT user name and client id: lower case letters, digits, - and _.",
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
    name = forms.CharField(
        max_length=128,
        required=False,
        help_text="As people call it. A device may also name itself.",
        widget=forms.TextInput(attrs={"class": "form-control", "placeholder": "Pump in the cellar"}),
    )
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
