"""Batches of windows -> scores, on one or more NVIDIA Tritons, whatever becomes of any of them.

    score ─► least busy endpoint that is ready ─► answer
      ▲            │ late or away: ejected; the batch goes elsewhere, and may take longer there
      │            │ busy: after a pause
      │            │ failed: if as much silence fails there too, the endpoint is ejected; if not, and the
      │            │         batch fails again, another endpoint or the fallback has the last word
      └────────────┘
    none ready: ONNX Runtime in process, if that is the fallback; or wait, for as long as it takes

A batch waits for its turn without a deadline; the deadline counts from the call. Nothing is given up but
what is bad itself, so a backlog is always made up.
"""

import asyncio
import random
from dataclasses import dataclass
from time import monotonic

import numpy as np
from numpy.typing import NDArray

from processors.metrics import Metrics
from processors.readout import Readout
from processors.score import Pcm, Scored, Scorer, ScorerSettings, fed, filled_up
from processors.triton.admission import EjectedError, Metadata
from processors.triton.endpoint import ENDINGS, LONGEST_S
from processors.triton.heap import keep_freed_memory
from processors.triton.pool import Place, Pool
from processors.triton.verdict import Verdict, verdict_of, words_of
from schemas.errors import ScorerError, StopError
from schemas.model import ModelSpec

PAUSE_S, LONGEST_PAUSE_S = 0.01, 1.0
_MOST_DOUBLINGS = 16
"""More than it takes from the shortest pause or deadline to the longest."""


@dataclass(slots=True)
class _Trial:
    """One batch, and how often it was in vain."""

    pcm: Pcm
    metadata: Metadata | None
    late: int = 0
    busy: int = 0


