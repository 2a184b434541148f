"""The meter says how loud it was, and is quiet about nothing."""

import numpy as np
import pytest

from producers.meter import FLOOR_DBFS, Level, Meter


def measured(*blocks: list[int]) -> Level:
    meter = Meter()
    for block in blocks:
        meter.feed(np.array(block, np.int16).reshape(-1, 1))
    return meter.take()


def test_a_square_wave_of_full_scale_is_0_dbfs() -> None:
    level = measured([-32768, 32767] * 100)
    assert level.rms_dbfs == pytest.approx(0.0, abs=0.001)
    assert level.peak_dbfs == 0.0
    assert level.clipped == 200


def test_a_sine_at_half_of_full_scale_is_9_db_down_and_peaks_at_6() -> None:
    sine = np.round(16384 * np.sin(2 * np.pi * np.arange(1600) / 16)).astype(int).tolist()
    level = measured(sine)
    assert level.rms_dbfs == pytest.approx(-9.03, abs=0.01)
    assert level.peak_dbfs == pytest.approx(-6.02, abs=0.01)
    assert level.clipped == 0


def test_the_level_does_not_depend_on_the_blocks() -> None:
    assert measured([1, 2, 3, -400]) == measured([1], [2, 3], [], [-400])


def test_silence_is_the_floor_and_no_sound_has_no_values() -> None:
    assert measured([0] * 10) == Level(values=10, rms_dbfs=FLOOR_DBFS, peak_dbfs=FLOOR_DBFS)
    assert measured() == Level()


def test_a_reading_begins_a_new_one() -> None:
    meter = Meter()
    meter.feed(np.full((10, 2), 32767, np.int16))
    assert meter.take().values == 20
    assert meter.take() == Level()
