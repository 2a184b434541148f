"""A teacher says the same of a sound as its file does, and a file that cannot teach is refused."""

from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from models.teacher import Teacher, TeacherSettings
from schemas.errors import ConfigurationError


def write_teacher(file: Path, kind: int = TensorProto.FLOAT, samples: int | str = 16_000) -> TeacherSettings:
    """Write a teacher of two nodes: six inner values, and a score of each."""
    weights = np.random.default_rng(0).standard_normal((16_000, 6)).astype(np.float32) / 10
    nodes = [
        helper.make_node("MatMul", ["audio", "weights"], ["embedding"]),
        helper.make_node("Sigmoid", ["embedding"], ["scores"]),
    ]
    graph = helper.make_graph(
        nodes,
        "teacher",
        [helper.make_tensor_value_info("audio", kind, [1, samples])],
        [helper.make_tensor_value_info("scores", kind, [1, 6])],
        [numpy_helper.from_array(weights, "weights")],
    )
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), file)
    return TeacherSettings(file, "embedding")


def test_a_teacher_gives_scores_and_inner_values(tmp_path: Path) -> None:
    sound = np.full(16_000, 0.01, np.float32)
    scores, inner = Teacher(write_teacher(tmp_path / "teacher.onnx")).ask(sound)
    assert scores.shape == inner.shape == (6,)
    assert np.allclose(scores, 1 / (1 + np.exp(-inner)), atol=1e-5)


def test_a_file_that_is_no_model_is_refused(tmp_path: Path) -> None:
    (tmp_path / "teacher.onnx").write_text("no model")
    with pytest.raises(ConfigurationError, match="can be read"):
        Teacher(TeacherSettings(tmp_path / "teacher.onnx", "embedding"))


def test_a_teacher_of_any_length_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="number of samples"):
        Teacher(write_teacher(tmp_path / "teacher.onnx", samples="length"))


def test_scores_that_are_not_there_are_refused(tmp_path: Path) -> None:
    settings = write_teacher(tmp_path / "teacher.onnx")
    with pytest.raises(ConfigurationError, match="teacher scores"):
        Teacher(TeacherSettings(settings.file, "embedding", "nothing"))
