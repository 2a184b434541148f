"""Settings come from flags, the environment and a file, in this order; the README names all of them."""

import re
from collections.abc import Iterator
from dataclasses import fields, is_dataclass
from pathlib import Path
from typing import Any

import pytest
from pydantic import BaseModel

from earwitness.settings import Settings, load_settings
from tests.earwitness.conftest import refused, toml
from tests.processors.tiny_model import write_model

README = Path(__file__).parents[2] / "README.md"


def test_flags_win_over_the_environment_which_wins_over_the_file_which_wins_over_the_default(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen = [load_settings().batch.max_windows]
    toml(tmp_path, "[batch]\nmax_windows = 4\n")
    seen.append(load_settings().batch.max_windows)
    monkeypatch.setenv("EARWITNESS_BATCH__MAX_WINDOWS", "8")
    seen.append(load_settings().batch.max_windows)
    seen.append(load_settings(flags={"batch.max_windows": "16"}).batch.max_windows)
    assert seen == [32, 4, 8, 16]


def test_each_source_gives_what_the_ones_before_it_left_open(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = toml(tmp_path, "[batch]\nmax_windows = 4\nmax_wait_ms = 1\n[log]\nlevel = 'error'\n", "other.toml")
    monkeypatch.setenv("EARWITNESS_BATCH__MAX_WAIT_MS", "2")
    settings = load_settings(file, {"batch.max_backlog_windows": "64"})
    batch = settings.batch
    assert (batch.max_windows, batch.max_wait_ms, batch.max_backlog_windows) == (4, 2.0, 64)
    assert settings.log.level == "error"


def test_a_file_that_is_named_must_be_there_and_the_default_one_need_not(tmp_path: Path) -> None:
    load_settings()
    assert "--config is" in refused(tmp_path / "missing.toml")
    assert "--config is" in refused(tmp_path)


def test_lists_and_tables_can_be_given_as_json_by_flag_and_environment_alike(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    texts = {
        "topics.tenants": '["acme", "apex"]',
        "model.thresholds": '{"loud": 0.25}',
        "kafka.client": '{"linger.ms": 3}',
    }
    by_flag = load_settings(flags=texts)
    for key, text in texts.items():
        monkeypatch.setenv(f"EARWITNESS_{key.replace('.', '__').upper()}", text)
    for settings in (by_flag, load_settings()):
        assert settings.topics.tenants == ("acme", "apex")
        assert settings.frames_topics == ("acme.audio.frames", "apex.audio.frames")
        assert settings.model.thresholds == {"loud": 0.25}
        assert settings.kafka.librdkafka()["linger.ms"] == 3


def test_a_list_that_is_not_json_is_refused_with_what_it_should_be() -> None:
    message = refused(flags={"topics.tenants": "acme"})
    assert message.startswith("topics.tenants is 'acme'; accepted: a list or a table, written as JSON")


def test_one_threshold_can_be_set_by_its_label() -> None:
    assert load_settings(flags={"model.thresholds.loud": "0.25"}).model.thresholds == {"loud": 0.25}


def test_settings_cannot_be_changed_once_they_are_read() -> None:
    settings = load_settings()
    with pytest.raises(ValueError, match="frozen"):
        settings.batch = settings.batch  # type: ignore[misc]
    with pytest.raises(ValueError, match="frozen"):
        settings.log.level = "debug"  # type: ignore[misc]


def test_a_model_is_used_as_its_spec_says_unless_it_is_told_otherwise(tiny_model: Path) -> None:
    spec = load_settings(flags={"model.path": str(tiny_model)}).decision().spec
    assert (spec.hop_samples, spec.m, spec.n, spec.thresholds) == (1600, 2, 3, {"loud": 0.5, "high": 0.5})
    flags = {"window.hop_s": "0.05", "model.m": "3", "model.n": "4", "model.thresholds.high": "0.75"}
    spec = load_settings(flags={**flags, "model.path": str(tiny_model)}).decision().spec
    assert (spec.hop_samples, spec.m, spec.n, spec.thresholds) == (800, 3, 4, {"loud": 0.5, "high": 0.75})


def test_m_and_n_that_are_set_hold_for_every_label_and_thresholds_alone_change_neither(
    tmp_path: Path,
) -> None:
    write_model(tmp_path, m=2, n=3, m_of_n={"high": (1, 2)})

    def used(**flags: str) -> list[tuple[int, int]]:
        told = {key.replace("_", "."): value for key, value in flags.items()}
        spec = load_settings(flags={**told, "model.path": str(tmp_path)}).decision().spec
        return [spec.m_of_n_of(label) for label in spec.labels]

    assert used(model_thresholds_high="0.75") == [(2, 3), (1, 2)]
    assert used(model_m="3") == [(3, 3), (3, 3)]
    assert used(model_n="5") == [(2, 5), (2, 5)]


def test_a_hop_that_binary_fractions_cannot_write_is_a_whole_number_of_samples_all_the_same(
    tmp_path: Path,
) -> None:
    write_model(tmp_path / "hifi", sample_rate_hz=44_100, window_samples=44_100, hop_samples=22_050)
    settings = load_settings(flags={"model.path": str(tmp_path / "hifi"), "window.hop_s": "0.28"})
    assert 0.28 * 44_100 != 12_348
    assert settings.decision().spec.hop_samples == 12_348


def test_the_readme_names_every_setting_and_no_other() -> None:
    section = README.read_text("utf-8").split("## Settings")[1].split("\n## ")[0]
    rows = [line.split("|")[1] for line in section.splitlines() if line.startswith("| `")]
    named = [key for row in rows for key in re.findall(r"`([a-z_]+\.[a-z_]+)`", row)]
    assert sorted(named) == sorted(keys_of(Settings))


def keys_of(kind: Any, prefix: str = "") -> Iterator[str]:
    """Yield every setting below a slice, or the slice itself if it is none."""
    if is_dataclass(kind):
        yield from (f"{prefix}{field.name}" for field in fields(kind))
    elif isinstance(kind, type) and issubclass(kind, BaseModel):
        for name, field in kind.model_fields.items():
            yield from keys_of(field.annotation, f"{prefix}{name}.")
    else:
        yield prefix.removesuffix(".")
