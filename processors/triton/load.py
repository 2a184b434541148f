"""A model of a repository -> loaded and warm on every endpoint, before anything is sent to it."""

import asyncio

import grpc
from tenacity import AsyncRetrying, retry_if_exception_type, stop_after_delay, wait_fixed
from tritonclient.grpc import service_pb2 as messages
from tritonclient.grpc import service_pb2_grpc as service

from processors.score import ScorerSettings
from processors.triton.admission import Admission
from processors.triton.check import AwayError, check, in_time
from processors.triton.connection import credentials_of, open_channel
from processors.triton.endpoint import ENDINGS, TRY_S
from processors.triton.verdict import words_of
from schemas.errors import ConfigurationError
from schemas.model import ModelSpec

LOAD_S = 120.0
READY_S = 30.0
"""Longer than the 15 s after which a Triton that watches its repository looks again."""
_LOADS_BY_ITSELF = "explicit model load / unload is not allowed"
"""What a server says that watches its repository, or has loaded all of it."""


async def load(spec: ModelSpec, settings: ScorerSettings) -> None:
    """Load a model's version beside those that are loaded, on every endpoint, and try it there.

    Triton itself warms it up first, as its configuration says.

    Raises:
        ConfigurationError: an endpoint does not answer, or cannot serve it; the others may have loaded it.

    """
    credentials = credentials_of(settings)
    await asyncio.gather(*(_load(address, credentials, spec) for address in settings.endpoints))


async def trial(address: str, spec: ModelSpec, settings: ScorerSettings, timeout_s: float) -> str:
    """Ask one endpoint everything that a worker asks, score silence, and return its scoring identity.

    Raises:
        ConfigurationError: it does not answer in time, or serves something else.

    """
    where = f"scorer.endpoints: {address}, model {spec.reference}"
    try:
        async with (
            asyncio.timeout(timeout_s),
            open_channel(address, credentials_of(settings), spec) as channel,
        ):
            return await _try(channel, address, spec)
    except (AwayError, TimeoutError, *ENDINGS) as exc:
        found = words_of(exc) or f"no answer within {timeout_s:g} s"
        raise ConfigurationError(where, found, "a Triton that answers, and scores") from exc


async def _try(channel: grpc.aio.Channel, address: str, spec: ModelSpec) -> str:
    served = await check(service.GRPCInferenceServiceStub(channel), address, spec)
    admission = Admission([channel], served, spec)
    await in_time(admission.try_out(TRY_S), 2 * TRY_S)
    return served.identity


async def _load(address: str, credentials: grpc.ChannelCredentials | None, spec: ModelSpec) -> None:
    where = f"scorer.endpoints: {address}, model {spec.reference}"
    async with open_channel(address, credentials, spec) as channel:
        stub = service.GRPCInferenceServiceStub(channel)
        try:
            await stub.RepositoryModelLoad(
                messages.RepositoryModelLoadRequest(model_name=spec.name), timeout=LOAD_S
            )
            missing: tuple[type[Exception], ...] = (AwayError,)
        except grpc.RpcError as exc:
            if _LOADS_BY_ITSELF not in (exc.details() or ""):
                raise ConfigurationError(where, words_of(exc), "a model that this Triton loads") from exc
            missing = (AwayError, ConfigurationError)  # it may not have seen the version yet
        try:
            await _ready(stub, address, spec, missing)
            await _try(channel, address, spec)
        except (AwayError, *ENDINGS) as exc:
            raise ConfigurationError(where, words_of(exc), "a version that is loaded and scores") from exc


async def _ready(
    stub: "service.GRPCInferenceServiceStub",
    address: str,
    spec: ModelSpec,
    missing: tuple[type[Exception], ...],
) -> None:
    until_ready = AsyncRetrying(
        retry=retry_if_exception_type(missing),
        wait=wait_fixed(0.2),
        stop=stop_after_delay(READY_S),
        reraise=True,
    )
    await until_ready(check, stub, address, spec)
