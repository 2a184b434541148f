"""Records that are no frames: each becomes a dead letter, byte for byte, and nobody else hears of it."""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any, ClassVar, cast

import numpy as np
import pytest
from confluent_kafka import Producer

from infra.local.kafka import KafkaServer
from producers.encode import encode_samples
from schemas.codec import CONFLUENT, SINGLE_OBJECT, Record
from schemas.coverage import Coverage, Outcome
from schemas.deadletter import DeadLetter, Header
from schemas.detection import Detection, DetectionState
from schemas.frame import AudioFrame, Encoding
from schemas.identity import new_epoch
from tests.integration.harness import CODEC, RATE_HZ, Programs, Tenant, Timeline, timelines, wait_until

SAMPLES = RATE_HZ // 10
GOOD = ("good-1", "good-2", "good-3")
GOOD_FRAMES = 100
NOW_US = 1_790_000_000_000_000
ROUNDS = 2


@dataclass(frozen=True, slots=True)
class Forged:
    """The fields of a frame, unchecked, as a broken sensor would write them."""

    NAME: ClassVar[str] = AudioFrame.NAME

    epoch: bytes
    first_sample: int
    samples: int
    captured_at_us: int
    sample_rate_hz: int
    channels: int
    encoding: Encoding
    data: bytes


@dataclass(frozen=True, slots=True)
class Sent:
    """A record for the frames topic, and the reason for which it should be refused, if it should."""

    key: bytes | None
    value: bytes | None
    reason: str | None = None
    about: str = ""
    headers: tuple[Header, ...] = ()


def sound(samples: int = SAMPLES, first: int = 0) -> bytes:
    time = np.arange(first, first + samples) / RATE_HZ
    return (5000 * np.sin(2 * np.pi * 440 * time)).astype("<i2").tobytes()


def a_frame(epoch: bytes, index: int = 0) -> AudioFrame:
    first, captured = index * SAMPLES, NOW_US + index * 100_000
    return AudioFrame(epoch, first, SAMPLES, captured, RATE_HZ, 1, Encoding.PCM_S16LE, sound(first=first))


def forged(**wrong: Any) -> bytes:
    """Return the bytes of a frame with some fields as no honest program would write them."""
    good = a_frame(new_epoch())
    honest = {field.name: getattr(good, field.name) for field in fields(good)}
    return CODEC.encode(cast(Record, Forged(**{**honest, **wrong})))


def flac(samples: int) -> bytes:
    return encode_samples(np.frombuffer(sound(samples), "<i2").reshape(-1, 1), RATE_HZ, Encoding.FLAC)


def a_detection() -> Detection:
    return Detection(
        "id", "s", "loud", DetectionState.ACTIVE, "e", 0, 1, RATE_HZ, 0, 1, 0.5, 1, 0.5, False, 0, "m", "1",
        "00", "t", 0, 0, 0,
    )  # fmt: skip


