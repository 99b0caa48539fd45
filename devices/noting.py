"""What the admin changes past the services (people, fleets, members) is told to the audit all the same."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from django.contrib import admin

from devices import audit
from devices.models import Fleet, Membership

if TYPE_CHECKING:
    from django.db.models import Model, QuerySet
    from django.http import HttpRequest

    Admin = admin.ModelAdmin[Any]
else:
    Admin = object


class Noted(Admin):
    """Notes what is made, changed and deleted; of a change the names of fields, never a value."""

    def log_addition(self, request: HttpRequest, obj: Model, message: Any) -> Any:  # noqa: ANN401  Django's own signature
        """Note what was made."""
        _note("made", obj)
        return super().log_addition(request, obj, message)

    def log_change(self, request: HttpRequest, obj: Model, message: Any) -> Any:  # noqa: ANN401  Django's own signature
        """Note what was changed, a password among it."""
        changes = [change.get("changed", {}) for change in message if isinstance(change, dict)]
        fields = [field for change in changes if "name" not in change for field in change.get("fields", ())]
        if fields:
            _note("changed", obj, fields=fields)
        return super().log_change(request, obj, message)

    def log_deletions(self, request: HttpRequest, queryset: QuerySet[Model]) -> Any:  # noqa: ANN401  Django's own signature
        """Note what is deleted."""
        for obj in queryset:
            _note("removed", obj)
        return super().log_deletions(request, queryset)

    def save_formset(self, request: HttpRequest, form: Any, formset: Any, change: Any) -> None:  # noqa: ANN401  Django's own signature
        """Note who became what in a fleet, for its managers to read."""
        super().save_formset(request, form, formset, change)
        if formset.model is Membership:
            for one in formset.new_objects:
                _note_member("admitted", one, role=one.role)
            for one, fields in formset.changed_objects:
                if fields:
                    _note_member("changed", one, role=one.role)
            for one in formset.deleted_objects:
                _note_member("dismissed", one)


def _note(done: str, obj: Model, **detail: Any) -> None:  # noqa: ANN401  JSON
    fleet = obj if isinstance(obj, Fleet) else None
    audit.note(f"{obj._meta.model_name}.{done}", fleet.slug if fleet else str(obj), detail, fleet=fleet)  # noqa: SLF001  Django's own name for it


def _note_member(done: str, one: Membership, **detail: str) -> None:
    audit.note(f"member.{done}", one.user.get_username(), detail, fleet=one.fleet)
