"""The log -> which frames of the spool stand in it already, so that none is sent twice.

    killed producer ───► requests on their way ───► log      position ≤ whatever it may have sent
                                                    |···········|········|
    its successor          first reading, up to the end         └─ a moment later, what has come since

A producer that was killed may have sent frames that nobody told it were stored, and a delivery that failed
may have been carried out. Before anything is sent again, the log is read with a plain consumer, from a
position that was written into the spool before those frames were, up to its end.

A request may still be on its way when the log is read. It has left the machine when no connection to a
broker's port is in a state in which the system still delivers for a process that has ended (`still_leaving`).
It is then in the memory of a broker, which serves each connection in turn, and the connections side by side;
`SETTLE_S` is left for that. The log counts as read when a second reading, begun after that, finds nothing
more. A broker that answers the second reading and has kept an older request unserved for longer could still
store a frame behind our back: it stands twice then, under one key, and what is heard in it has one id.
"""

import logging
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from threading import Event
from time import monotonic
from typing import Any, TypeVar

from confluent_kafka import OFFSET_END, Consumer, KafkaError, KafkaException, Message, TopicPartition

from producers.client import ClientErrors
from producers.errors import LogAwayError
from producers.keeper import Keeper
from producers.spool import FrameKey
from schemas.client_words import secrets_of
from schemas.codec import Codec
from schemas.errors import DeadLetterError, SchemaUnresolvedError
from schemas.frame import AudioFrame
from schemas.topics import partition_of

_LOG = logging.getLogger(__name__)

SETTLE_S, LEAVING_POLL_S = 1.0, 0.2
ANSWER_S, READ_S = 15.0, 30.0
CALL_S = 3.0
"""How long one call may take, within which nobody can be stopped."""
AT_ONCE = 500
_LEAVING = {0x04, 0x09, 0x0B}
"""FIN_WAIT1, LAST_ACK, CLOSING: the system still delivers what a process wrote before it ended."""

_HARMLESS = {KafkaError._PARTITION_EOF, KafkaError.GROUP_AUTHORIZATION_FAILED}  # noqa: SLF001 - its public name
"""No group is joined, so no right to one is needed."""

_LATER = {KafkaError._TIMED_OUT, KafkaError._TRANSPORT, KafkaError._ALL_BROKERS_DOWN}  # noqa: SLF001
"""The connection may still be on its way: a handshake goes to and fro six times and more."""

Offsets = dict[int, int]
T = TypeVar("T")


class LogReader:
    """Reads topics as they are, without a group's memory."""

    def __init__(self, client: Mapping[str, object], codec: Codec, stop: Event | None = None) -> None:
        """Read with these options of a client, until `stop` is set."""
        self._client, self._codec, self._stop = dict(client), codec, stop or Event()

    def cluster(self, topic: str, timeout_s: float = ANSWER_S) -> tuple[str, int]:
        """Return the cluster's id, and how many partitions a topic has.

        Raises:
            LogAwayError: nobody answers, or there is no such topic.

        """
        with self._consumer() as consumer:
            return self._cluster(consumer, topic, timeout_s)

    def ends(
        self, topic: str, partitions: Iterable[int] | None = None, timeout_s: float = ANSWER_S
    ) -> tuple[str, Offsets]:
        """Return the cluster's id, and where the log of some or all partitions ends.

        Raises:
            LogAwayError: nobody answers in time.

        """
        deadline_s = monotonic() + timeout_s
        with self._consumer() as consumer:
            cluster, count = self._cluster(consumer, topic, timeout_s)
            numbers = range(count) if partitions is None else partitions
            asked = [TopicPartition(topic, number, OFFSET_END) for number in numbers]
            told = self._patiently(lambda s: consumer.offsets_for_times(asked, s), deadline_s - monotonic())
            for partition in told:
                if partition.error is not None:
                    raise KafkaException(partition.error)
            return cluster, {partition.partition: partition.offset for partition in told}

    def keys(self, topic: str, begin: Offsets, ends: Offsets, of: set[str]) -> Iterator[list[FrameKey]]:
        """Give the keys of some sensors' frames between two positions, as they are read.

        Raises:
            LogAwayError: the log is not given out in time.

        """
        sensors = {sensor.encode(): sensor for sensor in of}
        open_ = {number for number, end in ends.items() if begin[number] < end}
        if not open_:
            return
        with self._consumer() as consumer:
            consumer.assign([TopicPartition(topic, number, begin[number]) for number in open_])
            for messages in self._consumed(consumer, topic, open_):
                yield [key for message in messages if (key := self._key(message, sensors)) is not None]
                for message in messages:
                    number, offset = message.partition(), message.offset()
                    if number is not None and offset is not None and offset + 1 >= ends[number]:
                        open_.discard(number)

    def ports(self) -> set[int]:
        """Return the ports that brokers listen on.

        Raises:
            LogAwayError: nobody answers.

        """
        with self._consumer() as consumer:
            metadata = self._patiently(lambda s: consumer.list_topics(timeout=s), ANSWER_S)
            return {broker.port for broker in metadata.brokers.values()}

    def _cluster(self, consumer: Consumer, topic: str, timeout_s: float) -> tuple[str, int]:
        metadata = self._patiently(lambda s: consumer.list_topics(topic, s), timeout_s)
        found = metadata.topics[topic]
        if found.error is not None:
            raise KafkaException(found.error)
        return metadata.cluster_id or "", len(found.partitions)

    def _patiently(self, call: Callable[[float], T], timeout_s: float) -> T:
        """Call again and again, with one connection, until there is an answer, or no more time."""
        deadline_s = monotonic() + timeout_s
        while True:
            try:
                return call(min(CALL_S, max(0.05, deadline_s - monotonic())))
            except KafkaException as exc:
                error = exc.args[0]
                over = self._stop.wait(0.02) or monotonic() >= deadline_s
                if over or not isinstance(error, KafkaError) or error.code() not in _LATER:
                    raise

    def _consumed(self, consumer: Consumer, topic: str, still_open: set[int]) -> Iterator[list[Message]]:
        quiet_since_s = monotonic()
        while still_open:
            messages = consumer.consume(AT_ONCE, 0.2)
            for message in messages:
                error = message.error()
                if error is not None and error.code() not in _HARMLESS:
                    raise KafkaException(error)
            if messages:
                quiet_since_s = monotonic()
                yield messages
            elif monotonic() - quiet_since_s > READ_S:
                raise LogAwayError(f"{topic}: nothing was read for {READ_S:g} s")

    def _key(self, message: Message, sensors: Mapping[bytes, str]) -> FrameKey | None:
        key, value = message.key(), message.value()
        if message.error() is not None or not isinstance(key, bytes) or key not in sensors:
            return None
        try:
            frame = self._codec.decode_asking(AudioFrame, value if isinstance(value, bytes) else None)
        except DeadLetterError:
            return None
        except SchemaUnresolvedError as exc:
            raise LogAwayError(str(exc)) from exc
        return sensors[key], frame.epoch, frame.first_sample

    @contextmanager
    def _consumer(self) -> Iterator[Consumer]:
        errors = ClientErrors(secrets_of(self._client), aloud=False)
        options: dict[str, Any] = {
            "client.id": "earwitness-spool",
            "group.id": "earwitness-spool",
            "log_level": 2,
            **self._client,
            "enable.auto.commit": False,
            # A position that retention has passed, or that a topic made anew has not reached.
            "auto.offset.reset": "earliest",
            "enable.partition.eof": True,
            "error_cb": errors.note,
        }
        consumer = Consumer(options, logger=_LOG)
        try:
            yield consumer
        except KafkaException as exc:
            consumer.poll(0)
            error = exc.args[0]
            reason = errors.reason(error) if isinstance(error, KafkaError) else errors.redacted(str(exc))
            raise LogAwayError(reason) from exc
        finally:
            consumer.close()


