"""Output topics -> what is still to be said of a round, looked at again and again while workers say it."""

from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping
from uuid import UUID

from confluent_kafka import Consumer, Message, TopicPartition

from infra.local.kafka import QUIET_CLIENT
from schemas.codec import Codec
from schemas.coverage import Coverage
from schemas.deadletter import DeadLetter
from schemas.detection import Detection, DetectionState
from schemas.sensor import Presence, SensorState
from schemas.topics import Topics
from tests.chaos.evidence import Offsets
from tests.chaos.fleet import Stored
from tests.chaos.judge.spans import union

AT_ONCE, POLL_S = 2000, 0.1
Of = tuple[str, str]
"""A sensor and its epoch, in hex."""
Stretches = list[tuple[int, int]]


class Watch:
    """Reads what was said since some offsets."""

    def __init__(self, servers: str, topics: Topics, since: Mapping[str, Offsets]) -> None:
        self._topics, self._codec = topics, Codec()
        self._said: dict[Of, Stretches] = defaultdict(list)
        self._presence: dict[str, Presence] = {}
        self._states: dict[DetectionState, set[str]] = {state: set() for state in DetectionState}
        self._letters: set[tuple[int, int]] = set()
        options = {"group.id": "watch", "enable.auto.commit": False, "auto.offset.reset": "error"}
        self._consumer = Consumer({"bootstrap.servers": servers, **QUIET_CLIENT, **options})
        begin = [TopicPartition(topic, n, offset) for topic, at in since.items() for n, offset in at.items()]
        self._consumer.assign(begin)

    def __enter__(self) -> "Watch":
        return self

    def __exit__(self, *_: object) -> None:
        self._consumer.close()

    @property
    def detections(self) -> int:
        """How many detections were said so far."""
        return len(self._states[DetectionState.ACTIVE])

    def look(self) -> None:
        """Read what has come since the last time."""
        while messages := self._consumer.consume(AT_ONCE, POLL_S):
            for message in messages:
                if message.error() is None:
                    self._take(message)

    def missing(self, stored: Iterable[Stored], broken: Collection[tuple[int, int]]) -> list[str]:
        """Return what is still to be said: of stored frames, of the ends of things, of broken records."""
        wanted = _stretches(stored)
        found = [
            f"coverage of {sensor}, epoch {epoch}: {left}"
            for (sensor, epoch), stretches in wanted.items()
            if (left := _without(stretches, union(self._said[(sensor, epoch)])))
        ]
        names = sorted({sensor for sensor, _ in wanted})
        found += [f"{name} is not SILENT" for name in names if self._presence.get(name) != Presence.SILENT]
        open_ids = self._states[DetectionState.ACTIVE] - self._states[DetectionState.ENDED]
        found += [f"no ENDED of {id_}" for id_ in sorted(open_ids)]
        return found + [f"no dead letter of {at[0]}@{at[1]}" for at in sorted(set(broken) - self._letters)]

    def _take(self, message: Message) -> None:
        topic = message.topic()
        if topic == self._topics.dead_letters:
            self._letters.add(_place(message))
        elif topic == self._topics.coverage:
            self._cover(self._codec.decode(Coverage, _value(message)))
        elif topic == self._topics.sensors:
            state = self._codec.decode(SensorState, _value(message))
            self._presence[state.sensor] = state.state
        elif topic == self._topics.detections:
            detection = self._codec.decode(Detection, _value(message))
            self._states[detection.state].add(detection.id)

    def _cover(self, said: Coverage) -> None:
        if said.sensor is None or said.epoch is None or said.start_sample is None or said.end_sample is None:
            return
        self._said[(said.sensor, UUID(said.epoch).hex)].append((said.start_sample, said.end_sample))


def _place(message: Message) -> tuple[int, int]:
    headers = [(header[0], header[1]) for header in message.headers() or []]
    letter = DeadLetter.from_wire(None, None, headers)  # type: ignore[arg-type]  # its headers are bytes
    return letter.partition, letter.offset


def _value(message: Message) -> bytes:
    value = message.value()
    assert isinstance(value, bytes)
    return value


def _stretches(stored: Iterable[Stored]) -> dict[Of, Stretches]:
    found: dict[Of, Stretches] = defaultdict(list)
    for frame in stored:
        found[(frame.sensor, frame.epoch)].append((frame.first_sample, frame.first_sample + frame.samples))
    return {of: union(stretches) for of, stretches in found.items()}


def _without(wanted: Stretches, said: Stretches) -> Stretches:
    """Return those stretches that no one stretch of what was said holds."""
    return [(start, end) for start, end in wanted if not any(s <= start and end <= e for s, e in said)]
