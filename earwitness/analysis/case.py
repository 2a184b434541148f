"""What one model's windows scored, made again from the log -> why a label was not detected in them."""

from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from earwitness.analysis.reasons import Finding, Reason
from earwitness.analysis.wanted import TimeBase, Wanted, utc_text
from processors.decision import Decision
from processors.run import Run, Slot
from schemas.detection import Detection


@dataclass(frozen=True, slots=True)
class Question:
    """What was not detected: a label (None: any) of one sensor, in the time that `wanted` names."""

    wanted: Wanted
    label: str | None


@dataclass(frozen=True, slots=True)
class Case:
    """The windows that one model decided about, what was heard, and digests of others that spoke of them."""

    question: Question
    decision: Decision
    heard: Sequence[Detection]
    theirs: Sequence[str]
    slots: Sequence[Slot]

    def findings(self) -> Iterator[Finding]:
        """Say why the label was not detected, the deciding reason first."""
        label, spec = self.question.label, self.decision.spec
        if label is not None and label not in spec.labels:
            text = (
                f"{self._model}, which counted then, has no {label}: its labels are {', '.join(spec.labels)}"
            )
            yield Finding(Reason.NO_SUCH_LABEL, text, {"label": label, "model": self._model})
            return
        yield from self._scores(label or self._nearest_label())

    @property
    def _model(self) -> str:
        return self.decision.spec.reference

    def _scores(self, label: str) -> Iterator[Finding]:
        """Say what the scores, made again, come to."""
        spec, at = self.decision.spec, self.decision.spec.labels.index(label)
        scored = [(float(slot.scores[at]), slot) for slot in self._asked() if slot.scores is not None]
        if not scored:
            return
        score, best = max(scored, key=lambda pair: pair[0])
        facts = {
            "label": label,
            "score": score,
            "threshold": spec.thresholds[label],
            "window_start_us": best.window.start_us,
            "model": self._model,
        }
        most, (m, n) = self._most_reached(at), spec.m_of_n_of(label)
        if most >= m:
            yield Finding(Reason.NOT_PUBLISHED, self._not_published(label), facts)
        elif score >= self.decision.thresholds[at]:
            text = (
                f"{label} reached {facts['threshold']:g} in {most} of {n} windows with {self._model}; "
                f"{m} are needed"
            )
            yield Finding(Reason.M_OF_N, text, {**facts, "reached": most, "m": m, "n": n})
        else:
            yield from self._others(label)
            yield _below(facts, spec.thresholds[label] - score)

    def _asked(self) -> list[Slot]:
        """Return the windows that are asked about; those before them only matter for m of n."""
        return [slot for slot in self.slots if is_asked(self.question.wanted, slot)]

    def _most_reached(self, at: int) -> int:
        """Return in how many of n windows, up to one that is asked about, the threshold was reached."""
        asked, threshold, spec = set(self._asked()), self.decision.thresholds[at], self.decision.spec
        _, n = spec.m_of_n_of(spec.labels[at])
        most, reached = 0, dict[Run, deque[bool]]()
        for slot in self.slots:
            # What one run has reached is not the next one's.
            last = reached.setdefault(slot.run, deque(maxlen=n))
            last.append(slot.scores is not None and bool(slot.scores[at] >= threshold))
            if slot in asked:
                most = max(most, sum(last))
        return most

    def _others(self, label: str) -> Iterator[Finding]:
        others = {d.label: d for d in self.heard if d.label != label}
        for other in others.values():
            text = f"heard as {other.label}, score {score_text(other.peak_score)}: {other.id}"
            facts = {"label": other.label, "score": other.peak_score, "id": other.id}
            yield Finding(Reason.ANOTHER_LABEL, text, facts)

    def _not_published(self, label: str) -> str:
        text = f"with {self._model} and these settings {label} is detected, but none was published"
        if self.theirs:
            ours = self.decision.digest
            text += f"; the workers ran with decision {self.theirs[0][:12]}, these settings are {ours[:12]}"
        return text

    def _nearest_label(self) -> str:
        """Return the label that came nearest to its threshold."""
        spec = self.decision.spec
        scores = [slot.scores - self.decision.thresholds for slot in self._asked() if slot.scores is not None]
        return spec.labels[int(np.max(scores, axis=0).argmax())] if scores else spec.labels[0]


def is_asked(wanted: Wanted, slot: Slot) -> bool:
    """Say whether a window is asked about; others only matter for m of n."""
    by_broker = wanted.clock is TimeBase.BROKER
    return by_broker or wanted.overlaps(slot.window.start_us, slot.window.end_us)


def score_text(score: float | None) -> str:
    """Return a score as people read it."""
    return "-" if score is None else f"{score:.3f}"


def _below(facts: dict[str, Any], by: float) -> Finding:
    at = utc_text(facts["window_start_us"])
    text = (
        f"{facts['label']} scored {facts['score']:.3f} at most with {facts['model']}, "
        f"in the window from {at}: "
        f"{by:.3f} below its threshold, {facts['threshold']:g}"
    )
    return Finding(Reason.BELOW_THRESHOLD, text, {**facts, "by": by})
