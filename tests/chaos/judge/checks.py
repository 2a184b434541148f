"""What was said against what is true -> findings: one function for each promise but that of commits."""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping

from tests.chaos.evidence import Evidence, Stored
from tests.chaos.judge.heard import (
    OUTCOMES,
    Group,
    Heard,
    Outcomes,
    Statement,
    Value,
    anything,
    value_of,
)
from tests.chaos.judge.runs import Epoch, Run
from tests.chaos.judge.spans import Span, common, minus, union
from tests.chaos.judge.topic import Logged, Place
from tests.chaos.judge.truth import Truth
from tests.chaos.judge.verdict import Finding, Kind
from tests.chaos.judge.wire import letter_place

Located = Mapping[Epoch, Iterable[Span]]


def digest_of(heard: Heard) -> tuple[str, list[Finding]]:
    """Return the decision digest that everything bears, and a finding where it is not a single one."""
    said = Counter(
        statement.fields["decision_digest"]
        for group in heard.groups
        for statement in [*group.detections, *group.coverage]
    )
    if not said:
        return "0" * 64, []
    ((digest, _), *others) = said.most_common()
    texts = (f"{other}, {times} times beside {digest}" for other, times in others)
    return digest, Finding.of(Kind.DIGEST, "more than one decision digest", texts)


def lost_records(evidence: Evidence, heard: Heard, truth: Truth) -> list[Finding]:
    """Find what was acknowledged, and is not in the log as it was sent; and what cannot be read."""
    log = {record.place: (record.key, record.value) for record in heard.frames}
    frames = (
        f"{frame.sensor} {frame.epoch} {frame.first_sample}+{frame.samples} at {_at(place)}"
        for frame in evidence.stored
        for place in [(frame.partition, frame.offset)]
        if not _is_in_log(frame, place, truth)
    )
    broken = (
        _at(place)
        for sent in evidence.broken
        for place in [(sent.partition, sent.offset)]
        if log.get(place) != (sent.key, sent.value)
    )
    unreadable = (_at(record.place) for record in heard.unreadable)
    return [
        *Finding.of(Kind.LOST, "an acknowledged frame is not in the log", frames),
        *Finding.of(Kind.LOST, "an acknowledged broken record is not in the log", broken),
        *Finding.of(Kind.EXTRA, "an output that cannot be read", unreadable),
    ]


def coverage(group: Group, truth: Truth, owed: Located) -> list[Finding]:
    """Compare outcomes sample by sample; `owed` is what was acknowledged and must be accounted for too."""
    said, nothing = group.outcomes, dict[str, list[Span]]()
    unsaid, wrong, unheard = list[str](), list[str](), list[str]()
    for epoch in sorted({*said, *truth.outcomes, *owed}):
        stated, true = said.get(epoch, nothing), truth.outcomes.get(epoch, nothing)
        due = union(anything(true), owed.get(epoch, ()))
        unsaid += _texts(epoch, minus(due, anything(stated)))
        wrong += _differences(epoch, stated, true)
        unheard += _texts(epoch, minus(anything(stated), due))
    expired = [_at(s.record.place) for s in group.coverage if s.fields["outcome"] == "EXPIRED"]
    return [
        *Finding.of(Kind.LOST, f"{group.name} accounts for no part of these samples", unsaid),
        *Finding.of(Kind.COVERAGE, f"{group.name} gives samples another outcome", wrong),
        *Finding.of(Kind.COVERAGE, f"{group.name} speaks of samples that were never appended", unheard),
        *Finding.of(Kind.LOST, f"{group.name} says EXPIRED", expired),
    ]


def detections(group: Group, truth: Truth) -> list[Finding]:
    """Compare detections by id and state, every field of them."""
    said, true = group.by_key, truth.detections
    missing = (_described(dict(next(iter(true[key])))) for key in true.keys() - said.keys())
    extra = (_placed(said[key][0]) for key in said.keys() - true.keys())
    altered = (
        f"{_placed(statement)}: {_difference(value, true[key])}"
        for key in said.keys() & true.keys()
        for value, statement in {value_of(one): one for one in said[key]}.items()
        if value not in true[key]
    )
    return [
        *Finding.of(Kind.MISSING, f"{group.name} did not say", sorted(missing)),
        *Finding.of(Kind.EXTRA, f"{group.name} said what was not there", sorted(extra)),
        *Finding.of(Kind.ALTERED, f"{group.name} said with other values", sorted(altered)),
    ]


def order(group: Group) -> list[Finding]:
    """Find ids whose first word is not ACTIVE, and those that never ended."""
    first: dict[str, Statement] = {}
    ended: set[str] = set()
    for said in group.detections:
        first.setdefault(said.fields["id"], said)
        if said.fields["state"] == "ENDED":
            ended.add(said.fields["id"])
    backward = (_placed(said) for said in first.values() if said.fields["state"] != "ACTIVE")
    unended = (_placed(said) for id_, said in first.items() if id_ not in ended)
    return [
        *Finding.of(Kind.ORDER, f"{group.name} said ENDED before ACTIVE", backward),
        *Finding.of(Kind.ORDER, f"{group.name} never said ENDED", unended),
    ]


