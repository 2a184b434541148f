"""Clocks: the brokers' against each other, and against the one here. Nothing is written to find out."""

from collections.abc import Iterator
from time import monotonic

from earwitness.operation.checks.finding import Case, Finding, broken, ok, warn
from earwitness.operation.health import length
from processors.log import LogReader, Record

TAIL_RECORDS = 500
WATCHED_S = 0.5
APART_MS = 1000.0
"""Below this nobody is misled: detections take their times from sensors and append times, not from here."""
BY_NTP = "have brokers and this machine keep time by NTP"


def clocks(case: Case) -> Iterator[Finding]:
    """Compare append times with their neighbours, and with the clock here."""
    with case.reader() as reader:
        for topic in case.settings.frames_topics:
            yield from _steps(case, reader, topic)
            yield from _here(case, reader, topic)


def _steps(case: Case, reader: LogReader, topic: str) -> Iterator[Finding]:
    tail = {n: (max(low, end - TAIL_RECORDS), end) for n, (low, end) in reader.limits(topic).items()}
    last: dict[int, Record] = {}
    back_ms, place = 0, ""
    for record in reader.read(topic, tail):
        before = last.get(record.partition)
        if before is not None and before.timestamp - record.timestamp > back_ms:
            back_ms, place = before.timestamp - record.timestamp, record.place
        last[record.partition] = record
    yield _judged(back_ms, place, topic, case.settings.detect.margin_s)
    newest = max(last.values(), key=lambda record: record.timestamp, default=None)
    ahead_ms = newest.timestamp - case.now_ms if newest is not None else 0.0
    if newest is not None and ahead_ms > APART_MS:
        yield warn(topic, f"{newest.place} was appended {length(ahead_ms / 1000)} from now", BY_NTP)


def _judged(back_ms: int, place: str, topic: str, margin_s: float) -> Finding:
    if not back_ms:
        return ok(topic, "append times never step back")
    found = f"append times step back by {length(back_ms / 1000)}, at {place}"
    if back_ms > margin_s * 1000:
        return broken(topic, found, f"{BY_NTP}, or raise detect.margin_s above {back_ms / 1000:g}")
    if back_ms > margin_s * 500:
        return warn(topic, found, f"{BY_NTP}: detect.margin_s allows {margin_s:g} s")
    return ok(topic, found)


def _here(case: Case, reader: LogReader, topic: str) -> Iterator[Finding]:
    """Watch what is appended now: it arrives here after it was appended, by as much as clocks are apart."""
    begin = {number: end for number, (_, end) in reader.limits(topic).items()}
    until_s, least = monotonic() + WATCHED_S, float("inf")
    for record in reader.follow(topic, begin, lambda: monotonic() > until_s):
        if record is not None:
            least = min(least, case.now_ms - record.timestamp)
    if least == float("inf"):
        yield ok(topic, f"nothing was appended within {WATCHED_S:g} s: clocks were not compared")
    elif abs(least) > APART_MS:
        side = "ahead of" if least > 0 else "behind"
        yield warn(topic, f"the clock here is {length(abs(least) / 1000)} {side} the brokers'", BY_NTP)
    else:
        yield ok(topic, f"records arrive here {least:.0f} ms after they were appended, by the clock here")
