"""Sound that a worker has heard, heard again by `earwitness replay`, and the two compared."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path

import duckdb
import pytest

from earwitness.analysis.wanted import utc_text
from schemas.coverage import Coverage, Outcome
from schemas.detection import Detection
from tests.integration.commands import WELL, run
from tests.integration.harness import RATE_HZ, Tenant, by_id, timelines, unended
from tests.integration.quick_model import HOP_SAMPLES as HOP
from tests.integration.quick_model import WINDOW_SAMPLES as WINDOW

Detections = dict[str, Detection]


def all_is_said(tenant: Tenant, ends: Mapping[tuple[str, str], int]) -> bool:
    """Say whether coverage has come to the ends of these sensors' epochs, and no detection goes on."""
    said = timelines(tenant.coverage())
    covered = all(said.get(of, [(0, 0)])[-1][1] == end for of, end in ends.items())
    return covered and not unended(tenant.detections())


@dataclass(frozen=True, slots=True)
class HeardAgain:
    """What a worker has published, and the command that listens again; nothing is heard live any more."""

    tenant: Tenant
    where: dict[str, object]
    scores: Path
    """Of the last replay."""
    _heard: Detections = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "_heard", by_id(self.tenant.detections()))

    def replay(self, name: str, begin_us: int, end_us: int, *more: str) -> Detections:
        """Replay a range of a sensor; return the detections that are printed, as a consumer holds them."""
        times = "--from", utc_text(begin_us), "--to", utc_text(end_us)
        into = "--json", "--force", "--scores", str(self.scores)
        done = run(self.where, "replay", "--jobs", "1", "--sensor", name, *times, *into, *more)
        assert done.code == WELL, done.said
        lines = ({key: line[key] for key in Detection.__slots__} for line in done.lines)
        return by_id(Detection.from_wire(line) for line in lines)

    def live(self, name: str, begin_us: int, end_us: int) -> Detections:
        """Return what the worker heard of a sensor, by the sensor's clock."""
        of_it = (d for d in self._heard.values() if d.sensor == name)
        return {d.id: d for d in of_it if d.start_us < end_us and d.end_us > begin_us}

    def live_by_broker(self, name: str, begin_us: int, end_us: int) -> Detections:
        """Return what the worker heard of a sensor in the frames that were appended in a time."""
        within: dict[int, list[int]] = {}
        for record in self.tenant.read(self.tenant.topics.frames):
            if begin_us // 1000 <= record.appended_ms < end_us // 1000:
                within.setdefault(record.partition, []).append(record.offset)
        of_it = (d for d in self._heard.values() if d.sensor == name and d.partition in within)
        edges = {number: (min(offsets), max(offsets)) for number, offsets in within.items()}
        return {
            d.id: d
            for d in of_it
            if d.first_offset <= edges[d.partition][1] and d.last_offset >= edges[d.partition][0]
        }

    def has_every_scored_window(self, name: str, begin_us: int, end_us: int) -> None:
        """Compare the windows of the last replay with what coverage says of its range: no hop is left out."""
        said = [one for one in self.tenant.coverage() if one.sensor == name]
        rows = duckdb.read_parquet(str(self.scores)).project("epoch, start_sample, outcome").fetchall()
        assert {outcome for *_, outcome in rows} == {str(Outcome.SCORED)}
        for (_, epoch), timeline in timelines(said).items():
            starts = sorted(start for of, start, _ in rows if of == epoch)
            scored = [(start, end) for start, end, outcome in timeline if outcome is Outcome.SCORED]
            assert all(any(s <= at and at + WINDOW <= e for s, e in scored) for at in starts)
            assert all(b - a == HOP for a, b in pairwise(starts))
        # At each edge there may be windows that are not wholly in it.
        seconds = _scored_s(said, begin_us, end_us)
        assert len(rows) * HOP / RATE_HZ == pytest.approx(seconds, abs=1.5 * WINDOW / RATE_HZ)


def _scored_s(said: list[Coverage], begin_us: int, end_us: int) -> float:
    """Return for how many seconds of a range, by the sensor's clock, coverage says SCORED."""
    epochs: dict[str | None, list[Coverage]] = {}
    for one in said:
        if one.outcome is Outcome.SCORED:
            epochs.setdefault(one.epoch, []).append(one)
    begins = (max(begin_us, min(one.start_us or 0 for one in ones)) for ones in epochs.values())
    ends = (min(end_us, max(one.end_us or 0 for one in ones)) for ones in epochs.values())
    return sum(max(0, end - begin) for begin, end in zip(begins, ends, strict=True)) / 1e6
