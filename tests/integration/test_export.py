"""Sound, labels and tables taken out of a real log, opened by the programs they are meant for."""

import csv
import json
import subprocess
import time
from dataclasses import dataclass, field, replace
from datetime import datetime
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import pytest
import soundfile
from confluent_kafka import Producer, TopicPartition
from confluent_kafka.admin import AdminClient
from numpy.typing import NDArray
from wavinfo import WavInfoReader

from earwitness.analysis.tables import OUR_COLUMNS, RAVEN_COLUMNS
from infra.local.debian import find_program
from infra.local.kafka import KafkaServer
from producers.clips import ClipPool
from producers.encode import encode_samples
from producers.publisher import FramePublisher
from schemas.coverage import Outcome
from schemas.detection import Detection, DetectionState
from schemas.frame import AudioFrame, Encoding
from schemas.identity import new_epoch
from tests.earwitness.analysis.said import covered, detected
from tests.integration.harness import (
    CODEC,
    DEADLINE_S,
    RATE_HZ,
    Programs,
    Tenant,
    by_id,
    command,
    unended,
    variables,
    wait_until,
)

FRAME = RATE_HZ // 50
HOUR_US = 3_600_000_000
GAP = 30 * FRAME
START_US = 1_800_000_000_000_000
WITHIN_S = 60
SENSORS = ("kitchen", "hall", "ahead")
_ROWS = "select id::varchar, sensor, label, epoch_us(start_utc::timestamptz) from"
ROWS = {
    ".parquet": f"{_ROWS} read_parquet(?) order by id",
    ".csv": f"{_ROWS} read_csv(?) order by id",
    ".jsonl": f"{_ROWS} read_json(?) order by id",
}
pytestmark = pytest.mark.timeout(240)


@dataclass(slots=True)
class Playing:
    """One sensor's sound, as it is sent and as it should come back."""

    publisher: FramePublisher
    name: str
    clock_us: int
    encoding: Encoding = Encoding.PCM_S16LE
    epoch: bytes = field(default_factory=new_epoch)
    at: int = 0
    played: list[NDArray[np.int16]] = field(default_factory=list)

    def play(self, sound: NDArray[np.int16]) -> None:
        """Send sound `int16[n, channels]` in frames of 20 ms."""
        for begin in range(0, len(sound), FRAME):
            block = sound[begin : begin + FRAME]
            self.at += len(block)
            self.clock_us += len(block) * 1_000_000 // RATE_HZ
            data = encode_samples(block, RATE_HZ, self.encoding)
            frame = AudioFrame(
                self.epoch,
                self.at - len(block),
                len(block),
                self.clock_us,
                RATE_HZ,
                block.shape[1],
                self.encoding,
                data,
            )
            self.publisher.publish_waiting(self.name, frame)
            self.played.append(block)

    def lose(self, samples: int, channels: int = 1) -> None:
        """Number samples that are never sent."""
        self.at += samples
        self.clock_us += samples * 1_000_000 // RATE_HZ
        self.played.append(np.zeros((samples, channels), np.int16))

    @property
    def sound(self) -> NDArray[np.int16]:
        """All of it."""
        return np.concatenate(self.played)


@dataclass(frozen=True, slots=True)
class Heard:
    """A tenant whose sensors have been heard, and what they played: by sensor, one array an epoch."""

    tenant: Tenant
    played: dict[str, list[NDArray[np.int16]]] = field(default_factory=dict)
    detections: dict[str, Detection] = field(default_factory=dict)

    def of(self, sensor: str) -> list[Detection]:
        """Return what was detected of a sensor."""
        return [d for d in self.detections.values() if d.sensor == sensor]

    def run(self, *arguments: str, code: int = 0, stdin: str = "") -> subprocess.CompletedProcess[str]:
        """Run a command to its end."""
        told = {"kafka.bootstrap_servers": self.tenant.servers, "topics.tenants": f'["{self.tenant.name}"]'}
        done = subprocess.run(
            command(*arguments),
            env={"PATH": "/usr/bin:/bin", "COLUMNS": "120", **variables(told)},
            capture_output=True,
            text=True,
            timeout=WITHIN_S,
            input=stdin,
        )
        assert done.returncode == code, done.stdout + done.stderr
        return done

    def export(self, *arguments: str) -> list[dict[str, Any]]:
        """Export; return what is told of each file."""
        done = self.run("export", *arguments, "--json")
        return [json.loads(line) for line in done.stdout.splitlines()]


