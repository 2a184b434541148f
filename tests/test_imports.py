"""Imports form a star round `schemas`, and heavy libraries stay behind the wall they belong to."""

import ast
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).parents[1]
OURS = frozenset({"earwitness", "infra", "models", "processors", "producers", "schemas", "tests"})

MAY_IMPORT_OF_OURS: Mapping[str, frozenset[str]] = {
    "schemas": frozenset({"schemas"}),
    "producers": frozenset({"schemas", "producers"}),
    "processors": frozenset({"schemas", "processors"}),
    "models": frozenset({"schemas", "models"}),
    "infra": frozenset({"infra"}),
    "earwitness": OURS - {"tests"},
    "tests": OURS,
}
"""Package -> the packages of ours that it may import."""

ONLY_IN: Mapping[str, frozenset[str]] = {
    "torch": frozenset({"models"}),
    "torchaudio": frozenset({"models"}),
    "onnx": frozenset({"models"}),
    "faust": frozenset({"processors"}),
    "mode": frozenset({"processors"}),
}
"""Library -> the packages that may import it, besides the tests."""

PURE = frozenset(
    f"processors/{name}.py"
    for name in ("window", "batch", "detect", "coverage", "run", "partition", "pipeline")
)
"""Modules whose result depends on nothing but their arguments."""

IMPURE = frozenset(
    {
        "aiokafka",
        "asyncio",
        "confluent_kafka",
        "datetime",
        "faust",
        "kafka",
        "logging",
        "os",
        "prometheus_client",
        "random",
        "socket",
        "threading",
        "time",
    }
)
"""What a pure module never imports: servers, clocks, the environment, logs, chance."""


@dataclass(frozen=True, slots=True)
class Import:
    """One module that a file imports, and where the file says so."""

    file: str
    line: int = field(compare=False)
    module: str

    @property
    def top(self) -> str:
        return self.module.split(".")[0]

    @property
    def package(self) -> str:
        return self.file.split("/")[0]


def test_our_imports_keep_every_rule() -> None:
    assert [str(violation) for violation in violations(REPOSITORY)] == []


def test_the_test_reads_the_packages_it_speaks_of() -> None:
    read = {found.package for found in imports(REPOSITORY)}
    assert read >= {"schemas", "processors", "tests"}


@pytest.mark.parametrize(
    ("file", "source"),
    [
        ("schemas/frame.py", "import processors"),
        ("schemas/frame.py", "from infra.local.kafka import start_kafka"),
        ("producers/framer.py", "from processors.window import Window"),
        ("producers/sources/file.py", "import models.catalogue"),
        ("processors/app.py", "import models"),
        ("models/train.py", "from processors.window import Windower"),
        ("models/train.py", "from tests.conftest import kafka"),
        ("infra/local/kafka.py", "from schemas.errors import StopError"),
        ("processors/app.py", "from earwitness.settings import Settings"),
        ("processors/score.py", "import torch"),
        ("earwitness/train.py", "import torch.nn"),
        ("producers/source.py", "from torchaudio import load"),
        ("processors/score.py", "import onnx"),
        ("producers/publisher.py", "import faust"),
        ("earwitness/cli/hear.py", "from mode import Service"),
        ("processors/window.py", "import time"),
        ("processors/run.py", "import time"),
        ("processors/batch.py", "from os import environ"),
        ("processors/detect.py", "import asyncio"),
        ("processors/coverage.py", "from datetime import UTC"),
        ("processors/partition.py", "import confluent_kafka.admin"),
        ("processors/pipeline.py", "from prometheus_client import Counter"),
        ("processors/pipeline.py", "def late():\n    import logging"),
        ("processors/pipeline.py", "try:\n    import aiokafka\nexcept ImportError:\n    pass"),
        ("producers/framer.py", "from ..processors import window"),
        ("schemas/frame.py", "import importlib\nimportlib.import_module('models.fit')"),
    ],
)
def test_a_planted_violation_is_found(file: str, source: str, tmp_path: Path) -> None:
    plant(tmp_path, file, source)
    assert [violation.file for violation in violations(tmp_path)] == [file]


@pytest.mark.parametrize(
    ("file", "source"),
    [
        ("schemas/frame.py", "from schemas.errors import StopError\nimport time"),
        ("processors/app.py", "import faust, time\nfrom . import window"),
        ("processors/score.py", "import onnxruntime"),
        ("models/fit.py", "import torch\nfrom schemas.model import ModelSpec"),
        ("earwitness/cli/hear.py", "import models, processors, producers, infra.local"),
        ("tests/processors/test_app.py", "import earwitness, mode, torch"),
        ("processors/window.py", "import numpy as np\nfrom schemas.frame import Frame"),
        ("scratch/anything.py", "import earwitness"),
    ],
)
def test_what_is_allowed_is_not_reported(file: str, source: str, tmp_path: Path) -> None:
    plant(tmp_path, file, source)
    assert list(violations(tmp_path)) == []


def violations(root: Path) -> Iterator[Import]:
    """Yield the imports that break a rule."""
    return (found for found in imports(root) if breaks_a_rule(found))


def breaks_a_rule(found: Import) -> bool:
    of_ours = found.top in OURS and found.top not in MAY_IMPORT_OF_OURS[found.package]
    misplaced = found.package not in ONLY_IN.get(found.top, OURS) | {"tests"}
    impure = found.file in PURE and found.top in IMPURE
    return of_ours or misplaced or impure


def imports(root: Path) -> Iterator[Import]:
    """Yield what every Python file of our packages imports, wherever in the file it does."""
    for package in sorted(OURS):
        for path in sorted((root / package).rglob("*.py")):
            file = path.relative_to(root).as_posix()
            for node in ast.walk(ast.parse(path.read_text("utf-8"))):
                for module in modules_of(node, file):
                    yield Import(file, getattr(node, "lineno", 0), module)


def modules_of(node: ast.AST, file: str) -> list[str]:
    """Return the modules that one statement imports, by their whole names."""
    match node:
        case ast.Import(names=names):
            return [alias.name for alias in names]
        case ast.ImportFrom(module=module, level=0):
            return [str(module)]
        case ast.ImportFrom(module=module, names=names, level=level):
            parents = file.split("/")[:-level]
            return [".".join([*parents, *([module] if module else [names[0].name])])]
        case ast.Call(func=ast.Attribute(attr="import_module"), args=[ast.Constant(value=str(m))]):
            return [m]
    return []


def plant(root: Path, file: str, source: str) -> None:
    path = root / file
    path.parent.mkdir(parents=True)
    path.write_text(source, "utf-8")
