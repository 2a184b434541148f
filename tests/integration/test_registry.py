"""The whole path with a schema registry: what it is asked, and what its outages do and do not delay.

The registry is the tests' own (`registry_server`), which can be stopped, hang and fail; where a Docker engine
answers, the path is shown with a real one as well.
"""

import json
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from io import BytesIO
from pathlib import Path
from typing import Any

import fastavro
import numpy as np
import pytest
from confluent_kafka import Producer

from earwitness.settings import load_settings
from infra.local.kafka import KafkaServer
from infra.local.kafka_docker import docker_answers
from schemas.codec import CONFLUENT, Codec, R, released_schemas
from schemas.coverage import Coverage, Outcome
from schemas.detection import Detection
from schemas.frame import AudioFrame, Encoding
from schemas.identity import new_epoch
from schemas.sensor import Presence, SensorState
from tests.integration.harness import (
    DEADLINE_S,
    RATE_HZ,
    Appended,
    Program,
    Programs,
    Tenant,
    Worker,
    timelines,
    wait_until,
)
from tests.integration.registry_docker import registry_container
from tests.integration.registry_server import Mood, RegistryServer, registry_server

pytestmark = pytest.mark.timeout(180)

SAMPLES, FRAMES = RATE_HZ // 10, 60
NOW_US = 1_790_000_000_000_000
GOOD, PARKED, MIXED = 0, 1, 2
"""Partitions: of sensors whose schema is known, of those whose is not, and of both."""
GARBAGE = 2000
SOON_S = 7.0
"""Well within the 10 s for which a partition waits."""


def later_schema(number: int = 1) -> dict[str, Any]:
    """Return the frames' schema as a release to come may write it: a field more, with a default."""
    newest = released_schemas()[AudioFrame.NAME][-1]
    more = {"name": f"gain_{number}", "type": "float", "default": 1.0}
    return {**newest, "fields": [*newest["fields"], more]}


def frame(epoch: bytes, index: int) -> AudioFrame:
    at = np.arange(index * SAMPLES, (index + 1) * SAMPLES) / RATE_HZ
    pcm = (5000 * np.sin(2 * np.pi * 440 * at)).astype("<i2").tobytes()
    captured_us = NOW_US + index * 100_000
    return AudioFrame(epoch, index * SAMPLES, SAMPLES, captured_us, RATE_HZ, 1, Encoding.PCM_S16LE, pcm)


def as_later_writer(frame: AudioFrame, schema: dict[str, Any], schema_id: int) -> bytes:
    out = BytesIO(CONFLUENT + schema_id.to_bytes(4))
    out.seek(5)
    fields = {name: getattr(frame, name) for name in frame.__slots__}
    fastavro.schemaless_writer(out, fastavro.parse_schema(schema), fields)
    return out.getvalue()


@dataclass
class Sensors:
    """Writes frames of any schema, to partitions of its choice."""

    tenant: Tenant
    codec: Codec
    epochs: dict[str, bytes] = field(default_factory=dict)

    def values(self, sensor: str) -> list[bytes]:
        """Return the frames of six seconds of a new sensor, as this release writes them."""
        return [self.codec.encode(one) for one in self._frames(sensor)]

    def later(self, sensor: str, schema: dict[str, Any], schema_id: int) -> list[bytes]:
        """Return the same as another release writes it."""
        return [as_later_writer(one, schema, schema_id) for one in self._frames(sensor)]

    def _frames(self, sensor: str) -> list[AudioFrame]:
        epoch = self.epochs[sensor] = new_epoch()
        return [frame(epoch, index) for index in range(FRAMES)]

    def append(self, partition: int, records: Sequence[tuple[str, bytes]]) -> None:
        """Append records, each a sensor and a value, and wait until they are in the log."""
        producer = Producer({**self.tenant.client, "enable.idempotence": True, "linger.ms": 5})
        for sensor, value in records:
            producer.produce(self.tenant.topics.frames, value, sensor, partition=partition)
        assert producer.flush(60) == 0

    def play(self, partition: int, sensor: str, values: Sequence[bytes]) -> None:
        """Append frames of one sensor."""
        self.append(partition, [(sensor, value) for value in values])


@dataclass
class Heard:
    """A worker that works with a registry, and what it publishes."""

    tenant: Tenant
    registry: RegistryServer
    worker: Worker
    sensors: Sensors
    settings: dict[str, object]

    def decoded(self, kind: type[R], topic: str) -> list[R]:
        return [self.sensors.codec.decode_asking(kind, record.value) for record in self.tenant.read(topic)]

    def heard(self, sensor: str) -> bool:
        """Say whether all that a sensor sent was scored, but for its last second or so."""
        said = timelines(self.decoded(Coverage, self.tenant.topics.coverage))
        own = [timeline for (name, _), timeline in said.items() if name == sensor]
        return bool(own) and own[0][0][0] == 0 and own[0][0][1] >= 5 * RATE_HZ and _scored(own[0])

    def wait_heard(self, sensor: str, within_s: float = 60.0) -> None:
        wait_until(lambda: self.heard(sensor), f"{sensor} is heard", within_s)

    def first_ms(self, sensor: str) -> int:
        """Return when the first detection of a sensor was appended, by the broker's clock."""
        found = self.tenant.read(self.tenant.topics.detections)
        return min(
            record.appended_ms
            for record in found
            if self.sensors.codec.decode_asking(Detection, record.value).sensor == sensor
        )

    def letters(self, sensor: str) -> list[Any]:
        return [letter for letter in self.tenant.dead_letters() if letter.key == sensor.encode()]