@pytest.fixture(scope="module")
def heard(
    kafka: KafkaServer, tmp_path_factory: pytest.TempPathFactory, quick_model: Path, recordings: ClipPool
) -> Heard:
    """Three sensors: a gap and two epochs; stereo in FLAC; floats, and a clock an hour ahead."""
    tenant = Tenant(kafka.bootstrap_servers, "export").create(partitions=2)
    programs = Programs(tmp_path_factory.mktemp("worker"))
    try:
        worker = programs.work(tenant, quick_model)
        worker.ready()
        played = _play(tenant, np.concatenate([clip.samples for clip in recordings.clips[:5]])[:, None])
        wait_until(lambda: len(tenant.silent()) >= len(SENSORS), "all sensors are silent")
        wait_until(lambda: not unended(tenant.detections()), "everything has ended")
    finally:
        programs.close()
    return Heard(tenant, played, by_id(tenant.detections()))


def _play(tenant: Tenant, sound: NDArray[np.int16]) -> dict[str, list[NDArray[np.int16]]]:
    publisher = FramePublisher(dict(tenant.client), tenant.topics.frames, CODEC)
    kitchen = Playing(publisher, "kitchen", START_US)
    kitchen.play(sound[: 7 * RATE_HZ])
    kitchen.lose(GAP)
    kitchen.play(sound[7 * RATE_HZ : 13 * RATE_HZ])
    again = Playing(publisher, "kitchen", kitchen.clock_us + 2_000_000, epoch=new_epoch(kitchen.epoch))
    again.play(sound[13 * RATE_HZ : 20 * RATE_HZ])
    hall = Playing(publisher, "hall", START_US, Encoding.FLAC)
    hall.play(np.hstack([sound[: 10 * RATE_HZ], sound[5 * RATE_HZ : 15 * RATE_HZ]]))
    ahead = Playing(publisher, "ahead", START_US + HOUR_US, Encoding.PCM_F32LE)
    ahead.play(sound[: 10 * RATE_HZ])
    assert publisher.close(DEADLINE_S) == 0
    return {"kitchen": [kitchen.sound, again.sound], "hall": [hall.sound], "ahead": [ahead.sound]}


