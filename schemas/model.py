"""spec.json -> ModelSpec: what a model hears, how it is fed, and when a label counts.

A model is a directory with `model.onnx` and `spec.json`; this is the file that joins `models`, which
writes it, and `processors`, which runs it. A model that somebody else made is used by writing its spec.
"""

import hashlib
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    SerializerFunctionWrapHandler,
    ValidationError,
    model_serializer,
    model_validator,
)

from schemas.errors import ConfigurationError

MODEL_FILE, SPEC_FILE = "model.onnx", "spec.json"
MAX_LABELS = MAX_WIDTH = 4096
MAX_MEMBERS = 1 << 16
"""Columns of all labels together, for every window is reduced by all of them."""
MAX_WINDOW_SAMPLES = 60 * 192_000
MAX_BATCH_SAMPLES = 1 << 24
"""In one batch of a graph that takes one size only: a window that is alone is filled up to it."""
MAX_SPEC_BYTES = 16 << 20
"""Twice what the most and longest labels take."""

Name = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,127}$")]
Label = Annotated[str, Field(min_length=1, max_length=128)]
Probability = Annotated[float, Field(gt=0.0, le=1.0)]
MOfN = tuple[Annotated[int, Field(ge=1)], Annotated[int, Field(ge=1)]]


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class _Lean(_Frozen):
    """Written without those of its `later` fields that are unset.

    What was written before they were there keeps its text, and with it its decision digest.
    """

    @model_serializer(mode="wrap")
    def _written(self, write: SerializerFunctionWrapHandler) -> dict[str, Any]:
        return {key: value for key, value in write(self).items() if value is not None or key not in _LATER}


_LATER = frozenset({"rank", "columns", "width", "m_of_n"})


class ModelInput(_Lean):
    """The tensor that takes `dtype[B, window_samples]`; int16 PCM is multiplied by `scale` for float32."""

    name: Annotated[str, Field(min_length=1)] = "audio"
    dtype: Literal["int16", "float32"] = "int16"
    scale: Annotated[float, Field(gt=0.0, le=1e30)] = 1.0
    batch: Annotated[int, Field(ge=1, le=4096)] | None = None
    """The one batch size that the graph accepts, or None where any will do."""
    rank: Literal[1] | None = None
    """1 where the tensor is `dtype[window_samples]`: the graph knows of no batch, and `batch` is 1."""

    @model_validator(mode="after")
    def _alone(self) -> Self:
        if self.rank == 1 and self.batch != 1:
            raise ValueError(f"batch {self.batch} with rank 1, where a window is alone: it has to be 1")
        return self


class ModelOutput(_Lean):
    """The tensor that gives `float32[B, labels]`, and what turns it into probabilities.

    Where a graph knows more than is reported, the tensor is `float32[B, width]`, and a label's score is the
    highest of its columns, after the activation.
    """

    name: Annotated[str, Field(min_length=1)] = "scores"
    activation: Literal["none", "sigmoid", "softmax"] = "none"
    width: Annotated[int, Field(ge=1, le=MAX_WIDTH)] | None = None
    """How many columns there are, where it is not one for each label, in order."""
    columns: dict[Label, Annotated[tuple[Annotated[int, Field(ge=0)], ...], Field(min_length=1)]] | None = (
        None
    )
    """The columns of each label, from 0."""

    @model_validator(mode="after")
    def _within(self) -> Self:
        if (self.width is None) != (self.columns is None):
            raise ValueError("width and columns: one of them is of no use without the other")
        for label, members in (self.columns or {}).items():
            if self.width is not None and max(members) >= self.width:
                raise ValueError(f"columns of {label}: {max(members)} is not below width {self.width}")
            if len(set(members)) != len(members):
                raise ValueError(f"columns of {label} has the same column twice")
        if sum(map(len, (self.columns or {}).values())) > MAX_MEMBERS:
            raise ValueError(f"columns has more than {MAX_MEMBERS} columns together")
        return self


