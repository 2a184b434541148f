"""Frames -> audio.frames as long as the broker takes them, else the spool, and from there to the backfill.

              ┌─ up ──► client ──► audio.frames            every frame is kept until it is acknowledged
    publish ──┤
              └─ down ► spool ───► audio.frames.backfill   once the broker is back, while live goes on

The broker is down when a frame was not acknowledged for `after_s`, when the client has no room, or a delivery
fails; it is up again when it has acknowledged all that the client still held, or, where that is nothing,
answers. Either way the epoch ends: one that begins in the spool is never sent among live frames.
What the client holds stays with it until its fate is reported; nobody else sends it.
"""

import logging
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from threading import Event, Lock, Thread

from producers.asker import Asker, AskSettings
from producers.client import PublisherSettings
from producers.drain import Drainer, DrainSettings
from producers.errors import BufferFullError, SpoolFullError
from producers.keeper import Keeper, Kept
from producers.publisher import Counts
from producers.readback import LogReader
from producers.spool import FrameKey, SpoolSettings
from producers.spool_publisher import BackfillPublisher, Fates, SpooledPublisher
from schemas.codec import Codec
from schemas.errors import ConfigurationError, DeliveryError
from schemas.frame import AudioFrame
from schemas.topics import Topics

_LOG = logging.getLogger(__name__)

TURN_S, ROOM_POLL_S = 0.02, 0.02
ASK_AGAIN_S, ASK_AGAIN_MAX_S = 1.0, 60.0
CROWD = 2000
"""Frames that a recording played as fast as it goes puts on their way at once."""


@dataclass(slots=True)
class _Route:
    epoch: bytes
    live: bool


@dataclass(frozen=True, slots=True)
class _Flight:
    number: int
    since_s: float


@dataclass(frozen=True, slots=True)
class SpoolState:
    """How the spool is doing. `drained`: sent to the backfill. `found`: in the log when it was read back."""

    kept: Kept
    drained: int
    found: int
    live: bool

    def as_words(self) -> list[str]:
        """Say what matters of it, what is lost first."""
        kept, said = self.kept, []
        if kept.given_up:
            said.append(f"{kept.given_up} GIVEN UP by the spool")
        if kept.refused:
            said.append(f"{kept.refused} REFUSED, set aside in the spool")
        if kept.set_aside:
            said.append("SPOOL BROKEN, set aside")
        if not kept.writable:
            said.append("SPOOL NOT WRITABLE")
        if kept.waiting:
            said.append(f"{kept.waiting} spooled")
        if self.drained:
            said.append(f"{self.drained} to the backfill")
        if not self.live:
            said.append("BROKER AWAY")
        return said


