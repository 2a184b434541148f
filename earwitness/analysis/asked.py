"""What was asked for, passages -> how much of it is missing before and after each of them.

asked       ├───────────────────────────────────┤
passages         ├─────────┤      ├──────────┤
missing     ├────┤before   └──────┤before    ├──┤ after: only the last can tell
"""

from dataclasses import dataclass

from earwitness.analysis.outcome import SEAM_US
from earwitness.analysis.passage import Passage


@dataclass(frozen=True, slots=True)
class Edges:
    """How many samples that were asked for are missing before and after a passage."""

    before: int = 0
    after: int = 0


@dataclass(slots=True)
class AskedSamples:
    """Samples `[begin, end)` of one epoch; passages are told of in their order."""

    begin: int
    end: int

    def edges(self, passage: Passage) -> Edges:
        """Return what is missing next to a passage, where no passage before it has it."""
        before = min(passage.first_sample, self.end) - self.begin
        self.begin = max(self.begin, passage.end_sample)
        after = 0 if passage.followed else self.end - self.begin
        return Edges(max(0, before), max(0, after))


@dataclass(slots=True)
class AskedTime:
    """What was heard in `[begin_us, end_us)` by the sensor's clock; passages are told of in their order."""

    begin_us: int
    end_us: int

    def edges(self, passage: Passage) -> Edges:
        """Return what is missing next to a passage, where no passage before it has it."""
        before_us = min(passage.start_us, self.end_us) - self.begin_us
        self.begin_us = max(self.begin_us, passage.end_us)
        after_us = 0 if passage.followed else self.end_us - self.begin_us
        return Edges(_samples(before_us, passage), _samples(after_us, passage))


Asked = AskedSamples | AskedTime


def _samples(length_us: int, passage: Passage) -> int:
    return 0 if length_us < SEAM_US else length_us * passage.sample_rate_hz // 1_000_000
