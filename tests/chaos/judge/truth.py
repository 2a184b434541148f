"""A round's frames -> what is to be said of all of them, and where each sample lies in the log."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from tests.chaos.evidence import Evidence
from tests.chaos.judge.heard import DetectionKey, Outcomes, Value, best, valued
from tests.chaos.judge.model import Decides, Model
from tests.chaos.judge.oracle import Due, Hearing
from tests.chaos.judge.runs import Admitted, Epoch, Run, admit
from tests.chaos.judge.spans import Span
from tests.chaos.judge.topic import Logged


@dataclass(frozen=True, slots=True)
class Truth:
    """What the rules make of a round; a key has two values only where a counter went back over its sound."""

    admitted: Admitted
    detections: Mapping[DetectionKey, Mapping[Value, Due]]
    outcomes: Mapping[Epoch, Outcomes]
    runs: Mapping[Epoch, list[Run]]
    windows: int
    decides: Decides

    def offset_of(self, epoch: Epoch, sample: int) -> int | None:
        """Return the offset of the latest frame that holds a sample; None where no run reaches over it."""
        held = [run for run in self.runs.get(epoch, ()) if run.first <= sample < run.end]
        return max((run.frame_at(sample).offset for run in held), default=None)

    def needed_from(self, epoch: Epoch, sample: int) -> int | None:
        """Return the lowest offset that is needed to say that a detection starts at a sample.

        A label is active where m of the last n windows reached its threshold: n - 1 windows before the first
        one decide as well, as far as the run reaches back.
        """
        held = [run for run in self.runs.get(epoch, ()) if run.first <= sample < run.end]
        return max((run.frame_at(self._decided_from(run, sample)).offset for run in held), default=None)

    def _decided_from(self, run: Run, sample: int) -> int:
        hop, rate_hz = self.decides.hop * run.rate_hz, self.decides.rate_hz
        window = -(-sample * rate_hz // hop)
        return max(run.first, (window - self.decides.n + 1) * hop // rate_hz)


def truth_of(evidence: Evidence, frames: list[Logged], digest: str) -> Truth:
    """Decide about every frame of a round, all of it at once."""
    rules, directory = evidence.round.rules, Path(evidence.round.model)
    admitted = admit(frames, {(b.partition, b.offset) for b in evidence.broken}, rules)
    decides, model = Decides.of(directory, rules), Model(directory)
    due: dict[DetectionKey, dict[Value, Due]] = {}
    stretches: dict[Epoch, dict[str, list[Span]]] = {}
    runs: dict[Epoch, list[Run]] = {}
    windows = 0
    for run in admitted.runs:
        hearing = Hearing(run, decides, model)
        windows += hearing.windows
        runs.setdefault(run.of, []).append(run)
        for start, end, outcome in hearing.stretches():
            stretches.setdefault(run.of, {}).setdefault(outcome, []).append((start, end))
        for detection in hearing.detections(evidence.round.topics["frames"], digest):
            fields = detection.fields
            key = fields["id"], fields["state"]
            due.setdefault(key, {})[_as_recorded(detection)] = detection
    outcomes = {epoch: best(stated) for epoch, stated in stretches.items()}
    return Truth(admitted, due, outcomes, runs, windows, decides)


def _as_recorded(due: Due) -> Value:
    """Return the value that a detection's record must have, its key and its partition included."""
    key, partition = due.fields["sensor"].encode(), due.fields["partition"]
    return valued({**due.fields, "its key": key, "its partition": partition})