def _scored(timeline: Any) -> bool:
    return [outcome for _, _, outcome in timeline] == [Outcome.SCORED]


@pytest.fixture(scope="module")
def path(kafka: KafkaServer, quick_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Heard]:
    tenant = Tenant(kafka.bootstrap_servers, "registered").create(partitions=3)
    programs = Programs(tmp_path_factory.mktemp("registered"))
    with registry_server() as registry:
        try:
            codec = load_settings(
                flags={"registry.url": registry.url, "topics.tenants": '["registered"]'}
            ).codec()
            codec.prepare(AudioFrame, Detection, Coverage, SensorState)
            registry.requests.clear()
            worker = programs.work(tenant, quick_model, registry__url=registry.url)
            worker.ready()
            settings: dict[str, object] = {
                "kafka.bootstrap_servers": tenant.servers,
                "topics.tenants": '["registered"]',
                "registry.url": registry.url,
            }
            yield Heard(tenant, registry, worker, Sensors(tenant, codec), settings)
            assert worker.process.exit_status is None
        finally:
            programs.close()


def in_framing(records: Sequence[Appended]) -> bool:
    values = [record.value for record in records if record.value is not None]  # a tick has none
    return bool(values) and all(value[:1] == CONFLUENT for value in values)


def test_frames_and_outputs_bear_ids_and_each_id_is_looked_up_once(path: Heard) -> None:
    path.sensors.play(GOOD, "first", path.sensors.values("first"))
    path.wait_heard("first")
    topics = path.tenant.topics
    for topic in (topics.frames, topics.detections, topics.coverage, topics.sensors):
        assert in_framing(path.tenant.read(topic)), topic
        assert f"{topic}-value" in path.registry.subjects
    frames = [record.value for record in path.tenant.read(topics.frames) if record.value is not None]
    [frames_id] = {int.from_bytes(value[1:5]) for value in frames}
    assert path.registry.asked(frames_id) == 1
    assert path.decoded(Detection, topics.detections)


def test_sensors_of_this_release_and_of_a_later_one_are_heard_side_by_side(path: Heard) -> None:
    schema_id = path.registry.put(f"{path.tenant.topics.frames}-value", json.dumps(later_schema()))
    older, newer = path.sensors.values("older"), path.sensors.later("newer", later_schema(), schema_id)
    mixed = [
        pair for both in zip(older, newer, strict=True) for pair in zip(("older", "newer"), both, strict=True)
    ]
    path.sensors.append(MIXED, mixed)
    path.wait_heard("older")
    path.wait_heard("newer")
    assert path.registry.asked(schema_id) == 1
    assert path.tenant.dead_letters() == []


def test_garbage_that_names_ids_that_nobody_has_is_a_dead_letter_at_once(path: Heard) -> None:
    before, good = len(path.tenant.dead_letters()), path.sensors.values("beside-garbage")
    garbage = [("nobody", CONFLUENT + (10_000 + n).to_bytes(4) + b"rubbish") for n in range(200)]
    path.sensors.append(MIXED, [*garbage, *[("beside-garbage", value) for value in good]])
    path.wait_heard("beside-garbage")
    letters = path.letters("nobody")
    assert len(letters) == len(path.tenant.dead_letters()) - before == len(garbage)
    assert {letter.exception for letter in letters} == {"UnknownSchemaError"}
    assert all("the registry has none" in letter.message for letter in letters)


def test_a_registry_that_comes_back_in_time_has_cost_nothing_but_time(path: Heard) -> None:
    schema = later_schema(2)
    schema_id = path.registry.put(f"{path.tenant.topics.frames}-value", json.dumps(schema))
    path.registry.stop()
    try:
        path.sensors.play(PARKED, "patient", path.sensors.later("patient", schema, schema_id))
        path.worker.said("the schema registry gives no answer")
        path.sensors.play(GOOD, "undisturbed", path.sensors.values("undisturbed"))
        path.wait_heard("undisturbed", SOON_S)
    finally:
        path.registry.start()
    path.wait_heard("patient")
    assert path.first_ms("undisturbed") < path.first_ms("patient")
    assert path.letters("patient") == []
    assert "the schema registry answers again" in path.worker.log


