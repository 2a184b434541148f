"""A model of the catalogue -> a record that says when it counts: for all sensors, a share, or in a shadow.

What counts is said whole each time: the model that others stay with is the one that counts last so far.
"""

import asyncio
import time
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import islice

from confluent_kafka import KafkaError, Message

from earwitness.scoring import in_process
from earwitness.settings import Settings
from processors.log import LogReader, read_as
from processors.rollouts import PARTITION, Rollouts
from producers.client import open_client
from schemas.coverage import Coverage
from schemas.errors import ConfigurationError, DeliveryError
from schemas.model import ModelSpec
from schemas.rollout import LEAD_S, Mode, Rollout
from schemas.topics import Topics

DELIVERY_S = 30.0
ROOM_S = 2.0
"""Until the record is in the log: LEAD_S counts from then."""
LATELY_S, LOOKED_AT = 30.0, 1000
"""What workers said lately of what decides."""


@dataclass(frozen=True, slots=True)
class Wish:
    """What is to count, and how soon: for every sensor, for a share of them, or in the shadow.

    Raises:
        ConfigurationError: too soon, or too late to be meant.

    """

    name: str
    version: str
    mode: Mode
    share: float | None
    in_s: float

    def __post_init__(self) -> None:
        least_s = LEAD_S + ROOM_S
        if not least_s <= self.in_s <= 86_400:
            accepted = f"at least {least_s:g}, so that every worker knows in time, and at most a day, 86400"
            raise ConfigurationError("--in", self.in_s, accepted)


@dataclass(frozen=True, slots=True)
class Announced:
    """A rollout that a control topic has taken."""

    topic: str
    offset: int
    rollout: Rollout


def roll_out(settings: Settings, wish: Wish) -> Iterator[Announced]:
    """Have a model made ready where it is scored, and say in every tenant's control topic when it counts.

    Raises:
        ConfigurationError: the model cannot be used, a control topic is missing, these settings are not the
            workers', or the broker's clock is too far ahead of ours.
        DeliveryError: a control topic did not take it.

    """
    _refuse_embedded(settings)
    spec = _spec_of(settings, f"{wish.name}/{wish.version}")
    lasts = {topic: _last(settings, topic, found) for topic, found in announced(settings).items()}
    if settings.scorer.kind == "triton":
        asyncio.run(_load(settings, spec))
    else:
        in_process(settings, spec)
    at_ms = time.time_ns() // 1_000_000 + round(wish.in_s * 1000)  # append times are whole milliseconds
    plans = {topic: _plan(wish, spec, last, at_ms) for topic, last in lasts.items()}
    for topic, plan in plans.items():
        yield _announce(settings, topic, plan)


def cancel(settings: Settings) -> Iterator[Announced]:
    """Have no rollout begin that has not begun: what counts until then goes on.

    Raises:
        ConfigurationError: one begins too soon for every worker to know in time; others are cancelled.
        DeliveryError: a control topic did not take it.

    """
    now_ms, too_late = time.time() * 1000, []
    for topic, found in announced(settings).items():
        for rollout in found:
            lead_s = (rollout.at_ms - now_ms) / 1000
            if 0 < lead_s < LEAD_S + ROOM_S:
                too_late.append(f"{_utc(rollout)} in {Topics.beside(topic).control}")
            elif lead_s > 0:
                nothing = Rollout(rollout.at_us, Mode.CANCEL, model=None, candidate=None, share=None)
                yield _announce(settings, topic, nothing)
    if too_late:
        accepted = f"one that begins in {LEAD_S + ROOM_S:g} s or later: roll out what is to count after it"
        raise ConfigurationError("a rollout to cancel", ", ".join(too_late), accepted)


def announced(settings: Settings) -> dict[str, list[Rollout]]:
    """Return, by frames topic, the rollouts that count or will, in the order of their times.

    Raises:
        ConfigurationError: a control topic is missing, or the broker is the embedded one.
        EarwitnessError: the schema registry does not answer.

    """
    _refuse_embedded(settings)
    topics = [Topics(tenant).frames for tenant in settings.topics.tenants]
    client, codec = settings.kafka.librdkafka(), settings.codec()
    with Rollouts(client, codec, settings.decision(), topics) as rollouts:
        rollouts.refresh()
    return {topic: rollouts.announced(topic) for topic in topics}


