"""Model directory -> spec and graph, and back: what every kind of compression reads and writes.

A graph is written only if it keeps what the one before it promised: finite scores, the same bits for a
window in any batch, nothing in silence.
"""

import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import onnx

from models.session import check_company, check_silence
from schemas.errors import ConfigurationError
from schemas.model import MODEL_FILE, SPEC_FILE, ModelSpec, file_digest, read_spec

NETWORK = "/network/"
"""How the names of the network's nodes begin; all others are the front end, and the scores' activation."""
LARGEST_FILE_BYTES = 1 << 30


@dataclass(frozen=True, slots=True)
class Entry:
    """A model directory that can be compressed."""

    directory: Path
    spec: ModelSpec
    name: str = MODEL_FILE
    """Of the file with the graph."""

    @property
    def file(self) -> Path:
        """Where the graph is."""
        return self.directory / self.name

    def graph(self) -> onnx.ModelProto:
        """Read the graph."""
        return onnx.load(self.file)


def read_entry(directory: Path) -> Entry:
    """Read a model directory whose graph has a network that can be told from its front end.

    Raises:
        ConfigurationError: it is not a model, or takes one size of batch only, or has no such network.

    """
    spec = read_spec(directory)
    file = directory / MODEL_FILE
    if file.stat().st_size > LARGEST_FILE_BYTES:
        raise ConfigurationError("model", str(file), f"a file of at most {LARGEST_FILE_BYTES} bytes")
    if spec.input.batch is not None or spec.output.columns is not None:
        accepted = "a model that takes batches of any size and has a column for every label"
        raise ConfigurationError("model", str(directory), accepted)
    entry = Entry(directory, spec)
    if not network_convolutions(entry.graph()):
        accepted = f"a model with convolutions whose names begin with {NETWORK}, as `model train` writes it"
        raise ConfigurationError("model", str(directory), accepted)
    return entry


def network_convolutions(graph: onnx.ModelProto) -> list[onnx.NodeProto]:
    """Return the network's convolutions in the order in which they run; the last one is its head."""
    return [node for node in graph.graph.node if node.op_type == "Conv" and node.name.startswith(NETWORK)]


def write_entry(
    graph: onnx.ModelProto,
    before: Entry,
    directory: Path,
    promise: Callable[[Path], None] | None = None,
) -> Entry:
    """Write a graph as a model directory; its last two names are the model's name and version.

    Nothing is changed there unless the graph keeps its promises, and one more that may be asked for.

    Raises:
        ConfigurationError: the graph gives a window other scores in another batch, scores that are not
            finite, or hears something in silence; or the directory is that of the model before.

    """
    resolved = directory.resolve()
    if resolved == before.directory.resolve():
        raise ConfigurationError("out", str(directory), "a directory that is not the model's own")
    with written_whole(directory) as beside:
        file = beside / MODEL_FILE
        onnx.save(graph, file)
        check(file, before.spec)
        if promise is not None:
            promise(file)
        name = {"name": resolved.parent.name, "version": resolved.name, "digest": file_digest(file)}
        spec = ModelSpec.model_validate(before.spec.model_dump() | name)
        (beside / SPEC_FILE).write_text(spec.model_dump_json(indent=2) + "\n", encoding="utf-8")
    return Entry(directory, spec)


@contextmanager
def written_whole(directory: Path) -> Iterator[Path]:
    """Give a new directory beside another, into which its files go once all of them are written."""
    parent = directory.resolve().parent
    parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".being-written-", dir=parent) as beside:
        yield Path(beside)
        directory.mkdir(exist_ok=True)
        for file in sorted(Path(beside).iterdir()):
            file.replace(directory / file.name)


def check(file: Path, spec: ModelSpec) -> None:
    """Refuse a file that does not keep its promises.

    Raises:
        ConfigurationError: as `write_entry` has it.

    """
    check_company(file, spec)
    if spec.output.activation == "none":
        check_silence(file, [spec.thresholds[label] for label in spec.labels], spec)
