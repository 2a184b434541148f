"""One endpoint, from when it was found to be right until it is ejected: connections and calls in flight.

An admission belongs to one server process: a connection that was lost would come back by itself, perhaps to
another model, so the loss of one ends the admission, and the next one asks again.

Only its endpoint ends an admission: `eject` starts nothing more, `finish` lets go of it once all calls have
ended, `abandon` ends them at once, `close` does all of it without waiting. Scorers call `score` and
`try_silence`, and tell the endpoint what went wrong.
"""

import asyncio
from typing import Any

import grpc
import numpy as np
from numpy.typing import NDArray
from tritonclient.grpc import service_pb2 as messages
from tritonclient.grpc import service_pb2_grpc as service

from processors.score import Scores
from processors.triton.check import Served
from processors.triton.requests import METHOD, Requests
from processors.triton.shared import Slot
from schemas.model import ModelSpec

Metadata = tuple[tuple[str, str], ...]


class EjectedError(Exception):
    """The endpoint was ejected while the call was in flight, or just before."""


class Admission:
    """Scores batches at one endpoint; `ejected` is set once, with the reason."""

    def __init__(self, channels: list[grpc.aio.Channel], served: Served, spec: ModelSpec) -> None:
        self.served, self.in_flight = served, 0
        self.ejected, self._idle = asyncio.Event(), asyncio.Event()
        self.reason = ""
        self.regions: set[str] = set()
        """Names of the slots that the endpoint has mapped and that may be used."""
        self.shares = True
        """Whether it is worth asking for more of them."""
        self._spec, self._channels, self._turn = spec, channels, 0
        self._requests = Requests(spec)
        read = messages.ModelInferResponse.FromString
        self._infer = [channel.unary_unary(METHOD, response_deserializer=read) for channel in channels]
        self._calls: set[Any] = set()
        self._slots: list[Slot] = []

    @property
    def stub(self) -> "service.GRPCInferenceServiceStub":
        """What else can be asked, through each of the connections in turn."""
        return service.GRPCInferenceServiceStub(self._channels[self._next()])

    @property
    def connected(self) -> bool:
        """Whether all connections are still those that were opened."""
        return all(c.get_state() is grpc.ChannelConnectivity.READY for c in self._channels)

    def add_slot(self, slot: Slot) -> None:
        """Take a slot that the endpoint has mapped."""
        self.regions.add(slot.name)
        self._slots.append(slot)

    async def score(
        self, values: NDArray[np.generic], deadline_s: float, metadata: Metadata | None = None
    ) -> Scores:
        """Return the graph's own output, float32[B, labels], for dtype[B, window_samples].

        Raises:
            EjectedError: the endpoint is not to be used any more.
            UnfitAnswerError: the answer is not what the spec says.
            grpc.RpcError: anything else that went wrong.

        """
        self.in_flight += 1
        try:
            if self._slots and len(values) <= len(self._slots[-1].input):
                return await self._score_in_place(self._slots.pop(), values, deadline_s, metadata)
            answer = await self._call(self._requests.plain(values), deadline_s, metadata)
            return self._requests.scores(answer, len(values))
        finally:
            self.in_flight -= 1
            if not self.in_flight:
                self._idle.set()

    async def try_out(self, deadline_s: float) -> None:
        """Score the least and the most that may be asked for: messages and memory have limits.

        Raises:
            as `score`.

        """
        for windows in (1, self.served.max_batch):
            await self.try_silence(windows, deadline_s)

    async def try_silence(self, windows: int, deadline_s: float) -> None:
        """Score silence, which every model that works can do.

        Raises:
            as `score`.

        """
        batch = self._spec.input.batch or windows
        silence = np.zeros((batch, self._spec.window_samples), self._spec.input.dtype)
        await self.score(silence, deadline_s)

    def eject(self, reason: str) -> None:
        """Start nothing here any more."""
        if not self.ejected.is_set():
            self.reason = reason
            self.ejected.set()

    def abandon(self) -> None:
        """Cancel what is in flight: it can be scored elsewhere."""
        for call in list(self._calls):
            call.cancel()

    async def close(self) -> None:
        """Cancel what is in flight, and let go of the connections."""
        self.eject("closed")
        self.abandon()
        await asyncio.gather(*(channel.close() for channel in self._channels))

    async def finish(self) -> None:
        """Wait until nothing is in flight, and let go of the connections."""
        while self.in_flight:
            self._idle.clear()
            await self._idle.wait()
        await self.close()

    async def _score_in_place(
        self, slot: Slot, values: NDArray[np.generic], deadline_s: float, metadata: Metadata | None
    ) -> Scores:
        windows = len(values)
        slot.input[:windows] = values
        try:
            answer = await self._call(self._requests.in_place(slot, windows), deadline_s, metadata)
            self._requests.check_answer(answer, windows)
        except BaseException:
            self.regions.discard(slot.name)  # given up: only an answer says that the endpoint is done with it
            raise
        scores = slot.output[:windows].copy()
        self._slots.append(slot)
        return scores

    async def _call(
        self, request: bytes, deadline_s: float, metadata: Metadata | None
    ) -> messages.ModelInferResponse:
        at = self._next()  # one comparison a call, or a server that came back would be taken for the old one
        if self._channels[at].get_state() is not grpc.ChannelConnectivity.READY:
            raise EjectedError("the connection was lost")
        if self.ejected.is_set():
            raise EjectedError(self.reason)
        call = self._infer[at](request, timeout=deadline_s, metadata=metadata)
        self._calls.add(call)
        try:
            return await call
        except asyncio.CancelledError:
            task = asyncio.current_task()
            if self.ejected.is_set() and not (task and task.cancelling()):
                raise EjectedError(self.reason) from None
            raise
        finally:
            self._calls.discard(call)

    def _next(self) -> int:
        self._turn = (self._turn + 1) % len(self._channels)
        return self._turn
