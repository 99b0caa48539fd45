"""How programs sign in: a token in the header, or a visitor's session."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from drf_spectacular.extensions import OpenApiAuthenticationExtension
from rest_framework.authentication import BaseAuthentication, get_authorization_header
from rest_framework.exceptions import AuthenticationFailed
from rest_framework.permissions import SAFE_METHODS, IsAuthenticated

from devices import tokens
from devices.models import Token

if TYPE_CHECKING:
    from django.contrib.auth.models import User
    from rest_framework.request import Request
    from rest_framework.views import APIView

WORD = "Token"


class ByToken(BaseAuthentication):
    """`Authorization: Token …`. Its user is narrowed to what the token is good for."""

    def authenticate(self, request: Request) -> tuple[User, Token] | None:
        """Return who it is; None where the header is absent, or of another kind."""
        word, _, secret = get_authorization_header(request).decode("latin-1").partition(" ")
        if word.lower() != WORD.lower():
            return None
        secret = secret.strip()
        token = tokens.by_secrets([secret]).get(secret)
        if token is None:
            raise AuthenticationFailed("This token is not known, has expired, or was revoked; make another one.")
        return token.user, token

    def authenticate_header(self, request: Request) -> str:  # noqa: ARG002  the framework's signature
        """Ask for a token: the first challenge makes a refusal 401, not 403."""
        return WORD


class SignedIn(IsAuthenticated):
    """Whoever is somebody. Who came by a share link reads what says so of itself (`for_links`), and nothing else."""

    def has_permission(self, request: Request, view: APIView) -> bool:
        """Let them in, or not. What is no reading takes a role that no link has."""
        by_link = isinstance(request.auth, Token) and request.auth.link
        hidden = by_link and request.method in SAFE_METHODS and not getattr(view, "for_links", False)
        return super().has_permission(request, view) and not hidden


class ByTokenInSchema(OpenApiAuthenticationExtension):  # type: ignore[no-untyped-call]  # it has no types
    """What the schema says of it."""

    target_class = ByToken
    name = "token"

    def get_security_definition(self, auto_schema: Any) -> dict[str, str]:  # noqa: ANN401, ARG002  its signature
        """Describe the header."""
        return {"type": "apiKey", "in": "header", "name": "Authorization", "description": "`Token …`"}