def dead_letters(group: Group, evidence: Evidence, truth: Truth) -> list[Finding]:
    """Compare dead letters with the broken records and with what the rules refuse, byte for byte."""
    if group.letters is None:
        return []
    due = {place: (record.key, record.value) for place, record in truth.admitted.letters.items()}
    due |= {(sent.partition, sent.offset): (sent.key, sent.value) for sent in evidence.broken}
    said, extra, altered = set[Place](), list[str](), list[str]()
    for record in group.letters:
        place = place_of_letter(record, evidence.round.topics["frames"])
        if place is None or place not in due:
            extra.append(f"{_at(record.place)} of {'nowhere' if place is None else _at(place)}")
            continue
        said.add(place)
        if (record.key, record.value) != due[place] or record.partition != place[0]:
            altered.append(f"{_at(record.place)} of {_at(place)}")
    missing = map(_at, sorted(due.keys() - said))
    return [
        *Finding.of(Kind.DEAD_LETTER, f"{group.name} made no dead letter of these", missing),
        *Finding.of(Kind.DEAD_LETTER, f"{group.name} made dead letters of what is not broken", extra),
        *Finding.of(Kind.DEAD_LETTER, f"{group.name} made dead letters of other bytes", altered),
    ]


def states(group: Group, truth: Truth) -> list[Finding]:
    """Compare the last word about each sensor with the end of its last run."""
    last = {said.fields["sensor"]: said for said in group.states}
    ends = dict[str, Run]()
    for run in sorted(truth.admitted.runs, key=lambda run: run.frames[-1].place):
        ends[run.of[0]] = run
    unsaid = (sensor for sensor in ends if sensor not in last)
    live, wrong = list[str](), list[str]()
    for sensor, run in ends.items():
        if (said := last.get(sensor)) is None:
            continue
        fields = said.fields
        text = (
            f"{fields['state']} {sensor} {fields['epoch']} ..{fields['end_sample']} {_at(said.record.place)}"
        )
        if fields["state"] != "SILENT":
            live.append(text)
        elif (fields["epoch"], fields["end_sample"]) != (run.of[1], run.end):
            wrong.append(f"{text} where it is {run.of[1]} ..{run.end}")
    return [
        *Finding.of(Kind.STATE, f"{group.name} never spoke of a sensor", unsaid),
        *Finding.of(Kind.STATE, f"the last word of {group.name} is not SILENT", live),
        *Finding.of(Kind.STATE, f"{group.name} says last that a sensor ended elsewhere", wrong),
    ]


def place_of_letter(record: Logged, topic: str) -> Place | None:
    """Return where the record stands that a dead letter is of; None where it is not of that topic."""
    try:
        of, partition, offset = letter_place(record)
    except (KeyError, ValueError):
        return None
    return (partition, offset) if of == topic else None


def _is_in_log(sent: Stored, place: Place, truth: Truth) -> bool:
    frame, end = truth.admitted.frames.get(place), sent.first_sample + sent.samples
    wanted = sent.sensor, sent.epoch, sent.first_sample, end
    return frame is not None and (frame.sensor, frame.epoch.hex(), frame.first, frame.end) == wanted


def _differences(epoch: Epoch, stated: Outcomes, true: Outcomes) -> Iterator[str]:
    for is_so in OUTCOMES:
        for says in OUTCOMES:
            if says != is_so:
                both = common(true.get(is_so, ()), stated.get(says, ()))
                yield from (f"{text}: {says} where it is {is_so}" for text in _texts(epoch, both))


def _difference(value: Value, true: Iterable[Value]) -> str:
    """Say in which fields a value is another than the one that it is most like."""
    said = dict(value)
    unlike = ([(name, x) for name, x in one if said.get(name) != x] for one in true)
    least = min(unlike, key=len)
    return ", ".join(f"{name} {said.get(name)!r} where it is {x!r}" for name, x in least)


def _described(fields: Mapping[str, object]) -> str:
    at = f"{fields['sensor']} {fields['epoch']} {fields['start_sample']}..{fields['end_sample']}"
    return f"{fields['state']} {fields['label']} {at} {fields['id']}"


def _placed(said: Statement) -> str:
    return f"{_described(said.fields)} {_at(said.record.place)}"


def _texts(epoch: Epoch, spans: Iterable[Span]) -> list[str]:
    return [f"{epoch[0]} {epoch[1]} {start}..{end}" for start, end in spans]


def _at(place: Place) -> str:
    return f"[{place[0]}]@{place[1]}"
