"""A bank draws windows of whole sounds, and says what is in each."""

import numpy as np
import pytest

from models.bank import ENOUGH_FRAMES, LOUD, WINDOW_FRAMES, Bank, Take, take_of
from models.dataset import PCM

RATE_HZ = 16_000
FRAMES_A_SECOND = 50


def beep(seconds: float, total_s: float = 4.0) -> PCM:
    """Return silence with a tone in its middle, `int16[S]`."""
    time_s = np.arange(round(total_s * RATE_HZ)) / RATE_HZ
    sounding = np.abs(time_s - total_s / 2) < seconds / 2
    return np.asarray(16_384 * np.sin(2 * np.pi * 3_000 * time_s) * sounding, np.int16)


def bank(alert: Take) -> Bank:
    """Return a bank of one recording, of which a tenth of a second sounds, and one alert."""
    return Bank(("tap", "alarm"), labelled=[[take_of(beep(0.1), 0)]], alerts=[alert])


@pytest.mark.parametrize("seconds", [0.08, 0.12, 0.16])
def test_of_an_alert_it_counts_how_much_is_heard(seconds: float) -> None:
    heard = take_of(beep(seconds), 1).heard
    frames = seconds * FRAMES_A_SECOND + 1  # a frame of 25 ms reaches over the end
    assert heard.max() == pytest.approx(frames / ENOUGH_FRAMES, abs=0.5 / ENOUGH_FRAMES)
    assert 0.0 < heard.min() < heard.max() < 1.0


def test_a_window_full_of_an_alert_is_wholly_it() -> None:
    assert take_of(beep(2.0), 1).heard.max() == 1.0


def test_a_recording_counts_whole_and_an_alert_as_far_as_it_is_heard() -> None:
    rng, drawn = np.random.default_rng(0), [set[float](), set[float]()]
    for _ in range(20):
        targets = bank(take_of(beep(0.5), 1)).draw(rng, 50).targets.numpy()
        for label in (0, 1):
            drawn[label] |= set(targets[:, label].tolist())
    assert drawn[0] == {0.0, 1.0}
    assert len(drawn[1] - {0.0, 1.0}) > 3
    assert 1.0 in drawn[1]


def test_a_window_holds_as_much_as_its_target_says() -> None:
    take = take_of(beep(0.12), 1)
    batch = bank(take).draw(np.random.default_rng(1), 50)
    loud = batch.power[batch.alerts].sum(2) >= LOUD * take.power.sum(1).max()
    assert batch.targets[batch.alerts, 1].numpy() == pytest.approx(loud.sum(1).numpy() / ENOUGH_FRAMES)


def test_it_says_which_windows_are_alerts() -> None:
    batch = bank(take_of(beep(2.0), 1)).draw(np.random.default_rng(1), 50)
    assert batch.power.shape == (50, WINDOW_FRAMES, 64)
    assert batch.alerts.sum() == 10
    assert (batch.targets[batch.alerts, 1] > 0).all()
    assert not batch.targets[~batch.alerts, 1].any()


def test_a_sound_shorter_than_a_window_is_one() -> None:
    assert take_of(beep(0.1, 0.4), 1).power.shape[0] == WINDOW_FRAMES