def read_back(log: LogReader, keeper: Keeper, topic: str, stop: Event) -> int:
    """Let go of what the spool holds and a topic has; return how many frames that were.

    Raises:
        LogAwayError: the log could not be read; nothing may be sent.
        SpoolError: the spool could not be read.

    """
    sensors = keeper.sensors()
    cluster, count = log.cluster(topic) if sensors else ("", 0)
    begin = keeper.positions(cluster, topic)
    if not sensors or not begin:
        return 0  # nothing of this spool was ever sent to this topic of this cluster
    wanted = _partitions(sensors, len(begin), count)
    position = _still_there(
        log, keeper, (cluster, topic), {number: begin.get(number, 0) for number in wanted}
    )
    found, settled = 0, False
    while not stop.is_set():
        _, ends = log.ends(topic, wanted)
        new = 0
        for keys in log.keys(topic, position, ends, sensors):
            new += keeper.forget(keys)
            if stop.is_set():
                raise LogAwayError("stopped before the log was read")
        found, position = found + new, {number: max(position[number], end) for number, end in ends.items()}
        if settled and not new:
            return found
        _settle(log, stop)
        settled = True
    raise LogAwayError("stopped before the log was read")


def _still_there(log: LogReader, keeper: Keeper, where: tuple[str, str], begin: Offsets) -> Offsets:
    """Return the positions; one past the end is of a topic that was made anew since, and begins at 0."""
    _, ends = log.ends(where[1], begin)
    if anew := {number: 0 for number, end in ends.items() if begin[number] > end}:
        _LOG.warning("%s: the topic was made anew, and is read from its beginning", where[1])
        keeper.begin_at(*where, anew)
    return begin | anew


def still_leaving(ports: set[int]) -> bool:
    """Return whether this machine still delivers to one of these ports for a process that has ended."""
    for table in ("/proc/net/tcp", "/proc/net/tcp6"):
        try:
            lines = Path(table).read_text("ascii").splitlines()[1:]
        except OSError:
            continue
        for _, _, remote, state, *_ in map(str.split, lines):
            if int(state, 16) in _LEAVING and int(remote.rpartition(":")[2], 16) in ports:
                return True
    return False


def _settle(log: LogReader, stop: Event) -> None:
    ports = log.ports()
    while still_leaving(ports) and not stop.wait(LEAVING_POLL_S):
        pass
    stop.wait(SETTLE_S)


def _partitions(sensors: Iterable[str], least: int, most: int) -> set[int]:
    """Return where frames may be, of a topic that had as few partitions once and has as many now."""
    keys = [sensor.encode() for sensor in sensors]
    return {partition_of(key, count) for key in keys for count in range(min(least, most), most + 1)}
