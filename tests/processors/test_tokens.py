"""Tokens come from the endpoint by client credentials, are kept while they live; refusals are told."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import pytest
from aiohttp import BasicAuth, web
from aiokafka.errors import AuthenticationFailedError, KafkaError

from infra.local.ports import LOOPBACK, free_ports
from processors.tokens import LIFE_S, MAX_ANSWER_BYTES, REFRESH_SHARE, TokenEndpoint, Tokens

SECRET = "correct horse battery staple"  # noqa: S105 - nobody's


@dataclass(slots=True)
class Endpoint:
    """An endpoint that answers what it is told to, and a clock."""

    answer: object = field(default_factory=lambda: {"access_token": "one", "expires_in": 100})
    status: int = 200
    asked: list[tuple[str, str, dict[str, str]]] = field(default_factory=list)
    now_s: float = 1000.0

    async def post(self, request: web.Request) -> web.Response:
        who = BasicAuth.decode(request.headers["authorization"], "utf-8")
        form = {key: str(value) for key, value in (await request.post()).items()}
        self.asked.append((who.login, who.password, form))
        if isinstance(self.answer, str):
            return web.Response(text=self.answer, status=self.status, headers={"location": "/token"})
        return web.json_response(self.answer, status=self.status)


@asynccontextmanager
async def served(endpoint: Endpoint, scope: str | None = None) -> AsyncIterator[Tokens]:
    """Serve the endpoint; give what asks it."""
    app = web.Application()
    app.add_routes([web.post("/token", endpoint.post)])
    runner = web.AppRunner(app)
    await runner.setup()
    await web.TCPSite(runner, LOOPBACK, 0).start()
    url = f"http://{LOOPBACK}:{runner.addresses[0][1]}/token"
    try:
        yield Tokens(TokenEndpoint(url, "wörker", SECRET, scope), lambda: endpoint.now_s)
    finally:
        await runner.cleanup()


def test_a_token_is_asked_for_as_librdkafka_does_and_kept_while_it_lives() -> None:
    endpoint = Endpoint()

    async def ask() -> None:
        async with served(endpoint, "kafka") as tokens:
            assert [await tokens.token() for _ in range(3)] == ["one"] * 3
            endpoint.now_s += REFRESH_SHARE * 100 - 1
            assert await tokens.token() == "one"
            assert endpoint.asked == [
                ("wörker", SECRET, {"grant_type": "client_credentials", "scope": "kafka"})
            ]
            endpoint.answer = {"access_token": "two", "expires_in": 100}
            endpoint.now_s += 1
            assert await tokens.token() == "two"

    asyncio.run(ask())


@pytest.mark.parametrize("life", [None, "soon", -1])
def test_a_token_of_unknown_life_is_kept_for_a_short_one(life: object) -> None:
    endpoint = Endpoint(
        {"access_token": "one"} if life is None else {"access_token": "one", "expires_in": life}
    )

    async def ask() -> None:
        async with served(endpoint) as tokens:
            await tokens.token()
            endpoint.now_s += REFRESH_SHARE * LIFE_S
            await tokens.token()

    asyncio.run(ask())
    assert [form for _, _, form in endpoint.asked] == [{"grant_type": "client_credentials"}] * 2


@pytest.mark.parametrize(
    ("status", "answer", "told"),
    [
        (401, {"error": "invalid_client", "error_description": "who?"}, "HTTP 401, invalid_client, who?"),
        (200, {"token": "one"}, "HTTP 200"),
        (200, ["one"], "no JSON object"),
        (500, "<html>", "Expecting value"),
        (302, "", "Expecting value"),
        (307, "", "Expecting value"),
        (200, {"access_token": "x" * MAX_ANSWER_BYTES}, "Unterminated string"),
    ],
)
def test_an_endpoint_that_gives_none_is_named_and_quoted_and_asked_once(
    status: int, answer: object, told: str
) -> None:
    endpoint = Endpoint(answer, status)

    async def ask() -> str:
        async with served(endpoint) as tokens:
            with pytest.raises(AuthenticationFailedError) as refused:
                await tokens.token()
            return str(refused.value)

    said = asyncio.run(ask())
    assert len(endpoint.asked) == 1
    assert "no token from http://" in said
    assert told in said
    assert SECRET not in said


def test_a_token_that_comes_in_many_pieces_is_read_whole() -> None:
    long = "x" * (MAX_ANSWER_BYTES // 2)

    async def ask() -> str:
        async with served(Endpoint({"access_token": long})) as tokens:
            return await tokens.token()

    assert asyncio.run(ask()) == long


def test_an_endpoint_that_is_away_is_an_error_that_aiokafka_can_take() -> None:
    url = f"http://{LOOPBACK}:{free_ports(1)[0]}/token?key={SECRET}"
    tokens = Tokens(TokenEndpoint(url, "worker", SECRET))
    with pytest.raises(KafkaError, match="no token from"):
        asyncio.run(tokens.token())
