"""At three in the morning: what is broken is seen within ten seconds, and replay hears its sound again."""

import json
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from threading import Event, Thread
from typing import Any

import numpy as np
import pytest
from confluent_kafka import Producer
from confluent_kafka.admin import AdminClient
from confluent_kafka.cimpl import NewTopic

from earwitness.analysis.wanted import utc_text
from earwitness.topics import TopicAdmin
from producers.publisher import FramePublisher
from schemas.coverage import Coverage
from schemas.deadletter import DeadLetter
from schemas.frame import AudioFrame, Encoding
from schemas.identity import epoch_text, new_epoch
from schemas.sensor import Presence
from tests.integration.commands import BROKEN, WARNINGS, WELL, WRONG_SETTINGS, found, run, settings_of
from tests.integration.harness import (
    CODEC,
    RATE_HZ,
    Programs,
    Tenant,
    timelines,
    wait_until,
)
from tests.integration.heard_again import HeardAgain, all_is_said
from tests.schemas.records import SENSOR

SEEN_WITHIN_S, LOOK_EVERY_S = 10.0, 0.2
AROUND_US, HOUR_US = 8_000_000, 3_600_000_000
"""Of the sound before and after a fault, what is heard again; how far ahead a clock is."""
FRAME_MS = 100
SAMPLES = RATE_HZ * FRAME_MS // 1000
NAMES = ("well", "stops", "deaf", "clips", "ahead")
FAULTS = {
    "stops": {"SILENT"},
    "deaf": {"DIGITAL_SILENCE", "PARTLY_SILENT"},
    "clips": {"CLIPPING"},
    "ahead": {"CLOCK_AHEAD"},
    "never": {"NEVER_STARTED"},
}
pytestmark = pytest.mark.timeout(240)


# -- sensors that fail --------------------------------------------------------------------------------------


@dataclass(slots=True)
class Sensor:
    """A sensor that can fail."""

    name: str
    epoch: bytes = field(default_factory=new_epoch)
    sent: int = 0
    fault: str | None = None

    def frame(self) -> AudioFrame:
        """Return its next frame, as its fault has it."""
        now_us = time.time_ns() // 1000 + (HOUR_US if self.fault == "ahead" else 0)
        data = _sound(self.sent, self.fault).astype("<i2").tobytes()
        frame = AudioFrame(self.epoch, self.sent, SAMPLES, now_us, RATE_HZ, 1, Encoding.PCM_S16LE, data)
        self.sent += SAMPLES
        return frame

    def fail(self) -> None:
        """Do what its name says from now on; a clock that steps opens an epoch."""
        if self.name == "ahead":
            self.epoch, self.sent = new_epoch(), 0
        self.fault = self.name


def _sound(first: int, fault: str | None) -> np.ndarray[Any, Any]:
    if fault == "deaf":
        return np.zeros(SAMPLES)
    wave = 3000 * np.sin(2 * np.pi * 440 * np.arange(first, first + SAMPLES) / RATE_HZ) + 0.5
    return np.clip(50 * wave, -32768, 32767) if fault == "clips" else wave


class Fleet:
    """Sensors that send in real time, from a thread."""

    def __init__(self, tenant: Tenant) -> None:
        self.sensors = {name: Sensor(name) for name in NAMES}
        self._publisher = FramePublisher(dict(tenant.client), tenant.topics.frames, CODEC)
        self._stop = Event()
        self._thread = Thread(target=self._play, daemon=True)
        self._thread.start()

    def is_at_its_worst(self) -> bool:
        """Say whether so little is left of a stretch of coverage that digital silence does not show in it.

        Windows of 1 s every 0.5 s, ten to a stretch: these end at 5.5 s, 10.5 s, 15.5 s and so on.
        """
        into_s = (self.sensors["deaf"].sent / RATE_HZ - 0.5) % 5.0
        return 4.1 <= into_s < 4.7

    def fail(self) -> None:
        """Let every sensor but the good one fail, each in its way."""
        for name in FAULTS.keys() & self.sensors.keys():
            self.sensors[name].fail()

    def stop(self) -> None:
        """Send no more."""
        self._stop.set()
        self._thread.join()

    def close(self) -> None:
        """Send no more, and wait until all is delivered."""
        self.stop()
        assert self._publisher.close(20) == 0

    def _play(self) -> None:
        due_s = time.monotonic()
        while not self._stop.wait(max(0.0, due_s - time.monotonic())):
            for sensor in self.sensors.values():
                if sensor.fault != "stops":
                    self._publisher.publish(sensor.name, sensor.frame())
            due_s += FRAME_MS / 1000


