"""Coverage, detections -> what a sensor's time looked like: outcomes without overlap, levels, labels.

    spans      ├─SCORED──┤├GAP┤├SCORED─┤NOT_HEARD├────┤     one outcome for every moment: SCORED first
    columns    │ 1 │ 2 │ 3 │ 4 │ 5 │ 6 │ 7 │ 8 │ 9 │        as many as a screen has

Pure: what is read is left to `earwitness/analysis/overview.py`, drawing to `draw_text.py` and `draw_png.py`.
"""

from bisect import bisect_left, bisect_right
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from math import log10

from earwitness.analysis.outcome import SEVERITY, Span, expired_holes, once, spans
from earwitness.analysis.wanted import utc_text
from schemas.coverage import Coverage
from schemas.detection import Detection
from schemas.errors import ConfigurationError


@dataclass(frozen=True, slots=True)
class Loudness:
    """How `[start_us, end_us)` sounded, in dB relative to full scale; None is digital silence."""

    start_us: int
    end_us: int
    rms_dbfs: float | None
    peak_dbfs: float | None


@dataclass(frozen=True, slots=True)
class Column:
    """What a part of the time shows: its worst outcome, its level, its labels with their highest scores."""

    start_us: int
    end_us: int
    outcome: str
    rms_dbfs: float | None
    peak_dbfs: float | None
    labels: dict[str, float]


@dataclass(frozen=True, slots=True)
class Timeline:
    """A sensor's `[begin_us, end_us)`; spans lie end to end over all of it."""

    sensor: str
    begin_us: int
    end_us: int
    spans: tuple[Span, ...]
    levels: tuple[Loudness, ...]
    detections: tuple[Detection, ...]
    deciders: tuple[str, ...]
    """Models and the first characters of decision digests."""

    @property
    def labels(self) -> tuple[str, ...]:
        """Return the labels that were heard, the most frequent first."""
        return tuple(label for label, _ in Counter(d.label for d in self.detections).most_common())

    def share(self) -> dict[str, float]:
        """Return which fraction of the time met with each outcome, the worst last."""
        total: Counter[str] = Counter()
        for span in self.spans:
            total[span.outcome] += span.length_us
        length_us = self.end_us - self.begin_us
        return {outcome: total[outcome] / length_us for outcome in reversed(SEVERITY) if total[outcome]}

    def columns(self, count: int) -> list[Column]:
        """Return the time cut into `count` columns of equal length."""
        length_us = self.end_us - self.begin_us
        cuts = [self.begin_us + length_us * number // count for number in range(count + 1)]
        starts = [span.start_us for span in self.spans]
        return [
            Column(
                begin, end, self._worst(starts, begin, end), *self._level(begin, end), self._heard(begin, end)
            )
            for begin, end in pairwise(cuts)
        ]

    def rows(self) -> list[dict[str, object]]:
        """Return everything that is drawn, for programs."""
        spans = [
            {"kind": "outcome", "outcome": s.outcome, **_times(s.start_us, s.end_us)} for s in self.spans
        ]
        levels = [
            {
                "kind": "level",
                "rms_dbfs": p.rms_dbfs,
                "peak_dbfs": p.peak_dbfs,
                **_times(p.start_us, p.end_us),
            }
            for p in self.levels
        ]
        detections = [
            {
                "kind": "detection",
                "label": d.label,
                "peak_score": d.peak_score,
                "id": d.id,
                **_times(d.start_us, d.end_us),
            }
            for d in self.detections
        ]
        return [{"sensor": self.sensor, **row} for row in (*spans, *levels, *detections)]

    def _worst(self, starts: Sequence[int], begin: int, end: int) -> str:
        first, last = bisect_right(starts, begin) - 1, bisect_left(starts, end)
        return min((span.outcome for span in self.spans[first:last]), key=SEVERITY.index)

    def _level(self, begin: int, end: int) -> tuple[float | None, float | None]:
        """Return the energy mean of the levels in a part of the time, and their highest peak."""
        inside = [(min(p.end_us, end) - max(p.start_us, begin), p) for p in self.levels]
        parts = [(overlap, p) for overlap, p in inside if overlap > 0]
        energy = sum(overlap * 10 ** (p.rms_dbfs / 10) for overlap, p in parts if p.rms_dbfs is not None)
        peaks = [p.peak_dbfs for _, p in parts if p.peak_dbfs is not None]
        if not energy:
            return None, None
        return 10 * log10(energy / sum(overlap for overlap, _ in parts)), max(peaks, default=None)

    def _heard(self, begin: int, end: int) -> dict[str, float]:
        scores: dict[str, float] = {}
        for d in self.detections:
            if d.start_us < end and d.end_us > begin:
                scores[d.label] = max(scores.get(d.label, 0.0), d.peak_score or 0.0)
        return scores


def timeline(
    sensor: str,
    begin_us: int,
    end_us: int,
    coverage: Sequence[Coverage],
    detections: Sequence[Detection],
    expired: Sequence[Coverage] = (),
) -> Timeline:
    """Lay out what was said of a sensor's time.

    `expired` are statements about offsets only: where nothing else was said, and they lie between what was
    said before and after, retention was faster than any worker.

    Raises:
        ConfigurationError: there is no time between begin and end.

    """
    if begin_us >= end_us:
        raise ConfigurationError("--to", utc_text(end_us), f"a time after {utc_text(begin_us)}")
    timed = [c for c in coverage if c.start_us is not None and c.end_us is not None]
    holes = expired_holes(timed, expired)
    said = [(c.start_us or 0, c.end_us or 0, c.outcome.value) for c in timed] + holes
    levels = [
        Loudness(c.start_us or 0, c.end_us or 0, c.level.rms_dbfs, c.level.peak_dbfs)
        for c in once(timed)
        if c.level is not None
    ]
    deciders = {f"decision {c.decision_digest[:12]}": None for c in timed}
    models = {f"model {d.model_name}/{d.model_version}": None for d in detections}
    inside = [d for d in detections if d.start_us < end_us and d.end_us > begin_us]
    return Timeline(
        sensor,
        begin_us,
        end_us,
        tuple(spans(said, begin_us, end_us)),
        tuple(levels),
        tuple(sorted(inside, key=lambda d: (d.start_us, d.label))),
        (*models, *deciders),
    )


def _times(start_us: int, end_us: int) -> dict[str, object]:
    return {
        "start_us": start_us,
        "end_us": end_us,
        "start_utc": utc_text(start_us),
        "end_utc": utc_text(end_us),
    }
