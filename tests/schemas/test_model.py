import hashlib
import json
from pathlib import Path
from typing import Any

import pytest

from schemas.errors import ConfigurationError
from schemas.model import MODEL_FILE, SPEC_FILE, ModelSpec, read_spec

MODEL = b"not looked into here"
SPEC: dict[str, Any] = {
    "name": "starter",
    "version": "1.0",
    "sample_rate_hz": 16_000,
    "window_samples": 16_000,
    "hop_samples": 8_000,
    "labels": ["siren", "dog"],
    "thresholds": {"siren": 0.5, "dog": 0.7},
    "m": 2,
    "n": 3,
    "licence": "Apache-2.0",
    "digest": hashlib.sha256(MODEL).hexdigest(),
}


def columns(**members: list[int]) -> dict[str, Any]:
    """An output of four columns."""
    return {"width": 4, "columns": members}


def write(directory: Path, **changed: object) -> Path:
    (directory / MODEL_FILE).write_bytes(MODEL)
    (directory / SPEC_FILE).write_text(json.dumps({**SPEC, **changed}))
    return directory


def test_a_good_model_is_read(tmp_path: Path) -> None:
    spec = read_spec(write(tmp_path))
    assert spec == ModelSpec.model_validate(SPEC)
    assert (spec.window_s, spec.hop_s) == (1.0, 0.5)


@pytest.mark.parametrize(
    ("changed", "reason"),
    [
        ({"hop_samples": 16_001}, "hop_samples 16001 is more than window_samples 16000"),
        ({"m": 4}, "m 4 of n 3 windows can never be reached"),
        ({"m": 0}, "m: Input should be greater than or equal to 1"),
        ({"m_of_n": {"dog": [3, 2]}}, "m_of_n of dog: m 3 is more than n 2"),
        ({"m_of_n": {"dog": [1, 4]}}, "n more than all labels' 3"),
        ({"m_of_n": {"cat": [1, 1]}}, "m_of_n has ['cat'], which are no labels"),
        ({"m_of_n": {"dog": [0, 1]}}, "m_of_n.dog.0: Input should be greater than or equal to 1"),
        ({"n": 1001}, "n: Input should be less than or equal to 1000"),
        ({"hop_samples": 0}, "hop_samples: Input should be greater than or equal to 1"),
        ({"window_samples": 60 * 192_000 + 1}, "window_samples: Input should be less than"),
        ({"sample_rate_hz": 999}, "sample_rate_hz: Input should be greater than or equal to 1000"),
        ({"labels": []}, "labels: Tuple should have at least 1 item"),
        ({"labels": ["siren", "dog", "dog"]}, "labels has the same label twice"),
        ({"labels": ["siren", "dog", "cat"]}, "thresholds and labels disagree about ['cat']"),
        ({"labels": ["siren"]}, "thresholds and labels disagree about ['dog']"),
        ({"thresholds": {"siren": 0.5, "dog": 0.0}}, "thresholds.dog: Input should be greater than 0"),
        (
            {"thresholds": {"siren": 0.5, "dog": 1.1}},
            "thresholds.dog: Input should be less than or equal to 1",
        ),
        ({"name": "../starter"}, "name: String should match pattern"),
        ({"version": ""}, "version: String should match pattern"),
        ({"digest": "ABC"}, "digest: String should match pattern"),
        ({"treshold": 0.5}, "treshold: Extra inputs are not permitted"),
        ({"input": {"dtype": "float64"}}, "input.dtype: Input should be 'int16' or 'float32'"),
        ({"input": {"scale": 0}}, "input.scale: Input should be greater than 0"),
        ({"output": {"activation": "relu"}}, "output.activation: Input should be 'none'"),
        ({"input": {"rank": 1}}, "batch None with rank 1, where a window is alone: it has to be 1"),
        ({"input": {"rank": 3}}, "input.rank: Input should be 1"),
        ({"output": {"width": 4}}, "width and columns: one of them is of no use without the other"),
        ({"output": {"columns": {"siren": [0], "dog": [1]}}}, "width and columns: one of them is of no use"),
        ({"output": columns(siren=[0], dog=[4])}, "columns of dog: 4 is not below width 4"),
        ({"output": columns(siren=[0], dog=[-1])}, "output.columns.dog.0: Input should be greater than or"),
        ({"output": columns(siren=[0], dog=[])}, "output.columns.dog: Tuple should have at least 1 item"),
        ({"output": columns(siren=[0], dog=[1, 1])}, "columns of dog has the same column twice"),
        ({"output": columns(siren=[0])}, "output.columns and labels disagree about ['dog']"),
        (
            {"output": columns(siren=[0], dog=[1], cat=[2])},
            "output.columns and labels disagree about ['cat']",
        ),
        (
            {"output": {**columns(siren=[0], dog=[1]), "width": 4097}},
            "output.width: Input should be less than",
        ),
        (
            {"output": {**columns(siren=[0], dog=[1]), "width": 0}},
            "output.width: Input should be greater than",
        ),
    ],
)
def test_a_spec_that_cannot_work_is_refused_with_its_reason(
    tmp_path: Path, changed: dict[str, object], reason: str
) -> None:
    with pytest.raises(ConfigurationError) as refused:
        read_spec(write(tmp_path, **changed))
    assert reason in str(refused.value)
    assert refused.value.key == "model.path"
    assert refused.value.value == str(tmp_path)