@pytest.fixture
def fleet(tenant: Tenant) -> Iterator[Fleet]:
    tenant.create(partitions=3)
    playing = Fleet(tenant)
    yield playing
    playing.close()


@pytest.fixture
def expected(tmp_path: Path) -> Path:
    file = tmp_path / "fleet.txt"
    file.write_text("# who should be there\n" + "\n".join(NAMES) + "\nnever   # ordered, not mounted\n")
    return file


# -- the five faults ----------------------------------------------------------------------------------------


def test_whoever_looks_ten_seconds_after_a_fault_sees_it(
    tenant: Tenant, programs: Programs, quick_model: Path, fleet: Fleet, expected: Path, tmp_path: Path
) -> None:
    worker = programs.work(tenant, quick_model, sensors__expected=expected)
    worker.ready()
    where = {**settings_of(tenant, quick_model), "sensors.expected": expected}
    wait_until(lambda: _wrong(where) == {"never": {"NEVER_STARTED"}}, "all others are well")
    wait_until(lambda: worker.metrics()["sensors_missing"] == 1, "the one that never started is counted")
    wait_until(fleet.is_at_its_worst, "the moment after which a deaf sensor is told last")
    before = tenant.ends(tenant.topics.coverage)
    failed_us = time.time_ns() // 1000
    fleet.fail()

    seen = _times_until_seen(
        {
            "sensors": lambda: _wrong(where),
            "doctor": lambda: _wrong_by_doctor(where),
            "coverage": lambda: _wrong_by_coverage(tenant.coverage(before), fleet),
        }
    )
    print(json.dumps(seen, indent=1, default=asdict))
    assert all(times.missed_s < SEEN_WITHIN_S for by in seen.values() for times in by.values()), seen
    wait_until(
        lambda: "DIGITAL_SILENCE" in _wrong(where)["deaf"], "the stretch in which it went deaf is over"
    )
    wait_until(lambda: worker.metrics()["sensors_missing"] == 2, "the one that stopped is missing, too")
    assert "well" not in _wrong(where)
    assert run(where, "sensors", "well").code == WELL
    nobody = run(where, "sensors", "wel")
    assert (nobody.code, "knows no sensor like wel" in nobody.said) == (BROKEN, True)
    refused = run(where, "sensors", "st*", "--forget")
    assert (refused.code, "ids as `earwitness sensors` lists them" in refused.said) == (WRONG_SETTINGS, True)
    forgotten = run(where, "sensors", "stops", "well", "--forget")
    assert (forgotten.code, "forgotten: stops\n" in forgotten.said) == (WELL, True)
    assert _wrong(where)["stops"] == {"NEVER_STARTED"}  # it still is on the list
    assert "well" not in _wrong(where)
    assert run(where, "sensors").code == run(where, "doctor").code == BROKEN
    fleet.stop()
    ends = {(sensor.name, epoch_text(sensor.epoch)): sensor.sent for sensor in fleet.sensors.values()}
    wait_until(lambda: all_is_said(tenant, ends), "all that was sent is covered, all that began has ended")
    _is_heard_again_as_it_was(HeardAgain(tenant, where, tmp_path / "scores.parquet"), failed_us)


@dataclass(frozen=True, slots=True)
class Times:
    """When, after the faults began, the last look was begun that did not show one, and the first that did.

    How long a look takes says how busy this machine is, and nothing about who looks.
    """

    missed_s: float
    begun_s: float
    ended_s: float


def _times_until_seen(looks: dict[str, Callable[[], dict[str, set[str]]]]) -> dict[str, dict[str, Times]]:
    """Return, for each way to look, when it showed which fault."""
    since_s, seen = time.monotonic(), {by: dict[str, Times]() for by in looks}
    wanted = {by: len(FAULTS) - (by == "coverage") for by in looks}  # of what never was, it says nothing
    threads = [Thread(target=_look, args=(look, wanted[by], since_s, seen[by])) for by, look in looks.items()]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert {by: len(times) for by, times in seen.items()} == wanted, seen
    return seen


def _look(
    look: Callable[[], dict[str, set[str]]],
    faults: int,
    since_s: float,
    seen: dict[str, Times],
) -> None:
    never, missed_s = Event(), 0.0
    while missed_s < SEEN_WITHIN_S and len(seen) < faults:
        begun_s = time.monotonic() - since_s
        wrong = look()
        times = Times(round(missed_s, 1), round(begun_s, 1), round(time.monotonic() - since_s, 1))
        for name, problems in wrong.items():
            if problems & FAULTS.get(name, set()):
                seen.setdefault(name, times)
        missed_s = begun_s
        never.wait(LOOK_EVERY_S)


