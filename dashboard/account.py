"""A person's own pages: who they are here, their tokens, their password."""

from __future__ import annotations

from datetime import timedelta
from functools import partial
from typing import TYPE_CHECKING, Any, cast

from django.contrib import messages
from django.contrib.auth import authenticate
from django.contrib.auth.models import User
from django.contrib.auth.views import PasswordChangeView
from django.db import transaction
from django.db.models import OuterRef, Subquery
from django.shortcuts import redirect, render
from django.urls import reverse_lazy
from django.views.decorators.debug import sensitive_post_parameters
from django.views.decorators.http import require_GET, require_http_methods, require_POST

from dashboard.forms import ChangePassword, MakeToken
from dashboard.pages import page
from devices import audit, registry, rights, tokens
from devices.errors import HalfWay, Refusal
from devices.models import Membership, Role, Token

if TYPE_CHECKING:
    from django.contrib.auth.forms import PasswordChangeForm
    from django.http import HttpRequest, HttpResponse

    from dashboard.pages import View


@page
@require_GET
def account(request: HttpRequest) -> HttpResponse:
    """Show who one is here: fleets, roles, and where the rest is."""
    user = cast("User", request.user)
    mine = Membership.objects.filter(fleet=OuterRef("pk"), user=user).values("role")
    managed = set(registry.fleets_of(user, Role.MANAGER).values_list("pk", flat=True))
    context = {
        "fleets": registry.fleets_of(user).annotate(role=Subquery(mine)).order_by("name"),
        "managed": managed,
        "administers": rights.administers(user),
        "tokens": _own(user).count(),
    }
    return render(request, "dashboard/account.html", context)


@page
@sensitive_post_parameters("password")
@require_http_methods(["GET", "POST"])
def own_tokens(request: HttpRequest) -> HttpResponse:
    """List one's tokens; by POST make one, which is shown this once."""
    user = cast("User", request.user)
    form = MakeToken(request.POST or None, user=user)
    if form.is_valid():
        try:
            made, secret = _made(request, form)
        except Refusal as refusal:
            form.add_error("password" if refusal.code == "wrong_password" else None, refusal.message)
        else:
            return render(request, "dashboard/token_made.html", {"token": made, "secret": secret})
    return render(request, "dashboard/tokens.html", {"tokens": _own(user), "form": form})


@page
@require_POST
def revoke_token(request: HttpRequest, token: str) -> HttpResponse:
    """End one of one's tokens."""
    tokens.revoke(cast("User", request.user), token)
    messages.success(request, "The token is revoked; what uses it is refused from now on.")
    return redirect("tokens")


class ChangePasswordView(PasswordChangeView):
    """A new password. All other sessions end with the old one, and what they have open within a second."""

    http_method_names = ["get", "post"]
    template_name = "dashboard/change_password.html"
    form_class: type[ChangePassword] = ChangePassword
    success_url = reverse_lazy("account")

    def get_form_kwargs(self) -> dict[str, Any]:
        """Have the old password asked for as at the door."""
        return {**super().get_form_kwargs(), "knows": partial(_knows, self.request)}

    def form_valid(self, form: PasswordChangeForm) -> HttpResponse:
        """Change it."""
        with transaction.atomic():
            audit.note("password.changed", self.request.user.get_username())
            answer = super().form_valid(form)
        messages.success(self.request, "Your password is changed, and all your other sessions are ended.")
        return answer


change_password = page(cast("View", ChangePasswordView.as_view()))


def _own(user: User) -> Any:  # noqa: ANN401  a query set of a model without types
    return tokens.good().filter(user=user, link=False).order_by("-created", "-digest")


def _made(request: HttpRequest, form: MakeToken) -> tuple[Token, str]:
    user, asked = cast("User", request.user), form.cleaned_data
    if not _knows(request, asked["password"]):
        raise Refusal("wrong_password", "The password is wrong.")
    return tokens.make(
        user,
        asked["name"],
        access=asked["access"],
        fleets=list(asked["fleets"]) if asked["fleets"] or asked["devices"] else None,
        devices=list(asked["devices"]) if asked["fleets"] or asked["devices"] else None,
        lasts=timedelta(days=asked["days"]),
    )


def _knows(request: HttpRequest, password: str) -> bool:
    """Whether this is the password of who is signed in. As at the door, too many wrong ones lock out for a while."""
    user = cast("User", request.user)
    try:
        return authenticate(request, username=user.get_username(), password=password) == user
    except HalfWay:
        return True  # the code of this session was asked for when it began
