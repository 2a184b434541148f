"""Model directories -> Triton model repository: one name, one configuration, versions side by side.

    OUT/earwitness-small/config.pbtxt      how all versions are served, and the digest of each
    OUT/earwitness-small/2/model.onnx      as the catalogue has it
    OUT/earwitness-small/2/spec.json       so that a version says what it is; Triton does not read it
    OUT/earwitness-small/2/model.py        for the python backend

What a version is, model.onnx and spec.json, is never changed; model.py is replaced where it is of another
release. A new version appears whole, by a rename, and so does every file that is replaced: a server that runs
on the repository never sees half of either.
"""

import os
import re
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any
from uuid import uuid4

from models.triton_config import config_text, read_serving
from models.triton_serving import Serving
from schemas.errors import ConfigurationError
from schemas.model import MODEL_FILE, SPEC_FILE, ModelSpec, read_spec

CONFIG_FILE, RUNNER_FILE = "config.pbtxt", "model.py"
RUNNER = Path(__file__).parent / "triton_backend" / RUNNER_FILE
MAX_VERSION = 2**31 - 1
OPTION = "--out"
_VERSION = re.compile(r"[1-9][0-9]{0,9}")


@dataclass(frozen=True, slots=True)
class Entry:
    """A version in a repository."""

    spec: ModelSpec
    directory: Path
    serving: Serving
    added: bool
    """Whether it is new; otherwise it was there, and its model was left as it is."""


@dataclass(frozen=True, slots=True)
class _Plan:
    """What will be written for one name, once everything is known to fit."""

    directory: Path
    serving: Serving
    new: dict[int, Path]
    """Where each comes from."""
    specs: dict[int, ModelSpec]
    """Of all versions, in order."""
    config: str


def write_repository(out: Path, sources: Sequence[Path], given: Mapping[str, Any]) -> list[Entry]:
    """Write models into a repository that exists or not, and return all versions of these models.

    Args:
        out: the repository.
        sources: directories of models.
        given: fields of `Serving`. What is not given stays as the repository has it.

    Raises:
        ConfigurationError: the repository is none or cannot be written, a version is there with other
            content, versions of one name do not fit together, or a value cannot work. Nothing is written.

    """
    try:
        out = out.resolve()
        _check_is_repository(out)
        plans = [_plan(out / name, models, given) for name, models in _by_name(sources).items()]
        return [entry for plan in plans for entry in _write(plan)]
    except OSError as exc:
        raise ConfigurationError(OPTION, str(out), f"a directory that can be written: {exc}") from exc


def _check_is_repository(out: Path) -> None:
    if not out.exists():
        return
    if not out.is_dir():
        raise ConfigurationError(OPTION, str(out), "a directory")
    for path in out.iterdir():
        if not path.name.startswith(".") and not (path / CONFIG_FILE).is_file() and not _has_versions(path):
            accepted = f"a Triton model repository, or an empty directory; {path.name} is not a model"
            raise ConfigurationError(OPTION, str(out), accepted)


def _has_versions(path: Path) -> bool:
    return path.is_dir() and any(_VERSION.fullmatch(inner.name) for inner in path.iterdir())


def _by_name(sources: Sequence[Path]) -> dict[str, list[tuple[Path, ModelSpec]]]:
    named: dict[str, list[tuple[Path, ModelSpec]]] = {}
    for source in sources:
        spec = read_spec(source)
        named.setdefault(spec.name, []).append((source, spec))
    return named


def _plan(directory: Path, models: Sequence[tuple[Path, ModelSpec]], given: Mapping[str, Any]) -> _Plan:
    _refuse_links(directory)
    present = _present(directory)
    new: dict[int, tuple[Path, ModelSpec]] = {}
    for source, spec in models:
        number = _number(spec)
        was = present.get(number) or (new[number][1] if number in new else None)
        if was is None:
            new[number] = (source, spec)
        elif was != spec:
            raise ConfigurationError(
                spec.reference,
                str(source),
                f"what {directory / spec.version} has: a version is never changed; give the model a new one",
            )
    specs = dict(sorted((present | {number: spec for number, (_, spec) in new.items()}).items()))
    sources = {number: source for number, (source, _) in new.items()}
    serving = _serving(directory, given)
    _check_agreement(list(specs.values()))
    _check_fit(specs[min(specs)], serving, [sources.get(n, directory / str(n)) for n in specs])
    return _Plan(directory, serving, sources, specs, config_text(list(specs.values()), serving))


def _refuse_links(directory: Path) -> None:
    """Refuse symbolic links: what is written through one lands somewhere else."""
    if not directory.is_symlink() and not directory.exists():
        return
    for path in (directory, *(directory.rglob("*") if not directory.is_symlink() else ())):
        if path.is_symlink():
            raise ConfigurationError(OPTION, str(path), "a repository without symbolic links")


def _present(directory: Path) -> dict[int, ModelSpec]:
    """Read the versions that a repository has of a model."""
    if not directory.is_dir():
        return {}
    found = {}
    for path in sorted(directory.iterdir()):
        if path.is_dir() and _VERSION.fullmatch(path.name):
            spec = read_spec(path)
            if (spec.name, spec.version) != (directory.name, path.name):
                accepted = f"the directory of a model that is called {directory.name}/{path.name}"
                raise ConfigurationError(OPTION, str(path), f"{accepted}, not {spec.reference}")
            found[int(path.name)] = spec
    return found