def _wrong(where: dict[str, object]) -> dict[str, set[str]]:
    done = run(where, "sensors", "--json")
    assert done.code in (WELL, BROKEN, WARNINGS), done.said
    return {row["sensor"]: {p["name"] for p in row["problems"]} for row in done.lines if row["problems"]}


def _wrong_by_doctor(where: dict[str, object]) -> dict[str, set[str]]:
    done, wrong = run(where, "doctor", "--json"), dict[str, set[str]]()
    assert done.code in (BROKEN, WARNINGS), done.said
    for finding in done.lines:
        if finding["subject"].startswith("sensor "):
            wrong.setdefault(finding["subject"][7:], set()).add(finding["found"].partition(":")[0])
    return wrong


def _wrong_by_coverage(said: Sequence[Coverage], fleet: Fleet) -> dict[str, set[str]]:
    """Judge by what coverage has said since the faults began."""
    wrong: dict[str, set[str]] = {}
    for one in said:
        level, end_us = one.level, one.end_us or 0
        signs = {
            "PARTLY_SILENT": level is not None and level.zero_fraction > 0.2,
            "CLIPPING": level is not None and level.clipped_fraction > 0.1,
            "CLOCK_AHEAD": end_us > time.time_ns() // 1000 + HOUR_US // 2,
            "SILENT": one.sensor == "stops" and one.end_sample == fleet.sensors["stops"].sent,
        }
        wrong.setdefault(one.sensor or "", set()).update(name for name, shown in signs.items() if shown)
    return wrong