def unreadable_values() -> list[Sent]:
    """Values that are no frames, under a good key."""
    good = CODEC.encode(a_frame(new_epoch()))
    malformed, invalid, unknown = "MalformedRecordError", "InvalidFrameError", "UnknownSchemaError"
    not_a_number = np.full(SAMPLES, np.nan, "<f4").tobytes()
    kinds: list[tuple[bytes | None, str, str]] = [
        (b"RIFF" + good, malformed, "begins with"),
        (SINGLE_OBJECT + bytes(8) + good[10:], unknown, "fingerprint"),
        (CONFLUENT + (7).to_bytes(4) + good[10:], unknown, "no schema registry"),
        (good[: len(good) // 2], malformed, "not the Avro"),
        (good[:12], malformed, "not the Avro"),
        (good + b"\x00\x01", malformed, "2 bytes follow"),
        (CODEC.encode(a_detection()), malformed, "this is detection"),
        (b"", malformed, "empty"),
        (None, malformed, "empty"),
        (b"\xc3", malformed, "begins with c3"),
        (forged(sample_rate_hz=10_000_000), invalid, "sample_rate_hz"),
        (forged(sample_rate_hz=0), invalid, "sample_rate_hz"),
        (forged(samples=0, data=b""), invalid, "samples"),
        (forged(samples=-5), invalid, "samples"),
        (forged(samples=2**31 - 1), invalid, "samples"),
        (forged(channels=17), invalid, "channels"),
        (forged(first_sample=-1), invalid, "first_sample"),
        (forged(captured_at_us=-1), invalid, "captured_at_us"),
        (forged(data=sound()[:-1]), invalid, "bytes"),
        (forged(channels=3), invalid, "bytes"),
        (forged(epoch=bytes(16)), invalid, "epoch"),
        (forged(encoding=Encoding.FLAC, data=b"fLaC" + bytes(200)), malformed, "not a FLAC stream"),
        (forged(encoding=Encoding.FLAC, data=flac(SAMPLES)[:60]), malformed, "FLAC"),
        (forged(encoding=Encoding.FLAC, data=flac(2 * SAMPLES)), invalid, "data"),
        (forged(encoding=Encoding.FLAC, sample_rate_hz=8000, data=flac(SAMPLES)), invalid, "data"),
        (forged(encoding=Encoding.PCM_F32LE, data=not_a_number), invalid, "not finite"),
    ]
    return [Sent(b"broken", value, reason, about) for value, reason, about in kinds]


def unusable_keys() -> list[Sent]:
    """Good frames under keys that name no sensor."""
    good = CODEC.encode(a_frame(new_epoch()))
    keys = (None, b"", b"\xff\xfe\xfd", b"bell\x07", b"two\nlines", b"x" * 257)
    return [Sent(key, good, "InvalidFrameError", "key is") for key in keys]


def unusable_in_their_place() -> list[Sent]:
    """Good frames that cannot follow what their sensor sent before."""
    old, new = new_epoch(), new_epoch()
    first, second = a_frame(new), a_frame(new, 1)
    slower = replace(second, sample_rate_hz=RATE_HZ // 2)
    stereo = replace(second, samples=SAMPLES // 2, channels=2)
    return [
        Sent(b"changeable", CODEC.encode(first)),
        Sent(b"changeable", CODEC.encode(slower), "InvalidFrameError", "sample_rate_hz"),
        Sent(b"changeable", CODEC.encode(stereo), "InvalidFrameError", "channels"),
        Sent(b"twice", CODEC.encode(first)),
        Sent(b"twice", CODEC.encode(a_frame(old)), "StaleEpochError", "two producers"),
    ]


def interleaved(broken: Sequence[Sent]) -> Iterator[Sent]:
    """Broken records with good frames of three sensors between any two of them."""
    epochs = {name: new_epoch() for name in GOOD}
    waiting = list(broken)
    for index in range(GOOD_FRAMES):
        for name, epoch in epochs.items():
            yield Sent(name.encode(), CODEC.encode(a_frame(epoch, index)))
            if waiting:
                yield waiting.pop(0)
    assert not waiting


@dataclass(frozen=True, slots=True)
class Case:
    """What was sent, in the order of the log, and what came of it."""

    sent: list[Sent]
    letters: list[DeadLetter]
    coverage: list[Coverage]
    metrics: dict[str, float]
    log: str
    frames_topic: str


@pytest.fixture(scope="module")
def case(kafka: KafkaServer, quick_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Case]:
    tenant = Tenant(kafka.bootstrap_servers, "broken").create(partitions=1)
    programs = Programs(tmp_path_factory.mktemp("broken"))
    try:
        yield _case(tenant, programs, quick_model)
    finally:
        programs.close()


def _case(tenant: Tenant, programs: Programs, model: Path) -> Case:
    broken = ROUNDS * unreadable_values() + unusable_keys() + unusable_in_their_place()
    broken.append(replace(broken[0], headers=(("traceparent", b"00-1-2-01"), ("empty", None))))
    sent = list(interleaved(broken))
    worker = programs.work(tenant, model)
    worker.ready()
    _append(tenant, sent)
    expected = {*GOOD, "changeable", "twice"}
    wait_until(lambda: {name for name, _ in tenant.silent()} == expected, "all runs are closed")
    metrics = worker.metrics()
    worker.terminate()
    assert worker.process.exit_status == 0
    letters, coverage = tenant.dead_letters(), tenant.coverage()
    return Case(sent, letters, coverage, metrics, worker.log, tenant.topics.frames)


def _append(tenant: Tenant, sent: Sequence[Sent]) -> None:
    producer = Producer({**tenant.client, "enable.idempotence": True})
    for record in sent:
        producer.produce(
            tenant.topics.frames, record.value, record.key, partition=0, headers=list(record.headers)
        )
    assert producer.flush(60) == 0


@pytest.mark.timeout(180)
def test_every_broken_record_is_a_dead_letter_byte_for_byte_and_no_other_is(case: Case) -> None:
    broken = [(offset, record) for offset, record in enumerate(case.sent) if record.reason]
    assert len({record.about for _, record in broken}) > 10
    expected = [(offset, r.key, r.value, r.headers) for offset, r in broken]
    found = sorted(case.letters, key=lambda letter: letter.offset)
    assert [(letter.offset, letter.key, letter.value, letter.headers) for letter in found] == expected


def test_a_dead_letter_says_where_it_was_and_why_it_was_refused(case: Case) -> None:
    for letter in case.letters:
        sent = case.sent[letter.offset]
        assert (letter.topic, letter.partition) == (case.frames_topic, 0)
        assert letter.exception == sent.reason, letter.message
        assert sent.about in letter.message


def test_sensors_beside_broken_records_are_heard_without_a_gap(case: Case) -> None:
    said = {sensor: timeline for (sensor, _), timeline in timelines(case.coverage).items() if sensor in GOOD}
    whole: Timeline = [(0, GOOD_FRAMES * SAMPLES, Outcome.SCORED)]
    assert said == dict.fromkeys(GOOD, whole)


def test_dead_letters_are_counted_and_named_in_the_log_of_the_worker(case: Case) -> None:
    assert case.metrics["dead_letters_total"] == len(case.letters)
    first = {letter.exception: letter for letter in sorted(case.letters, key=lambda one: -one.offset)}
    for letter in first.values():
        where = f"{letter.topic}[{letter.partition}]@{letter.offset}: dead letter, "
        assert re.search(re.escape(where) + rf"\d+ since .*: {letter.exception}: ", case.log)
