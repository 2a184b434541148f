"""Detections of A and of B -> what one hears and the other does not, over the same sound, by label.

    A   |==siren==|==siren==|      |=dog=|            joined where one goes on in the next
    B   |====siren=====|                     |=dog=|
        both, other edges           only A    only B

What has the same id in both is compared field by field: the same model and settings give the same answer, bit
for bit. What has not is compared by where in a sensor's epoch it lies.
"""

from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass
from enum import StrEnum
from itertools import islice

from schemas.detection import Detection


class Kind(StrEnum):
    """How a sound differs."""

    ONLY_A = "only A"
    ONLY_B = "only B"
    EDGES = "edges"
    """Both hear it, from another sample or to another."""
    FIELDS = "fields"
    """The same detections by id, but not by value."""


@dataclass(frozen=True, slots=True)
class Sound:
    """A label heard without a break over `[start_sample, end_sample)`, and the ids that say so."""

    sensor: str
    epoch: str
    label: str
    start_sample: int
    end_sample: int
    sample_rate_hz: int
    start_us: int
    end_us: int
    peak_score: float | None
    ids: tuple[str, ...]

    @property
    def seconds(self) -> float:
        """How long it is."""
        return (self.end_sample - self.start_sample) / self.sample_rate_hz


@dataclass(frozen=True, slots=True)
class Difference:
    """One sound that A and B do not hear alike; `fields` are the names of those that differ."""

    kind: Kind
    a: Sound | None
    b: Sound | None
    fields: tuple[str, ...] = ()

    @property
    def sound(self) -> Sound:
        """Whichever there is."""
        found = self.a or self.b
        assert found is not None  # noqa: S101 - one of the two is always there
        return found


@dataclass(slots=True)
class Tally:
    """How A and B agree about one label: sounds, and seconds."""

    alike: int = 0
    edges: int = 0
    fields: int = 0
    only_a: int = 0
    only_b: int = 0
    seconds_a: float = 0.0
    seconds_b: float = 0.0
    seconds_both: float = 0.0


@dataclass(frozen=True, slots=True)
class Compared:
    """All differences, the surest first within each kind, and a tally of every label."""

    differences: list[Difference]
    by_label: dict[str, Tally]
    identical: int
    """Detections that are the same in both by id and every field."""


def compare(a: Sequence[Detection], b: Sequence[Detection]) -> Compared:
    """Compare what was heard in the same sound; each detection as a consumer holds it after upserting."""
    fields = dict(_fields_that_differ(a, b))
    tallies: dict[str, Tally] = defaultdict(Tally)
    in_a, in_b = _sounds(a), _sounds(b)
    found: list[Difference] = []
    for key in in_a.keys() | in_b.keys():
        ours, theirs, tally = in_a.get(key, []), in_b.get(key, []), tallies[key[2]]
        differences = list(_differences(ours, theirs, fields))
        tally.alike += len(ours) - sum(difference.a is not None for difference in differences)
        _measure(tally, ours, theirs)
        for difference in differences:
            _count(tally, difference.kind)
        found += differences
    identical = len({d.id for d in a} & {d.id for d in b}) - len(fields)
    return Compared(sorted(found, key=_surest_first), dict(sorted(tallies.items())), identical)


def _surest_first(difference: Difference) -> tuple[int, float, str, int]:
    sound = difference.sound
    kind = list(Kind).index(difference.kind)
    return kind, -(sound.peak_score or 0.0), sound.sensor, sound.start_us


Key = tuple[str, str, str]
"""Sensor, epoch, label."""


def _fields_that_differ(
    a: Iterable[Detection], b: Iterable[Detection]
) -> Iterator[tuple[str, tuple[str, ...]]]:
    theirs = {detection.id: detection for detection in b}
    for ours in a:
        other = theirs.get(ours.id)
        if other is not None and other != ours:
            mine, yours = asdict(ours), asdict(other)
            yield ours.id, tuple(name for name in mine if mine[name] != yours[name])


def _sounds(detections: Iterable[Detection]) -> dict[Key, list[Sound]]:
    found: dict[Key, list[Sound]] = defaultdict(list)
    for d in sorted(detections, key=lambda d: d.start_sample):
        sounds = found[d.sensor, d.epoch, d.label]
        before = sounds.pop() if sounds and sounds[-1].end_sample >= d.start_sample else None
        sounds.append(_joined(before, d))
    return found


def _joined(before: Sound | None, d: Detection) -> Sound:
    peaks = [p for p in (before.peak_score if before else None, d.peak_score) if p is not None]
    goes_on = before is not None and before.end_sample > d.end_sample
    return Sound(
        sensor=d.sensor,
        epoch=d.epoch,
        label=d.label,
        start_sample=before.start_sample if before else d.start_sample,
        end_sample=before.end_sample if before and goes_on else d.end_sample,
        sample_rate_hz=d.sample_rate_hz,
        start_us=before.start_us if before else d.start_us,
        end_us=before.end_us if before and goes_on else d.end_us,
        peak_score=max(peaks, default=None),
        ids=(*(before.ids if before else ()), d.id),
    )


def _differences(
    a: Sequence[Sound], b: Sequence[Sound], fields: dict[str, tuple[str, ...]]
) -> Iterator[Difference]:
    best: dict[Sound, Sound] = {}
    met: set[Sound] = set()
    for ours, theirs in _overlapping(a, b):
        met.add(theirs)
        if ours not in best or _common(ours, theirs) > _common(ours, best[ours]):
            best[ours] = theirs
    for ours in a:
        if ours not in best:
            yield Difference(Kind.ONLY_A, ours, None)
            continue
        theirs, names = best[ours], {name for each in ours.ids for name in fields.get(each, ())}
        if (ours.start_sample, ours.end_sample) != (theirs.start_sample, theirs.end_sample):
            yield Difference(Kind.EDGES, ours, theirs)
        elif names:
            yield Difference(Kind.FIELDS, ours, theirs, tuple(sorted(names)))
    yield from (Difference(Kind.ONLY_B, None, theirs) for theirs in b if theirs not in met)


def _overlapping(a: Sequence[Sound], b: Sequence[Sound]) -> Iterator[tuple[Sound, Sound]]:
    """Yield the pairs that have samples in common; both come in order, and do not overlap themselves."""
    at = 0
    for ours in a:
        while at < len(b) and b[at].end_sample <= ours.start_sample:
            at += 1
        for theirs in islice(b, at, None):
            if theirs.start_sample >= ours.end_sample:
                break
            yield ours, theirs


def _common(a: Sound, b: Sound) -> int:
    return min(a.end_sample, b.end_sample) - max(a.start_sample, b.start_sample)


def _measure(tally: Tally, a: Sequence[Sound], b: Sequence[Sound]) -> None:
    tally.seconds_a += sum(sound.seconds for sound in a)
    tally.seconds_b += sum(sound.seconds for sound in b)
    tally.seconds_both += sum(_common(x, y) / x.sample_rate_hz for x, y in _overlapping(a, b))


def _count(tally: Tally, kind: Kind) -> None:
    match kind:
        case Kind.ONLY_A:
            tally.only_a += 1
        case Kind.ONLY_B:
            tally.only_b += 1
        case Kind.EDGES:
            tally.edges += 1
        case Kind.FIELDS:
            tally.fields += 1