def test_an_outage_is_waited_for_once_however_many_ids_are_unknown(path: Heard, programs: Programs) -> None:
    schema = later_schema(3)
    schema_id = path.registry.put(f"{path.tenant.topics.frames}-value", json.dumps(schema))
    good = iter(path.sensors.values("in-the-flood"))
    flood = []
    for n in range(GARBAGE):
        flood.append(("flood", CONFLUENT + (100_000 + n).to_bytes(4) + b"rubbish"))
        if n % (GARBAGE // FRAMES) == 0 and (value := next(good, None)):
            flood.append(("in-the-flood", value))
    flood += [("in-the-flood", value) for value in good]
    path.registry.mood = Mood.HANGS
    since_s = time.monotonic()
    path.sensors.play(PARKED, "too-late", path.sensors.later("too-late", schema, schema_id))
    path.sensors.append(MIXED, flood)
    path.sensors.play(GOOD, "far-away", path.sensors.values("far-away"))
    path.wait_heard("far-away")
    near_s = time.monotonic() - since_s
    wait_until(lambda: len(path.letters("flood")) == GARBAGE, "the flood is over")
    path.wait_heard("in-the-flood")
    took_s = time.monotonic() - since_s
    wait_until(lambda: len(path.letters("too-late")) == FRAMES, "what could not be read is kept")
    print(
        f"{GARBAGE} unknown ids while the registry hung: the sensor among them after {took_s:.1f} s, "
        f"one of another partition after {near_s:.1f} s"
    )
    assert path.first_ms("far-away") < path.first_ms("in-the-flood")
    assert all("the registry gave no answer for 10 s" in x.message for x in path.letters("too-late"))
    path.registry.stop()
    path.registry.mood = Mood.WELL
    path.registry.start()
    _brings_back(path, programs)


def _brings_back(path: Heard, programs: Programs) -> None:
    """Retry the dead letters of the outage, and find them in the backfill, byte for byte."""
    asked = ["dead-letters", "retry", "--exception", "UnknownSchemaError", "--sensor", "too-late"]
    program = programs.run(asked, path.settings)
    assert program.process.wait(60), program.log
    assert program.process.exit_status == 0, program.log
    assert f"{FRAMES} frames for" in program.log
    back = [record.value for record in path.tenant.read(path.tenant.topics.backfill)]
    assert back == [letter.value for letter in sorted(path.letters("too-late"), key=lambda x: x.offset)]
    path.sensors.play(PARKED, "afterwards", path.sensors.values("afterwards"))
    path.wait_heard("afterwards")


def stopped(program: Program, *said: str) -> None:
    assert program.process.wait(DEADLINE_S), "it neither works nor ends"
    assert program.process.exit_status == 2, program.log
    last = program.log.strip().splitlines()[-1]
    for text in said:
        assert text in last, program.log
    assert "Traceback" not in program.log


def test_programs_that_start_without_their_registry_say_so_and_end(
    tenant: Tenant, quick_model: Path, programs: Programs
) -> None:
    tenant.create(1)
    with registry_server() as away, registry_server() as hanging, registry_server("us:right") as locked:
        away.stop()
        hanging.mood = Mood.HANGS
        of = {"kafka.bootstrap_servers": tenant.servers, "topics.tenants": f'["{tenant.name}"]'}
        simulate = ["simulate", "--sensors", "1", "--seconds", "1"]
        wrong = {"registry__user": "us", "registry__password": "wrong-secret"}
        without = [
            programs.work(tenant, quick_model, registry__url=hanging.url),
            programs.run(simulate, {**of, "registry.url": away.url}),
        ]
        refused = programs.work(tenant, quick_model, registry__url=locked.url, **wrong)
        for program in without:
            stopped(program, "registry.url", "a registry that answers")
        stopped(refused, "registry.user or registry.password", "Unauthorized")
        assert "wrong-secret" not in refused.log


def test_sensors_workers_and_a_real_registry_understand_each_other(
    kafka: KafkaServer, tenant: Tenant, quick_model: Path, programs: Programs
) -> None:
    if not docker_answers():
        pytest.skip("no Docker engine answers: a real schema registry cannot be started here")
    tenant.create(1)
    with registry_container(kafka.bootstrap_servers) as url:
        worker = programs.work(tenant, quick_model, registry__url=url)
        worker.ready()
        simulate = ["simulate", "--sensors", "2", "--seconds", "8", "--speed", "0"]
        of = {"kafka.bootstrap_servers": tenant.servers, "topics.tenants": f'["{tenant.name}"]'}
        fleet = programs.run(simulate, {**of, "registry.url": url})
        assert fleet.process.wait(60)
        assert fleet.process.exit_status == 0, fleet.log
        codec = load_settings(flags={"registry.url": url}).codec()

        def states() -> list[SensorState]:
            found = tenant.read(tenant.topics.sensors)
            return [codec.decode_asking(SensorState, record.value) for record in found]

        wait_until(lambda: sum(x.state is Presence.SILENT for x in states()) == 2, "both have ended")
        assert in_framing(tenant.read(tenant.topics.frames))
        assert tenant.dead_letters() == []
