"""A scene holds what its truth says, and is the same for the same seed."""

import numpy as np
import pytest

from producers.source import Block
from producers.sources.scene import Event, Placed, Scene, SceneSettings, Sound
from schemas.errors import ConfigurationError


def sound_of(scene: Scene) -> Block:
    return np.concatenate(list(scene.blocks()))


def power(sound: Block) -> float:
    return float(np.mean((sound / 32768.0) ** 2))


def test_the_demo_has_a_siren_a_smoke_alarm_and_a_siren_with_quiet_between() -> None:
    scene = Scene()
    assert scene.truth == (
        Event("siren", 3.0, 9.0),
        Event("smoke_alarm", 12.0, 19.0),
        Event("siren", 22.0, 27.0),
    )
    sound = sound_of(scene)
    assert sound.shape == (scene.samples, 1) == (30 * 16_000, 1)
    assert sound.dtype == np.int16


def test_the_same_seed_gives_the_same_scene_and_another_gives_another() -> None:
    assert np.array_equal(sound_of(Scene(seed=1)), sound_of(Scene(seed=1)))
    assert not np.array_equal(sound_of(Scene(seed=1)), sound_of(Scene(seed=2)))


def test_an_event_lies_over_its_background_at_the_asked_ratio() -> None:
    settings = SceneSettings(duration_s=10, snr_db=12.0, events=(Placed(Sound.WAIL, 2.0, 8.0),))
    scene, quiet = sound_of(Scene(settings, 3)), sound_of(Scene(SceneSettings(10, events=()), 3))
    rate_hz = settings.sample_rate_hz
    during = slice(2 * rate_hz, 8 * rate_hz)
    event = scene[during].astype(int) - quiet[during]
    ratio_db = 10 * np.log10(np.mean((event / 32768.0) ** 2) / power(quiet[during]))
    assert ratio_db == pytest.approx(12.0, abs=0.2)


def test_outside_its_events_a_scene_is_its_background_and_nothing_else() -> None:
    settings = SceneSettings(duration_s=10, events=(Placed(Sound.YELP, 2.0, 8.0),))
    scene, quiet = sound_of(Scene(settings, 3)), sound_of(Scene(SceneSettings(10, events=()), 3))
    rate_hz = settings.sample_rate_hz
    assert np.array_equal(scene[: 2 * rate_hz], quiet[: 2 * rate_hz])
    assert np.array_equal(scene[8 * rate_hz :], quiet[8 * rate_hz :])


def test_a_scene_that_is_too_loud_is_lowered_and_does_not_clip() -> None:
    sound = sound_of(Scene(SceneSettings(snr_db=60.0)))
    assert np.count_nonzero(np.abs(sound.astype(int)) >= 32767) <= 2


@pytest.mark.parametrize(("start_s", "end_s"), [(-1.0, 2.0), (3.0, 3.0), (30.0, 37.0)])
def test_an_event_that_would_not_be_heard_whole_is_refused(start_s: float, end_s: float) -> None:
    with pytest.raises(ConfigurationError, match=r"scene\.events"):
        SceneSettings(events=(Placed(Sound.SMOKE_ALARM, start_s, end_s),))