class SpoolingSink:
    """A sink for the frames of any number of sensors that loses none while the broker is away."""

    def __init__(
        self,
        client: Mapping[str, object],
        topics: Topics,
        codec: Codec,
        publisher: PublisherSettings,
        settings: SpoolSettings,
    ) -> None:
        """Open the spool, and wait `after_s` at most for the broker.

        Raises:
            ConfigurationError: the directory is another's; an option of the client is wrong.

        """
        self._settings, self._topic = settings, topics.frames
        self._over, self._asked = Event(), Event()
        self._keeper, log = Keeper(settings, topics.frames), LogReader(client, codec, self._over)

        def to_backfill(fates: Fates) -> BackfillPublisher:
            return BackfillPublisher(client, topics.backfill, codec, publisher, fates)

        self._live = SpooledPublisher(client, topics.frames, codec, publisher, self._delivered)
        drain = DrainSettings(topics.frames, topics.backfill, settings.drain_rate)
        self._drainer = Drainer(self._keeper, log, to_backfill, drain)
        self._asker = Asker(self._keeper, log, codec, AskSettings(topics.frames, settings.after_s))
        self._lock = Lock()
        self._flying: dict[FrameKey, _Flight] = {}
        self._routes: dict[str, _Route] = {}
        self._up, self._answered = False, False
        self._ask_at_s, self._ask_again_s = 0.0, ASK_AGAIN_S
        self._failure: BaseException | None = None
        self._begin()

    @property
    def counts(self) -> Counts:
        """Frames by fate, so far; those of the backfill are among the acknowledged."""
        with self._lock:
            buffered = len(self._flying)
        return Counts(self._live.counts.acknowledged + self._drainer.drained, 0, buffered, 0)

    @property
    def spool(self) -> SpoolState:
        """How the spool is doing."""
        return SpoolState(self._keeper.kept, self._drainer.drained, self._drainer.found, self._up)

    def publish(self, sensor: str, frame: AudioFrame) -> bool:
        """Keep a frame, and send it if the broker takes any; return whether its epoch goes on.

        Raises:
            ConfigurationError: the sensor's id cannot be a key, or the frame is too large for the client.
            DeliveryError: the client has failed for good; what waits is in the spool.
            SpoolFullError: the broker takes nothing, and the disk neither.

        """
        if self._failure is not None:
            raise DeliveryError(f"the spool has failed: {self._failure}") from self._failure
        route = self._routes.get(sensor)
        if route is None or route.epoch != frame.epoch:
            route = self._routes[sensor] = _Route(frame.epoch, self._up)
        began_live, route.live = route.live, False
        if began_live and self._up:
            route.live = self._send(sensor, frame)
        else:
            self._keeper.take(sensor, frame, flying=False)
        return route.live == began_live == self._up

    def publish_waiting(self, sensor: str, frame: AudioFrame, stop: Event | None = None) -> bool:
        """Do the same as soon as there is room.

        Raises:
            BufferFullError: `stop` was set before.

        """
        while self._keeper.crowded or len(self._flying) >= CROWD:
            if stop is not None and stop.is_set():
                raise SpoolFullError(sensor, "the capture was stopped before there was room")
            time.sleep(ROOM_POLL_S)
        return self.publish(sensor, frame)

    def partition_count(self) -> int | None:
        """Ask how many partitions the topic has, unless the broker is away."""
        return self._live.partition_count() if self._up else None

    def finish(self, stop: Event) -> None:
        """Wait until all that waits is delivered, or `stop` is set."""
        if not self._is_held() or stop.is_set():
            return
        _LOG.info(
            "the capture is over; %d frames follow from the spool; a stop leaves them for the next start",
            self._keeper.kept.waiting,
        )
        while self._is_held() and self._failure is None and not stop.wait(ROOM_POLL_S):
            pass

    def close(self, timeout_s: float) -> int:
        """Deliver what is on its way, leave the rest in the spool; return how many frames are in neither."""
        self._over.set()
        for thread in self._threads:
            thread.join()
        self._live.close(timeout_s if self._up else 0.0)
        self._drainer.close(timeout_s if self._up else 0.0)
        return self._keeper.close()

    def _begin(self) -> None:
        self._threads = [self._thread("spool-drainer", self._drain)]
        self._asked.wait(self._settings.after_s)
        self._up, self._answered = self._answered, False
        _LOG.info(
            "the spool is %s; %d frames wait in it", self._settings.directory, self._keeper.kept.waiting
        )
        self._threads.append(self._thread("spool-keeper", self._keep))

    def _thread(self, name: str, turn: Callable[[], None]) -> Thread:
        thread = Thread(target=self._guarded, args=(turn,), name=name, daemon=True)
        thread.start()
        return thread

    def _guarded(self, turn: Callable[[], None]) -> None:
        try:
            while not self._over.is_set():
                turn()
        except Exception as exc:  # noqa: BLE001 - a thread's only edge: whoever publishes is told
            _LOG.exception("the spool has failed")
            self._failure = exc

    # -- the keeper's thread ---------------------------------------------------------------------------------

    def _keep(self) -> None:
        self._live.poll(TURN_S)
        self._watch()
        self._keeper.commit()

    def _watch(self) -> None:
        with self._lock:
            oldest = next(iter(self._flying.values()), None)
        if self._up:
            if oldest is not None and time.monotonic() - oldest.since_s > self._settings.after_s:
                self._go_down(f"nothing was acknowledged for {self._settings.after_s:g} s")
        elif oldest is None and self._answered:
            self._up = True
            waiting = self._keeper.kept.waiting
            _LOG.warning("%s: the broker takes frames again; %d follow to the backfill", self._topic, waiting)

    def _go_down(self, why: str) -> None:
        with self._lock:
            was_up, self._up, self._answered = self._up, False, False
            if was_up:  # and not for each frame of one outage
                self._ask_at_s = time.monotonic() + self._ask_again_s
                self._ask_again_s = min(2 * self._ask_again_s, ASK_AGAIN_MAX_S)
        if was_up:
            _LOG.error("%s: %s: a new epoch, which waits in the spool", self._topic, why)

    # -- the drainer's thread --------------------------------------------------------------------------------

    def _drain(self) -> None:
        if self._up:
            self._drainer.step(self._over)
            return
        with self._lock:
            asks = not self._flying and not self._answered and time.monotonic() >= self._ask_at_s
        if asks:
            self._ask()
        self._over.wait(TURN_S)

    def _ask(self) -> None:
        """Ask the leaders of our partitions for the ends of their logs; note them before anything is sent."""
        if self._asker.ask(self._live.partitions or None):
            self._answered = True
        self._ask_at_s = time.monotonic() + ASK_AGAIN_S
        self._asked.set()

    # -- whoever publishes, and whoever serves reports -------------------------------------------------------

    def _send(self, sensor: str, frame: AudioFrame) -> bool:
        number, key = self._keeper.take(sensor, frame, flying=True), _key(sensor, frame)
        with self._lock:
            self._flying[key] = _Flight(number, time.monotonic())
        try:
            self._live.publish(sensor, frame)
        except BufferFullError as exc:
            self._landed(key)
            self._keeper.release(number, doubt=False)
            self._go_down(exc.why)
            return False
        except ConfigurationError:
            self._landed(key)
            self._keeper.settle(number)
            raise
        return True

    def _delivered(self, sensor: str, frame: AudioFrame, offset: int | None, append_ms: int | None) -> None:
        flight = self._landed(_key(sensor, frame))
        if flight is None:
            return
        if offset is None:
            self._keeper.release(flight.number)
            if not self._over.is_set():
                self._go_down("a frame was not delivered")
            return
        partition = self._live.partition_of(sensor)
        place = (self._asker.cluster or "", self._topic, partition) if partition is not None else None
        self._keeper.settle(flight.number, place, offset + 1)
        self._answered, self._ask_again_s = True, ASK_AGAIN_S

    def _landed(self, key: FrameKey) -> _Flight | None:
        with self._lock:
            return self._flying.pop(key, None)

    def _is_held(self) -> bool:
        with self._lock:
            flying = bool(self._flying)
        return flying or self._keeper.kept.waiting > 0


def _key(sensor: str, frame: AudioFrame) -> FrameKey:
    return sensor, frame.epoch, frame.first_sample