class ModelSpec(_Lean):
    """All that a processor needs to know of a model, and all of it decides what is detected."""

    name: Name
    version: Name
    sample_rate_hz: Annotated[int, Field(ge=1000, le=384_000)]
    window_samples: Annotated[int, Field(ge=1, le=MAX_WINDOW_SAMPLES)]
    hop_samples: Annotated[int, Field(ge=1)]
    labels: Annotated[tuple[Label, ...], Field(min_length=1, max_length=MAX_LABELS)]
    thresholds: dict[Label, Probability]
    """Score from which a label counts as reached in a window, for every label."""
    m: Annotated[int, Field(ge=1)]
    n: Annotated[int, Field(ge=1, le=1000)]
    """A label is active where at least m of the last n windows reached its threshold."""
    m_of_n: Annotated[dict[Label, MOfN], Field(min_length=1)] | None = None
    """Labels with an m and an n of their own; none looks at more windows than the n of all."""
    licence: str
    digest: Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
    """SHA-256 of model.onnx, in hex."""
    input: ModelInput = ModelInput()
    output: ModelOutput = ModelOutput()

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if self.hop_samples > self.window_samples:
            raise ValueError(
                f"hop_samples {self.hop_samples} is more than window_samples {self.window_samples}: "
                "sound between two windows would never be heard"
            )
        if (self.input.batch or 1) * self.window_samples > MAX_BATCH_SAMPLES:
            raise ValueError(
                f"input.batch {self.input.batch} times window_samples {self.window_samples} is more than "
                f"{MAX_BATCH_SAMPLES}: every window would cost as much"
            )
        if self.m > self.n:
            raise ValueError(f"m {self.m} of n {self.n} windows can never be reached")
        for label, (m, n) in (self.m_of_n or {}).items():
            if not m <= n <= self.n:
                raise ValueError(
                    f"m_of_n of {label}: m {m} is more than n {n}, or n more than all labels' {self.n}"
                )
        if len(set(self.labels)) != len(self.labels):
            raise ValueError("labels has the same label twice")
        if set(self.thresholds) != set(self.labels):
            odd = sorted(set(self.thresholds) ^ set(self.labels))
            raise ValueError(f"thresholds and labels disagree about {odd}")
        if odd := sorted(set(self.m_of_n or ()) - set(self.labels)):
            raise ValueError(f"m_of_n has {odd}, which are no labels")
        if self.output.columns is not None and set(self.output.columns) != set(self.labels):
            odd = sorted(set(self.output.columns) ^ set(self.labels))
            raise ValueError(f"output.columns and labels disagree about {odd}")
        return self

    @property
    def reference(self) -> str:
        """Name and version, as a catalogue has them: `earwitness-small/2`."""
        return f"{self.name}/{self.version}"

    def m_of_n_of(self, label: str) -> MOfN:
        """Return m and n of a label."""
        return (self.m_of_n or {}).get(label, (self.m, self.n))

    @property
    def raw_width(self) -> int:
        """Columns of the graph's own output: as many as labels, or what they are made of."""
        return self.output.width or len(self.labels)

    @property
    def window_s(self) -> float:
        """Length of a window in seconds."""
        return self.window_samples / self.sample_rate_hz

    @property
    def hop_s(self) -> float:
        """Time from one window's start to the next in seconds."""
        return self.hop_samples / self.sample_rate_hz


def read_spec(directory: Path) -> ModelSpec:
    """Read and check a model directory.

    Raises:
        ConfigurationError: a file is missing or unreadable, the spec is wrong, or the model's bytes are
            not those that the spec's digest names.

    """
    try:
        return _read_spec(directory)
    except OSError as exc:
        accepted = f"a directory whose {MODEL_FILE} and {SPEC_FILE} can be read: {exc.strerror}"
        raise ConfigurationError("model.path", str(directory), accepted) from exc


def _read_spec(directory: Path) -> ModelSpec:
    for file in (SPEC_FILE, MODEL_FILE):
        if not (directory / file).is_file():
            raise ConfigurationError(
                "model.path",
                str(directory),
                f"a directory with {MODEL_FILE} and {SPEC_FILE}; {file} is missing",
            )
    with (directory / SPEC_FILE).open("rb") as opened:
        text = opened.read(MAX_SPEC_BYTES + 1)
    if len(text) > MAX_SPEC_BYTES:
        accepted = f"a {SPEC_FILE} of at most {MAX_SPEC_BYTES} bytes"
        raise ConfigurationError("model.path", str(directory), accepted)
    try:
        spec = ModelSpec.model_validate_json(text)
    except ValidationError as exc:
        raise ConfigurationError(
            "model.path", str(directory), f"a valid {SPEC_FILE}: {_reasons(exc)}"
        ) from exc
    digest = file_digest(directory / MODEL_FILE)
    if digest != spec.digest:
        raise ConfigurationError(
            "model.path",
            str(directory),
            f"a {MODEL_FILE} with SHA-256 {spec.digest}; this one has {digest}",
        )
    return spec


def file_digest(path: Path) -> str:
    """Return the SHA-256 of a file in hex."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _reasons(exc: ValidationError) -> str:
    return "; ".join(f"{'.'.join(map(str, e['loc'])) or 'spec'}: {e['msg']}" for e in exc.errors()[:5])
