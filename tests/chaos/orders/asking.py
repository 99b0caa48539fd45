"""Whoever asks for commands over REST, as a careful program does: with a key, and again until there is an answer."""

import time
from typing import Final, NamedTuple, Self

import httpx

from tests.hub import PATIENCE_S

RETRY_S: Final = 0.1
ANSWER_S: Final = 5.0
CREATED: Final = (200, 201)
TOO_MANY: Final = 429


class Wish(NamedTuple):
    """A command to be asked for; `cell`: what it is counted for."""

    key: str
    device: str
    kind: str
    ttl_s: int
    cell: str


class Asked(NamedTuple):
    """What came of a wish: `cid` "" when no answer ever came, so that the command may exist or not."""

    wish: Wish
    cid: str


class Asker:
    """Asks one web server; several threads may."""

    def __init__(self, url: str, token: str) -> None:
        self._client = httpx.Client(
            base_url=url, headers={"Authorization": f"Token {token}"}, timeout=ANSWER_S, trust_env=False
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._client.close()

    def ask(self, wish: Wish) -> Asked:
        body = {"name": "act", "ttl_s": wish.ttl_s, "key": wish.key}
        deadline = time.monotonic() + PATIENCE_S
        while time.monotonic() < deadline:
            try:
                answer = self._client.post(f"/api/v1/devices/{wish.device}/commands/", json=body)
            except httpx.HTTPError:
                time.sleep(RETRY_S)
                continue
            if answer.status_code in CREATED:
                return Asked(wish, str(answer.json()["id"]))
            # Too many wait, or it cannot be done now: later, maybe.
            assert answer.status_code == TOO_MANY or answer.is_server_error, f"{wish} was refused: {answer.text}"
            time.sleep(RETRY_S)
        return Asked(wish, "")