class TritonScorer:
    """Scores one model at several endpoints; `start` it on the loop that it is used on, and `close` it.

    Raises:
        ConfigurationError: a file that TLS needs cannot be used.

    """

    def __init__(
        self, spec: ModelSpec, settings: ScorerSettings, metrics: Metrics, fallback: Scorer | None = None
    ) -> None:
        self.concurrency = settings.concurrency * len(settings.endpoints)
        self.identity = "triton"
        self._spec, self._metrics, self._fallback = spec, metrics, fallback
        self._readout = Readout(spec)
        self._model = spec.reference
        self._deadline_s = settings.deadline_ms / 1000
        self._pool = Pool(spec, settings, metrics, replaceable=fallback is not None)
        self._suspects = asyncio.Lock()

    async def start(self) -> None:
        """Check every endpoint that answers, and wait until one is ready or something else scores.

        Raises:
            ConfigurationError: one serves something else, or none answers and there is no fallback.

        """
        keep_freed_memory()
        try:
            await self._pool.start()
        except BaseException:
            await self.close()
            raise
        ready = self._pool.ready
        if ready and ready[0].admission:
            self.identity = ready[0].admission.served.identity
        elif self._fallback:
            self.identity = self._fallback.identity

    async def score(self, pcm: Pcm, traceparent: str | None = None) -> Scored:
        """Return float32[B, labels] for int16[B, window_samples], from whoever can.

        Raises:
            ScorerError: the batch itself is bad.
            StopError: it was closed; or every endpoint serves something else, and there is no fallback.

        """
        if self._pool.closed:
            raise StopError("the scorer was closed")
        trial = _Trial(pcm, (("traceparent", traceparent),) if traceparent else None)
        parts: list[Scored] = []
        while len(trial.pcm):  # an endpoint may take fewer windows at once than there are
            parts.append(await self._score_some(trial))
            trial.pcm = trial.pcm[len(parts[-1].scores) :]
        if len(parts) == 1:
            return parts[0]
        identities = dict.fromkeys(part.identity for part in parts)
        return Scored(np.concatenate([part.scores for part in parts]), ", ".join(identities))

    async def close(self) -> None:
        """Let go of all connections; what waits or is in flight is cancelled."""
        await self._pool.close()
        if self._fallback is not None:
            await self._fallback.close()

    async def _score_some(self, trial: _Trial) -> Scored:
        while (place := await self._pool.take()) is not None:
            try:
                return await self._call(place, trial)
            except ENDINGS as exc:
                if self._pool.closed:  # nobody waits for it any more, and nothing went wrong
                    raise asyncio.CancelledError from exc
                part = await self._recover(exc, place, trial)
                if part is not None:
                    return part
            finally:
                self._pool.release()
            self._metrics.scorer_retries.inc()
        return await self._fall_back(trial.pcm)

    async def _call(self, place: Place, trial: _Trial) -> Scored:
        endpoint, admission = place
        pcm = _some(trial, place)
        values = self._values(pcm)
        deadline_s = min(LONGEST_S, max(endpoint.deadline_s, self._deadline_s * 2**trial.late))
        since_s, outcome = monotonic(), "cancelled"
        try:
            raw = await admission.score(values, deadline_s, trial.metadata)
            outcome = "ok"
        except ENDINGS as exc:
            outcome = "moved" if isinstance(exc, EjectedError) else verdict_of(exc).value
            raise
        finally:
            call_s = monotonic() - since_s
            self._metrics.observe_scorer_call(endpoint.address, outcome, call_s)
        endpoint.took(call_s)
        return Scored(self._readout(raw[: len(pcm)]), admission.served.identity)

    async def _recover(self, error: Exception, place: Place, trial: _Trial) -> Scored | None:
        """Do what an error asks for; return scores if the batch got through after all, or None: again.

        Raises:
            ScorerError: the batch is bad.

        """
        verdict = verdict_of(error)
        if verdict is Verdict.SUSPECT:
            return await self._examine(place, trial)
        if verdict is Verdict.BUSY:
            trial.busy = min(trial.busy + 1, _MOST_DOUBLINGS)
            longest_s = min(LONGEST_PAUSE_S, PAUSE_S * 2**trial.busy)
            self._pool.release()  # whoever waits for a place need not wait for the pause
            await asyncio.sleep(random.uniform(0, longest_s))  # noqa: S311 - spreads, hides nothing
            return None
        late = verdict is Verdict.LATE
        trial.late = min(trial.late + late, _MOST_DOUBLINGS)
        place.endpoint.eject(place.admission, words_of(error), late=late)
        return None

    async def _examine(self, place: Place, trial: _Trial) -> Scored | None:
        """Find out whose fault it was: suspects one at a time, lest one fails for its company again.

        Raises:
            ScorerError: as `_ask_another`.

        """
        async with self._suspects:
            try:
                await place.admission.try_silence(len(_some(trial, place)), place.endpoint.deadline_s)
            except ENDINGS as exc:
                if verdict_of(exc) is not Verdict.SUSPECT:
                    return await self._recover(exc, place, trial)
                place.endpoint.eject(place.admission, f"it fails on silence: {words_of(exc)}")
                return None
            try:
                return await self._call(place, trial)
            except ENDINGS as exc:
                if verdict_of(exc) is not Verdict.SUSPECT:
                    return await self._recover(exc, place, trial)
                return await self._ask_another(exc, place, trial)

    async def _ask_another(self, error: Exception, place: Place, trial: _Trial) -> Scored | None:
        """Have somebody else score what one endpoint cannot; if that works, the endpoint is ejected.

        Raises:
            ScorerError: the batch is bad, as far as anybody here can tell.

        """
        said = f"Triton {place.endpoint.address}, model {self._model}: {words_of(error)}"
        other = self._pool.another(place)
        if other is None and self._fallback is None:
            raise ScorerError(said) from error
        try:
            if other is None:
                scored = await self._fall_back(_some(trial, place))
            else:
                scored = await self._call(other, trial)
        except (ScorerError, *ENDINGS) as exc:
            if other is not None and verdict_of(exc) is not Verdict.SUSPECT:
                return await self._recover(exc, other, trial)
            elsewhere = other.endpoint.address if other else "in process"
            raise ScorerError(f"{said}; {elsewhere}: {words_of(exc)}") from exc
        finally:
            self._pool.release()
        place.endpoint.eject(place.admission, f"it fails on what is scored elsewhere: {words_of(error)}")
        return scored

    async def _fall_back(self, pcm: Pcm) -> Scored:
        if self._fallback is None:
            raise StopError("nothing is there to score")
        scored = await self._fallback.score(pcm)
        self._metrics.scorer_fallback_windows.inc(len(pcm))
        return scored

    def _values(self, pcm: Pcm) -> NDArray[np.generic]:
        fixed = self._spec.input.batch
        values: NDArray[np.generic] = fed(pcm, self._spec.input)
        return filled_up(values, fixed) if fixed else values


def _some(trial: _Trial, place: Place) -> Pcm:
    """Return as many windows of a batch as an endpoint takes at once."""
    return trial.pcm[: place.admission.served.max_batch]
