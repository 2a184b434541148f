"""What waits in the spool -> audio.frames.backfill: in order, at a set rate, each frame once.

    broker takes frames? ──► doubts? ──► read back ──► backlog ──paced──► publisher of its own ──► settled
            │ no: ask now and then

Live sound has a client of its own and never waits for the past. Nothing is sent while it is in doubt whether
the log has it: the log is read first. A frame is removed when it is acknowledged; one that fails raises a
doubt, and is tried again, more and more seldom. What the broker calls too large or invalid is tried once more
by itself, since it may be the company that it travelled in; refused again, it is set aside.
"""

import logging
import time
from collections.abc import Callable
from dataclasses import dataclass
from threading import Event, Lock

from confluent_kafka import KafkaError

from producers.errors import BufferFullError, LogAwayError, SpoolBrokenError, SpoolError
from producers.keeper import Keeper
from producers.readback import LogReader, read_back
from producers.spool import FrameKey, Spooled
from producers.spool_publisher import BackfillPublisher, Fates
from schemas.errors import ConfigurationError
from schemas.frame import AudioFrame

_LOG = logging.getLogger(__name__)

AT_ONCE, IN_FLIGHT = 50, 500
IDLE_S, TRY_AGAIN_S, TRY_AGAIN_MAX_S = 0.1, 1.0, 60.0
BEHIND_S = 0.5
"""A drain that is further behind its rate begins to count anew: it does not catch up in a burst."""

FOR_GOOD = {KafkaError.MSG_SIZE_TOO_LARGE, KafkaError.INVALID_RECORD}
"""What no further try changes."""

OpenPublisher = Callable[[Fates], BackfillPublisher]
"""Opens a publisher that calls back with each frame's fate."""


@dataclass(frozen=True, slots=True)
class DrainSettings:
    """Where the past goes and how fast, and which topic else may have it."""

    frames_topic: str
    backfill_topic: str
    rate: float


