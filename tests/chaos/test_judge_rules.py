"""The judge's rules on logs in sight, and on random logs against the other oracle that knows them.

`EARWITNESS_JUDGED_LOGS` sets how many random logs are read; each is named by its seed.
"""

import json
import os
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

import numpy as np
import pytest

from schemas.detection import Detection
from schemas.frame import AudioFrame, Encoding
from tests.chaos.evidence import Rules
from tests.chaos.judge.model import Decides, Scores
from tests.chaos.judge.oracle import Due, Hearing, detection_id
from tests.chaos.judge.runs import Admitted, admit
from tests.chaos.judge.spans import common, minus, size, union
from tests.chaos.judge.topic import Logged
from tests.chaos.judge.wire import SCHEMAS, Pcm, frame_of
from tests.processors import logs
from tests.processors.build import BEGIN_MS, CODEC, LOUD, epoch
from tests.processors.logs import Entry, make_decision, make_log, seeded
from tests.processors.oracle import oracle

LOGS = int(os.environ.get("EARWITNESS_JUDGED_LOGS", "10"))
PARTITION, TOPIC, DIGEST = 3, "audio.frames", "0" * 64
RULES = Rules(idle_s=0.12, margin_s=0.012, max_gap_s=0.1, max_missing_s=0.002, segment_windows=5)
LOUD_OR_NOT = Decides("tiny", "1", 1000, 8, 4, ("loud",), {"loud": 0.5}, {"loud": (1, 2)}, RULES)
"""Windows of 8 ms every 4 ms, of sensors at 1 kHz: a sample is a millisecond."""
OLD, NEW = epoch(1), epoch(2)


class Loudness:
    """Scores 1 where a window's last sample is loud."""

    def score(self, windows: Pcm) -> Scores:
        return (windows[:, -1:] >= LOUD).astype(np.float32)


class Fake:
    """Scores as the random logs' own model does."""

    def score(self, windows: Pcm) -> Scores:
        return logs.score(windows)


# -- logs in sight ------------------------------------------------------------------------------------------


def log_of(*frames: tuple[int, bytes, int, int]) -> list[Logged]:
    """Return a log of frames: appended when, in which epoch, from which sample to which; all of it loud."""
    return [_logged(offset, *frame) for offset, frame in enumerate(frames)]


def _logged(offset: int, at_ms: int, of: bytes, first: int, end: int) -> Logged:
    data, captured_us = np.full(end - first, LOUD, "<i2").tobytes(), BEGIN_MS * 1000 + end * 1000
    frame = AudioFrame(of, first, end - first, captured_us, 1000, 1, Encoding.PCM_S16LE, data)
    return Logged(PARTITION, offset, b"s", CODEC.encode(frame), (), BEGIN_MS + at_ms)


def admitted(*frames: tuple[int, bytes, int, int]) -> Admitted:
    return admit(log_of(*frames), set(), RULES)


def spans(found: Admitted) -> list[tuple[int, int]]:
    return [(run.first, run.end) for run in found.runs]


def hearing(found: Admitted, run: int = 0) -> Hearing:
    return Hearing(found.runs[run], LOUD_OR_NOT, Loudness())


@pytest.mark.parametrize(
    ("frames", "runs", "late", "letters"),
    [
        pytest.param([(0, OLD, 0, 10), (10, OLD, 10, 20)], [(0, 20)], [], [], id="goes-on"),
        pytest.param([(0, OLD, 0, 10), (10, OLD, 110, 120)], [(0, 120)], [], [], id="gap"),
        pytest.param([(0, OLD, 0, 10), (10, OLD, 111, 120)], [(0, 10), (111, 120)], [], [], id="jump"),
        pytest.param([(0, OLD, 200, 210), (9, OLD, 109, 119)], [(200, 210), (109, 119)], [], [], id="back"),
        pytest.param([(0, OLD, 0, 10), (120, OLD, 10, 20)], [(0, 20)], [], [], id="short-pause"),
        pytest.param([(0, OLD, 0, 10), (121, OLD, 10, 20)], [(0, 10), (10, 20)], [], [], id="long-pause"),
        pytest.param([(0, OLD, 0, 10), (9, OLD, 0, 10), (9, OLD, 10, 20)], [(0, 20)], [1], [], id="twice"),
        pytest.param([(0, OLD, 0, 10), (9, OLD, 5, 15)], [(0, 10)], [1], [], id="overlap"),
        pytest.param([(0, OLD, 0, 10), (9, NEW, 0, 10)], [(0, 10), (0, 10)], [], [], id="newer-epoch"),
        pytest.param([(0, NEW, 0, 10), (9, OLD, 10, 20)], [(0, 10)], [], [1], id="older-epoch"),
        pytest.param([(0, NEW, 0, 10), (121, OLD, 0, 9)], [(0, 10), (0, 9)], [], [], id="older-later"),
        pytest.param(
            [(0, OLD, 0, 10), (60, OLD, 0, 10), (121, OLD, 10, 20)],
            [(0, 10), (10, 20)], [1], [], id="late-frames-keep-nobody-live",
        ),
    ],
)  # fmt: skip
def test_a_frame_goes_on_opens_a_run_is_late_or_a_dead_letter(
    frames: Sequence[tuple[int, bytes, int, int]],
    runs: list[tuple[int, int]],
    late: list[int],
    letters: list[int],
) -> None:
    found = admitted(*frames)
    assert spans(found) == runs
    assert [frame.offset for frame in found.late] == late
    assert [offset for _, offset in found.letters] == letters