def _is_heard_again_as_it_was(again: HeardAgain, failed_us: int) -> None:
    """Replay each sensor's sound around its fault by its own clock; compare with what the worker said."""
    for name in FAULTS.keys() - {"never"}:
        began_us = failed_us + (HOUR_US if name == "ahead" else 0)
        around = began_us - AROUND_US, began_us + AROUND_US
        assert again.live(name, *around), name
        assert again.replay(name, *around) == again.live(name, *around)
        again.has_every_scored_window(name, *around)
    # A deaf one: nothing, as live, once its last sound has left the last window that decides.
    deaf = failed_us + 2_000_000, failed_us + AROUND_US
    assert again.replay("deaf", *deaf) == again.live("deaf", *deaf) == {}
    again.has_every_scored_window("deaf", *deaf)
    after = failed_us, failed_us + AROUND_US
    by_broker = again.replay("ahead", *after, "--clock", "broker")
    assert by_broker == again.live_by_broker("ahead", *after)
    assert {d.start_us > failed_us + HOUR_US // 2 for d in by_broker.values()} == {True}
    never = run(again.where, "replay", "--sensor", "never", "--from", "-10m")
    assert (never.code, "no worker has heard it" in never.said) == (WRONG_SETTINGS, True)
    assert "Traceback" not in never.said


def test_a_sensor_is_forgotten_by_its_id_even_where_that_reads_as_a_glob(
    tenant: Tenant, quick_model: Path
) -> None:
    tenant.create(partitions=1)
    where, producer = settings_of(tenant, quick_model), Producer(tenant.client)
    for name in ("hall1", "hall[1]"):
        state = replace(SENSOR, sensor=name, partition=0, state=Presence.SILENT)
        producer.produce(tenant.topics.sensors, CODEC.encode(state), name, partition=0)
    assert producer.flush(20) == 0
    refused = run(where, "sensors", "hall?", "--forget")
    assert (refused.code, "--forget is 'hall?'; accepted: ids" in refused.said) == (WRONG_SETTINGS, True)
    forgotten = run(where, "sensors", "hall[1]", "--forget")
    assert (forgotten.code, "forgotten: hall[1]\n" in forgotten.said) == (WELL, True)
    assert _wrong(where).keys() == {"hall1"}


def test_watching_says_it_again_until_it_is_stopped(
    tenant: Tenant, programs: Programs, quick_model: Path, expected: Path
) -> None:
    tenant.create(partitions=1)
    where = {**settings_of(tenant, quick_model), "sensors.expected": expected}
    watching = programs.run(["sensors", "--watch", "--json"], where)
    wait_until(lambda: watching.log.count('"never"') > 2, "three times")
    watching.terminate()
    assert watching.process.exit_status == BROKEN


# -- the doctor ---------------------------------------------------------------------------------------------


def test_a_broker_that_is_away_is_said_to_be_and_what_is_here_is_looked_at(quick_model: Path) -> None:
    done = run({"kafka.bootstrap_servers": "127.0.0.1:1", "model.path": quick_model}, "doctor", "--json")
    assert done.code == BROKEN
    assert "127.0.0.1:1 does not answer" in found(done.lines, "brokers", "broken")
    assert "quick/1" in found(done.lines, "model", "ok")


def test_a_cluster_without_topics_is_told_how_to_make_them(tenant: Tenant, quick_model: Path) -> None:
    done = run(settings_of(tenant, quick_model), "doctor", "--json")
    assert done.code == BROKEN
    assert f"{tenant.topics.frames}: none of its topics exists" in found(done.lines, "topics", "broken")
    assert "earwitness topics create" in found(done.lines, "topics", "broken")
    assert not found(done.lines, "sensors", "broken")
    assert "not looked at" in found(done.lines, "sensors", "warn")


def test_topics_that_cannot_work_are_named_with_what_to_change(tenant: Tenant, quick_model: Path) -> None:
    topics = tenant.topics
    _make(tenant, topics.frames, 3, {"message.timestamp.type": "CreateTime", "cleanup.policy": "compact"})
    _make(tenant, topics.coverage, 2, {"retention.ms": "60000"})
    _make(tenant, topics.sensors, 3, {})
    _make(tenant, topics.dead_letters, 3, {"max.message.bytes": "1000"})
    done = run(settings_of(tenant, quick_model), "doctor", "--json", "--only", "topics")
    assert done.code == BROKEN
    broken, warned = found(done.lines, "topics", "broken"), found(done.lines, "topics", "warn")
    assert f"{topics.detections}: missing" in broken
    assert f"{topics.frames}: message.timestamp.type is CreateTime" in broken
    assert f"{topics.frames}: cleanup.policy is compact" in broken
    assert f"{topics.coverage}: 2 partitions, where {topics.frames} has 3" in broken
    assert f"{topics.coverage}: kept for 60.0 s only" in warned
    assert f"{topics.sensors}: cleanup.policy is delete" in warned
    assert f"{topics.dead_letters}: max.message.bytes is 1000" in warned
    assert f"{topics.backfill}: missing" in warned


def _make(tenant: Tenant, name: str, partitions: int, config: dict[str, str]) -> None:
    admin = AdminClient({"bootstrap.servers": tenant.servers})
    admin.create_topics([NewTopic(name, partitions, 1, config=config)])[name].result(20)
    wait_until(lambda: name in TopicAdmin(tenant.client).partitions([name]), f"{name} is listed")


def test_topics_as_they_are_created_are_found_well(tenant: Tenant, quick_model: Path) -> None:
    tenant.create(partitions=2)
    done = run(settings_of(tenant, quick_model), "doctor", "--json", "--only", "topics")
    assert (done.code, len(done.lines)) == (WELL, 1), done.out


def test_a_group_without_workers_its_lag_and_other_settings_are_seen(
    tenant: Tenant, programs: Programs, quick_model: Path, fleet: Fleet
) -> None:
    where = settings_of(tenant, quick_model)
    done = run(where, "doctor", "--json", "--only", "workers")
    assert "has no worker: nobody listens" in found(done.lines, "workers", "broken")
    assert "has never committed anything" in found(done.lines, "workers", "warn")
    worker = programs.work(tenant, quick_model)
    worker.ready()
    wait_until(tenant.coverage, "something was listened to")
    wait_until(lambda: run(where, "doctor", "--only", "workers", "--only", "coverage").code == WELL, "well")
    other = {**where, "detect.segment_windows": 7}
    done = run(other, "doctor", "--json", "--only", "coverage")
    assert done.code == WARNINGS
    assert "workers decided by" in found(done.lines, "coverage", "warn")
    worker.terminate()
    wait_until(lambda: run(where, "doctor", "--only", "workers").code == BROKEN, "it has left")
    done = run(where, "doctor", "--json", "--only", "workers")
    assert "mark at most" in "".join(found(done.lines, "workers", level) for level in ("ok", "warn"))


def test_nonsense_is_refused_with_what_is_accepted(tenant: Tenant, quick_model: Path) -> None:
    where = settings_of(tenant, quick_model)
    for arguments, said in (
        (("doctor", "--only", "everything"), "accepted: versions, model"),
        (("dead-letters", "list", "--since", "yesterday"), "accepted: a time with its zone"),
        (("dead-letters", "show", "there"), "accepted: a place, such as"),
        (("dead-letters", "retry"), "accepted: places, or at least one of"),
        (("sensors", "--expected", "/no/such/file"), "accepted: a text file that can be read"),
        (("sensors", "--forget"), "accepted: at least one SENSOR"),
    ):
        done = run(where, *arguments)
        assert done.code == WRONG_SETTINGS, done.said
        assert said in done.said
        assert "Traceback" not in done.said


# -- dead letters and the backfill --------------------------------------------------------------------------


def test_letters_that_can_be_read_again_are_heard_through_the_backfill_and_the_live_state_stands(
    tenant: Tenant, programs: Programs, quick_model: Path, fleet: Fleet
) -> None:
    where, topics = settings_of(tenant, quick_model), tenant.topics
    worker = programs.work(tenant, quick_model)
    worker.ready()
    history = Sensor("well")
    frames = [history.frame() for _ in range(40)]
    _bury(tenant, frames, b"not a frame")

    hour_ago = utc_text(time.time_ns() // 1000 - HOUR_US)
    listed, *same = (
        run(where, "dead-letters", "list", "--json", "--since", s).lines for s in ("1h", "-1h", hour_ago)
    )
    assert same == [listed, listed]
    assert len(listed) == len(frames) + 1 + 3
    (bad,) = (one for one in listed if one["size"] == len(b"not a frame"))
    assert run(where, "dead-letters", "show", bad["original"], "--raw").out == b"not a frame"
    assert b"6e 6f 74 20 61 20 66 72" in run(where, "dead-letters", "show", bad["place"]).out
    (group,) = run(where, "dead-letters", "list", "--summary", "--json").lines
    assert (group["exception"], group["sensor"], group["count"]) == ("UnknownSchemaError", "well", 44)
    warned = found(run(where, "doctor", "--json", "--only", "dead-letters").lines, "dead-letters", "warn")
    assert "44 within the hour, UnknownSchemaError" in warned

    retry = ("dead-letters", "retry", "--exception", "UnknownSchemaError", "--json")
    tried = run(where, *retry, "--dry-run")
    assert sum(tenant.ends(topics.backfill).values()) == 0
    done = run(where, *retry)
    assert tried.code == done.code == BROKEN  # one still is no frame
    assert [one["place"] for one in done.lines if one["why_not"]] == [bad["place"]]
    appended = tenant.read(topics.backfill)
    assert [record.value for record in appended] == [CODEC.encode(frame) for frame in frames]
    assert {(record.key, record.headers) for record in appended} == {(b"well", (("traceparent", b"00-1"),))}

    past = programs.work(tenant, quick_model, topics__backfill="true", worker__group=f"{tenant.name}-past")
    past.ready()
    epoch = epoch_text(history.epoch)
    wait_until(
        lambda: timelines(tenant.coverage()).get(("well", epoch), [(0, 0)])[-1][1] == history.sent,
        "the sound of the past is covered",
    )
    assert {one.topic for one in tenant.coverage() if one.epoch == epoch} == {topics.backfill}
    assert any(one.epoch == epoch for one in tenant.detections())
    states = [state for state in tenant.states() if state.sensor == "well"]
    assert {state.topic for state in states} == {topics.frames}
    assert "well" not in _wrong(where)


def test_a_worker_of_the_backfill_in_the_group_of_the_live_ones_is_refused(
    tenant: Tenant, quick_model: Path
) -> None:
    tenant.create(partitions=1)
    where = {**settings_of(tenant, quick_model), "topics.backfill": "true", "worker.group": "earwitness"}
    done = run(where, "work")
    assert done.code == WRONG_SETTINGS
    assert "accepted: a group of its own while topics.backfill is set" in done.said


def _bury(tenant: Tenant, frames: Sequence[AudioFrame], rubbish: bytes) -> None:
    """Write what a worker without the registry would have: letters whose bytes others can read. Backwards."""
    producer = Producer(tenant.client)
    values = [*(CODEC.encode(frame) for frame in frames), rubbish]
    for offset, value in reversed([*enumerate(values), *enumerate(values[:3])]):  # three of them twice
        letter = DeadLetter(
            tenant.topics.frames, 0, offset, "UnknownSchemaError", "unknown schema id 7: no schema registry",
            b"well", value, (("traceparent", b"00-1"),),
        )  # fmt: skip
        producer.produce(
            tenant.topics.dead_letters, value, b"well", partition=0, headers=[*letter.wire_headers()]
        )
    assert producer.flush(20) == 0
