"""Constants take fewer bytes, and no score changes by a bit."""

from pathlib import Path

import numpy as np
import onnx
import pytest
import torch

from models.compress.entry import NETWORK, Entry
from models.compress.store import round_network, shorten_names, store_halves
from models.compress.trigger_shapes import SHAPES, Trigger
from models.session import noise, open_session, score
from tests.models.compress.conftest import to_onnx


def test_what_is_float16_is_stored_so_and_every_bit_of_a_score_stays(entry: Entry) -> None:
    graph, windows = entry.graph(), noise(entry.spec.window_samples)
    round_network(graph, NETWORK)
    before = graph.SerializeToString()
    saved = store_halves(graph)
    shorten_names(graph)
    after = graph.SerializeToString()
    assert saved > 0
    assert len(after) < len(before) - saved
    expected = score(open_session(before), windows, entry.spec)
    assert np.array_equal(score(open_session(after), windows, entry.spec), expected)


def test_what_is_not_float16_is_left_alone(entry: Entry) -> None:
    graph = entry.graph()
    store_halves(graph)
    kernels = [t for t in graph.graph.initializer if onnx.numpy_helper.to_array(t).shape == (416, 1, 25)]
    assert len(kernels) == 1
    assert all(t.data_type == onnx.TensorProto.FLOAT for t in kernels)


@pytest.mark.parametrize("name", sorted(SHAPES))
def test_a_trigger_exported_and_stored_scores_as_in_torch_in_any_batch(name: str, tmp_path: Path) -> None:
    trigger, file = Trigger(SHAPES[name], labels=2).eval(), tmp_path / "model.onnx"
    to_onnx(trigger, file)
    graph = onnx.load(file)
    round_network(graph, NETWORK)
    store_halves(graph)
    shorten_names(graph)
    windows = np.random.default_rng(0).integers(-9000, 9000, (64, 16_000)).astype(np.int16)
    session = open_session(graph.SerializeToString())
    heard = session.run(["scores"], {"audio": windows})[0]
    with torch.no_grad():
        assert np.abs(heard - trigger(torch.from_numpy(windows)).numpy()).max() < 1e-3
    for size in (1, 2, 3, 7, 32):
        assert np.array_equal(session.run(["scores"], {"audio": windows[:size]})[0], heard[:size])
    if name != "large":
        assert len(graph.SerializeToString()) <= 100_000
