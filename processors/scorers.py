"""Decision -> Scorer: one for each model that windows wait for, opened in the background.

Opening a model takes time, and may fail: its windows wait, partitions are held and lag grows, and it is tried
again and again. What no window has asked for in a while is closed.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Iterable
from time import monotonic

from tenacity import AsyncRetrying, RetryCallState, retry_if_exception_type, wait_random_exponential

from processors.decision import Decision
from processors.score import Scorer
from schemas.errors import ConfigurationError
from schemas.model import ModelSpec

logger = logging.getLogger(__name__)

OpenScorer = Callable[[ModelSpec], Awaitable[Scorer]]
Model = tuple[str, str, str]
"""Name, version, and what else matters for scores: decisions that differ in thresholds share a scorer."""
IDLE_S = 60.0
RETRY_S = 10.0


class Scorers:
    """The scorers of one worker; `open_scorer` may raise ConfigurationError, and is then called again."""

    def __init__(self, open_scorer: OpenScorer, idle_s: float = IDLE_S) -> None:
        self._open_scorer, self._idle_s = open_scorer, idle_s
        self._open: dict[Model, Scorer] = {}
        self._models: dict[str, Model] = {}
        self._opening: dict[Model, asyncio.Task[None]] = {}
        self._used_s: dict[Model, float] = {}
        self._error: BaseException | None = None
        self.identity = "none"
        """Of the scores that were given last."""

    @property
    def concurrency(self) -> int:
        """Batches that are worth having in flight."""
        return max((scorer.concurrency for scorer in self._open.values()), default=1)

    async def open(self, decision: Decision) -> None:
        """Open a decision's scorer now.

        Raises:
            ConfigurationError: the model cannot be used.

        """
        model = self._model(decision)
        if model not in self._open:
            self._open[model] = await self._open_scorer(decision.spec)
            self.identity = self._open[model].identity
        self._used_s[model] = monotonic()

    def ready(self, decision: Decision) -> bool:
        """Say whether a decision's scorer is open; if not, it will be.

        Raises:
            Exception: whatever but a ConfigurationError ended the opening of one.

        """
        if self._error is not None:
            raise self._error
        model = self._model(decision)
        self._used_s[model] = monotonic()
        if model in self._open:
            return True
        if model not in self._opening:
            task = asyncio.create_task(self._open_at_last(decision))
            self._opening[model] = task
            task.add_done_callback(lambda task: self._opened(model, task))
        return False

    def scorer(self, decision: Decision) -> Scorer:
        """Return a decision's scorer, which is open."""
        return self._open[self._model(decision)]

    async def close_idle(self, needed: Iterable[Decision]) -> None:
        """Close what is not needed, and nobody has asked for lately; try no more to open it."""
        keep = {self._model(decision) for decision in needed}
        idle = [m for m, at_s in self._used_s.items() if m not in keep and monotonic() > at_s + self._idle_s]
        for model in idle:
            del self._used_s[model]
            if model in self._opening:
                self._opening[model].cancel()
            scorer = self._open.pop(model, None)
            if scorer is not None:
                logger.info("model %s/%s: no longer needed", *model[:2])
                await scorer.close()

    def states(self) -> dict[str, bool]:
        """Return the models that windows may need, `name/version`, and whether each is open."""
        states: dict[str, bool] = {}
        for model in self._used_s:
            reference = f"{model[0]}/{model[1]}"
            states[reference] = states.get(reference, True) and model in self._open
        return states

    async def close(self) -> None:
        """Let go of all of them."""
        for task in list(self._opening.values()):
            task.cancel()
        await asyncio.gather(*self._opening.values(), return_exceptions=True)
        for scorer in self._open.values():
            await scorer.close()
        self._open.clear()

    def _opened(self, model: Model, task: "asyncio.Task[None]") -> None:
        self._opening.pop(model, None)
        if not task.cancelled():
            self._error = self._error or task.exception()

    def _model(self, decision: Decision) -> Model:
        model = self._models.get(decision.digest)  # asked for every batch: not to be written out each time
        if model is None:
            spec = decision.spec
            how = spec.model_dump_json(exclude={"thresholds", "m", "n", "m_of_n", "hop_samples", "licence"})
            model = self._models[decision.digest] = spec.name, spec.version, how
        return model

    async def _open_at_last(self, decision: Decision) -> None:
        tries = AsyncRetrying(
            retry=retry_if_exception_type(ConfigurationError),
            wait=wait_random_exponential(multiplier=0.5, max=RETRY_S),
            before_sleep=_complain,
        )
        async for attempt in tries:
            with attempt:
                await self.open(decision)
        logger.info("model %s/%s: ready to score", *self._model(decision)[:2])


def _complain(state: RetryCallState) -> None:
    error = state.outcome.exception() if state.outcome else None
    logger.error("a model is not there, its windows wait, attempt %d: %s", state.attempt_number, error)
