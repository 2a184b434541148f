"""False alarms are counted on all sound in which there is nothing to find, and on nothing else."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from earwitness.evaluation.evaluate import evaluate
from earwitness.evaluation.evidence import QUICK
from earwitness.evaluation.listener import Listener
from earwitness.evaluation.material import Part, allowed, noises, read_unlabelled
from earwitness.evaluation.negatives import (
    LEVELS_DBFS,
    SPREAD_DB,
    Negative,
    false_alarms,
    hear_negatives,
    split,
    streams,
)
from models.dataset import read_labels
from schemas.errors import ConfigurationError
from tests.earwitness.evaluation.folders import RATE_HZ, write_folder
from tests.earwitness.evaluation.made import LABELS, heard


def words(count: int, seconds: float = 0.7) -> list[np.ndarray[tuple[int], np.dtype[np.int16]]]:
    rng = np.random.default_rng(1)
    return [(rng.standard_normal(round(seconds * RATE_HZ)) * 3000).astype(np.int16) for _ in range(count)]


def dbfs(pcm: np.ndarray[tuple[int], np.dtype[np.int16]]) -> float:
    return float(10 * np.log10(np.mean((pcm / 32768) ** 2)))


def test_short_recordings_are_put_end_to_end_and_none_is_lost() -> None:
    laid = list(streams(words(200), np.random.default_rng(2), RATE_HZ))
    assert sum(pcm.size for pcm in laid) == 200 * round(0.7 * RATE_HZ)
    assert all(60 <= pcm.size / RATE_HZ < 61 for pcm in laid[:-1])


def test_their_levels_vary_from_stream_to_stream() -> None:
    levels = [dbfs(pcm) for pcm in streams(words(900), np.random.default_rng(2), RATE_HZ)]
    assert min(levels) >= LEVELS_DBFS[0] - SPREAD_DB
    assert max(levels) <= LEVELS_DBFS[1] + SPREAD_DB
    assert max(levels) - min(levels) > 10


def test_a_long_recording_is_heard_as_it_is() -> None:
    (long,) = words(1, 12.0)
    laid = list(streams([*words(2), long], np.random.default_rng(2), RATE_HZ))
    assert any(np.array_equal(pcm, long) for pcm in laid)


def test_what_the_model_knows_and_what_is_left_out_is_not_heard_but_counted(tmp_path: Path) -> None:
    rows = [(label, 0.1, 1.0, 1) for label in ("dog", "speech", "thunderstorm", "music")]
    entries = read_labels(write_folder(tmp_path, rows))
    kept, counts = split(entries, LABELS, ("thunderstorm",))
    assert [entry.label for entry in kept] == ["speech", "music"]
    assert counts == (2, 2)
    assert allowed(entries, (), ()) == entries


def test_rates_are_by_label_source_and_kind() -> None:
    alarm, quiet = heard([0.9, *([0.1] * 7198)]), heard([0.1] * 7199)
    found = false_alarms(
        [Negative("a", "speech", alarm), Negative("b", "noise", quiet)], LABELS, {"a": (3, 1), "b": (0, 0)}
    )
    assert found.all.count == 1
    assert found.all.hours == pytest.approx(2.0)
    assert found.by_label["dog"].per_hour == pytest.approx(0.5)
    assert found.by_label["rain"].upper_per_hour == pytest.approx(2.9957 / 2, abs=1e-3)
    a, b = found.sources
    assert (a.name, a.recordings, a.left_out, list(a.by_kind)) == ("a", 3, 1, ["speech"])
    assert (b.all.count, b.by_kind) == (0, {})


def test_a_folder_without_a_table_is_all_negatives(tmp_path: Path) -> None:
    write_folder(tmp_path, [("speech", 0.1, 1.0, 1)] * 2)
    (tmp_path / "labels.csv").unlink()
    assert [entry.label for entry in read_unlabelled(tmp_path)] == ["unlabelled"] * 2
    with pytest.raises(ConfigurationError, match="--negatives"):
        read_unlabelled(tmp_path / "nothing")


def test_the_same_seed_hears_the_same(tmp_path: Path, tiny_model: Path) -> None:
    entries = read_labels(write_folder(tmp_path, [("speech", 0.5, 0.7, 1)] * 5))
    one, again = (
        [n.heard.scores for n in hear_negatives(Listener.of(tiny_model), "a", entries, 3)] for _ in "12"
    )
    assert all(np.array_equal(a, b) for a, b in zip(one, again, strict=True))


def test_generated_noise_lasts_as_long_as_asked_and_never_clips() -> None:
    made = list(noises(np.random.default_rng(1), 0.05, RATE_HZ))
    assert sum(pcm.size for _, pcm in made) == 0.05 * 3600 * RATE_HZ
    assert len({kind for kind, _ in made}) == len(made)
    assert all(0 < np.abs(pcm.astype(int)).max() < 32767 for _, pcm in made)


def test_parts_and_sources_draw_each_their_own(tmp_path: Path, tiny_model: Path) -> None:
    entries = read_labels(write_folder(tmp_path, [("speech", 0.5, 2.0, 1)] * 2))
    settings = replace(
        QUICK, passes=0, alarms=0, noise_hours=2 / 60, most_robustness_recordings=0, left_out=()
    )
    parts = [Part(tiny_model, entries[:1])] * 2
    _, evidence = evaluate(parts, {"a": entries, "b": entries}, settings)
    powers = [n.heard.power.tobytes() for n in evidence.negatives]
    assert len(powers) == len(set(powers)) == 6
