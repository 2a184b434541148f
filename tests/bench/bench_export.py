"""`earwitness export` of one detection, out of a topic of an hour of a thousand sensors, on a real broker.

The hour is 3.6 million frames of a second each, appended as fast as the broker takes them: a second of log is
then about as dense as with frames of 20 ms in real time, 6,250 records a second in each of 8 partitions.
Timed from the start of the program to its end, each time a new one.
"""

import json
import os
import random
import subprocess
import time
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
import soundfile
from confluent_kafka import Producer
from numpy.typing import NDArray

from infra.local.kafka import KafkaServer
from processors.log import LogReader
from schemas.detection import Detection, DetectionState
from schemas.frame import AudioFrame, Encoding
from schemas.identity import detection_id, epoch_text, new_epoch
from tests.integration.harness import CODEC, Tenant, command, variables

SENSORS = int(os.environ.get("BENCH_SENSORS", "1000"))
SECONDS = int(os.environ.get("BENCH_SECONDS", "3600"))
DETECTIONS = int(os.environ.get("BENCH_DETECTIONS", "200000"))
EXPORTS = int(os.environ.get("BENCH_EXPORTS", "40"))
PARTITIONS, RATE_HZ, SOUNDS = 8, 1000, 499
START_US, LENGTH_S, TARGET_S = 1_800_000_000_000_000, 5, 1.0
DIGEST = "0" * 64


class Played:
    """What was appended: sensor `n` plays sound `n + t` in second `t`."""

    def __init__(self) -> None:
        rng = np.random.default_rng(1)
        self.sounds: list[NDArray[np.int16]] = [rng.integers(-8, 8, RATE_HZ, np.int16) for _ in range(SOUNDS)]
        self.flac = [_flac(sound) for sound in self.sounds]
        self.epochs = [new_epoch() for _ in range(SENSORS)]
        self.offsets: dict[tuple[int, int], tuple[int, int]] = {}
        self.needed = self._choose()

    def _choose(self) -> dict[tuple[int, int], None]:
        rng = random.Random(2)  # noqa: S311 - which detections there are is no secret
        chosen = (
            (rng.randrange(SENSORS), rng.randrange(1, SECONDS - LENGTH_S - 1)) for _ in range(DETECTIONS)
        )
        return dict.fromkeys(chosen)

    def sound(self, sensor: int, begin_s: int, end_s: int) -> NDArray[np.int16]:
        """Return what a sensor played in `[begin_s, end_s)`."""
        return np.concatenate([self.sounds[(sensor + t) % SOUNDS] for t in range(begin_s, end_s)])


def _flac(sound: NDArray[np.int16]) -> bytes:
    out = BytesIO()
    soundfile.write(out, sound, RATE_HZ, format="FLAC", subtype="PCM_16")
    return out.getvalue()


def _name(sensor: int) -> str:
    return f"sensor-{sensor:04d}"


@pytest.fixture(scope="module")
def tenant(kafka: KafkaServer) -> Tenant:
    """Topics of this bench's own."""
    return Tenant(kafka.bootstrap_servers, "bench-export").create(PARTITIONS)


@pytest.fixture(scope="module")
def played(tenant: Tenant) -> Played:
    """Fill the topics."""
    played = Played()
    begun_s = time.monotonic()
    _play(tenant, played)
    _detect(tenant, played)
    frames, detections = (
        sum(tenant.ends(t).values()) for t in (tenant.topics.frames, tenant.topics.detections)
    )
    print(f"\n{frames:,} frames and {detections:,} detections in {time.monotonic() - begun_s:.0f} s")
    assert frames == SENSORS * SECONDS
    return played


def _producer(tenant: Tenant) -> Producer:
    options = {"partitioner": "murmur2_random", "linger.ms": 20, "queue.buffering.max.messages": 200_000}
    return Producer({**tenant.client, **options})


def _play(tenant: Tenant, played: Played) -> None:
    producer, topic = _producer(tenant), tenant.topics.frames
    keys = [_name(sensor).encode() for sensor in range(SENSORS)]
    wanted = {(s, t) for s, begin in played.needed for t in (begin, begin + LENGTH_S - 1)}
    for t in range(SECONDS):
        for s in range(SENSORS):
            frame = AudioFrame(
                played.epochs[s],
                t * RATE_HZ,
                RATE_HZ,
                START_US + (t + 1) * 1_000_000,
                RATE_HZ,
                1,
                Encoding.FLAC,
                played.flac[(s + t) % SOUNDS],
            )
            note = None
            if (s, t) in wanted:
                note = _noting(played, s, t)
            _produce(producer, topic, keys[s], CODEC.encode(frame), note)
    assert producer.flush(120) == 0


