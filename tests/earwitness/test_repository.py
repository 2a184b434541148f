"""Writing a repository begins with a look at every model, and ends with how to start a server on it."""

from pathlib import Path
from typing import Any

import pytest

from earwitness.repository import IMAGE, starting, write_models
from models.catalogue import names
from schemas.errors import ConfigurationError
from tests.conftest import REPOSITORY
from tests.processors.tiny_model import loudness, write_model


def started(out: Path, given: dict[str, Any], **spec: Any) -> list[str]:
    """Write the tiny model, and return how to start a server on it."""
    write_model(out.parent / "tiny", **spec)
    return starting(out, write_models(out, [str(out.parent / "tiny")], given))


def test_the_whole_catalogue_is_written_where_no_model_is_named(tmp_path: Path) -> None:
    entries = write_models(tmp_path, [], {"backend": "python"})
    assert [f"{entry.spec.name}/{entry.spec.version}" for entry in entries] == names()


def test_a_model_that_is_not_what_its_spec_says_is_refused(tmp_path: Path) -> None:
    write_model(tmp_path / "odd", loudness(window=1600))
    with pytest.raises(ConfigurationError, match=r"^window_samples is '\[B, 3200\]'"):
        write_models(tmp_path / "out", [str(tmp_path / "odd")], {"backend": "python"})
    assert not (tmp_path / "out").exists()


def test_on_the_cpu_a_server_of_this_machine_is_named(tmp_path: Path) -> None:
    (command,) = started(tmp_path / "out put", {"backend": "python"})
    out = tmp_path / "out put"
    assert command == f"python -m infra.local triton --repository '{out}' --model tiny"


def test_a_gpu_server_reads_the_repository_and_keeps_its_engines(tmp_path: Path) -> None:
    (command,) = started(tmp_path / "out", {"backend": "tensorrt", "engine_cache": "/engines"})
    assert command.startswith("docker run --rm --gpus all ")
    assert f"-v {tmp_path / 'out'}:/models:ro -v earwitness-engines:/engines {IMAGE} tritonserver " in command
    assert command.endswith("--model-control-mode=explicit --load-model=tiny")


def test_a_server_without_gpus_is_given_none(tmp_path: Path) -> None:
    (command,) = started(tmp_path / "out", {"backend": "onnxruntime", "cpu": True})
    assert "--gpus" not in command


def test_cuda_graphs_need_an_engine_first(tmp_path: Path) -> None:
    given = {"backend": "tensorrt", "cuda_graphs": True}
    build, serve = started(tmp_path / "out", given, input={"dtype": "float32"})
    assert f"-v {tmp_path / 'out'}:/models {IMAGE} /usr/src/tensorrt/bin/trtexec " in build
    assert "--saveEngine=/models/tiny/1/model.plan" in build
    assert " tritonserver " in serve


def test_an_engine_is_to_be_built_again_where_only_how_it_is_served_has_changed(tmp_path: Path) -> None:
    started(tmp_path / "out", {"backend": "onnxruntime"}, input={"dtype": "float32"})
    given = {"backend": "tensorrt", "cuda_graphs": True}
    for changed in (given, {**given, "max_batch": 64}):
        build, _ = started(tmp_path / "out", changed, input={"dtype": "float32"})
        assert "--saveEngine=/models/tiny/1/model.plan" in build
    assert "64x" in build


def test_all_of_a_repository_is_brought_up_by_one_server_of_each_kind(tmp_path: Path) -> None:
    out = tmp_path / "out"
    started(out, {"backend": "python"})
    started(out, {"backend": "onnxruntime", "cpu": True}, name="cpu")
    (out / "foreign").mkdir()
    (out / "foreign" / "config.pbtxt").write_text('name: "foreign"', "utf-8")
    native, local = started(out, {"backend": "onnxruntime"}, name="gpu")
    assert "--gpus all" in native
    assert native.endswith("--load-model=cpu --load-model=gpu")
    assert "--model tiny --grpc-port 8011 " in local


def test_the_image_is_the_one_of_the_compose_file() -> None:
    assert f"image: {IMAGE}\n" in (REPOSITORY / "docker-compose.yml").read_text("utf-8")
