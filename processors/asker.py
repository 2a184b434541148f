"""Schema id -> known to the codec, or why not: asks the registry, and waits for it once an outage.

    asked ──► an answer: known, or refused for a while
      └─────► no answer: away. Whoever asks waits for the same first answer, until the same deadline;
              after it an unknown id is refused at once, and one task asks on until there is an answer

So what an outage delays, it delays by `WAIT_S` at most, however many ids are unknown.
"""

import asyncio
import logging
from concurrent.futures import ThreadPoolExecutor
from time import monotonic

from schemas.codec import Codec
from schemas.errors import SchemaUnresolvedError, UnknownSchemaError

logger = logging.getLogger(__name__)

WAIT_S, NO_S, AGAIN_S = 10.0, 60.0, 0.5
MAX_REFUSED = 1000


class Asker:
    """Asks about one id at a time; no partition waits for it longer than `wait_s` in one outage."""

    def __init__(self, codec: Codec, wait_s: float = WAIT_S) -> None:
        self._codec, self._wait_s = codec, wait_s
        self._refused: dict[int, tuple[UnknownSchemaError, float]] = {}
        self._one_by_one = asyncio.Lock()
        self._outage: asyncio.Task[None] | None = None
        self._wanted, self._deadline_s = 0, 0.0
        # Of its own: a question that hangs must not take a thread from those who take partitions over.
        self._thread = ThreadPoolExecutor(1, "registry")

    async def ask(self, schema_id: int) -> UnknownSchemaError | None:
        """Make a schema known; return why it cannot be had, if so."""
        while True:
            async with self._one_by_one:
                refusal = self._refusal(schema_id)
                if refusal is not None or self._codec.knows(schema_id):
                    return refusal
                if not self._away:
                    try:
                        return await self._answer(schema_id)
                    except SchemaUnresolvedError as exc:
                        self._begin_outage(exc)
            if not await self._answers_in_time(schema_id):
                return UnknownSchemaError(
                    f"id {schema_id}", f"the registry gave no answer for {self._wait_s:g} s"
                )

    def close(self) -> None:
        """Ask nothing any more."""
        if self._outage is not None:
            self._outage.cancel()
        self._thread.shutdown(wait=False, cancel_futures=True)

    @property
    def _away(self) -> bool:
        return self._outage is not None and not self._outage.done()

    def _refusal(self, schema_id: int) -> UnknownSchemaError | None:
        refused = self._refused.get(schema_id)
        return None if refused is None or monotonic() >= refused[1] else refused[0]

    async def _answer(self, schema_id: int) -> UnknownSchemaError | None:
        """Ask once, for a bounded time.

        Raises:
            SchemaUnresolvedError: there was no answer.

        """
        self._deadline_s = self._deadline_s if self._away else monotonic() + self._wait_s
        try:
            # A name that does not resolve is no business of the HTTP client's own timeout.
            asked = asyncio.get_running_loop().run_in_executor(self._thread, self._codec.resolve, schema_id)
            await asyncio.wait_for(asked, self._wait_s)
        except UnknownSchemaError as exc:
            if len(self._refused) >= MAX_REFUSED:
                self._refused.clear()
            self._refused[schema_id] = exc, monotonic() + NO_S
            return exc
        except TimeoutError as exc:
            raise SchemaUnresolvedError(schema_id) from exc
        return None

    def _begin_outage(self, error: SchemaUnresolvedError) -> None:
        logger.warning("the schema registry gives no answer: %s", error.__cause__ or error)
        self._wanted = error.schema_id
        self._outage = asyncio.create_task(self._ask_on())

    async def _ask_on(self) -> None:
        since_s = monotonic()
        while True:
            await asyncio.sleep(AGAIN_S)
            try:
                # The last id that was wanted: one that the registry fails on must not stand for all.
                await self._answer(self._wanted)
            except SchemaUnresolvedError:
                continue
            logger.warning("the schema registry answers again, after %.1f s", monotonic() - since_s)
            return

    async def _answers_in_time(self, schema_id: int) -> bool:
        self._wanted = schema_id
        outage = self._outage
        if outage is not None:
            await asyncio.wait([outage], timeout=max(0.0, self._deadline_s - monotonic()))
        return not self._away
