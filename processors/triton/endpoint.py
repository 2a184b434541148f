"""Keep one endpoint admitted: ask what it serves, try it, watch it, eject it, ask again.

    AWAY ── it is what the spec names, and scores silence ──► READY ── late, lost, unfit ──► AWAY
      └──── it is something else ──► REFUSED ── asked again, for somebody may mend it ──► …

The readiness of the model is no proof: a python backend whose process was killed stays "ready".
"""

import asyncio
import ipaddress
import logging
from collections.abc import Callable
from contextlib import AsyncExitStack, suppress
from enum import Enum

import grpc
from tenacity import AsyncRetrying, RetryCallState, retry_if_exception_type, wait_random_exponential
from tritonclient.grpc import service_pb2_grpc as service

from processors.score import ScorerSettings
from processors.triton.admission import Admission, EjectedError
from processors.triton.check import ASK_S, CHECK_S, AwayError, Served, check, in_time
from processors.triton.connection import open_channel
from processors.triton.memory import FORGET_S, SharedMemory, UnmappedError
from processors.triton.requests import UnfitAnswerError
from processors.triton.shared import Owner
from processors.triton.verdict import words_of
from schemas.errors import ConfigurationError
from schemas.model import ModelSpec

logger = logging.getLogger(__name__)

WATCH_S = 2.0
TRY_S = 30.0
"""A model's first call may take long: libraries are loaded, kernels are chosen."""
LONGEST_S = 30.0
_CALM = 4.0
"""A deadline is at least so many times the usual length of a call."""
_RISE, _FALL = 0.5, 0.125
ENDINGS = (EjectedError, UnfitAnswerError, grpc.RpcError)
"""How a call may end, but for an answer."""


class State(Enum):
    """Whether an endpoint can be used."""

    UNKNOWN = "unknown"
    AWAY = "away"
    READY = "ready"
    REFUSED = "refused"


_LEVELS = {State.READY: logging.INFO, State.AWAY: logging.WARNING, State.REFUSED: logging.ERROR}