def _refuse_embedded(settings: Settings) -> None:
    if settings.kafka.embedded:
        raise ConfigurationError("kafka.embedded", True, "a real broker: rollouts begin at append times")


def _spec_of(settings: Settings, path: str) -> ModelSpec:
    model = settings.model.model_copy(update={"path": path})
    return settings.model_copy(update={"model": model}).decision().spec


def _last(settings: Settings, topic: str, found: list[Rollout]) -> Rollout:
    """Return what counts last so far: before any rollout what the settings say, if they are the workers'."""
    if found:
        return found[-1]
    decision = settings.decision()
    said = _digests(settings, Topics.beside(topic))
    if said and decision.digest not in said:
        spec, there = decision.spec, ", ".join(sorted(digest[:12] for digest in said))
        counts = f"{spec.reference} with decision {decision.digest[:12]}"
        accepted = f"the workers' own settings (--config): lately they decided by {there}"
        raise ConfigurationError("what counts so far, by these settings,", counts, accepted)
    text = decision.spec.model_dump_json()
    return Rollout(0, Mode.SWITCH, model=text, candidate=None, share=None)


def _digests(settings: Settings, topics: Topics) -> set[str]:
    """Return by what workers decided lately."""
    with LogReader(settings.kafka.librdkafka()) as reader:
        begin = reader.offsets_at(topics.coverage, round((time.time() - LATELY_S) * 1000))
        limits = reader.limits(topics.coverage)
        stretches = {number: (begin[number], end) for number, (_, end) in limits.items()}
        codec, records = settings.codec(), islice(reader.read(topics.coverage, stretches), LOOKED_AT)
        found = [read_as(codec, Coverage, record) for record in records]
    return {one.decision_digest for one in found if one is not None}


def _plan(wish: Wish, spec: ModelSpec, last: Rollout, at_ms: int) -> Rollout:
    text, at_us = spec.model_dump_json(), at_ms * 1000
    if at_us <= last.at_us:
        accepted = f"after the last one, {_utc(last)}; `earwitness model cancel` takes that back"
        raise ConfigurationError("--in", wish.in_s, accepted)
    if wish.mode is Mode.SWITCH:
        return Rollout(at_us, wish.mode, model=text, candidate=None, share=None)
    if text == last.model:
        accepted = f"another model than {spec.reference}, which counts already"
        raise ConfigurationError("the candidate", f"{wish.name}/{wish.version}", accepted)
    return Rollout(at_us, wish.mode, model=last.model, candidate=text, share=wish.share)


def _announce(settings: Settings, frames: str, rollout: Rollout) -> Announced:
    producer, errors = open_client(settings.kafka.librdkafka(), settings.publisher)
    topic, reports = Topics.beside(frames).control, list[tuple[KafkaError | None, Message]]()
    producer.produce(
        topic,
        settings.codec().encode(rollout),
        uuid.uuid4().bytes,  # a key of its own: compaction keeps it for whoever replays
        partition=PARTITION,
        on_delivery=lambda error, message: reports.append((error, message)),
    )
    producer.flush(DELIVERY_S)
    error = reports[0][0] if reports else KafkaError(KafkaError._TIMED_OUT)  # noqa: SLF001 - its public name
    if error is not None:
        raise DeliveryError(f"{topic} did not take the rollout: {errors.reason(error)}")
    return _in_time(topic, reports[0][1], rollout)


def _in_time(topic: str, message: Message, rollout: Rollout) -> Announced:
    lead_s = (rollout.at_ms - message.timestamp()[1]) / 1000
    if lead_s < LEAD_S:
        found = f"begins {lead_s:g} s after {topic} took it, by the broker's clock"
        accepted = f"{LEAD_S:g} s or more: nobody follows it; say a later --in, and compare the clocks"
        raise ConfigurationError("the rollout", found, accepted)
    return Announced(topic, message.offset() or 0, rollout)


def _utc(rollout: Rollout) -> str:
    return datetime.fromtimestamp(rollout.at_ms / 1000, UTC).isoformat(timespec="milliseconds")


async def _load(settings: Settings, spec: ModelSpec) -> None:
    from processors.triton.load import load

    await load(spec, settings.scorer)
