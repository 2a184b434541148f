"""Outputs -> what is told with them and about them: headers, metrics, a line for dead letters."""

import logging
from collections import Counter
from time import monotonic, time

from processors.ledger import SCORER_HEADER, readings
from processors.membership import Connections
from processors.metrics import Metrics
from processors.partition import TRACEPARENT_HEADER, Output
from processors.publish import topic_of
from processors.run import Slot
from processors.scorers import Scorers
from schemas.deadletter import DeadLetter, Header
from schemas.detection import Detection
from schemas.latency import LATENCY_HEADER

logger = logging.getLogger(__name__)

LETTER_LINE_S = 10.0


class Accounts:
    """Keeps the books of what one worker publishes."""

    def __init__(self, metrics: Metrics, scorers: Scorers, connections: Connections) -> None:
        self._metrics, self._scorers, self._connections = metrics, scorers, connections
        self._letters: Counter[tuple[str, int, str]] = Counter()
        self._letters_said_s: dict[tuple[str, int, str], float] = {}

    def decided(self, slot: Slot) -> None:
        """Note when a window was decided, and where its time went; what was never scored is not timed."""
        slot.decided_s = now_s = monotonic()
        if slot.scored_s is not None:
            self._metrics.observe_window(slot, time() - now_s)

    def headers(self, output: Output) -> list[Header]:
        """Return an output's headers: of a detection who scored it, its trace, and where the time went."""
        if not isinstance(output.record, Detection):
            return []
        slot = output.slot
        identity = (slot and slot.scored_by) or self._scorers.identity
        headers: list[Header] = [(SCORER_HEADER, identity.encode())]
        if slot is not None and slot.traceparent is not None:
            headers.append((TRACEPARENT_HEADER, slot.traceparent.encode()))
        if slot is not None:
            output.sent = readings(slot, monotonic(), time())
            headers.append((LATENCY_HEADER, output.sent.to_wire()))
        return headers

    def published(self, output: Output, appended_ms: int) -> None:
        """Count an output that is in its topic since `appended_ms`."""
        record, metrics = output.record, self._metrics
        metrics.published.labels(topic_of(output, shadow=self._connections.shadow)).inc()
        if isinstance(record, DeadLetter):
            metrics.dead_letters.labels(record.exception).inc()
            self._say_dead_letter(record)
        elif isinstance(record, Detection):
            # The embedded broker has no append times: there it is when the report came.
            in_log_ms = appended_ms if self._connections.log_append_time else round(time() * 1000)
            metrics.observe_detection(record, output.sent, in_log_ms)

    def _say_dead_letter(self, letter: DeadLetter) -> None:
        # Two producers for one sensor are fifty dead letters a second: one line tells of many.
        reason = letter.topic, letter.partition, letter.exception
        self._letters[reason] += 1
        if monotonic() < self._letters_said_s.get(reason, 0.0) + LETTER_LINE_S:
            return
        self._letters_said_s[reason] = monotonic()
        where, count = f"{letter.topic}[{letter.partition}]@{letter.offset}", self._letters.pop(reason)
        logger.warning(
            "%s: dead letter, %d since the last line like this: %s: %s",
            where,
            count,
            letter.exception,
            letter.message,
        )
