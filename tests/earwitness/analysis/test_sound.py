"""One sensor's sound out of a log that many share: what is read, where it is cut, how it is joined."""

from collections.abc import Iterator

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from earwitness.analysis.passage import FILL_S, Passage, passages
from earwitness.analysis.piece import Cut, Piece, SampleCut, TimeCut, Values, WholeFrames
from earwitness.analysis.sound import SoundGoneError, SoundReader, Whereabouts
from schemas.errors import ConfigurationError
from schemas.frame import Encoding
from schemas.identity import epoch_text
from tests.earwitness.analysis.sounds import (
    BASE_MS,
    CODEC,
    FRAME_SAMPLES,
    RATE_HZ,
    TOPIC,
    LogInMemory,
    Sensor,
    noise,
)

SECOND = RATE_HZ


def place(first: int, last: int, before_ms: int = 0, after_ms: int = 0, length_ms: int = 1000) -> Whereabouts:
    return Whereabouts(TOPIC, 0, "kitchen", first, last, length_ms, before_ms, after_ms)


def joined(log: LogInMemory, where: Whereabouts, cut: Cut) -> Iterator[tuple[Passage, Values]]:
    for passage in passages(SoundReader(log, CODEC).pieces(where, cut), where.sensor):
        yield passage, np.concatenate(list(passage.blocks()))


def only(log: LogInMemory, where: Whereabouts, cut: Cut) -> tuple[Passage, Values]:
    (found,) = joined(log, where, cut)
    return found


