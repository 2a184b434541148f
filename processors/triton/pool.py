"""Endpoints -> the least busy one that is ready, or a wait for it: who is there, and whose turn it is."""

import asyncio
import logging
from collections import deque
from time import monotonic
from typing import NamedTuple

from processors.metrics import Metrics
from processors.score import ScorerSettings
from processors.triton.admission import Admission
from processors.triton.connection import credentials_of
from processors.triton.endpoint import Endpoint, State, may_share, within
from processors.triton.shared import Owner
from schemas.errors import ConfigurationError, StopError
from schemas.model import ModelSpec

logger = logging.getLogger(__name__)

GRACE_S = 5.0
"""A start waits for so long for the other endpoints, once one of them is ready."""
REMIND_S = 30.0


class Place(NamedTuple):
    """Where a batch may be scored now."""

    endpoint: Endpoint
    admission: Admission


class Pool:
    """All endpoints of one model; `replaceable` says that something else scores while none is ready.

    Raises:
        ConfigurationError: a file that TLS needs cannot be used.

    """

    def __init__(
        self, spec: ModelSpec, settings: ScorerSettings, metrics: Metrics, replaceable: bool
    ) -> None:
        self._settings, self._metrics, self._replaceable = settings, metrics, replaceable
        self._model = spec.reference
        credentials, self._owner = credentials_of(settings), _owner(settings)
        self.endpoints = [
            Endpoint(address, spec, settings, credentials, self._owner, self._on_change)
            for address in settings.endpoints
        ]
        for address in settings.endpoints:
            metrics.scorer_ready.labels(address, self._model).set(0)
        self._keepers: list[asyncio.Task[None]] = []
        self._waiting: deque[asyncio.Future[None]] = deque()
        self._change, self._turn = asyncio.Event(), 0
        self._lost_s: float | None = None
        self._reminder: asyncio.TimerHandle | None = None
        self._error: BaseException | None = None
        self.closed = False

    @property
    def ready(self) -> list[Endpoint]:
        """The endpoints that can be used."""
        return [endpoint for endpoint in self.endpoints if endpoint.admission is not None]

    async def start(self) -> None:
        """Ask all endpoints, and wait for a bounded time for their first answers.

        Raises:
            ConfigurationError: one serves something else, or none answers and nothing replaces them.
            StopError: nobody asks any more.

        """
        self._keepers = [asyncio.create_task(endpoint.keep()) for endpoint in self.endpoints]
        for keeper in self._keepers:
            keeper.add_done_callback(self._on_end)
        since_s, ready_s = monotonic(), monotonic() if self._replaceable else None
        while True:
            self._change.clear()
            self._check_first_answers()
            if self.ready and ready_s is None:
                ready_s = monotonic()
            until_s = since_s + self._settings.start_timeout_s
            until_s = min(until_s, ready_s + GRACE_S) if ready_s is not None else until_s
            all_ready = len(self.ready) == len(self.endpoints)
            if all_ready or not await within(until_s - monotonic(), self._change):
                break
        if not self.ready and not self._replaceable:
            accepted = (
                f"a Triton that is ready within {self._settings.start_timeout_s:g} s; {self._reasons()}"
            )
            raise ConfigurationError("scorer.endpoints", self._settings.endpoints, accepted)
        missing = [endpoint for endpoint in self.endpoints if endpoint.admission is None]
        for one in missing:
            logger.warning("starting without Triton %s (%s: %s)", one.address, one.state.value, one.reason)
        if not self.ready:
            self._lose()

    async def take(self) -> Place | None:
        """Wait for a place for one batch; None where none is ready and something else scores.

        Raises:
            StopError: every endpoint serves something else, and nothing replaces them.
            asyncio.CancelledError: all was closed.

        """
        place = None if self._waiting else self._free()
        while place is None:
            if self.closed:
                raise asyncio.CancelledError
            self._check_keepers()
            if not self.ready:
                if self._replaceable:
                    return None
                if all(endpoint.state is State.REFUSED for endpoint in self.endpoints):
                    raise StopError(f"no endpoint serves the model: {self._reasons()}")
            await self._turn_comes()
            place = self._free()
        return place

    def release(self) -> None:
        """Let the next one go, after a call has ended."""
        while self._waiting:
            turn = self._waiting.popleft()
            if not turn.done():
                turn.set_result(None)
                return

    def another(self, place: Place) -> Place | None:
        """Return the least busy of the other endpoints that are ready, though it may have all it can take."""
        others = [Place(one, one.admission) for one in self.endpoints if one.admission is not None]
        others = [other for other in others if other.endpoint is not place.endpoint]
        return min(others, key=lambda other: other.admission.in_flight, default=None)

    async def close(self) -> None:
        """Let go of everything; whoever waits is cancelled."""
        if self.closed:
            return
        self.closed = True
        for turn in self._waiting:
            turn.cancel()
        if self._reminder is not None:
            self._reminder.cancel()
        for keeper in self._keepers:
            keeper.cancel()
        await asyncio.gather(*self._keepers, return_exceptions=True)
        for endpoint in self.endpoints:
            self._metrics.scorer_ready.remove(endpoint.address, self._model)
        if self._owner is not None:
            self._owner.close()
            self._owner = None

    def _free(self) -> Place | None:
        self._turn += 1  # equals take turns
        at = self._turn % len(self.endpoints)
        places = [
            Place(endpoint, endpoint.admission)
            for endpoint in (*self.endpoints[at:], *self.endpoints[:at])
            if endpoint.admission is not None and endpoint.admission.in_flight < self._settings.concurrency
        ]
        return min(places, key=lambda place: place.admission.in_flight, default=None)

    async def _turn_comes(self) -> None:
        turn = asyncio.get_running_loop().create_future()
        self._waiting.append(turn)
        try:
            await turn
        except asyncio.CancelledError:
            if turn.done() and not turn.cancelled():
                self.release()  # it was our turn, and we do not want it any more
            raise

    def _check_keepers(self) -> None:
        if self._error is not None:
            raise StopError(f"scoring ended: {self._error!r}") from self._error

    def _check_first_answers(self) -> None:
        self._check_keepers()
        for endpoint in self.endpoints:
            if endpoint.refusal is not None:
                raise endpoint.refusal

    def _on_change(self, endpoint: Endpoint) -> None:
        is_ready = endpoint.admission is not None
        self._metrics.scorer_ready.labels(endpoint.address, self._model).set(is_ready)
        ready = self.ready
        for other in self.endpoints:
            if self._replaceable or any(one is not other for one in ready):
                other.abandon()
        if ready:
            self._find()
        elif endpoint.was_ready and self._lost_s is None:
            self._lose()
        self._change.set()
        self._wake_all()

    def _wake_all(self) -> None:
        for _ in range(len(self._waiting)):
            self.release()

    def _lose(self) -> None:
        self._lost_s = monotonic()
        self._remind()

    def _remind(self) -> None:
        away_s = monotonic() - (self._lost_s or 0.0)
        instead = "windows are scored in process" if self._replaceable else "windows wait"
        logger.error("no Triton is ready since %.0f s, %s: %s", away_s, instead, self._reasons())
        self._reminder = asyncio.get_running_loop().call_later(REMIND_S, self._remind)

    def _find(self) -> None:
        if self._lost_s is None:
            return
        logger.warning("a Triton is ready again after %.1f s", monotonic() - self._lost_s)
        self._lost_s = None
        if self._reminder is not None:
            self._reminder.cancel()

    def _reasons(self) -> str:
        return "; ".join(f"{one.address} is {one.state.value}: {one.reason}" for one in self.endpoints)

    def _on_end(self, keeper: "asyncio.Task[None]") -> None:
        if self.closed and keeper.cancelled():
            return
        self._error = asyncio.CancelledError() if keeper.cancelled() else keeper.exception()
        logger.error("an endpoint's keeper ended", exc_info=self._error)
        self._change.set()
        self._wake_all()


def _owner(settings: ScorerSettings) -> Owner | None:
    if not any(may_share(address, settings) for address in settings.endpoints):
        return None
    try:
        return Owner()
    except OSError as exc:
        if settings.shared_memory == "system":
            accepted = f"off or auto where there is no POSIX shared memory: {exc}"
            raise ConfigurationError("scorer.shared_memory", "system", accepted) from exc
        return None
