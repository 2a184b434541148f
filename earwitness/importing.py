"""An ONNX file that somebody else made -> a directory of the catalogue: the file as it is, a spec, a card.

    FILE ─ read ─► how it is fed ─┐
    labels, groups ─► columns ────┴─► spec ─► tried out in a directory of its own ─► OUT/NAME/VERSION

The directory appears whole, once everything has been tried, or not at all.
"""

import re
import shutil
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Literal
from uuid import uuid4

from pydantic import ValidationError

from earwitness.import_checks import Checked, check_model
from earwitness.imported_card import card_text
from models.foreign import check_size, feeding, output_of, read_graph
from models.foreign_labels import Columns, Groups, read_groups, read_labels, read_thresholds, reported
from schemas.errors import ConfigurationError
from schemas.model import MODEL_FILE, SPEC_FILE, ModelOutput, ModelSpec, file_digest

CARD_FILE = "CARD.md"
_ODD = re.compile(r"[^A-Za-z0-9._-]+")


@dataclass(frozen=True, slots=True, kw_only=True)
class Declared:
    """What a graph does not say of itself; None leaves it to the graph, or to a rule."""

    labels: Path
    licence: str
    name: str | None = None
    """The file's, where it is None."""
    version: str = "1"
    groups: Path | None = None
    report: tuple[str, ...] = ()
    sample_rate_hz: int = 16_000
    window_samples: int | None = None
    hop_samples: int | None = None
    """Half a window, where it is None."""
    batch: int | None = None
    scale: float | None = None
    output: str | None = None
    activation: Literal["none", "sigmoid", "softmax"] = "none"
    threshold: float = 0.5
    thresholds: Path | None = None
    """Of single labels."""
    m: int = 2
    n: int = 3
    in_silence: tuple[str, ...] = ()
    """Labels that silence may reach."""


@dataclass(frozen=True, slots=True)
class Imported:
    """A model that is in the catalogue now."""

    spec: ModelSpec
    directory: Path
    checked: Checked


def import_model(file: Path, declared: Declared, out: Path) -> Imported:
    """Make a catalogue entry of a file; `out` is the catalogue.

    Raises:
        ConfigurationError: the file or what was declared of it cannot work, or the entry is there already.

    """
    check_size(file)
    if not declared.licence.strip():
        raise ConfigurationError(
            "--licence", declared.licence, "under which the model may be used, and whose it is"
        )
    names = read_labels(declared.labels)
    groups = None if declared.groups is None else read_groups(declared.groups)
    columns = reported(names, groups, declared.report)
    with tempfile.TemporaryDirectory() as made:
        directory = Path(made)
        try:
            shutil.copyfile(file, directory / MODEL_FILE)
        except OSError as exc:
            raise ConfigurationError("FILE", str(file), f"a file that can be copied: {exc.strerror}") from exc
        spec = _spec(directory / MODEL_FILE, file, declared, names, columns)
        (directory / SPEC_FILE).write_text(spec.model_dump_json(indent=2) + "\n", "utf-8")
        checked = check_model(directory, spec, declared.in_silence)
        (directory / CARD_FILE).write_text(
            card_text(spec, file.name, names, _members(groups), checked), "utf-8"
        )
        return Imported(spec, _put(directory, out, spec), checked)


def _spec(model: Path, file: Path, declared: Declared, names: tuple[str, ...], columns: Columns) -> ModelSpec:
    graph = read_graph(model, str(file))
    fed = feeding(graph, declared.window_samples, declared.batch, declared.scale)
    output = output_of(graph, fed, len(names), declared.output)
    try:
        return ModelSpec(
            name=declared.name or _ODD.sub("-", file.stem).strip("-._") or "imported",
            version=declared.version,
            sample_rate_hz=declared.sample_rate_hz,
            window_samples=fed.window_samples,
            hop_samples=declared.hop_samples or max(1, fed.window_samples // 2),
            labels=tuple(columns),
            thresholds=_thresholds(declared, columns),
            m=declared.m,
            n=declared.n,
            licence=declared.licence,
            digest=file_digest(model),
            input=fed.input,
            output=_output(output, declared, names, columns),
        )
    except ValidationError as exc:
        said = "; ".join(f"{'.'.join(map(str, e['loc'])) or 'spec'}: {e['msg']}" for e in exc.errors()[:5])
        raise ConfigurationError("what was declared", str(file), f"what makes a valid spec: {said}") from exc


def _output(name: str, declared: Declared, names: tuple[str, ...], columns: Columns) -> ModelOutput:
    if list(columns.values()) == [(at,) for at in range(len(names))]:
        return ModelOutput(name=name, activation=declared.activation)
    return ModelOutput(name=name, activation=declared.activation, width=len(names), columns=columns)


def _thresholds(declared: Declared, columns: Columns) -> dict[str, float]:
    own = {} if declared.thresholds is None else read_thresholds(declared.thresholds)
    if odd := sorted(set(own) - set(columns)):
        raise ConfigurationError(
            "--thresholds", odd[:5], f"labels that are reported: {', '.join([*columns][:20])}"
        )
    if odd := sorted(set(declared.in_silence) - set(columns)):
        raise ConfigurationError("--in-silence", odd[:5], "labels that are reported")
    return {label: own.get(label, declared.threshold) for label in columns}


def _members(groups: Groups | None) -> Groups:
    return {} if groups is None else groups


def _put(made: Path, out: Path, spec: ModelSpec) -> Path:
    """Move what was made to its place, by a rename within the catalogue."""
    target = out / spec.name / spec.version
    beside = target.with_name(f".{spec.version}.{uuid4().hex}")
    try:
        if target.exists():
            accepted = "a version that is not there yet: what a version is, is never changed"
            raise ConfigurationError("--version", str(target), accepted)
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copytree(made, beside)
        beside.chmod(0o755)
        beside.rename(target)
    except OSError as exc:
        raise ConfigurationError(
            "--out", str(out), f"a directory that can be written: {exc.strerror}"
        ) from exc
    finally:
        shutil.rmtree(beside, ignore_errors=True)
    return target