def test_every_sample_has_the_outcome_of_the_window_that_adds_it() -> None:
    # Windows start at 4, 8, 12, …; Of 15 to 18 nothing came, and 2 samples may be missing.
    found = admitted((0, OLD, 1, 15), (15, OLD, 18, 31))
    assert list(hearing(found).stretches()) == [
        (1, 4, "SHORT"),
        (4, 12, "SCORED"),
        (12, 16, "SCORED"),
        (16, 20, "GAP"),
        (20, 24, "SCORED"),
        (24, 28, "SCORED"),
        (28, 31, "SHORT"),
    ]


def test_a_long_sound_is_cut_at_segment_boundaries_and_ends_with_its_run() -> None:
    found = admitted((0, OLD, 0, 30), (30, OLD, 30, 33))
    due = list(hearing(found).detections(TOPIC, DIGEST))
    said = [(d.fields["state"], d.fields["start_sample"], d.fields["end_sample"]) for d in due]
    assert said == [("ACTIVE", 0, 8), ("ENDED", 0, 20), ("ACTIVE", 20, 28), ("ENDED", 20, 32)]
    assert [d.fields["continued"] for d in due] == [False, False, True, True]
    assert [d.fields["last_offset"] for d in due] == [0, 0, 0, 1]


def test_a_detection_is_decided_by_the_frame_that_completes_its_window_or_by_what_closes_the_run() -> None:
    tick = Logged(PARTITION, 4, None, None, (("earwitness-tick", b"1"),), BEGIN_MS + 153)
    early = Logged(PARTITION, 3, None, None, (("earwitness-tick", b"1"),), BEGIN_MS + 152)
    records = [*log_of((0, OLD, 0, 5), (10, OLD, 5, 9), (20, OLD, 9, 10)), early, tick]
    due: list[Due] = list(hearing(admit(records, set(), RULES)).detections(TOPIC, DIGEST))
    assert [d.decided_ms for d in due] == [BEGIN_MS + 10, BEGIN_MS + 153]


# -- bytes --------------------------------------------------------------------------------------------------


def test_ids_are_those_of_the_test_vectors() -> None:
    vectors = json.loads((Path(SCHEMAS).parent / "vectors.json").read_text("utf-8"))
    for known in vectors["detection_ids"]:
        of = known["sensor"], bytes.fromhex(known["epoch"]), known["label"], known["start_sample"]
        assert detection_id(*of, known["decision_digest"]) == known["id"]


@pytest.mark.parametrize("key", [None, b"", b"\xff", b"bell\x07", b"x" * 257])
def test_a_record_under_a_key_that_names_no_sensor_is_no_frame(key: bytes | None) -> None:
    (good,) = log_of((0, OLD, 0, 10))
    assert frame_of(good) is not None
    assert frame_of(Logged(PARTITION, 0, key, good.value, (), BEGIN_MS)) is None


def test_spans_are_added_taken_away_and_compared() -> None:
    assert union([(5, 7), (0, 3)], [(3, 4), (9, 9)]) == [(0, 4), (5, 7)]
    assert minus([(0, 10), (20, 30)], [(2, 3), (5, 25), (29, 40)]) == [(0, 2), (3, 5), (25, 29)]
    assert common([(0, 10), (20, 30)], [(5, 22), (29, 31)]) == [(5, 10), (20, 22), (29, 30)]
    assert size([(0, 4), (5, 7)]) == 6


# -- random logs --------------------------------------------------------------------------------------------


def test_of_random_logs_the_judge_expects_what_another_oracle_does() -> None:
    for seed in range(LOGS):
        assert_agreed(seed)


def assert_agreed(seed: int) -> None:
    r = seeded(seed)
    decision = make_decision(r)
    log = make_log(r)
    truth, spec = oracle(log, decision), decision.spec
    decides = Decides(
        spec.name, spec.version, spec.sample_rate_hz, spec.window_samples, spec.hop_samples, spec.labels,
        spec.thresholds, {label: spec.m_of_n_of(label) for label in spec.labels},
        Rules(None, **asdict(decision.rules)),
    )  # fmt: skip
    found = admit(map(_of_entry, log), set(), decides.rules)
    heard = [Hearing(run, decides, Fake()) for run in found.runs]
    due = [dict(due.fields) for one in heard for due in one.detections(TOPIC, decision.digest)]
    assert {Detection.from_wire(fields) for fields in due} == truth.detections, f"seed {seed}"
    assert {place[1] for place in found.letters} == {offset for offset, *_ in truth.letters}, f"seed {seed}"
    stretches = [(one.run.of, *stretch) for one in heard for stretch in one.stretches()]
    expected = [(run.place, start, end, str(outcome)) for run, start, end, outcome in truth.outcomes]
    assert stretches == expected, f"seed {seed}"


def _of_entry(entry: Entry) -> Logged:
    headers = (("earwitness-tick", b""),) if entry.is_tick else ()
    return Logged(PARTITION, entry.offset, entry.key, entry.value, headers, entry.timestamp)