def _noting(played: Played, sensor: int, t: int):  # type: ignore[no-untyped-def]  # the client's own type
    def note(error, record) -> None:  # type: ignore[no-untyped-def]
        assert error is None
        played.offsets[sensor, t] = record.partition(), record.offset()

    return note


def _produce(producer: Producer, topic: str, key: bytes, value: bytes, note=None) -> None:  # type: ignore[no-untyped-def]
    while True:
        try:
            producer.produce(topic, value, key, on_delivery=note)
        except BufferError:
            producer.poll(0.05)
        else:
            producer.poll(0)
            return


def _detect(tenant: Tenant, played: Played) -> None:
    producer = _producer(tenant)
    for sensor, begin in played.needed:
        _produce(
            producer,
            tenant.topics.detections,
            _name(sensor).encode(),
            CODEC.encode(_detection(tenant, played, sensor, begin)),
        )
    assert producer.flush(120) == 0


def _detection(tenant: Tenant, played: Played, sensor: int, begin: int) -> Detection:
    partition, first = played.offsets[sensor, begin]
    return Detection(
        id=detection_id(_name(sensor), played.epochs[sensor], "siren", begin * RATE_HZ, DIGEST),
        sensor=_name(sensor),
        label="siren",
        state=DetectionState.ENDED,
        epoch=epoch_text(played.epochs[sensor]),
        start_sample=begin * RATE_HZ,
        end_sample=(begin + LENGTH_S) * RATE_HZ,
        sample_rate_hz=RATE_HZ,
        start_us=START_US + begin * 1_000_000 + 1000,
        end_us=START_US + (begin + LENGTH_S) * 1_000_000 + 1000,
        peak_score=0.9,
        windows=9,
        threshold=0.5,
        continued=False,
        missing_samples=0,
        model_name="bench",
        model_version="1",
        decision_digest=DIGEST,
        topic=tenant.topics.frames,
        partition=partition,
        first_offset=first,
        last_offset=played.offsets[sensor, begin + LENGTH_S - 1][1],
    )


@pytest.mark.timeout(3600)
@pytest.mark.parametrize("named", ["place", "id"])
def test_one_detection_is_exported_without_reading_the_topic(
    tenant: Tenant, played: Played, tmp_path: Path, named: str
) -> None:
    chosen = random.Random(3).sample(list(_places(tenant)), EXPORTS)  # noqa: S311
    took_s = []
    for number, (place, detection) in enumerate(chosen):
        file = tmp_path / f"{number}.wav"
        began_s = time.monotonic()
        _export(tenant, place if named == "place" else detection.id, file)
        took_s.append(time.monotonic() - began_s)
        _check(played, detection, file)
    scan_s, records = _scan(tenant, chosen[0][1].partition)
    show(named, sorted(took_s), scan_s, records)


def _places(tenant: Tenant) -> list[tuple[str, Detection]]:
    topic = tenant.topics.detections
    return [
        (f"{topic}[{record.partition}]@{record.offset}", CODEC.decode(Detection, record.value))
        for record in tenant.read(topic)
    ]


def _export(tenant: Tenant, what: str, file: Path) -> None:
    told = {"kafka.bootstrap_servers": tenant.servers, "topics.tenants": json.dumps([tenant.name])}
    done = subprocess.run(
        command("export", what, "-o", str(file)),
        env={"PATH": os.environ["PATH"], **variables(told)},
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr


def _check(played: Played, detection: Detection, file: Path) -> None:
    """Compare with what was played, a second of margin included."""
    values, rate = soundfile.read(file, dtype="int16")
    sensor = int(detection.sensor.removeprefix("sensor-"))
    begin, end = detection.start_sample // RATE_HZ - 1, detection.end_sample // RATE_HZ + 1
    assert rate == RATE_HZ
    np.testing.assert_array_equal(values, played.sound(sensor, begin, end))


def _scan(tenant: Tenant, partition: int) -> tuple[float, int]:
    """Read one partition from its start to its end, looking at keys only."""
    with LogReader(dict(tenant.client)) as reader:
        limits = reader.limits(tenant.topics.frames)[partition]
        began_s = time.monotonic()
        found = sum(r.key is not None for r in reader.read(tenant.topics.frames, {partition: limits}))
    return time.monotonic() - began_s, found


def show(named: str, took_s: list[float], scan_s: float, records: int) -> None:
    """Print what was measured."""
    p50, p99 = took_s[len(took_s) // 2], took_s[min(len(took_s) - 1, len(took_s) * 99 // 100)]
    met = "met" if p99 < TARGET_S else "MISSED"
    print(
        f"\nby {named}: {len(took_s)} exports, p50 {p50:.3f} s, p99 {p99:.3f} s, at most {took_s[-1]:.3f} s "
        f"(target: under {TARGET_S:g} s, {met})\n"
        f"its partition scanned: {scan_s:.1f} s for {records:,} records, {scan_s / p50:.0f} times as long"
    )
