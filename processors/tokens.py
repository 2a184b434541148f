"""Client credentials -> bearer tokens (RFC 6749, 4.4) for Faust's consumer; librdkafka fetches its own.

    token ── kept, until REFRESH_SHARE of its life is over ──► the same one
      └──── POST grant_type=client_credentials ──► endpoint ──► {"access_token": …, "expires_in": …}

Both ask the same endpoint in the same way: name and secret in an `Authorization: Basic` header.
"""

import asyncio
import base64
import json
from collections.abc import Callable
from dataclasses import dataclass, field
from time import monotonic

import aiohttp
from aiokafka.abc import AbstractTokenProvider
from aiokafka.errors import AuthenticationFailedError

ANSWER_S = 10.0
REFRESH_SHARE = 0.8
LIFE_S = 60.0
"""Of a token whose endpoint does not say how long it lives: asked for often, never long out of date."""
MAX_ANSWER_BYTES = 1 << 20


@dataclass(frozen=True, slots=True)
class TokenEndpoint:
    """Where tokens are fetched, and as whom."""

    url: str = field(repr=False)
    """Its query may hold a secret: it is never shown."""
    client_id: str
    client_secret: str = field(repr=False)
    scope: str | None = None


class Tokens(AbstractTokenProvider):  # type: ignore[misc]  # aiokafka has no types
    """Gives a token that has not expired; asked on the event loop of whoever connects.

    aiokafka asks for one at each new connection, and does not authenticate again on an old one: where the
    broker ends a connection with its token, the consumer connects anew.
    """

    def __init__(self, endpoint: TokenEndpoint, now_s: Callable[[], float] = monotonic) -> None:
        self._endpoint, self._now_s = endpoint, now_s
        self._token, self._until_s = "", 0.0

    def __repr__(self) -> str:
        return f"<Tokens of {self._endpoint!r}>"

    async def token(self) -> str:
        """Return a token.

        Raises:
            AuthenticationFailedError: the endpoint gives none; it is a KafkaError, which aiokafka can take.

        """
        if not self._token or self._now_s() >= self._until_s:
            asked_s = self._now_s()
            self._token, life_s = await self._fetch()
            self._until_s = asked_s + REFRESH_SHARE * life_s
        return self._token

    async def _fetch(self) -> tuple[str, float]:
        try:
            async with asyncio.timeout(ANSWER_S):
                status, body = await self._ask()
            answer = json.loads(body)
        except (aiohttp.ClientError, OSError, TimeoutError, ValueError) as exc:
            raise self._refused(str(exc) or f"no answer within {ANSWER_S:g} s") from exc
        if not isinstance(answer, dict):
            raise self._refused("its answer is no JSON object")
        token, life_s = answer.get("access_token"), answer.get("expires_in", LIFE_S)
        if status != 200 or not isinstance(token, str) or not token:
            told = [
                f"HTTP {status}",
                *(str(answer[key]) for key in ("error", "error_description") if key in answer),
            ]
            raise self._refused(", ".join(told))
        return token, float(life_s) if isinstance(life_s, int | float) and life_s > 0 else LIFE_S

    async def _ask(self) -> tuple[int, bytes]:
        endpoint, form = self._endpoint, {"grant_type": "client_credentials"}
        if endpoint.scope:
            form["scope"] = endpoint.scope
        # Not kept open: the consumer's thread has a loop of its own, and asks once in a token's life.
        who = base64.b64encode(f"{endpoint.client_id}:{endpoint.client_secret}".encode()).decode()
        async with (
            aiohttp.ClientSession(headers={"Authorization": f"Basic {who}"}) as session,
            session.post(endpoint.url, data=form, allow_redirects=False) as answer,
        ):
            return answer.status, await _bounded(answer.content)

    def _refused(self, why: str) -> AuthenticationFailedError:
        url, _, query = self._endpoint.url.partition("?")
        told = why.replace(query, "***") if query else why
        return AuthenticationFailedError(f"no token from {url}: {told}")


async def _bounded(content: aiohttp.StreamReader) -> bytes:
    """Read an answer to its end, or up to the bound: what is longer is no JSON any more."""
    body = bytearray()
    while len(body) < MAX_ANSWER_BYTES and (piece := await content.read(MAX_ANSWER_BYTES - len(body))):
        body += piece
    return bytes(body)
