"""Decided stretches -> coverage: joins neighbouring stretches that met with the same outcome."""

from dataclasses import dataclass

from processors.pcm import Tally, level
from processors.place import Place
from processors.window import Stretch
from schemas.coverage import Coverage, Level, Outcome


@dataclass(slots=True, eq=False)
class Covered:
    """Stretches of one outcome, joined; `first_window` is the lowest that is needed to say this again."""

    place: Place
    outcome: Outcome
    first_window: int
    first: Stretch
    last: Stretch
    missing: int
    tally: Tally

    @classmethod
    def begin(cls, place: Place, outcome: Outcome, window: int, stretch: Stretch) -> "Covered":
        """Begin with one stretch."""
        return cls(place, outcome, window, stretch, stretch, stretch.missing, stretch.tally)

    def extend(self, stretch: Stretch) -> None:
        """Join the stretch that follows."""
        self.last = stretch
        self.missing += stretch.missing
        self.tally += stretch.tally

    @property
    def level(self) -> Level | None:
        """How all of it sounded."""
        return level(self.tally)

    def record(self, decision_digest: str) -> Coverage:
        """Return what is to be published."""
        return Coverage(
            sensor=self.place.sensor,
            epoch=self.place.epoch,
            start_sample=self.first.start_sample,
            end_sample=self.last.end_sample,
            sample_rate_hz=self.place.rate_hz,
            start_us=self.first.start_us,
            end_us=self.last.end_us,
            topic=self.place.topic,
            partition=self.place.partition,
            first_offset=self.first.first_offset,
            last_offset=self.last.last_offset,
            outcome=self.outcome,
            missing_samples=self.missing,
            decision_digest=decision_digest,
            level=self.level,
        )