def test_labels_may_be_made_of_several_columns_of_a_wider_output(tmp_path: Path) -> None:
    spec = read_spec(write(tmp_path, output=columns(siren=[3, 0], dog=[0])))
    assert spec.output.columns == {"siren": (3, 0), "dog": (0,)}
    assert (spec.raw_width, read_spec(write(tmp_path)).raw_width) == (4, 2)
    assert ModelSpec.model_validate_json(spec.model_dump_json()) == spec


def test_labels_may_have_an_m_and_an_n_of_their_own(tmp_path: Path) -> None:
    spec = read_spec(write(tmp_path, m_of_n={"dog": [1, 2]}))
    assert [spec.m_of_n_of(label) for label in spec.labels] == [(spec.m, spec.n), (1, 2)]
    assert ModelSpec.model_validate_json(spec.model_dump_json()) == spec


def test_more_columns_than_may_be_are_refused_before_they_cost_anything(tmp_path: Path) -> None:
    labels = [str(label) for label in range(17)]
    many = {"width": 4096, "columns": {label: list(range(4096)) for label in labels}}
    with pytest.raises(ConfigurationError, match="columns has more than 65536 columns together"):
        read_spec(write(tmp_path, labels=labels, thresholds=dict.fromkeys(labels, 0.5), output=many))


def test_a_spec_without_later_fields_is_written_as_it_always_was(tmp_path: Path) -> None:
    spec = read_spec(write(tmp_path))
    later = {"m_of_n": None, "input": {"rank": None}, "output": {"columns": None, "width": None}}
    assert read_spec(write(tmp_path, **later)).model_dump(mode="json") == spec.model_dump(mode="json")
    assert spec.model_dump(mode="json") == {
        **SPEC,
        "input": {"name": "audio", "dtype": "int16", "scale": 1.0, "batch": None},
        "output": {"name": "scores", "activation": "none"},
    }


@pytest.mark.parametrize("missing", [MODEL_FILE, SPEC_FILE])
def test_a_directory_without_one_of_its_files_is_refused_by_its_name(tmp_path: Path, missing: str) -> None:
    (write(tmp_path) / missing).unlink()
    with pytest.raises(ConfigurationError, match=f"{missing} is missing"):
        read_spec(tmp_path)


@pytest.mark.parametrize("text", ["", "{", "[]", '"spec"', "\xff"])
def test_a_spec_that_is_no_json_object_is_refused(tmp_path: Path, text: str) -> None:
    (write(tmp_path) / SPEC_FILE).write_bytes(text.encode("latin-1"))
    with pytest.raises(ConfigurationError, match=r"a valid spec\.json"):
        read_spec(tmp_path)


def test_a_model_whose_bytes_are_not_those_of_the_spec_is_refused(tmp_path: Path) -> None:
    (write(tmp_path) / MODEL_FILE).write_bytes(MODEL + b"!")
    other = hashlib.sha256(MODEL + b"!").hexdigest()
    with pytest.raises(ConfigurationError, match=f"{SPEC['digest']}; this one has {other}"):
        read_spec(tmp_path)
