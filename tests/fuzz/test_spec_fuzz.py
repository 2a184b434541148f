"""Model specs from anybody: the model opens and scores, or one ConfigurationError says why not."""

import json
import os
import tracemalloc
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from models.catalogue import CATALOGUE
from processors.batch import BatchSettings
from processors.decision import Decision
from processors.pipeline import Pipeline
from processors.score import OnnxScorer
from schemas.codec import Codec
from schemas.errors import ConfigurationError
from schemas.model import MAX_SPEC_BYTES, MODEL_FILE, SPEC_FILE, read_spec

EXAMPLES = int(os.environ.get("EARWITNESS_FUZZ_EXAMPLES", "25"))
SHIPPED = CATALOGUE / "earwitness-small" / "2"
SPEC: dict[str, Any] = json.loads((SHIPPED / SPEC_FILE).read_text("utf-8"))
MOST_BYTES = 200 << 20
"""What opening a model may take, and does not come near; a window of 10^12 samples would be 2 TB."""
BOUNDED = settings(
    max_examples=EXAMPLES, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)

values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.sampled_from(
        [0, -1, 1, 1000, 8000, 16_000, 2**31, 10**12, 10**400, 1e-320, 1e308, "", "1", "none", "\ud800"]
    )
    | st.text(max_size=10),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=5,
)
numbers = st.sampled_from(["sample_rate_hz", "window_samples", "hop_samples", "m", "n"])
paths = st.sampled_from(
    [(key,) for key in SPEC]
    + [("input", key) for key in SPEC["input"]]
    + [("output", key) for key in SPEC["output"]]
    + [
        ("thresholds", "siren"),
        ("labels", 0),
        ("m_of_n",),
        ("m_of_n", "siren"),
        ("unknown",),
        ("input", "unknown"),
    ]
)


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    """A directory with the model that ships, and room for a spec."""
    (tmp_path / MODEL_FILE).symlink_to(SHIPPED / MODEL_FILE)
    return tmp_path


def opens(directory: Path, spec: bytes) -> bool:
    """Open a model as a worker does; say whether it opens."""
    (directory / SPEC_FILE).write_bytes(spec)
    tracemalloc.start()
    try:
        decision = Decision(read_spec(directory))
        OnnxScorer(directory, decision.spec)
        Pipeline(decision, Codec(), BatchSettings())
    except ConfigurationError:
        return False
    finally:
        _, peak_bytes = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        assert peak_bytes < MOST_BYTES
    return True


def as_json(spec: Any) -> bytes:
    return json.dumps(spec).encode("utf-8", "surrogatepass")


def put(spec: Any, path: tuple[Any, ...], value: Any) -> Any:
    """Return a copy with one value replaced."""
    copy = json.loads(json.dumps(spec))
    at = copy
    for part in path[:-1]:
        at = at[part]
    at[path[-1]] = value
    return copy


def test_the_spec_that_ships_opens(directory: Path) -> None:
    assert opens(directory, (SHIPPED / SPEC_FILE).read_bytes())


@BOUNDED
@given(st.lists(st.tuples(paths, values), min_size=1, max_size=2))
def test_a_spec_with_any_values_opens_or_is_refused(
    directory: Path, changes: list[tuple[tuple[Any, ...], Any]]
) -> None:
    spec = SPEC
    for path, value in changes:
        if len(path) == 1 or isinstance(spec.get(path[0]), dict | list):
            try:
                spec = put(spec, path, value)
            except (IndexError, TypeError):
                continue  # the one before made something else of it
    opens(directory, as_json(spec))


@BOUNDED
@given(st.dictionaries(numbers, st.integers(-1, 20_000), min_size=1, max_size=3))
def test_a_spec_with_other_numbers_opens_or_is_refused(directory: Path, numbers: dict[str, int]) -> None:
    opens(directory, as_json({**SPEC, **numbers}))


@BOUNDED
@given(st.sampled_from(sorted(SPEC)))
def test_a_spec_that_lacks_something_opens_or_is_refused(directory: Path, key: str) -> None:
    opens(directory, as_json({name: value for name, value in SPEC.items() if name != key}))


@BOUNDED
@given(st.lists(st.tuples(st.integers(0, 5000), st.binary(max_size=3)), min_size=1, max_size=4))
def test_a_spec_with_any_bytes_in_it_opens_or_is_refused(
    directory: Path, cuts: list[tuple[int, bytes]]
) -> None:
    spec = bytearray((SHIPPED / SPEC_FILE).read_bytes())
    for at, put_in in cuts:
        at %= len(spec)
        spec[at : at + len(put_in)] = put_in
    opens(directory, bytes(spec))


@pytest.mark.parametrize(
    "spec",
    [
        b"",
        b"null",
        b"[" * 100_000,
        b'{"name":' * 100_000,
        b"\xff\xfe",
        as_json({**SPEC, "window_samples": 10**12}),
        as_json({**SPEC, "window_samples": 10**12, "sample_rate_hz": 384_000, "hop_samples": 1}),
        as_json({**SPEC, "window_samples": 60 * 192_000}),
        as_json({**SPEC, "sample_rate_hz": 0}),
        as_json({**SPEC, "hop_samples": 0}),
        as_json({**SPEC, "m": 10**9, "n": 10**9}),
        as_json({**SPEC, "labels": ["x"] * 10**5}),
        as_json({**SPEC, "input": {"dtype": "float32", "scale": 1e308}}),
        as_json({**SPEC, "input": {"scale": float("inf")}}),
        as_json({**SPEC, "input": {"batch": 4096}}),
        as_json({**SPEC, "thresholds": dict.fromkeys(SPEC["labels"], float("nan"))}),
    ],
    ids=range(16),
)
def test_a_spec_that_claims_what_cannot_be_is_refused_and_nothing_allocated(
    directory: Path, spec: bytes
) -> None:
    assert not opens(directory, spec)


def test_a_spec_larger_than_any_is_refused_without_reading_it(directory: Path) -> None:
    with (directory / SPEC_FILE).open("wb") as file:
        file.truncate(MAX_SPEC_BYTES * 1000)  # a hole: takes no room
    tracemalloc.start()
    with pytest.raises(ConfigurationError, match=SPEC_FILE):
        read_spec(directory)
    _, peak_bytes = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak_bytes < MOST_BYTES


@pytest.mark.parametrize("data", [b"", b"\x08", b"\xff" * 1000, (SHIPPED / MODEL_FILE).read_bytes()[:-1000]])
def test_a_graph_that_is_none_is_refused_though_its_digest_is_right(tmp_path: Path, data: bytes) -> None:
    (tmp_path / MODEL_FILE).write_bytes(data)
    assert not opens(tmp_path, as_json({**SPEC, "digest": sha256(data).hexdigest()}))
