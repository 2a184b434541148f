"""What counts, by settings and rollouts, and whether it can be scored: here, or by the Tritons."""

import asyncio
from collections.abc import Iterator
from datetime import UTC, datetime
from time import monotonic

from confluent_kafka import KafkaException

from earwitness.operation.checks.finding import TIMEOUT_S, Case, Finding, broken, ok, warn
from earwitness.scoring import directory_of
from processors.course import Course
from processors.decision import Decision
from schemas.errors import ConfigurationError, EarwitnessError
from schemas.model import ModelSpec
from schemas.topics import Topics


def scoring(case: Case) -> Iterator[Finding]:
    """Say which models count now and later, and ask whoever is to score them."""
    if case.decision is None:
        yield warn("scoring", "unknown: the model of the settings cannot be read", "see the model")
        return
    for tenant in case.tenants:
        course = case.course(tenant)
        for stage in course.since(round(case.now_ms)):
            since = f"frames from {_utc(stage.at_ms)} on" if stage.at_ms else "all frames"
            yield ok(tenant.control, f"{since} are heard by {stage.listeners}")
    for decision in _counting(case):
        yield from _on_triton(case, decision.spec) if _asks_triton(case) else _here(case, decision.spec)


def counting_digests(case: Case, tenant: Topics) -> set[str]:
    """Return the digests of what may have decided lately; none where the model cannot be read."""
    if case.decision is None:
        return set()
    stages = case.course(tenant).since(round(case.now_ms - 300_000))
    return {decision.digest for stage in stages for decision in stage.decisions}


def _counting(case: Case) -> list[Decision]:
    stages = [stage for tenant in case.tenants for stage in case.course(tenant).since(round(case.now_ms))]
    by_digest = {decision.digest: decision for stage in stages for decision in stage.decisions}
    return list(by_digest.values())


def _asks_triton(case: Case) -> bool:
    return case.settings.scorer.kind == "triton"


def _here(case: Case, spec: ModelSpec) -> Iterator[Finding]:
    try:
        directory = directory_of(case.settings, spec)
    except ConfigurationError as exc:
        advice = "see that every worker has it (earwitness_model_ready): its windows wait where one has not"
        yield warn(spec.reference, f"not on this machine: {exc}", advice)
    else:
        yield ok(spec.reference, f"in {directory}")


def _on_triton(case: Case, spec: ModelSpec) -> Iterator[Finding]:
    from processors.triton.load import trial

    for address in case.settings.scorer.endpoints:
        subject, since_s = f"Triton {address}", monotonic()
        try:
            identity = asyncio.run(trial(address, spec, case.settings.scorer, TIMEOUT_S))
        except ConfigurationError as exc:
            yield broken(subject, str(exc), "mend it: workers do without this endpoint, or refuse to start")
        else:
            took_ms = (monotonic() - since_s) * 1000
            yield ok(subject, f"serves {spec.reference} as {identity}; asked in {took_ms:.0f} ms")


def _utc(at_ms: int) -> str:
    return datetime.fromtimestamp(at_ms / 1000, UTC).isoformat(timespec="seconds")


def course_of(case: Case, tenant: Topics) -> Course:
    """Read what was rolled out to a tenant; what the settings name where that cannot be read."""
    from processors.rollouts import Rollouts

    assert case.decision is not None  # noqa: S101 - who asks has looked
    topic = tenant.backfill if case.settings.topics.backfill else tenant.frames
    with Rollouts(case.client, case.codec, case.decision, [topic]) as rollouts:
        try:
            rollouts.refresh()
        except (EarwitnessError, KafkaException):
            return Course(case.decision)  # the topics' check says why
        return rollouts.courses[topic]
