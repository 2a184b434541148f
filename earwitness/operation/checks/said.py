"""What workers have said lately: of sensors, of what was listened to, of what could not be read."""

from collections import Counter
from collections.abc import Iterator

from earwitness.operation.checks.finding import Case, Finding, broken, ok, warn
from earwitness.operation.checks.scoring import counting_digests
from earwitness.operation.health import Severity, length
from earwitness.operation.sensors import Row
from earwitness.operation.sensors import sensors as rows_of
from processors.log import LogReader, read_as
from schemas.coverage import Coverage, Outcome
from schemas.deadletter import DeadLetter
from schemas.errors import MalformedRecordError
from schemas.topics import Topics

LATELY_S, LETTERS_S = 300.0, 3600.0
MAX_LETTERS = 10_000
"""Of each partition: two producers for one sensor are fifty dead letters a second."""
SHOWN = 20
MISSING_SHARE = 0.05
_LISTENED = (Outcome.SCORED, Outcome.SHORT)


def sensors(case: Case) -> Iterator[Finding]:
    """Say of every sensor what is wrong with it, as `earwitness sensors` does."""
    with case.reader() as reader:
        for tenant in case.tenants:
            expected = case.expected if tenant == case.settings.tenant else ()
            rows = rows_of(reader, case.codec, tenant.sensors, expected, now_s=case.now_s())
            yield from _of_sensors(tenant, rows)


def _of_sensors(tenant: Topics, rows: list[Row]) -> Iterator[Finding]:
    wrong = [row for row in rows if row.level is not Severity.OK]
    for row in wrong[:SHOWN]:
        for problem in row.problems:
            yield Finding(
                problem.level, f"sensor {row.sensor}", f"{problem.name}: {problem.found}", problem.advice
            )
    if len(wrong) > SHOWN:
        more = f"{len(wrong) - SHOWN} more have something wrong with them"
        yield Finding(wrong[SHOWN].level, tenant.sensors, more, "see `earwitness sensors`")
    if not rows:
        yield warn(tenant.sensors, "nothing was ever said of any sensor", "start sensors and a worker")
    else:
        yield ok(tenant.sensors, f"{len(rows) - len(wrong)} of {len(rows)} sensors are well")


def coverage(case: Case) -> Iterator[Finding]:
    """Say what was not listened to lately, and whether workers decide as these settings do."""
    since_ms = round(case.now_ms - LATELY_S * 1000)
    with case.reader() as reader:
        for tenant in case.tenants:
            said = list(_lately(case, reader, tenant, since_ms))
            yield from _outcomes(tenant, said)
            yield from _digests(case, tenant, said)


def _lately(case: Case, reader: LogReader, tenant: Topics, since_ms: int) -> Iterator[Coverage]:
    begin, limits = reader.offsets_at(tenant.coverage, since_ms), reader.limits(tenant.coverage)
    stretches = {number: (begin[number], end) for number, (_, end) in limits.items()}
    for record in reader.read(tenant.coverage, stretches):
        found = read_as(case.codec, Coverage, record)
        if found is not None:
            yield found


def _outcomes(tenant: Topics, said: list[Coverage]) -> Iterator[Finding]:
    heard, missed = Counter[str](), dict[Outcome, Counter[str]]()
    for one in said:
        if one.outcome is Outcome.EXPIRED:
            where = f"{one.topic}[{one.partition}]@{one.first_offset} to @{one.last_offset}"
            yield broken(
                tenant.coverage, f"EXPIRED: {where} was removed unread", "add workers, keep sound longer"
            )
            continue
        seconds = _seconds(one)
        heard[one.sensor or ""] += round(seconds * 1000)
        if one.outcome not in _LISTENED:
            missed.setdefault(one.outcome, Counter())[one.sensor or ""] += round(seconds * 1000)
    for outcome, sensors_ms in missed.items():
        yield from _missed(tenant, outcome, sensors_ms, heard)
    if heard and not missed:
        yield ok(tenant.coverage, f"all {length(heard.total() / 1000)} of sound of the last 5 min were heard")
    elif not heard:
        yield ok(tenant.coverage, f"nothing was said within {length(LATELY_S)}")


def _seconds(one: Coverage) -> float:
    if one.start_sample is None or one.end_sample is None or not one.sample_rate_hz:
        return 0.0
    return (one.end_sample - one.start_sample) / one.sample_rate_hz


_MEANING = {
    Outcome.GAP: "frames are lost before they are appended: see to the sensors' networks",
    Outcome.FAILED: "the scorer gave up on them: see the workers' logs",
    Outcome.SHED: "workers are overloaded: add some",
}


def _missed(
    tenant: Topics, outcome: Outcome, sensors_ms: Counter[str], heard: Counter[str]
) -> Iterator[Finding]:
    total = sensors_ms.total() / max(1, heard.total())
    most = ", ".join(f"{name} {ms / heard[name]:.0%}" for name, ms in sensors_ms.most_common(5))
    found = f"{outcome}: {total:.1%} of the sound of the last 5 min, most of it of {most}"
    bad = outcome is Outcome.FAILED or total > MISSING_SHARE
    yield (broken if bad else warn)(tenant.coverage, found, _MEANING.get(outcome, "see the workers' logs"))


def _digests(case: Case, tenant: Topics, said: list[Coverage]) -> Iterator[Finding]:
    digests = {one.decision_digest for one in said}
    ours = counting_digests(case, tenant)
    if not ours or not digests:
        return
    others, here = (", ".join(sorted(d[:12] for d in some)) for some in (digests - ours, ours))
    if others:
        found = f"workers decided by {others}; the settings and rollouts here give {here}"
        yield warn(tenant.coverage, found, "give all workers, and doctor, the same model and settings")
    else:
        yield ok(tenant.coverage, f"workers decide as the settings and rollouts here do, {here}")


def dead_letters(case: Case) -> Iterator[Finding]:
    """Count what could not be read within the last hour, by reason."""
    since_ms = round(case.now_ms - LETTERS_S * 1000)
    with case.reader() as reader:
        for tenant in case.tenants:
            counts, last = Counter[str](), dict[str, str]()
            begin, limits = (
                reader.offsets_at(tenant.dead_letters, since_ms),
                reader.limits(tenant.dead_letters),
            )
            stretches = {n: (max(begin[n], end - MAX_LETTERS), end) for n, (_, end) in limits.items()}
            for record in reader.read(tenant.dead_letters, stretches):
                try:
                    letter = DeadLetter.from_wire(record.key, record.value, record.headers)
                    reason, last[letter.exception] = letter.exception, f"{record.place}: {letter.message}"
                except MalformedRecordError as exc:
                    reason, last["no dead letter"] = "no dead letter", f"{record.place}: {exc}"
                counts[reason] += 1
            yield from _letters(tenant, counts, last)


def _letters(tenant: Topics, counts: Counter[str], last: dict[str, str]) -> Iterator[Finding]:
    for reason, count in counts.most_common():
        found = f"{count} within the hour, {reason}; the last: {last[reason]}"
        yield warn(tenant.dead_letters, found, f"`earwitness dead-letters list --exception {reason}`")
    if not counts:
        yield ok(tenant.dead_letters, "none within the hour")
