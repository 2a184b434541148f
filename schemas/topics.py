"""The names of the topics of one tenant."""

from dataclasses import dataclass

from schemas.coverage import Coverage
from schemas.deadletter import DeadLetter
from schemas.detection import Detection
from schemas.sensor import SensorState

_FRAMES, _BACKFILL, _SHADOW = "audio.frames", ".backfill", ".shadow"


@dataclass(frozen=True, slots=True)
class Topics:
    """`audio.…`, or `<tenant>.audio.…`: within a tenant sensors trust each other."""

    tenant: str = ""

    @classmethod
    def beside(cls, frames_topic: str) -> "Topics":
        """Return the topics that belong to a frames topic, or to the backfill beside it."""
        return cls(frames_topic.removesuffix(_BACKFILL).removesuffix(_FRAMES).removesuffix("."))

    @property
    def frames(self) -> str:
        """Where sensors write."""
        return self._named(_FRAMES)

    @property
    def backfill(self) -> str:
        """Where frames of the past are written: workers of its own read it, so that live never waits."""
        return self.frames + _BACKFILL

    @property
    def detections(self) -> str:
        """What was heard."""
        return self._named("audio.detections")

    @property
    def coverage(self) -> str:
        """What was listened to, and what was not."""
        return self._named("audio.coverage")

    @property
    def sensors(self) -> str:
        """Who is there."""
        return self._named("audio.sensors")

    @property
    def dead_letters(self) -> str:
        """What could not be read."""
        return self._named("audio.dead-letters")

    @property
    def control(self) -> str:
        """Which model counts from when on; one partition."""
        return self._named("audio.control")

    @property
    def shadows(self) -> tuple[str, ...]:
        """What a model in the shadow of another heard, and listened to."""
        return self.detections + _SHADOW, self.coverage + _SHADOW

    @property
    def outputs(self) -> tuple[str, ...]:
        """All that a worker writes; each has as many partitions as the frames topic."""
        return self.detections, self.coverage, self.sensors, self.dead_letters

    @property
    def every(self) -> tuple[str, ...]:
        """All of them."""
        return self.frames, self.backfill, *self.outputs, *self.shadows, self.control

    def of(self, record: Detection | Coverage | SensorState | DeadLetter) -> str:
        """Return the topic of an output."""
        if isinstance(record, Detection):
            return self.detections
        if isinstance(record, Coverage):
            return self.coverage
        return self.sensors if isinstance(record, SensorState) else self.dead_letters

    def _named(self, name: str) -> str:
        return f"{self.tenant}.{name}" if self.tenant else name


def partition_of(key: bytes, partitions: int) -> int:
    """Return the partition of a record with this key, as Java's client and every sensor chooses it."""
    from aiokafka.partitioner import murmur2  # slow to import, and few need it

    return int(murmur2(key) & 0x7FFF_FFFF) % partitions
