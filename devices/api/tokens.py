"""tokens/: what programs sign in with. Made from name and password, told once, kept as hash, ended by time or hand."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Any, Final

from django.contrib.auth import authenticate
from django.contrib.auth.models import User
from django.contrib.auth.signals import user_logged_in
from drf_spectacular.utils import extend_schema
from rest_framework import serializers
from rest_framework.response import Response

from devices import audit, guesses, registry, rights, tokens
from devices.api.asked import Instant, Shape, Strict, View, body, query, user_of
from devices.api.pages import Paged, page, paged
from devices.errors import Refusal
from devices.models import Access, Token

if TYPE_CHECKING:
    from django.http import HttpRequest
    from rest_framework.request import Request

# Fleets, or devices, that a token can be narrowed to.
MOST: Final = 500


def _slugs(help_text: str) -> Any:  # noqa: ANN401  a field has no type of its own
    return serializers.ListField(
        child=serializers.CharField(max_length=128), required=False, max_length=MOST, help_text=help_text
    )


class TokenAsked(Strict):
    """Who wants a token, and what for."""

    username = serializers.CharField(max_length=150)
    password = serializers.CharField(max_length=4096, trim_whitespace=False)
    code = serializers.CharField(
        max_length=32, default="", allow_blank=True, help_text="of the authenticator app, where one has a second factor"
    )
    name = serializers.CharField(max_length=128, default="", allow_blank=True, help_text="what it is for")
    access = serializers.ChoiceField(Access.choices, default=Access.MANAGE, help_text="the most that it lets do")
    fleets = _slugs("slugs: good for their devices alone")
    devices = _slugs("keys: good for these devices alone, or besides those of `fleets`")
    expires_in_s = serializers.IntegerField(min_value=60, required=False, help_text="90 days if not given")


class TokenMade(Shape):
    """The only time that a token is told."""

    id = serializers.CharField(source="token_key")
    token = serializers.CharField()
    expires_at = Instant(source="expiry")


class TokenShape(Shape):
    """A token without its secret part."""

    id = serializers.CharField(source="token_key")
    name = serializers.CharField()
    access = serializers.ChoiceField(Access.choices)
    link = serializers.BooleanField(help_text="it shows devices to whoever has the link")
    created_at = Instant(source="created")
    expires_at = Instant(source="expiry", allow_null=True)
    used_at = Instant(allow_null=True, help_text="when it was used last, to the minute")


class Tokens(View):
    """One's own tokens."""

    def get_authenticators(self) -> list[Any]:
        """Take a password from anybody: who asks for a token has none, or an old one."""
        return [] if _is_post(self) else super().get_authenticators()

    def get_permissions(self) -> Any:  # noqa: ANN401  as the framework has it
        """Let anybody ask for a token."""
        return [] if _is_post(self) else super().get_permissions()

    @extend_schema(operation_id="tokens_list", parameters=[Paged], responses=paged("Token", TokenShape))
    def get(self, request: Request) -> Response:
        """List one's own tokens, newest first."""
        rows = tokens.good().filter(user=whole_user_of(request))
        return page(rows, ("-created", "-digest"), TokenShape, query(request, Paged))

    @extend_schema(auth=[], request=TokenAsked, responses={201: TokenMade})
    def post(self, request: Request) -> Response:
        """Make a token from name and password. Send it as `Authorization: Token …`."""
        asked = body(request, TokenAsked)
        credentials = {name: asked[name] for name in ("username", "password", "code")}
        user = _signed_in(request._request, credentials)  # noqa: SLF001  axes needs Django's own
        row, token = _made(user, asked)
        row.token = token
        return Response(TokenMade(row).data, status=201)


class OneToken(View):
    """One of one's own tokens."""

    @extend_schema(responses={204: None})
    def delete(self, request: Request, token: str) -> Response:
        """Revoke it: whoever uses it is refused from now on."""
        tokens.revoke(whole_user_of(request), token)
        return Response(status=204)


def _made(user: User, asked: dict[str, Any]) -> tuple[Token, str]:
    """Make what was asked for, where the user may see all that it is to be good for."""
    fleets = [registry.find_fleet(user, slug) for slug in asked["fleets"]] if "fleets" in asked else None
    devices = [registry.find(user, key) for key in asked["devices"]] if "devices" in asked else None
    lasts = timedelta(seconds=asked["expires_in_s"]) if "expires_in_s" in asked else tokens.LASTS
    with audit.acting(audit.person(user, "password")):
        return tokens.make(user, asked["name"], access=asked["access"], fleets=fleets, devices=devices, lasts=lasts)


def whole_user_of(request: Request) -> User:
    """Return who asks, unless they came with a token that is not good for everything: it makes and ends no others."""
    user = user_of(request)
    if not rights.scope_of(user).whole:
        raise Refusal("forbidden", "This takes a token that is good for everything, or a visitor's session.", 403)
    return user


def _is_post(view: View) -> bool:
    request = getattr(view, "request", None)
    return request is not None and request.method == "POST"


def _signed_in(request: HttpRequest, credentials: dict[str, str]) -> User:
    """Check a password, and a code where one is needed; too many wrong ones lock out for a while."""
    user = authenticate(request, **credentials)
    if getattr(request, "axes_locked_out", False):
        request.axes_locked_out = False  # type: ignore[attr-defined]  # else its middleware answers in HTML
        wait = guesses.wait_s(request)
        text = f"Too many wrong passwords from your address; try again in {wait} s."
        raise Refusal("too_many_requests", text, 429, retry_after_s=wait)
    if not isinstance(user, User):
        raise Refusal("wrong_password", "The user name or the password is wrong.", 401)
    user_logged_in.send(sender=User, request=request, user=user)
    return user