def test_the_sound_behind_a_detection_is_sample_for_sample_what_was_played(
    heard: Heard, tmp_path: Path
) -> None:
    detections = sorted(heard.detections.values(), key=lambda d: (d.start_us, d.label))
    for number, found in enumerate(detections[:: max(1, len(detections) // 8)]):
        (told,) = heard.export(found.id, "-o", str(tmp_path / f"{number}.wav"), "--margin", "0.5")
        values, rate = soundfile.read(told["file"], always_2d=True)
        epochs = heard.played[found.sensor]
        sound = epochs[found.sensor == "kitchen" and found.start_us > START_US + 15_000_000]
        begin, end = max(0, found.start_sample - RATE_HZ // 2), found.end_sample + RATE_HZ // 2
        lost = told["first_sample"] - begin
        assert not sound[begin : begin + lost].any(), "only what never arrived is left out"
        np.testing.assert_array_equal(values * 32768, sound[begin + lost : end])
        assert rate == RATE_HZ


def test_a_wav_file_says_when_it_was_heard_to_programs_that_read_broadcast_wave(
    heard: Heard, tmp_path: Path
) -> None:
    found = max(heard.of("kitchen"), key=lambda d: d.start_sample * (d.start_us < START_US + 10_000_000))
    (told,) = heard.export(found.id, "-o", str(tmp_path / "heard.wav"), "--margin", "0")
    file = WavInfoReader(str(tmp_path / "heard.wav"))
    midnight_us = found.start_us // 86_400_000_000 * 86_400_000_000
    at_us = midnight_us + file.bext.time_reference * 1_000_000 / RATE_HZ
    assert 0 <= found.start_us - at_us <= 1_000_000 / RATE_HZ
    day = datetime.fromisoformat(f"{file.bext.originator_date}T{file.bext.originator_time}+00:00")
    assert day.timestamp() == found.start_us // 1_000_000
    assert file.bext.originator_ref == found.id.replace("-", "")
    assert file.info.created_date == told["start_utc"] == _utc(found.start_us)
    assert json.loads(file.info.comment)["detection"]["id"] == found.id
    assert told["end_utc"] == _utc(found.end_us)

    sox = find_program("soxi", "sox")
    rate = subprocess.run(
        sox.command("-r", told["file"]),
        env=sox.environment or None,
        capture_output=True,
        text=True,
        check=True,
    )
    assert int(rate.stdout) == RATE_HZ


def _utc(time_us: int) -> str:
    time = np.datetime64(time_us, "us")
    return f"{time}Z"


def test_a_range_over_a_gap_and_two_epochs_is_two_files_with_labels_beside_them(
    heard: Heard, tmp_path: Path
) -> None:
    outs = [tmp_path / f"kitchen{ending}" for ending in (".wav", ".flac", ".txt", ".selections.txt")]
    begin, end = _utc(START_US - 5_000_000), _utc(START_US + 30_000_000)
    told = heard.export(
        "--sensor", "kitchen", "--from", begin, "--to", end, *(w for out in outs for w in ("-o", str(out)))
    )
    sounds = [one for one in told if one["file"].endswith((".wav", ".flac"))]
    assert [Path(one["file"]).name for one in sounds] == [
        "kitchen.wav",
        "kitchen.flac",
        "kitchen-2.wav",
        "kitchen-2.flac",
    ]
    for one in sounds:
        values, _ = soundfile.read(one["file"], dtype="int16", always_2d=True)
        np.testing.assert_array_equal(values, heard.played["kitchen"]["-2." in one["file"]])
    assert [one["missing_samples"] for one in sounds] == [GAP, GAP, 0, 0]
    assert sounds[0]["gaps"] == [[7 * RATE_HZ, GAP]]

    for one in sounds[::2]:
        stem = one["file"].removesuffix(".wav")
        expected = sorted(
            ((d.start_sample, d.end_sample, d.label) for d in heard.of("kitchen") if d.epoch == one["epoch"]),
        )
        labels = [line.split("\t") for line in Path(f"{stem}.txt").read_text("utf-8").splitlines()]
        assert [
            (round(float(b) * RATE_HZ), round(float(e) * RATE_HZ), t.split()[0]) for b, e, t in labels
        ] == [*expected]
        with Path(f"{stem}.selections.txt").open(encoding="utf-8", newline="") as file:
            rows = list(csv.DictReader(file, delimiter="\t"))
        assert tuple(rows[0]) == (*RAVEN_COLUMNS, *OUR_COLUMNS)
        assert [int(row["Selection"]) for row in rows] == list(range(1, len(expected) + 1))
        assert [round(float(row["Begin Time (s)"]) * RATE_HZ) for row in rows] == [
            start for start, _, _ in expected
        ]


def test_a_flac_file_keeps_its_time_and_both_channels(heard: Heard, tmp_path: Path) -> None:
    out = tmp_path / "hall.flac"
    (told,) = heard.export(
        "--sensor", "hall", "--from", _utc(START_US), "--to", _utc(START_US + 20_000_000), "-o", str(out)
    )
    with soundfile.SoundFile(out) as file:
        assert (file.subtype, file.channels) == ("PCM_16", 2)
        assert file.date == told["start_utc"] == _utc(START_US + 1_000_000 // RATE_HZ)
        assert json.loads(file.comment)["sensor"] == "hall"
        np.testing.assert_array_equal(file.read(dtype="int16"), heard.played["hall"][0])


def test_a_sensor_whose_clock_is_an_hour_ahead_is_found_by_its_own_clock_and_by_the_brokers(
    heard: Heard, tmp_path: Path
) -> None:
    begin, end = _utc(START_US + HOUR_US + 2_000_000), _utc(START_US + HOUR_US + 5_000_000)
    (told,) = heard.export("--sensor", "ahead", "--from", begin, "--to", end, "-o", str(tmp_path / "own.wav"))
    values, _ = soundfile.read(told["file"], dtype="float32", always_2d=True)
    first = told["first_sample"]
    assert len(values) == 3 * RATE_HZ
    assert abs(first - 2 * RATE_HZ) <= 1
    expected = heard.played["ahead"][0][first : first + len(values)] / np.float32(32768)
    np.testing.assert_array_equal(values, expected)
    assert soundfile.info(told["file"]).subtype == "FLOAT"

    out = ["-o", str(tmp_path / "broker.wav"), "-o", str(tmp_path / "broker.flac")]
    told_ = heard.export("--sensor", "ahead", "--from", "-1h", "--to", "now", "--clock", "broker", *out)
    for one in told_:
        values, _ = soundfile.read(one["file"], dtype="float32", always_2d=True)
        np.testing.assert_array_equal(values, heard.played["ahead"][0] / np.float32(32768))
    assert soundfile.info(str(tmp_path / "broker.flac")).subtype == "PCM_24"


def test_tables_hold_every_detection_and_duckdb_reads_them(heard: Heard, tmp_path: Path) -> None:
    outs = [tmp_path / f"heard{ending}" for ending in (".parquet", ".csv", ".jsonl")]
    lines = "".join(f"{_as_watch_prints(d)}\n" for d in heard.detections.values())
    arguments = [word for out in outs for word in ("-o", str(out))]
    heard.run("export", "-", *arguments, stdin=lines)
    expected = sorted((d.id, d.sensor, d.label, d.start_us) for d in heard.detections.values())
    for out in outs:
        assert duckdb.execute(ROWS[out.suffix], [str(out)]).fetchall() == expected
    described = duckdb.execute("describe select * from read_parquet(?)", [str(outs[0])]).fetchall()
    types = {name: kind for name, kind, *_ in described}
    assert types["start_utc"] == "TIMESTAMP WITH TIME ZONE"
    assert (types["start_us"], types["peak_score"], types["continued"]) == ("BIGINT", "DOUBLE", "BOOLEAN")


def _as_watch_prints(detection: Detection) -> str:
    said = {name: getattr(detection, name) for name in Detection.__slots__}
    return json.dumps({**said, "state": detection.state.value, "appended_ms": 1, "offset": 2})


def test_a_detection_named_by_its_place_is_the_same_sound(heard: Heard, tmp_path: Path) -> None:
    records = heard.tenant.read(heard.tenant.topics.detections)
    record = next(r for r in records if CODEC.decode(Detection, r.value).state is DetectionState.ENDED)
    found = CODEC.decode(Detection, record.value)
    place = f"{heard.tenant.topics.detections}[{record.partition}]@{record.offset}"
    heard.export(place, "-o", str(tmp_path / "place.wav"))
    heard.export(found.id, "-o", str(tmp_path / "id.wav"))
    assert (tmp_path / "place.wav").read_bytes() == (tmp_path / "id.wav").read_bytes()


def test_nothing_is_replaced_and_nothing_is_made_up(heard: Heard, tmp_path: Path) -> None:
    there = tmp_path / "there.wav"
    there.write_bytes(b"mine")
    some, detections = next(iter(heard.detections)), heard.tenant.topics.detections
    cases = {
        ("export", some, "-o", str(there)): "--force",
        ("export", some, "-o", str(tmp_path / "x.mp3")): ".wav",
        ("export", some): "--out",
        ("export", "no-such-id", "-o", str(tmp_path / "x.wav")): "no-such-id",
        ("export", "--sensor", "attic", *_over(START_US), "-o", str(tmp_path / "x.wav")): "kitchen",
        ("export", "--sensor", "ahead", *_over(START_US), "-o", str(tmp_path / "x.wav")): "--clock broker",
        (
            "export",
            "--sensor",
            "hall",
            "--from",
            "-3d",
            "--to",
            "now",
            "-o",
            str(tmp_path / "x.wav"),
        ): "24 hours",
        ("export", "-", "-o", str(tmp_path / "x.wav")): "line 1 of standard input",
        (
            "export",
            "audio.detections[99999999999]@1",
            "-o",
            str(tmp_path / "x.wav"),
        ): "a partition of a topic",
        ("export", "nope[0]@1", "-o", str(tmp_path / "x.wav")): "'nope[0]'; accepted: a partition of a topic",
        ("export", f"{detections}[0]@{1 << 70}", "-o", str(tmp_path / "x.wav")): "a place such as",
        ("export", "x", "--sensor", "hall", "-o", str(tmp_path / "x.wav")): "what to export is 'both'",
    }
    for arguments, said in cases.items():
        done = heard.run(*arguments, code=2, stdin="nonsense\n")
        assert said in done.stderr, (arguments, done.stderr)
    assert sorted(tmp_path.iterdir()) == [there]
    assert there.read_bytes() == b"mine"


def _over(start_us: int) -> list[str]:
    return ["--from", _utc(start_us), "--to", _utc(start_us + 10_000_000)]


def test_a_timeline_tells_what_was_heard_of_a_sensors_last_hour(heard: Heard) -> None:
    done = heard.run("timeline", "--sensor", "kitchen", "--json")
    rows = [json.loads(line) for line in done.stdout.splitlines()]
    assert {row["sensor"] for row in rows} == {"kitchen"}
    detections = [row for row in rows if row["kind"] == "detection"]
    assert sorted(row["id"] for row in detections) == sorted(d.id for d in heard.of("kitchen"))
    outcomes = [row for row in rows if row["kind"] == "outcome"]
    assert outcomes[-1]["end_us"] - outcomes[0]["start_us"] == HOUR_US
    scored_s = sum(row["end_us"] - row["start_us"] for row in outcomes if row["outcome"] == "SCORED") / 1e6
    assert 18 <= scored_s <= 20
    assert outcomes[0]["outcome"] == "NOT_HEARD"
    assert {row["kind"] for row in rows} == {"detection", "outcome", "level"}


def test_a_timeline_is_drawn_in_the_terminal_and_as_a_picture(heard: Heard, tmp_path: Path) -> None:
    over = ["--from", _utc(START_US + HOUR_US), "--to", _utc(START_US + HOUR_US + 12_000_000)]
    text = heard.run("timeline", "--sensor", "ahead", *over).stdout
    assert "ahead" in text
    assert "not heard" in text
    assert max(len(line) for line in text.splitlines()) <= 120
    picture = tmp_path / "ahead.png"
    heard.run("timeline", "--sensor", "ahead", *over, "-o", str(picture))
    assert picture.read_bytes()[:8] == b"\x89PNG\r\n\x1a\n"
    assert "--force" in heard.run("timeline", "--sensor", "ahead", *over, "-o", str(picture), code=2).stderr
    assert "kitchen" in heard.run("timeline", "--sensor", "attic", code=2).stderr


def test_sound_that_no_worker_has_heard_is_found_and_what_retention_removed_is_not(
    tenant: Tenant, recordings: ClipPool, tmp_path: Path
) -> None:
    nobody = Heard(tenant.create(partitions=1))
    sound = np.concatenate([clip.samples for clip in recordings.clips[:3]])[: 10 * RATE_HZ, None]
    publisher = FramePublisher(dict(tenant.client), tenant.topics.frames, CODEC)
    lone = Playing(publisher, "lone", round(time.time() * 1e6) - 10_000_000)
    lone.play(sound)
    assert publisher.close(DEADLINE_S) == 0
    begun = ["--sensor", "lone", "--from", "-1m", "--to", "now", "-o"]
    (told,) = nobody.export(*begun, str(tmp_path / "all.wav"))
    np.testing.assert_array_equal(soundfile.read(told["file"], dtype="int16", always_2d=True)[0], sound)

    frames = tenant.topics.frames
    early, late = (_made_up(lone, frames, begin, begin + 2) for begin in (1, 7))
    admin = AdminClient(dict(tenant.client))
    for done in admin.delete_records([TopicPartition(frames, 0, 5 * 50)]).values():
        done.result()
    (told,) = nobody.export(*begun, str(tmp_path / "rest.wav"))
    assert told["first_sample"] == 5 * RATE_HZ
    np.testing.assert_array_equal(
        soundfile.read(told["file"], dtype="int16", always_2d=True)[0], sound[5 * RATE_HZ :]
    )

    half = _as_watch_prints(_made_up(lone, frames, 3, 7))
    said = nobody.run("export", "-", "-o", str(tmp_path / "half.wav"), "--margin", "0", stdin=half).stderr
    assert "NOT WHOLE: missing 2.000 s before it" in said
    told = json.loads(WavInfoReader(str(tmp_path / "half.wav")).info.comment)
    assert (told["missing_before_samples"], told["missing_after_samples"]) == (2 * RATE_HZ, 0)

    out = ["-o", str(tmp_path / "both.wav")]
    both = nobody.run(
        "export", "-", *out, code=1, stdin=f"{_as_watch_prints(early)}\n{_as_watch_prints(late)}\n"
    )
    assert f"{early.id}: sound is" in both.stderr
    assert "250 to 499: retention has removed" in both.stderr
    values, _ = soundfile.read(tmp_path / "both.wav", dtype="int16", always_2d=True)
    np.testing.assert_array_equal(values, sound[6 * RATE_HZ : 10 * RATE_HZ])


def _made_up(lone: Playing, topic: str, begin_s: int, end_s: int) -> Detection:
    """Say that something was heard of a sensor that plays 50 frames a second into a partition of its own."""
    found = detected(begin_s, end_s, sensor=lone.name, epoch=lone.epoch)
    return replace(found, topic=topic, partition=0, first_offset=50 * begin_s, last_offset=50 * end_s - 1)


def test_a_sensor_may_be_called_what_looks_like_a_glob_or_like_markup(
    tenant: Tenant, recordings: ClipPool, tmp_path: Path
) -> None:
    nobody = Heard(tenant.create(partitions=1))
    publisher = FramePublisher(dict(tenant.client), tenant.topics.frames, CODEC)
    odd = Playing(publisher, "[/a]*", round(time.time() * 1e6) - 1_000_000)
    odd.play(recordings.clips[0].samples[:RATE_HZ, None])
    Playing(publisher, "[/a]b", odd.clock_us).play(recordings.clips[1].samples[:RATE_HZ, None])
    assert publisher.close(DEADLINE_S) == 0
    over = ["--sensor", odd.name, "--from", "-1m", "--to", "now"]
    (told,) = nobody.export(*over, "-o", str(tmp_path / "odd.wav"))
    np.testing.assert_array_equal(soundfile.read(told["file"], dtype="int16", always_2d=True)[0], odd.sound)
    producer = Producer(dict(tenant.client))
    begin_us, end_us = odd.clock_us - 1_000_000, odd.clock_us
    for name, outcome in ((odd.name, Outcome.SCORED), ("[/a]b", Outcome.FAILED)):
        said = replace(covered(0, 1, outcome), sensor=name, start_us=begin_us, end_us=end_us)
        producer.produce(tenant.topics.coverage, CODEC.encode(said), name.encode())
    found = replace(detected(0, 1, "[/red]", sensor=odd.name), start_us=begin_us, end_us=end_us)
    producer.produce(tenant.topics.detections, CODEC.encode(found), odd.name.encode())
    assert producer.flush(DEADLINE_S) == 0
    over = ["--from", _utc(begin_us), "--to", _utc(end_us)]
    drawn = nobody.run("timeline", "--sensor", odd.name, *over).stdout
    assert drawn.startswith(odd.name)
    assert "scored 100.00%" in drawn
    assert "[/red]" in drawn


@pytest.mark.parametrize("command", ["export", "timeline"])
def test_the_help_has_an_example(heard: Heard, command: str) -> None:
    assert f"Example: earwitness {command}" in " ".join(heard.run(command, "--help").stdout.split())
