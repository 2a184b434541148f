"""How Triton serves a model: what an operator decides, checked."""

from dataclasses import asdict, dataclass, fields
from json import dumps, loads
from typing import Literal, Self, get_args

from schemas.errors import ConfigurationError

Backend = Literal["python", "onnxruntime", "tensorrt"]
Precision = Literal["fp32", "fp16", "int8"]

MAX_BATCH, MAX_QUEUE_DELAY_US, MAX_INSTANCES = 4096, 1_000_000, 64


@dataclass(frozen=True, slots=True, kw_only=True)
class Serving:
    """How Triton serves all versions of a model.

    Raises:
        ConfigurationError: a value that cannot work.

    """

    backend: Backend
    max_batch: int = 32
    """Windows of one execution, and the most that one request may have."""
    queue_delay_us: int = 0
    """How long an idle server waits for company; workers have gathered their windows already."""
    instances: int = 1
    """On every GPU, or processes on the CPU."""
    cpu: bool = False
    precision: Precision = "fp32"
    cuda_graphs: bool = False
    engine_cache: str | None = None
    """The server's directory for the engines that TensorRT builds; without it, it builds at every start."""

    def __post_init__(self) -> None:
        _one_of("--backend", self.backend, get_args(Backend))
        _one_of("--precision", self.precision, get_args(Precision))
        _in_range("--max-batch", self.max_batch, 1, MAX_BATCH)
        _in_range("--queue-delay-us", self.queue_delay_us, 0, MAX_QUEUE_DELAY_US)
        _in_range("--instances", self.instances, 1, MAX_INSTANCES)
        if self.engine_cache is not None and not self.engine_cache.startswith("/"):
            raise ConfigurationError("--engine-cache", self.engine_cache, "an absolute path, on the server")
        self._check_combination()

    def _check_combination(self) -> None:
        if self.backend != "tensorrt":
            for key in ("precision", "cuda_graphs", "engine_cache"):
                if (value := getattr(self, key)) not in ("fp32", False, None):
                    raise ConfigurationError(_option(key), value, "with --backend tensorrt only")
        if self.cpu and self.backend != "onnxruntime":
            raise ConfigurationError(
                "--cpu", True, "with --backend onnxruntime only: python is on the CPU anyway"
            )
        if self.cuda_graphs and self.engine_cache is not None:
            accepted = "without --cuda-graphs, which needs an engine that is built beforehand"
            raise ConfigurationError("--engine-cache", self.engine_cache, accepted)

    @property
    def on_gpu(self) -> bool:
        """Whether instances are of KIND_GPU."""
        return not self.cpu and self.backend != "python"

    @property
    def runtime(self) -> str:
        """What computes the scores, as far as the configuration decides it."""
        if self.backend != "tensorrt":
            return "onnxruntime/cuda" if self.on_gpu else "onnxruntime/cpu"
        return f"{'tensorrt' if self.cuda_graphs else 'onnxruntime/tensorrt'}/{self.precision}"

    def to_json(self) -> str:
        """Write it down, for the next time that a version is added."""
        return dumps(asdict(self))

    @classmethod
    def from_json(cls, text: str) -> Self:
        """Read what `to_json` of this or another release wrote; what is unknown here is left out.

        Raises:
            ValueError: it is something else.
            ConfigurationError: a value that cannot work.

        """
        said = loads(text)
        known = {field.name for field in fields(cls)}
        try:
            return cls(**{key: value for key, value in said.items() if key in known})
        except (AttributeError, TypeError) as exc:
            raise ValueError(str(exc)) from exc


def _one_of(key: str, value: str, accepted: tuple[str, ...]) -> None:
    if value not in accepted:
        raise ConfigurationError(key, value, ", ".join(accepted))


def _in_range(key: str, value: int, least: int, most: int) -> None:
    if not least <= value <= most:
        raise ConfigurationError(key, value, f"{least} to {most}")


def _option(field: str) -> str:
    return f"--{field.replace('_', '-')}"
