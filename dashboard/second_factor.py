"""Signing in with a second factor, and the page where people turn theirs on and off. Imported only where it is on.

Whose password was right and who has a code to bring is not signed in: their session knows for ten minutes who knocked.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any, Final, cast

import segno
from django import forms
from django.conf import settings
from django.contrib.auth import login
from django.contrib.auth.models import User
from django.core.exceptions import PermissionDenied
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.urls import path, reverse_lazy
from django.utils.crypto import constant_time_compare
from django.utils.safestring import mark_safe
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_GET, require_http_methods, require_POST

from dashboard import views
from dashboard.account import ChangePasswordView
from dashboard.forms import ChangePassword, SignIn
from dashboard.pages import page
from devices import audit, sealing, second_factor
from devices.errors import HalfWay, Refusal

if TYPE_CHECKING:
    from collections.abc import Callable

    from django.urls import URLPattern

    from dashboard.pages import View

KNOCKED_FOR_S: Final = 600
BACKEND: Final = "devices.passwords.Passwords"
# Keys of sessions: who knocked, and the sealed secret that is offered until a code confirms it.
KNOCKED, OFFERED = "knocked", "second_factor_offered"


class Code(forms.Form):
    """A code, as apps show it."""

    code = forms.CharField(
        max_length=32,
        widget=forms.TextInput(
            attrs={"class": "form-control", "autocomplete": "one-time-code", "inputmode": "numeric", "autofocus": True}
        ),
    )

    def accepted(self, check: Callable[[str], Any]) -> Any:  # noqa: ANN401  what `check` returns
        """Return what `check` makes of the code; None, with the fault said, where it is refused."""
        if not self.is_valid():
            return None
        try:
            return check(self.cleaned_data["code"]) or True
        except Refusal as refusal:
            self.add_error("code", refusal.message)
            return None


class KnockForm(SignIn):
    """Name and password; remembers whose were right where that is not enough."""

    half_way: HalfWay | None = None

    def clean(self) -> Any:  # noqa: ANN401  Django's own signature
        """Check them."""
        try:
            return super().clean()
        except HalfWay as half_way:
            self.half_way = half_way
            raise forms.ValidationError(half_way.message) from None


class Knock(views.SignInView):
    """The door, behind which there is another."""

    form_class = KnockForm

    def form_invalid(self, form: Any) -> HttpResponse:  # noqa: ANN401  Django's own signature
        """Lead those on whose password was right."""
        if form.half_way is None:
            return super().form_invalid(form)
        user = form.half_way.user
        knocked = {"user": user.pk, "hash": user.get_session_auth_hash(), "at": time.time()}
        self.request.session[KNOCKED] = {**knocked, "next": self.get_success_url()}
        return redirect("sign-in-set-up" if form.half_way.unset else "sign-in-code")


def who_knocked(request: HttpRequest) -> tuple[User, str] | None:
    """Return whose password was right a moment ago, and where they were going."""
    knocked = request.session.get(KNOCKED)
    if knocked is None or time.time() - knocked["at"] > KNOCKED_FOR_S:
        return None
    user = User.objects.filter(pk=knocked["user"], is_active=True).first()
    if user is None or not constant_time_compare(knocked["hash"], user.get_session_auth_hash()):
        return None
    return user, knocked["next"]


@never_cache
@require_http_methods(["GET", "POST"])
def sign_in_code(request: HttpRequest) -> HttpResponse:
    """Ask for the code, and let in."""
    found = who_knocked(request)
    if found is None:
        return redirect("sign-in")
    user, then = found
    form = Code(request.POST or None)
    if form.accepted(lambda code: second_factor.prove(user, code)):
        _let_in(request, user)
        return redirect(then)
    return render(request, "dashboard/sign_in_code.html", {"form": form})


@never_cache
@require_http_methods(["GET", "POST"])
def sign_in_set_up(request: HttpRequest) -> HttpResponse:
    """Have somebody set up the second factor that everybody here needs, and let in."""
    found = who_knocked(request)
    if found is None or second_factor.has(found[0]):
        return redirect("sign-in")
    user, then = found
    return _set_up(request, user, then, lambda: _let_in(request, user))


def _let_in(request: HttpRequest, user: User) -> None:
    del request.session[KNOCKED]
    login(request, user, backend=BACKEND)


@page
@require_http_methods(["GET", "POST"])
def own(request: HttpRequest) -> HttpResponse:
    """Show whether one's second factor is on; turn it on."""
    user = cast("User", request.user)
    if second_factor.has(user):
        return _turned_on(request, user, Code())
    return _set_up(request, user, str(reverse_lazy("second-factor")))