def shared_log(seconds: int, sound: Values, others: int = 3) -> tuple[LogInMemory, Sensor, list[int]]:
    """Frames of 20 ms of one sensor among records of others, which are nothing that could be decoded."""
    log, offsets = LogInMemory(), list[int]()
    sensor = Sensor(log)
    for begin in range(0, seconds * SECOND, FRAME_SAMPLES):
        for other in range(others):
            log.append(f"other-{other}", b"not a frame", BASE_MS + begin * 1000 // RATE_HZ)
        offsets.append(sensor.play(sound[begin : begin + FRAME_SAMPLES]))
    return log, sensor, offsets


@settings(max_examples=60, deadline=None)
@given(
    begin=st.integers(0, 9 * SECOND),
    length=st.integers(1, 3 * SECOND),
    before=st.integers(0, 2 * SECOND),
    after=st.integers(0, 2 * SECOND),
)
def test_any_samples_come_back_as_they_were_played(begin: int, length: int, before: int, after: int) -> None:
    sound = noise(12 * SECOND)
    log, sensor, offsets = shared_log(12, sound)
    end = min(12 * SECOND, begin + length)
    known = place(
        offsets[begin // FRAME_SAMPLES],
        offsets[(end - 1) // FRAME_SAMPLES],
        -(-before * 1000 // RATE_HZ),
        -(-after * 1000 // RATE_HZ),
        (end - begin) * 1000 // RATE_HZ,
    )
    wanted = max(0, begin - before), min(12 * SECOND, end + after)
    passage, heard = only(log, known, SampleCut(epoch_text(sensor.epoch), *wanted))
    assert (passage.first_sample, passage.end_sample) == wanted
    np.testing.assert_array_equal(heard, sound[slice(*wanted)])
    assert passage.missing_samples == passage.dropped_frames == 0


def test_other_sensors_records_are_passed_over_undecoded(caplog: pytest.LogCaptureFixture) -> None:
    log, sensor, offsets = shared_log(2, noise(2 * SECOND))
    only(log, place(offsets[0], offsets[-1]), SampleCut(epoch_text(sensor.epoch), 0, 2 * SECOND))
    assert not caplog.records


def test_a_second_before_a_detection_is_sought_not_scanned_for() -> None:
    log, sensor, offsets = shared_log(60, noise(60 * SECOND))
    known = place(offsets[50 * 40], offsets[50 * 41 - 1], before_ms=1000, after_ms=1000)
    only(log, known, SampleCut(epoch_text(sensor.epoch), 39 * SECOND, 42 * SECOND))
    per_second = 50 * 4
    assert all(first >= 37 * per_second and end <= 44 * per_second for first, end in log.reads)


def test_sound_that_was_delivered_late_in_one_go_is_found_from_its_end() -> None:
    log, sound = LogInMemory(), noise(8 * SECOND)
    sensor = Sensor(log)
    first = [sensor.play(part, BASE_MS) for part in np.split(sound[: 4 * SECOND], 4)]
    last = [sensor.play(part, BASE_MS + 4000) for part in np.split(sound[4 * SECOND :], 4)]
    cut = SampleCut(epoch_text(sensor.epoch), 0, 8 * SECOND)
    passage, heard = only(log, place(last[-1], last[-1], before_ms=7000), cut)
    assert (passage.first_offset, passage.last_offset) == (first[0], last[-1])
    np.testing.assert_array_equal(heard, sound)


def test_sound_is_followed_backwards_and_forwards_only_as_long_as_there_is_some() -> None:
    log, sound = LogInMemory(), noise(6 * SECOND)
    sensor = Sensor(log)
    for begin in range(0, 6 * SECOND, SECOND):
        sensor.play(sound[begin : begin + SECOND])
    for second in range(3600):
        log.append("other", b"", BASE_MS + 6000 + second * 1000)
    cut = TimeCut((BASE_MS - 3_600_000) * 1000, (BASE_MS + 3_600_000) * 1000)
    _, heard = only(log, place(2, 3, before_ms=3_600_000, after_ms=3_600_000, length_ms=2000), cut)
    np.testing.assert_array_equal(heard, sound)
    assert max(end for _, end in log.reads) < 100


def test_missing_samples_are_zeros_and_are_listed() -> None:
    #   0      1 s      1.5 s     2.5 s
    #   ├──────┤ missing ├────────┤
    log, sound = LogInMemory(), noise(2 * SECOND)
    sensor = Sensor(log)
    first = sensor.play(sound[:SECOND])
    sensor.pause(SECOND // 2)
    last = sensor.play(sound[SECOND:])
    passage, heard = only(log, place(first, last), WholeFrames())
    assert passage.gaps == [(SECOND, SECOND // 2)]
    assert passage.missing_samples == SECOND // 2
    expected = np.concatenate([sound[:SECOND], np.zeros((SECOND // 2, 1), np.int16), sound[SECOND:]])
    np.testing.assert_array_equal(heard, expected)


def test_a_hole_that_is_too_long_to_fill_begins_another_passage() -> None:
    log = LogInMemory()
    sensor = Sensor(log)
    first = sensor.play(noise(SECOND))
    sensor.pause(round(FILL_S * RATE_HZ) + 1)
    last = sensor.play(noise(SECOND))
    found = [passage for passage, _ in joined(log, place(first, last), WholeFrames())]
    assert [s.samples for s in found] == [SECOND, SECOND]
    assert not any(s.missing_samples for s in found)


def test_frames_that_come_twice_or_late_are_dropped() -> None:
    log, sound = LogInMemory(), noise(3 * SECOND)
    sensor = Sensor(log)
    first = sensor.play(sound[:SECOND])
    sensor.play(sound[SECOND : 2 * SECOND])
    log.append("kitchen", log.records[first].value or b"", BASE_MS + 2000)
    last = sensor.play(sound[2 * SECOND :])
    passage, heard = only(log, place(first, last), WholeFrames())
    np.testing.assert_array_equal(heard, sound)
    assert passage.dropped_frames == 1


def test_every_epoch_is_a_passage_and_an_older_one_that_comes_between_is_dropped() -> None:
    log = LogInMemory()
    old, sensor = Sensor(log), Sensor(log)
    old.play(noise(SECOND, seed=1))
    sensor.restart()
    sensor.play(noise(SECOND, seed=2))
    old.play(noise(SECOND, seed=3), BASE_MS + 1500)
    last = sensor.play(noise(SECOND, seed=4))
    found = [(passage, heard) for passage, heard in joined(log, place(0, last), WholeFrames())]
    assert [s.epoch for s, _ in found] == [epoch_text(old.epoch), epoch_text(sensor.epoch)]
    assert [s.dropped_frames for s, _ in found] == [0, 1]
    np.testing.assert_array_equal(found[1][1], np.concatenate([noise(SECOND, seed=2), noise(SECOND, seed=4)]))


@pytest.mark.parametrize("encoding", [Encoding.PCM_S16LE, Encoding.FLAC])
def test_all_channels_are_kept(encoding: Encoding) -> None:
    log, sound = LogInMemory(), noise(SECOND, channels=2)
    offset = Sensor(log, channels=2, encoding=encoding).play(sound)
    passage, heard = only(log, place(offset, offset), WholeFrames())
    assert (passage.channels, passage.dtype) == (2, "int16")
    np.testing.assert_array_equal(heard, sound)


def test_floats_stay_floats() -> None:
    log, sound = LogInMemory(), (noise(SECOND) / 32768 / 3).astype(np.float32)
    offset = Sensor(log, encoding=Encoding.PCM_F32LE).play(sound)
    passage, heard = only(log, place(offset, offset), WholeFrames())
    assert passage.dtype == "float32"
    np.testing.assert_array_equal(heard, sound)


def test_a_frame_that_cannot_be_decoded_is_missing_and_said_so(caplog: pytest.LogCaptureFixture) -> None:
    log, sound = LogInMemory(), noise(2 * SECOND)
    sensor = Sensor(log)
    first = sensor.play(sound[:SECOND])
    log.append("kitchen", b"rubbish", BASE_MS + 1500)
    sensor.pause(SECOND)
    last = sensor.play(sound[SECOND:])
    passage, _ = only(log, place(first, last), WholeFrames())
    assert passage.missing_samples == SECOND
    assert f"{TOPIC}[0]@1" in caplog.text


def test_the_time_of_a_sample_is_that_of_the_frame_that_holds_it() -> None:
    log = LogInMemory()
    sensor = Sensor(log, drift=0.001)
    offsets = [sensor.play(noise(SECOND)) for _ in range(100)]
    passage, _ = only(log, place(offsets[0], offsets[-1], length_ms=100_000), WholeFrames())
    # 99 s after the first frame's clock was read it was read again, 99.099 s later by itself.
    assert passage.end_us - passage.start_us == pytest.approx(100.099e6, abs=1000)


def test_a_time_is_cut_where_the_sensors_own_clock_says() -> None:
    log, sound = LogInMemory(), noise(10 * SECOND)
    sensor = Sensor(log, clock_offset_us=3_600_000_000)
    offsets = [sensor.play(part) for part in np.split(sound, 500)]
    begin_us = BASE_MS * 1000 + 3_600_000_000 + 2_500_000
    passage, heard = only(log, place(offsets[0], offsets[-1]), TimeCut(begin_us, begin_us + 1_000_000))
    assert begin_us <= passage.start_us < begin_us + 1_000_000 // RATE_HZ + 1
    assert passage.samples == SECOND
    np.testing.assert_array_equal(heard, sound[passage.first_sample : passage.end_sample])


@given(time_us=st.integers(-2_000_000, 2_000_000), rate_hz=st.sampled_from([8000, 16_000, 44_100, 48_000]))
def test_the_sample_at_a_time_is_the_first_that_is_not_before_it(time_us: int, rate_hz: int) -> None:
    piece = Piece("", rate_hz, 0, noise(100), 100, 0, 0, 0)
    sample = piece.sample_at(time_us)
    assert piece.utc_us(sample - 1) < time_us <= piece.utc_us(sample)


def test_sound_that_retention_has_removed_is_refused_with_what_is_left() -> None:
    log, sensor, offsets = shared_log(4, noise(4 * SECOND))
    log.low = offsets[150]
    with pytest.raises(ConfigurationError, match=f"{log.low} to {len(log.records) - 1}: retention"):
        list(SoundReader(log, CODEC).pieces(place(offsets[0], offsets[99]), WholeFrames()))
    _, heard = only(log, place(offsets[100], offsets[-1]), SampleCut(epoch_text(sensor.epoch), 0, 4 * SECOND))
    assert len(heard) == SECOND


@pytest.mark.parametrize("spool_bytes", [1, 1 << 20])
def test_a_passage_is_the_same_in_memory_and_on_disk(spool_bytes: int) -> None:
    log, sound = LogInMemory(), noise(20 * SECOND)
    sensor = Sensor(log)
    offsets = [sensor.play(part) for part in np.split(sound, 20)]
    pieces = SoundReader(log, CODEC).pieces(place(offsets[0], offsets[-1]), WholeFrames())
    for passage in passages(pieces, "kitchen", spool_bytes):
        blocks = list(passage.blocks())
        np.testing.assert_array_equal(np.concatenate(blocks), sound)
        assert len(blocks) > 1


def test_of_several_partitions_those_with_sound_are_read_in_the_order_in_which_they_were_heard() -> None:
    log = LogInMemory()
    sensor = Sensor(log)
    early, late = sensor.play(noise(SECOND, seed=1)), sensor.play(noise(SECOND, seed=2))
    other = log.append("other", b"", BASE_MS + 3000)
    gone = place(-1, -1)
    where = [place(late, late), place(other, other), place(early, early), gone]
    sounds = SoundReader(log, CODEC)
    assert sounds.sounding(where, WholeFrames()) == [where[2], where[0]]
    with pytest.raises(SoundGoneError):
        sounds.sounding([gone], WholeFrames())
