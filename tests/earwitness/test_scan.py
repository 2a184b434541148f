"""Files are scanned as they would have been heard live, and a broken one does not silence the others."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
from typer.testing import CliRunner, Result

from earwitness.cli import app
from earwitness.scan import Heard, Scanner
from earwitness.settings import load_settings
from processors.score import OnnxScorer
from producers.source import to_int16
from producers.sources.files import FileSource
from producers.sources.sounds import siren, smoke_alarm
from schemas.codec import Codec

RATE_HZ = 16_000
HOP_S = 0.1
FIELDS = [
    "file",
    "label",
    "start_s",
    "end_s",
    "score",
    "windows",
    "continued",
    "start_sample",
    "end_sample",
    "sample_rate_hz",
]


def write_siren(file: Path, rate_hz: int = RATE_HZ, seconds: float = 0.7) -> Path:
    """Write half a second of quiet, a siren at full scale, and half a second of quiet."""
    rng = np.random.default_rng(1)
    quiet = rng.normal(0, 0.001, rate_hz // 2)
    sound = siren(seconds, rate_hz)
    file.parent.mkdir(parents=True, exist_ok=True)
    soundfile.write(
        file, to_int16(np.concatenate([quiet, 0.99 * sound / np.abs(sound).max(), quiet])), rate_hz
    )
    return file


@pytest.fixture
def scanner(tiny_model: Path) -> Scanner:
    decision = load_settings(flags={"model.path": str(tiny_model)}).decision()
    return Scanner(decision, OnnxScorer(tiny_model, decision.spec), Codec())


@dataclass(frozen=True)
class Command:
    """`earwitness scan` with the tiny model."""

    model: Path

    def __call__(self, *arguments: str | Path) -> Result:
        return CliRunner().invoke(app, ["scan", "-m", str(self.model), *map(str, arguments)])


@pytest.fixture
def scan(tiny_model: Path) -> Command:
    return Command(tiny_model)


def lines(result: Result) -> list[dict[str, Any]]:
    return [json.loads(line) for line in result.stdout.splitlines()]


def test_a_siren_is_heard_where_it_sounds(scanner: Scanner, tmp_path: Path) -> None:
    file = write_siren(tmp_path / "siren.wav")
    (heard,) = scanner.scan(FileSource(file), file)
    # s        0.4   0.5   0.6 ..... 1.1   1.2   1.3   1.4
    # siren          [=====================)
    # loud     [ first window )      [ last window)          two of three from window 0.5 to window 1.2
    assert (heard.label, heard.file) == ("loud", str(file))
    assert (heard.start_s, heard.end_s) == (0.5, 1.4)
    assert (heard.start_sample, heard.end_sample) == (8000, 22_400)
    assert heard.score == pytest.approx(0.99, abs=0.01)
    assert not heard.continued


def test_a_pulsed_alarm_is_one_detection_for_each_group_of_pulses(scanner: Scanner, tmp_path: Path) -> None:
    sound, file = smoke_alarm(8.0, RATE_HZ), tmp_path / "alarm.wav"
    soundfile.write(file, to_int16(0.99 * sound / np.abs(sound).max()), RATE_HZ)
    starts_s = [heard.start_s for heard in scanner.scan(FileSource(file), file)]
    # Temporal three: pulses of 0.5 s begin at 0, 1 and 2 s of every 4 s.
    assert {round(start_s) % 4 for start_s in starts_s} == {0, 1, 2}
    assert len(starts_s) == 6


def test_what_still_sounds_when_the_file_ends_is_heard(scanner: Scanner, tmp_path: Path) -> None:
    file = tmp_path / "end.wav"
    soundfile.write(file, np.full(RATE_HZ, 20_000, np.int16), RATE_HZ)
    assert {(heard.label, heard.end_s) for heard in scanner.scan(FileSource(file), file)} == {
        ("loud", 1.0),
        ("high", 1.0),
    }


def test_a_long_sound_is_a_chain_that_says_so(scanner: Scanner, tmp_path: Path) -> None:
    file = write_siren(tmp_path / "long.wav", seconds=5.0)
    chain = list(scanner.scan(FileSource(file), file))
    assert [heard.continued for heard in chain] == [False] + [True] * (len(chain) - 1)
    assert [heard.start_s for heard in chain[1:]] == [heard.end_s for heard in chain[:-1]]
    assert [heard.start_s for heard in chain[1:]] == [2.0, 4.0]


@pytest.mark.parametrize("rate_hz", [8000, 44_100])
def test_a_file_of_another_rate_is_heard_in_its_own_samples(
    scanner: Scanner, tmp_path: Path, rate_hz: int
) -> None:
    file = write_siren(tmp_path / "siren.flac", rate_hz)
    (heard,) = scanner.scan(FileSource(file), file)
    assert heard.sample_rate_hz == rate_hz
    assert heard.start_s == pytest.approx(0.5, abs=HOP_S)
    assert heard.start_sample == round(heard.start_s * rate_hz)


@pytest.mark.parametrize(
    "name", ["é" * 100, "x" + "é" * 99, "two\nlines"], ids=["even", "odd", "unprintable"]
)
def test_a_file_is_heard_whatever_it_is_called(scanner: Scanner, tmp_path: Path, name: str) -> None:
    file = write_siren(tmp_path / f"{name}.wav")
    assert [heard.file for heard in scanner.scan(FileSource(file), file)] == [str(file)]


def test_scanning_twice_says_the_same(scanner: Scanner, tmp_path: Path) -> None:
    file = write_siren(tmp_path / "siren.wav")
    first, second = (list(scanner.scan(FileSource(file), file)) for _ in range(2))
    assert first == second
    assert first


def test_json_is_one_object_a_line_with_every_field(scan: Command, tmp_path: Path) -> None:
    write_siren(tmp_path / "a" / "siren.wav")
    write_siren(tmp_path / "b" / "bühne.wav")
    result = scan("--json", tmp_path)
    assert result.exit_code == 0, result.stderr
    found = lines(result)
    assert [list(line) for line in found] == [FIELDS, FIELDS]
    assert [Path(line["file"]).name for line in found] == ["siren.wav", "bühne.wav"]
    assert found[0]["label"] == "loud"
    assert found[0]["continued"] is False
    assert found[0]["score"] == pytest.approx(0.99, abs=0.01)


def test_a_line_for_people_has_times_label_score_and_file(scan: Command, tmp_path: Path) -> None:
    file = write_siren(tmp_path / "siren.wav")
    (line,) = scan(file).stdout.splitlines()
    assert line.split() == ["0.50", "s", "1.40", "s", "loud", "0.99", str(file)]


def test_a_broken_file_is_named_and_the_others_are_scanned(scan: Command, tmp_path: Path) -> None:
    (tmp_path / "1-text.wav").write_text("this is no sound")
    whole = write_siren(tmp_path / "2-whole.wav")
    cut_off = tmp_path / "3-cut-off.wav"
    cut_off.write_bytes(whole.read_bytes()[:20_000])
    write_siren(tmp_path / "4-whole.wav")
    result = scan("--json", tmp_path)
    assert result.exit_code == 1
    assert [Path(line["file"]).name for line in lines(result)] == ["2-whole.wav", "4-whole.wav"]
    complaints = [line for line in result.stderr.splitlines() if line.startswith("earwitness: ")]
    assert [name in line for name, line in zip(("1-text", "3-cut-off"), complaints, strict=True)] == [
        True
    ] * 2


def test_nothing_to_hear_is_no_error(scan: Command, tmp_path: Path) -> None:
    soundfile.write(tmp_path / "quiet.wav", np.zeros(RATE_HZ, np.int16), RATE_HZ)
    result = scan("--json", tmp_path / "quiet.wav")
    assert (result.exit_code, result.stdout) == (0, "")


def test_what_is_heard_without_a_score_has_none_in_json() -> None:
    heard = Heard("a.wav", "loud", 0.0, 1.0, None, 1, False, 0, 16_000, RATE_HZ)
    assert json.loads(heard.as_json())["score"] is None