@page
@require_POST
def turn_off(request: HttpRequest) -> HttpResponse:
    """Turn it off with a code: an open session alone does not do."""
    user = cast("User", request.user)
    if not second_factor.has(user):
        return redirect("second-factor")
    form = Code(request.POST)
    if form.accepted(lambda code: second_factor.check(user, code)):
        second_factor.turn_off(user)
        return redirect("second-factor")
    return _turned_on(request, user, form)


def _turned_on(request: HttpRequest, user: User, form: Code) -> HttpResponse:
    context = {
        "form": form,
        "left": second_factor.codes_left(user),
        "required": settings.SECOND_FACTOR == "required",
    }
    return render(request, "dashboard/second_factor.html", context)


def _set_up(request: HttpRequest, user: User, then: str, done: Callable[[], None] = lambda: None) -> HttpResponse:
    """Offer a secret; once a code confirms it, show the recovery codes this once."""
    secret = _offered(request)
    form = Code(request.POST or None)
    with audit.acting(audit.person(user, "session")):
        codes = form.accepted(lambda code: second_factor.set_up(user, secret, code))
    if codes:
        del request.session[OFFERED]
        done()
        return render(request, "dashboard/recovery_codes.html", {"codes": codes, "then": then})
    picture = segno.make(second_factor.address(user, secret), error="m").svg_inline(omitsize=True, light="#fff")
    context = {
        "form": form,
        "secret": " ".join(secret[at : at + 4] for at in range(0, len(secret), 4)),
        "picture": mark_safe(picture),  # noqa: S308  drawn by segno, from what is encoded in an address
        "required": settings.SECOND_FACTOR == "required",
    }
    return render(request, "dashboard/second_factor_set_up.html", context)


def _offered(request: HttpRequest) -> str:
    """Return the secret that this session is offered, the same until it is taken."""
    if OFFERED not in request.session:
        request.session[OFFERED] = sealing.seal(second_factor.new_secret())
    return sealing.unseal(request.session[OFFERED])


class NewPassword(ChangePassword):
    """The old password, the new one twice, and a code of whoever has a second factor."""

    def __init__(self, user: User, *args: Any, **kwargs: Any) -> None:  # noqa: ANN401  Django's own signature
        super().__init__(user, *args, **kwargs)
        if second_factor.has(user):
            self.fields["code"] = Code.base_fields["code"]

    def clean(self) -> Any:  # noqa: ANN401  Django's own signature
        """Ask for the code last: one that is taken is taken, whatever else is wrong."""
        cleaned = super().clean()
        if "code" in self.fields and not self.errors:
            try:
                second_factor.check(self.user, self.cleaned_data["code"])
            except Refusal as refusal:
                self.add_error("code", refusal.message)
        return cleaned


class WithCode(ChangePasswordView):
    """The page for it, and instead of the admin's own: it asks for a code, too."""

    form_class = NewPassword


change_password = page(cast("View", WithCode.as_view()))


@never_cache
@require_GET
def admin_door(request: HttpRequest) -> HttpResponse:
    """Lead to the one door of all, instead of the admin's own, which would ask for no code."""
    if request.user.is_authenticated:
        raise PermissionDenied("The admin is for staff; whoever runs the hub can make you one of them.")
    return redirect(f"{settings.LOGIN_URL}?{request.META['QUERY_STRING']}")


urlpatterns: Final[list[URLPattern]] = [
    path("sign-in/", Knock.as_view(), name="sign-in"),
    path("sign-in/code/", sign_in_code, name="sign-in-code"),
    path("sign-in/set-up/", sign_in_set_up, name="sign-in-set-up"),
    path("second-factor/", own, name="second-factor"),
    path("second-factor/off/", turn_off, name="second-factor-off"),
    path("admin/login/", admin_door),
    path("account/password/", change_password, name="change-password"),
    path("admin/password_change/", change_password),
]
