import numpy as np
import pytest

from processors.coverage import Covered
from processors.pcm import tally
from processors.place import Place
from processors.window import Stretch
from schemas.coverage import Outcome

PLACE = Place("audio.frames", 3, "roof", "01234567-89ab-7def-8123-456789abcdef", 1000, 1)


def stretch(start: int, end: int, offset: int, value: int, missing: int = 0) -> Stretch:
    """Return a stretch in one frame, whose clock runs at a sample's index in milliseconds."""
    pcm = np.full(end - start, value, np.int16)
    pcm[:missing] = 0
    return Stretch(start, end, start * 1000, end * 1000, offset, offset, missing, tally(pcm, missing))


def test_neighbouring_stretches_are_one_statement_from_the_first_to_the_last() -> None:
    covered = Covered.begin(PLACE, Outcome.SCORED, 7, stretch(100, 108, 20, 1000))
    covered.extend(stretch(108, 112, 21, 3000, missing=2))
    covered.extend(stretch(112, 116, 22, 3000))
    record = covered.record("d" * 64)
    assert (record.sensor, record.epoch, record.sample_rate_hz) == ("roof", PLACE.epoch, 1000)
    assert (record.topic, record.partition) == ("audio.frames", 3)
    assert (record.start_sample, record.end_sample) == (100, 116)
    assert (record.start_us, record.end_us) == (100_000, 116_000)
    assert (record.first_offset, record.last_offset) == (20, 22)
    assert (record.outcome, record.missing_samples) == (Outcome.SCORED, 2)
    assert record.decision_digest == "d" * 64
    assert covered.first_window == 7


def test_the_level_is_that_of_all_samples_that_arrived() -> None:
    covered = Covered.begin(PLACE, Outcome.SCORED, 0, stretch(0, 8, 0, 1000))
    covered.extend(stretch(8, 12, 1, 3000, missing=2))
    heard = covered.record("").level
    assert heard is not None
    mean_square = (8 * 1000**2 + 2 * 3000**2) / 10
    assert heard.rms_dbfs == pytest.approx(10 * np.log10(mean_square / 32768**2))
    assert heard.peak_dbfs == pytest.approx(20 * np.log10(3000 / 32768))
    assert heard.zero_fraction == 0
    assert heard.dc_fraction == pytest.approx((8 * 1000 + 2 * 3000) / 10 / 32768)


def test_a_gap_in_which_nothing_arrived_has_no_level() -> None:
    covered = Covered.begin(PLACE, Outcome.GAP, 0, stretch(0, 4, 0, 0, missing=4))
    record = covered.record("")
    assert (record.level, record.missing_samples) == (None, 4)
