"""A model of the catalogue -> a record that says when it counts: for all sensors, a share, or in a shadow.

What counts is said whole each time: the model that others stay with is the one that counts last so far.
"""

import asyncio
import time
import uuid
from dataclasses import dataclass, replace

from confluent_kafka import KafkaError, Message

from earwitness.scoring import in_process
from earwitness.settings import Settings
from processors.rollouts import PARTITION, Rollouts
from producers.client import open_client
from schemas.errors import ConfigurationError, DeliveryError
from schemas.model import ModelSpec
from schemas.rollout import LEAD_S, Mode, Rollout
from schemas.topics import Topics

DELIVERY_S = 30.0


@dataclass(frozen=True, slots=True)
class Wish:
    """What is to count, and how soon: for every sensor, for a share of them, or in the shadow."""

    name: str
    version: str
    mode: Mode
    share: float | None
    in_s: float

    def __post_init__(self) -> None:
        if not LEAD_S < self.in_s <= 86_400:
            accepted = f"more than {LEAD_S:g}, so that every worker knows in time, and at most a day, 86400"
            raise ConfigurationError("--in", self.in_s, accepted)


@dataclass(frozen=True, slots=True)
class Announced:
    """A rollout that a control topic has taken."""

    topic: str
    offset: int
    rollout: Rollout


def roll_out(settings: Settings, wish: Wish) -> list[Announced]:
    """Have a model made ready where it is scored, and say in every tenant's control topic when it counts.

    Raises:
        ConfigurationError: the model cannot be used, a control topic is missing, or the broker's clock is too
            far ahead of ours.
        DeliveryError: a control topic did not take it.

    """
    _refuse_embedded(settings)
    spec = _spec_of(settings, f"{wish.name}/{wish.version}")
    if settings.scorer.kind == "triton":
        asyncio.run(_load(settings, spec))
    else:
        in_process(settings, spec)
    at_us = (time.time_ns() // 1_000_000 + round(wish.in_s * 1000)) * 1000  # append times are whole ms
    known = _known(settings)
    return _announce(settings, {frames: _plan(wish, spec, last, at_us) for frames, last in known.items()})


def cancel(settings: Settings) -> list[Announced]:
    """Have no rollout begin that has not begun: what counts until then goes on.

    Raises:
        ConfigurationError: one begins too soon for every worker to hear of it in time.
        DeliveryError: a control topic did not take it.

    """
    _refuse_embedded(settings)
    now_us, said = time.time_ns() // 1000, []
    for frames, announced in _announced(settings).items():
        before = _first(settings)
        for rollout in sorted(announced, key=lambda rollout: rollout.at_us):
            if rollout.at_us <= now_us:
                before = rollout
            else:
                said += _announce(settings, {frames: replace(before, at_us=rollout.at_us)})
    return said


def announced(settings: Settings) -> dict[str, list[Rollout]]:
    """Return, by frames topic, the rollouts that count or will, in the order of their times."""
    _refuse_embedded(settings)
    found = _announced(settings)
    return {topic: sorted(rollouts, key=lambda r: r.at_us) for topic, rollouts in found.items()}


def _refuse_embedded(settings: Settings) -> None:
    if settings.kafka.embedded:
        raise ConfigurationError("kafka.embedded", True, "a real broker: rollouts begin at append times")


def _spec_of(settings: Settings, path: str) -> ModelSpec:
    model = settings.model.model_copy(update={"path": path})
    return settings.model_copy(update={"model": model}).decision().spec


def _first(settings: Settings) -> Rollout:
    spec = settings.decision().spec
    return Rollout(at_us=0, mode=Mode.SWITCH, model=spec.model_dump_json(), candidate=None, share=None)


def _announced(settings: Settings) -> dict[str, list[Rollout]]:
    topics = [Topics(tenant).frames for tenant in settings.topics.tenants]
    rollouts = Rollouts(settings.kafka.librdkafka(), settings.codec(), settings.decision(), topics)
    try:
        rollouts.refresh()
    finally:
        rollouts.close()
    return rollouts.announced


def _known(settings: Settings) -> dict[str, Rollout]:
    """Return, by frames topic, what counts last so far; of what begins at once, what was written last."""
    return {
        topic: sorted([_first(settings), *rollouts], key=lambda rollout: rollout.at_us)[-1]
        for topic, rollouts in _announced(settings).items()
    }


def _plan(wish: Wish, spec: ModelSpec, last: Rollout, at_us: int) -> Rollout:
    text = spec.model_dump_json()
    if at_us <= last.at_us:
        accepted = "after the last rollout that is announced; `earwitness model cancel` takes that back"
        raise ConfigurationError("--in", wish.in_s, accepted)
    if wish.mode is Mode.SWITCH:
        return Rollout(at_us=at_us, mode=wish.mode, model=text, candidate=None, share=None)
    if text == last.model:
        accepted = f"another model than {spec.name}/{spec.version}, which counts already"
        raise ConfigurationError("the candidate", f"{wish.name}/{wish.version}", accepted)
    return Rollout(at_us=at_us, mode=wish.mode, model=last.model, candidate=text, share=wish.share)


def _announce(settings: Settings, plans: dict[str, Rollout]) -> list[Announced]:
    codec, said = settings.codec(), []
    producer, errors = open_client(settings.kafka.librdkafka(), settings.publisher)
    for frames, rollout in plans.items():
        topic, reports = Topics.beside(frames).control, list[tuple[KafkaError | None, Message]]()
        producer.produce(
            topic,
            codec.encode(rollout),
            uuid.uuid4().bytes,  # a key of its own: compaction keeps it for whoever replays
            partition=PARTITION,
            on_delivery=lambda error, message, to=reports: to.append((error, message)),  # type: ignore[misc]
        )
        producer.flush(DELIVERY_S)
        error = reports[0][0] if reports else KafkaError(KafkaError._TIMED_OUT)  # noqa: SLF001
        if error is not None:
            raise DeliveryError(f"{topic} did not take the rollout: {errors.reason(error)}")
        said.append(_in_time(topic, reports[0][1], rollout))
    return said


def _in_time(topic: str, message: Message, rollout: Rollout) -> Announced:
    lead_s = (rollout.at_ms - message.timestamp()[1]) / 1000
    if lead_s < LEAD_S:
        found = f"begins {lead_s:g} s after {topic} took it, by the broker's clock"
        accepted = f"{LEAD_S:g} s or more: nobody follows it; say a later --in, and compare the clocks"
        raise ConfigurationError("the rollout", found, accepted)
    return Announced(topic, message.offset() or 0, rollout)


async def _load(settings: Settings, spec: ModelSpec) -> None:
    from processors.triton.load import load

    await load(spec, settings.scorer)