class Drainer:
    """Sends what waits, from one thread."""

    def __init__(
        self, keeper: Keeper, log: LogReader, open_publisher: OpenPublisher, settings: DrainSettings
    ) -> None:
        self._keeper, self._log, self._settings = keeper, log, settings
        self._publisher = open_publisher(Fates(self._delivered, self._failed))
        self._in_flight: dict[FrameKey, int] = {}
        self._alone_up_to, self._not_before_s, self._try_again_s = 0, 0.0, TRY_AGAIN_S
        self._lock = Lock()
        self._cursor, self._due_s = 0, 0.0
        self._cluster: str | None = None
        self._said: str | None = None
        self.drained, self.found = 0, 0

    def step(self, stop: Event) -> None:
        """Send some of what waits, or wait for a moment."""
        try:
            busy = self._send_some(stop)
        except SpoolBrokenError as exc:
            self._keeper.set_aside(exc)
        except (LogAwayError, SpoolError, BufferFullError) as exc:
            self._say(str(exc))
            stop.wait(TRY_AGAIN_S)
        else:
            if not busy:
                self._publisher.poll(IDLE_S)

    def close(self, timeout_s: float) -> None:
        """Wait a moment for what is on its way; the rest waits in the spool."""
        self._publisher.close(timeout_s)

    def _send_some(self, stop: Event) -> bool:
        if time.monotonic() < self._not_before_s:
            return False
        if doubts := self._keeper.doubts:
            if self._in_flight:
                return False
            self._make_certain(doubts, stop)
        self._cursor = self._keeper.go_back(self._cursor)
        rows = self._keeper.backlog(self._cursor, AT_ONCE)
        if not rows or not self._ready():
            return False
        for row in rows:
            if self._is_full(row):  # for as long as a broker is away: nobody waits for that here
                return False
            if not self._paced(row, stop) or self._keeper.doubts or time.monotonic() < self._not_before_s:
                break
            self._hand_over(row, stop)
            self._cursor = row.number
        return True

    def _make_certain(self, doubts: int, stop: Event) -> None:
        topics = self._settings.frames_topic, self._settings.backfill_topic
        found = sum(read_back(self._log, self._keeper, topic, stop) for topic in topics)
        if not self._keeper.note_down():
            raise SpoolError("what was found in the log cannot be removed from the spool yet")
        self._keeper.dispel(doubts)
        self._cursor, self.found, self._said = 0, self.found + found, None
        _LOG.info("the log was read: it had %d frames of those in the spool", found)

    def _ready(self) -> bool:
        """Make sure that the spool knows from where on the backfill is to be read back."""
        if self._cluster is not None:
            return True
        topic = self._settings.backfill_topic
        cluster, ends = self._log.ends(topic)
        if not self._keeper.positions(cluster, topic):
            self._keeper.begin_at(cluster, topic, ends)
            if not self._keeper.note_down():
                return False
        self._cluster = cluster
        return True

    def _paced(self, row: Spooled, stop: Event) -> bool:
        sound_s = row.frame.samples / row.frame.sample_rate_hz
        self._due_s = max(self._due_s, time.monotonic() - BEHIND_S) + sound_s / self._settings.rate
        while (early_s := self._due_s - time.monotonic()) > 0:
            self._publisher.poll(min(early_s, IDLE_S))
            if stop.is_set():
                return False
        return not stop.is_set()

    def _hand_over(self, row: Spooled, stop: Event) -> None:
        with self._lock:
            self._in_flight[row.key] = row.number
        self._keeper.fly(row.number)
        try:
            self._publisher.publish_waiting(row.sensor, row.frame, stop)
        except ConfigurationError as exc:
            self._landed(row.key)
            self._refuse(row, str(exc))
        except BaseException:
            self._landed(row.key)
            self._keeper.release(row.number, doubt=False)
            raise

    def _delivered(self, sensor: str, frame: AudioFrame, offset: int | None, append_ms: int | None) -> None:
        number = self._landed((sensor, frame.epoch, frame.first_sample))
        if number is None:
            return
        if offset is None:
            self._keeper.release(number)
            return
        self._try_again_s = TRY_AGAIN_S
        partition = self._publisher.partition_of(sensor)
        place = (
            (self._cluster or "", self._settings.backfill_topic, partition) if partition is not None else None
        )
        self.drained += 1
        self._keeper.settle(number, place, offset + 1)

    def _failed(self, sensor: str, frame: AudioFrame, error: KafkaError) -> None:
        number = self._landed((sensor, frame.epoch, frame.first_sample))
        if number is None:
            return
        if error.code() not in FOR_GOOD:
            self._keeper.release(number)
            self._back_off()
        elif number <= self._alone_up_to:
            self._refuse(Spooled(number, sensor, frame), error.str())
        else:
            self._alone_up_to = number
            self._keeper.release(number)

    def _refuse(self, row: Spooled, why: str) -> None:
        try:
            self._keeper.refuse(row, why)
        except (SpoolError, ConfigurationError) as exc:
            self._keeper.release(row.number, doubt=False)
            self._back_off()
            self._say(str(exc))
        else:
            text = "a frame of %s in the spool can never be sent, and is set aside in it: %s; LOST"
            _LOG.error(text, row.sensor, why)

    def _back_off(self) -> None:
        """Wait, longer each time; what fails at once fails together."""
        if (now_s := time.monotonic()) >= self._not_before_s:
            self._not_before_s = now_s + self._try_again_s
            self._try_again_s = min(2 * self._try_again_s, TRY_AGAIN_MAX_S)

    def _is_full(self, row: Spooled) -> bool:
        """Whether a frame has to wait for others; one that may be refused, and its successor, for all."""
        with self._lock:
            alone = min([row.number, *self._in_flight.values()]) <= self._alone_up_to
            return len(self._in_flight) >= (1 if alone else IN_FLIGHT)

    def _landed(self, key: FrameKey) -> int | None:
        with self._lock:
            return self._in_flight.pop(key, None)

    def _say(self, why: str) -> None:
        if why != self._said:
            self._said = why
            _LOG.warning("what waits in the spool goes on waiting: %s", why)
