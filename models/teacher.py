"""Windows -> what a teacher makes of them: another model's scores, and an inner tensor of it.

The teacher is an ONNX file that somebody else made, such as YAMNet; it is only asked, never changed on disk.
What it says of a recording of a held-out fold is not used: a student that is tested on a fold has heard
nothing of it, not even as its teacher's opinion.
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
from numpy.typing import NDArray

from schemas.errors import ConfigurationError

LARGEST_FILE_BYTES = 1 << 30

Floats = NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class TeacherSettings:
    """Which model teaches: its file, and the tensor before its last layer."""

    file: Path
    embedding: str
    scores: str | None = None
    """The output that gives scores; by default the first."""


class Teacher:
    """Asks a model of one float input `float32[1, N]` or `float32[N]` in [-1, 1], at 16 kHz."""

    def __init__(self, settings: TeacherSettings) -> None:
        """Open the model.

        Raises:
            ConfigurationError: it cannot be opened, or has no such tensors.

        """
        self._session = _open(settings)
        self._input, self._shape = _input(self._session, settings.file)
        outputs = [output.name for output in self._session.get_outputs()]
        self._names = [settings.scores or outputs[0], settings.embedding]
        if self._names[0] not in outputs:
            raise ConfigurationError("teacher scores", settings.scores, f"an output of it: {outputs}")

    @property
    def samples(self) -> int:
        """How many samples it hears at once."""
        return int(self._shape[-1])

    def ask(self, sound: Floats) -> tuple[Floats, Floats]:
        """Return the scores and the inner values for the middle of a sound, both `float32[N]`."""
        spare = sound.size - self.samples
        middle = sound[spare // 2 : spare // 2 + self.samples] if spare > 0 else np.pad(sound, (0, -spare))
        scores, inner = self._session.run(self._names, {self._input: middle.reshape(self._shape)})
        return np.ravel(scores), np.ravel(inner)


def _input(session: onnxruntime.InferenceSession, file: Path) -> tuple[str, list[int]]:
    """Return the name and the shape of a model's one input, of which one window fills all."""
    given = session.get_inputs()
    last = given[0].shape[-1:] if given else []
    if len(given) != 1 or given[0].type != "tensor(float)" or not (last and isinstance(last[0], int)):
        inputs = [(one.name, one.type, one.shape) for one in given]
        accepted = "one float input whose last dimension is a number of samples"
        raise ConfigurationError(f"teacher {file.name}", inputs, accepted)
    return given[0].name, [size if isinstance(size, int) else 1 for size in given[0].shape]


def _load(file: Path) -> onnx.ModelProto:
    try:
        if file.stat().st_size > LARGEST_FILE_BYTES:
            raise ConfigurationError("teacher", str(file), f"a file of at most {LARGEST_FILE_BYTES} bytes")
        return onnx.load(file)
    except ConfigurationError:
        raise
    except Exception as exc:  # protobuf's errors have no types that could be named here
        raise ConfigurationError("teacher", str(file), f"an ONNX file that can be read: {exc}") from exc


def _open(settings: TeacherSettings) -> onnxruntime.InferenceSession:
    graph = _load(settings.file)
    tensors = sorted({name for node in graph.graph.node for name in node.output})
    if settings.embedding not in tensors:
        near = [name for name in tensors if "Mean" in name or "pool" in name.lower()][:5]
        raise ConfigurationError(
            "teacher embedding", settings.embedding, f"a tensor of {settings.file.name}, such as {near}"
        )
    if settings.embedding not in {output.name for output in graph.graph.output}:
        graph.graph.output.append(
            onnx.helper.make_tensor_value_info(settings.embedding, onnx.TensorProto.FLOAT, None)
        )
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.log_severity_level = 3
    try:
        return onnxruntime.InferenceSession(
            graph.SerializeToString(), options, providers=["CPUExecutionProvider"]
        )
    except Exception as exc:  # ONNX Runtime gives its errors no common base
        raise ConfigurationError("teacher", str(settings.file), f"a model that runs: {exc}") from exc