class Endpoint:
    """One address; `admission` is there while it is READY. `changed` is called whenever that changes."""

    def __init__(
        self,
        address: str,
        spec: ModelSpec,
        settings: ScorerSettings,
        credentials: grpc.ChannelCredentials | None,
        owner: Owner | None,
        changed: Callable[["Endpoint"], None],
    ) -> None:
        self.address, self.state, self.reason = address, State.UNKNOWN, "not asked yet"
        self.was_ready = False
        self.refusal: ConfigurationError | None = None
        self.admission: Admission | None = None
        self._spec, self._settings, self._credentials = spec, settings, credentials
        self._memory = SharedMemory(owner, spec) if owner and may_share(address, settings) else None
        self._changed = changed
        self._least_s, self._usual_s = settings.deadline_ms / 1000, 0.0
        self._doubled = 1.0
        self._finishing: dict[asyncio.Task[None], Admission] = {}

    @property
    def deadline_s(self) -> float:
        """How long a call may take: it grows where calls are slow, and whenever one was too slow."""
        return min(LONGEST_S, self._doubled * max(self._least_s, self._usual_s * _CALM))

    @property
    def _share_s(self) -> float:
        """How long all the questions of `_share` may take together: one or two for every slot."""
        return CHECK_S + (ASK_S + FORGET_S) * self._settings.concurrency

    def took(self, call_s: float) -> None:
        """Learn from a call that was answered."""
        difference_s = call_s - self._usual_s
        self._usual_s += difference_s * (_RISE if difference_s > 0 else _FALL)
        self._doubled = 1.0

    def eject(self, admission: Admission, reason: str, late: bool = False) -> None:
        """Stop using an admission, if it is still the one in use."""
        if self.admission is not admission:
            return
        if late:
            self._doubled *= 2 if self.deadline_s < LONGEST_S else 1
        self.admission = None
        admission.eject(reason)
        self._finish(admission)
        self._set(State.AWAY, reason)

    async def keep(self) -> None:
        """Keep the endpoint admitted until cancelled."""
        try:
            while True:
                admission: Admission = await self._retrying()(self._admit)
                self.admission = admission
                self.was_ready = True
                self._set(State.READY, admission.served.identity)
                await self._watch(admission)
        finally:
            self.abandon()
            if self.admission is not None:
                await self._end(self.admission)
            await asyncio.gather(*self._finishing)

    def abandon(self) -> None:
        """Cancel what is in flight where it was ejected: it can be scored elsewhere."""
        for admission in self._finishing.values():
            admission.abandon()

    def _retrying(self) -> AsyncRetrying:
        return AsyncRetrying(
            retry=retry_if_exception_type((AwayError, ConfigurationError)),
            wait=wait_random_exponential(multiplier=0.1, max=1.0),
            before_sleep=self._note,
        )

    def _note(self, attempt: RetryCallState) -> None:
        error = attempt.outcome.exception() if attempt.outcome else None
        self.refusal = error if isinstance(error, ConfigurationError) else None
        self._set(State.REFUSED if self.refusal else State.AWAY, str(error))

    def _set(self, state: State, reason: str) -> None:
        before = self.state, self.reason
        self.state, self.reason = state, reason
        if state is not State.REFUSED:
            self.refusal = None
        if before[0] is not state or (state is State.REFUSED and before[1] != reason):
            logger.log(_LEVELS[state], "Triton %s is %s: %s", self.address, state.value, reason)
            self._changed(self)

    async def _admit(self) -> Admission:
        """Connect, check and try.

        Raises:
            AwayError: not now.
            ConfigurationError: not as it is.

        """
        async with AsyncExitStack() as opened:
            channels = [
                await opened.enter_async_context(open_channel(self.address, self._credentials, self._spec))
                for _ in range(self._settings.channels)
            ]
            admission = Admission(channels, await self._ask(channels), self._spec)
            try:
                await in_time(self._try_out(admission), 3 * TRY_S + self._share_s)
            except ENDINGS as exc:
                raise AwayError(words_of(exc)) from exc
            opened.pop_all()
        return admission

    async def _try_out(self, admission: Admission) -> None:
        await admission.try_out(TRY_S)
        if await self._share(admission):
            await admission.try_silence(1, TRY_S)

    async def _ask(self, channels: list[grpc.aio.Channel]) -> Served:
        """Ask on every connection: behind one address may be several servers."""
        stubs = [service.GRPCInferenceServiceStub(channel) for channel in channels]
        served, *others = [await check(stub, self.address, self._spec) for stub in stubs]
        for other in others:
            if other != served:
                raise AwayError(f"its connections lead to {served} and to {other}; an endpoint is one server")
        return served

    async def _watch(self, admission: Admission) -> None:
        """Ask again and again, until the admission is over."""
        while not await within(WATCH_S, admission.ejected):
            if not admission.connected:  # asking would connect again, to whatever is there now
                self.eject(admission, "the connection was lost")
                return
            try:
                served = await check(admission.stub, self.address, self._spec)
                await in_time(self._share(admission), self._share_s)
            except (AwayError, ConfigurationError, grpc.RpcError) as exc:
                self.eject(admission, words_of(exc))
            except grpc.aio.UsageError:  # it was ejected, and its connections closed, while we asked
                if not admission.ejected.is_set():
                    raise
            else:
                if served != admission.served:
                    self.eject(admission, f"it is {served} now, and was {admission.served}")

    async def _share(self, admission: Admission) -> bool:
        """Give the endpoint slots for as many batches as may be in flight; return whether it has any."""
        if self._memory is not None and admission.shares:
            try:
                await self._memory.share(admission, self._settings.concurrency)
            except UnmappedError as exc:
                self._unshared(admission, exc)
        return bool(admission.regions)

    def _unshared(self, admission: Admission, reason: UnmappedError) -> None:
        if self._settings.shared_memory == "system":
            accepted = f"auto, or a Triton that maps our shared memory: {reason}"
            raise ConfigurationError(f"scorer.shared_memory: {self.address}", "system", accepted) from reason
        logger.warning("Triton %s: batches go through gRPC, not shared memory: %s", self.address, reason)
        admission.shares = False

    async def _end(self, admission: Admission) -> None:
        self.admission = None
        admission.eject("closed")
        admission.abandon()
        if self._memory is not None and admission.connected:
            with suppress(grpc.RpcError, TimeoutError):  # whose answers may not come any more at all
                async with asyncio.timeout(self._share_s):
                    await self._memory.forget(admission)
        await admission.close()

    def _finish(self, admission: Admission) -> None:
        task = asyncio.create_task(admission.finish())
        self._finishing[task] = admission
        task.add_done_callback(lambda task: self._finishing.pop(task, None))


async def within(time_s: float, event: asyncio.Event) -> bool:
    """Wait for an event for a bounded time; return whether it came."""
    try:
        async with asyncio.timeout(time_s):
            return await event.wait()
    except TimeoutError:
        return False


def may_share(address: str, settings: ScorerSettings) -> bool:
    """Tell whether an endpoint is to be asked to map our memory."""
    wanted = settings.shared_memory
    return wanted == "system" or (wanted == "auto" and is_local(address))


def is_local(address: str) -> bool:
    """Tell whether an address is this machine's loopback."""
    host = address.rpartition(":")[0].strip("[]")
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