def _number(spec: ModelSpec) -> int:
    if not _VERSION.fullmatch(spec.version) or int(spec.version) > MAX_VERSION:
        accepted = f"a whole number from 1 to {MAX_VERSION}, as Triton has it"
        raise ConfigurationError(f"version of {spec.name}", spec.version, accepted)
    return int(spec.version)


def _serving(directory: Path, given: Mapping[str, Any]) -> Serving:
    """Return what is given, over what the repository has of this model."""
    file = directory / CONFIG_FILE
    if file.is_file():
        was = read_serving(file.read_text("utf-8", errors="replace"), str(file))
        serving = replace(was, **given)
        if (was.backend == "python") != (serving.backend == "python"):
            accepted = f"{was.backend}, as {file} has it; write to another directory, and move the load there"
            raise ConfigurationError("--backend", serving.backend, accepted)
        return serving
    if "backend" not in given:
        accepted = f"python, onnxruntime or tensorrt: {directory} is new"
        raise ConfigurationError("--backend", None, accepted)
    return Serving(**given)


def _check_agreement(specs: Sequence[ModelSpec]) -> None:
    """Refuse versions that one configuration cannot serve."""
    first = specs[0]
    for spec in specs[1:]:
        for key, value in _served(spec).items():
            if (other := _served(first)[key]) != value:
                accepted = (
                    f"{other!r}, as {first.reference} has it: versions of one name share one "
                    "configuration; give the model another name"
                )
                raise ConfigurationError(f"{key} of {spec.reference}", value, accepted)


def _served(spec: ModelSpec) -> dict[str, Any]:
    return {
        "input.name": spec.input.name,
        "input.dtype": spec.input.dtype,
        "input.batch": spec.input.batch,
        "input.rank": spec.input.rank,
        "window_samples": spec.window_samples,
        "output.name": spec.output.name,
        # Columns are reduced by who asks: versions may well group them in other ways.
        "labels": spec.labels if spec.output.columns is None else None,
        "output.width": spec.raw_width,
    }


def _check_fit(spec: ModelSpec, serving: Serving, directories: Sequence[Path]) -> None:
    """Refuse models that this way of serving cannot run."""
    if spec.input.rank == 1 and serving.backend != "python":
        accepted = (
            f"python: {spec.name} takes one window without a batch, and only our own backend feeds it so"
        )
        raise ConfigurationError("--backend", serving.backend, accepted)
    if serving.cuda_graphs and spec.input.dtype != "float32":
        accepted = f"a model with float32 input: TensorRT alone has no {spec.input.dtype}"
        raise ConfigurationError("--cuda-graphs", spec.name, accepted)
    if serving.precision == "int8":
        for directory in directories:
            _check_quantised(directory / MODEL_FILE)


def _check_quantised(path: Path) -> None:
    try:
        import onnx
    except ImportError as exc:
        raise ConfigurationError("--precision", "int8", f"`uv sync --extra models` ({exc})") from exc
    kinds = {node.op_type for node in onnx.load(path, load_external_data=False).graph.node}
    if not {"QuantizeLinear", "DequantizeLinear"} <= kinds:
        accepted = (
            f"fp32 or fp16: {path} was not quantised (QuantizeLinear and DequantizeLinear in its graph)"
        )
        raise ConfigurationError("--precision", "int8", accepted)


def _write(plan: _Plan) -> list[Entry]:
    plan.directory.mkdir(parents=True, exist_ok=True)
    runs = plan.serving.backend == "python"
    for number in plan.specs:
        if number in plan.new:
            _add_version(plan.new[number], plan.directory / str(number), runs)
        elif runs:
            _replace(plan.directory / str(number) / RUNNER_FILE, RUNNER.read_bytes())
    _replace(plan.directory / CONFIG_FILE, plan.config.encode())
    return [
        Entry(spec, plan.directory / str(number), plan.serving, number in plan.new)
        for number, spec in plan.specs.items()
    ]


def _add_version(source: Path, target: Path, with_runner: bool) -> None:
    beside = target.with_name(f".{target.name}.{uuid4().hex}")
    try:
        beside.mkdir()
        for file in (MODEL_FILE, SPEC_FILE):
            shutil.copyfile(source / file, beside / file)
        if with_runner:
            shutil.copyfile(RUNNER, beside / RUNNER_FILE)
        read_spec(beside)  # the source may have changed since it was read
        beside.rename(target)
    finally:
        shutil.rmtree(beside, ignore_errors=True)


def _replace(file: Path, content: bytes) -> None:
    """Replace a file, unless it has this content already: Triton loads again where the time has changed."""
    if file.is_file() and file.read_bytes() == content:
        return
    beside = file.with_name(f".{file.name}.{uuid4().hex}")
    try:
        beside.write_bytes(content)
        os.replace(beside, file)
    finally:
        beside.unlink(missing_ok=True)
