"""Topics of a round -> what was said: of the disturbed group, and of the fresh one that read it all again."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from tests.chaos.evidence import Round
from tests.chaos.judge.runs import Epoch
from tests.chaos.judge.spans import Span, common, minus, size, union
from tests.chaos.judge.topic import Logged, read_topics
from tests.chaos.judge.wire import fields_of

OUTCOMES = ("SCORED", "GAP", "SHED", "FAILED", "SHORT")
"""Where two statements differ, the first of these counts."""
FRAMES, OUTPUTS = "frames", ("detections", "coverage", "sensors", "dead_letters")
KINDS = {"detections": "detection", "coverage": "coverage", "sensors": "sensor_state"}
"""What stands in an output topic, by the name of its schema."""

DetectionKey = tuple[str, str]
"""An id and a state."""
Value = tuple[tuple[str, Any], ...]
"""Every field of a detection, by name."""
Outcomes = Mapping[str, list[Span]]
"""What has which outcome: disjoint."""


@dataclass(frozen=True, slots=True)
class Statement:
    """A record of an output topic, and what it says."""

    record: Logged
    fields: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Group:
    """All that one group said, in the order of each partition."""

    name: str
    detections: list[Statement]
    coverage: list[Statement]
    letters: list[Logged] | None
    """Dead letters; None where nobody noted where this group's begin."""
    states: list[Statement]
    """Of sensors."""

    @property
    def by_key(self) -> dict[DetectionKey, list[Statement]]:
        """Detections by id and state."""
        found: dict[DetectionKey, list[Statement]] = {}
        for said in self.detections:
            found.setdefault((said.fields["id"], said.fields["state"]), []).append(said)
        return found

    @property
    def outcomes(self) -> dict[Epoch, Outcomes]:
        """What coverage says of every sensor's epoch."""
        stated: dict[Epoch, dict[str, list[Span]]] = {}
        for said in self.coverage:
            fields = said.fields
            if fields["sensor"] is not None:
                of = stated.setdefault((fields["sensor"], fields["epoch"]), {})
                of.setdefault(fields["outcome"], []).append((fields["start_sample"], fields["end_sample"]))
        return {epoch: best(of) for epoch, of in stated.items()}


@dataclass(frozen=True, slots=True)
class Heard:
    """What stands in the topics of a round; `fresh` is None where no fresh group read it again."""

    frames: list[Logged]
    frames_end: Mapping[int, int]
    disturbed: Group
    fresh: Group | None
    unreadable: list[Logged] = field(default_factory=list)

    @property
    def groups(self) -> list[Group]:
        """Everybody who said something."""
        return [self.disturbed, *([] if self.fresh is None else [self.fresh])]


def read(round_: Round) -> Heard:
    """Read all topics of a round from their beginnings."""
    begin = {name: round_.begin[role] for role, name in round_.topics.items() if role in (FRAMES, *OUTPUTS)}
    found = read_topics(round_.servers, begin)
    log, said = found[round_.topics[FRAMES]], {role: found[round_.topics[role]].records for role in OUTPUTS}
    frames = [record for record in log.records if record.offset < round_.frames_end[record.partition]]
    before, after = dict(said), dict[str, list[Logged]]()
    for role, since in round_.fresh.items():
        before[role] = [record for record in said[role] if record.offset < since[record.partition]]
        after[role] = [record for record in said[role] if record.offset >= since[record.partition]]
    unreadable: list[Logged] = []
    disturbed = _group(f"group {round_.group}", before, unreadable)
    fresh = _group("the fresh group", after, unreadable) if round_.fresh else None
    return Heard(frames, log.ends, disturbed, fresh, unreadable)


def value_of(said: Statement) -> Value:
    """Return all that a detection's record says, and where and under which key it says so."""
    record = said.record
    return valued({**said.fields, "its key": record.key, "its partition": record.partition})


def valued(fields: Mapping[str, Any]) -> Value:
    """Return fields as something that can be compared and hashed."""
    return tuple(sorted(fields.items()))


def best(stated: Mapping[str, Iterable[Span]]) -> Outcomes:
    """Return what counts for every sample."""
    found, done = dict[str, list[Span]](), list[Span]()
    for outcome in OUTCOMES:
        found[outcome] = minus(stated.get(outcome, ()), done)
        done = union(done, found[outcome])
    return found


def anything(outcomes: Outcomes) -> list[Span]:
    """Return what has any outcome."""
    return union(*outcomes.values())


def sizes(outcomes: Outcomes, of: Iterable[Span]) -> dict[str, int]:
    """Return how many samples of some stretches have which outcome."""
    wanted = union(of)
    return {outcome: size(common(spans, wanted)) for outcome, spans in outcomes.items()}


def _group(name: str, records: Mapping[str, list[Logged]], unreadable: list[Logged]) -> Group:
    found: dict[str, list[Statement]] = {}
    for role, kind in KINDS.items():
        found[role] = []
        for record in records.get(role, ()):
            try:
                found[role].append(Statement(record, fields_of(kind, record.value)))
            except (EOFError, LookupError, TypeError, ValueError):
                unreadable.append(record)
    return Group(name, found["detections"], found["coverage"], records.get("dead_letters"), found["sensors"])
