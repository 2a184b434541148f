"""What comes out of a compression still hears, and is what was promised."""

from pathlib import Path

import numpy as np
import onnx
import pytest
import torch

from models.compress.edge import export_ort
from models.compress.entry import (
    NETWORK,
    Entry,
    check,
    network_convolutions,
    read_entry,
    write_entry,
)
from models.compress.half import halve
from models.compress.measure import compare, read_clips
from models.compress.prune import Pruning, choose, importance, macs, prune, thinned
from models.compress.qat import FakeQuantised, train_quantised, write_quantised
from models.compress.quantise import calibration_windows, quantise
from models.compress.tune import SelfTaught, TuneSettings
from models.compress.weights import pairs, put_network, read_network, settle_norms
from models.session import noise, open_session, score
from schemas.errors import ConfigurationError
from schemas.model import read_spec
from tests.models.compress.conftest import LAYERS


def node_types(entry: Entry, *, network: bool) -> set[str]:
    return {n.op_type for n in entry.graph().graph.node if n.name.startswith(NETWORK) == network}


def test_eight_bits_keep_the_accuracy_and_have_a_spec_of_their_own(
    entry: Entry, data: Path, tmp_path: Path
) -> None:
    windows = calibration_windows(data, entry.spec, held_out=2)
    after = quantise(entry, windows, tmp_path / "three-int8" / "7")
    comparison = compare(entry, after, read_clips(data, entry.spec, 2), turns=3)
    assert comparison.after.clip_accuracy == 1.0
    assert comparison.agreement > 0.95
    assert 0.0 < comparison.largest_difference < 0.2
    assert read_spec(after.directory).reference == "three-int8/7"


def test_only_the_network_is_quantised_and_neither_its_first_layer_nor_its_head(
    entry: Entry, data: Path, tmp_path: Path
) -> None:
    after = quantise(entry, calibration_windows(data, entry.spec), tmp_path / "q" / "1")
    graph = after.graph()
    made_by = {name: node for node in graph.graph.node for name in node.output}
    first, *middle, head = network_convolutions(graph)
    for node in middle:
        assert made_by[node.input[0]].op_type == "DequantizeLinear"
        assert made_by[node.input[1]].op_type == "DequantizeLinear"
    assert first.input[1] not in made_by
    assert head.input[1] not in made_by
    front = [n for n in graph.graph.node if n.op_type == "Conv" and not n.name.startswith(NETWORK)]
    assert front
    assert all(
        made_by[name].op_type != "DequantizeLinear" for n in front for name in n.input if name in made_by
    )


def test_sixteen_bits_stay_within_the_network_and_close(entry: Entry, data: Path, tmp_path: Path) -> None:
    after = halve(entry, tmp_path / "three" / "fp16")
    types = {t.data_type for t in after.graph().graph.initializer}
    assert {onnx.TensorProto.FLOAT, onnx.TensorProto.FLOAT16} <= types
    casts = [n for n in after.graph().graph.node if n.op_type == "Cast"]
    assert len(casts) == 3  # from PCM, into the network and out of it
    comparison = compare(entry, after, read_clips(data, entry.spec), turns=3)
    assert comparison.largest_difference < 0.01
    assert comparison.after.file_bytes < comparison.before.file_bytes


def test_the_ort_format_gives_the_same_scores_and_lists_its_operators(entry: Entry, tmp_path: Path) -> None:
    exported = export_ort(entry, tmp_path / "edge")
    windows = noise(entry.spec.window_samples)
    expected = score(open_session(entry.file), windows, entry.spec)
    heard = score(open_session(exported.entry.file), windows, entry.spec)
    assert np.abs(heard - expected).max() <= 1e-5
    operators = exported.config.read_text(encoding="utf-8")
    assert "Conv" in operators
    assert str(tmp_path) not in operators


def test_a_network_read_from_a_graph_gives_its_scores_and_goes_back_unchanged(
    entry: Entry, data: Path
) -> None:
    windows = calibration_windows(data, entry.spec)[:32]
    network = read_network(entry.graph())
    features = SelfTaught(entry, windows, 4).features(windows)
    expected = score(open_session(entry.file), windows, entry.spec)
    assert np.abs(torch.sigmoid(network(features)).detach().numpy() - expected).max() < 1e-5
    settle_norms(network, features)
    assert np.abs(torch.sigmoid(network(features)).detach().numpy() - expected).max() < 1e-5
    back = open_session(put_network(entry.graph(), network).SerializeToString())
    assert np.abs(score(back, windows, entry.spec) - expected).max() < 1e-5


def test_pruning_reaches_its_share_and_the_thinner_network_still_hears(
    entry: Entry, data: Path, tmp_path: Path
) -> None:
    windows, settings = calibration_windows(data, entry.spec, 2), TuneSettings(steps=120, batch=16)
    after = prune(entry, windows, tmp_path / "thin" / "1", Pruning(0.5, group=4), settings)
    before_size, after_size = (
        macs(network, [c.out_channels for c, _ in pairs(network)], (49, 64))
        for network in (read_network(entry.graph()), read_network(after.graph()))
    )
    assert after_size <= 0.5 * before_size
    comparison = compare(entry, after, read_clips(data, entry.spec, 2), turns=3)
    assert comparison.after.clip_accuracy is not None
    assert comparison.after.clip_accuracy >= 0.9
    assert comparison.after.file_bytes < comparison.before.file_bytes


def test_channels_that_say_nothing_go_first_and_cost_nothing(entry: Entry) -> None:
    network = read_network(entry.graph())
    silent = [torch.arange(4) + layer for layer in range(len(LAYERS))]
    with torch.no_grad():
        for (_, norm), channels in zip(pairs(network), silent, strict=True):
            norm.weight[channels] = 0.0
            norm.bias[channels] = 0.0
    features = torch.randn(8, 1, 49, 64, generator=torch.Generator().manual_seed(0))
    full = macs(network, [c for c, _, _ in LAYERS], (49, 64))
    fewer = macs(network, [c - 4 for c, _, _ in LAYERS], (49, 64))
    kept = choose(network, (49, 64), Pruning(fewer / full, group=4))
    for value, channels, stay in zip(importance(network), silent, kept, strict=True):
        assert torch.all(value[channels] == 0)
        assert not set(stay.tolist()) & set(channels.tolist())
    thinner = thinned(network, kept)
    assert torch.allclose(thinner(features), network.eval()(features), atol=1e-5)


def test_the_quantised_graph_scores_as_the_network_that_learnt_to_be_quantised(
    entry: Entry, data: Path, tmp_path: Path
) -> None:
    windows = calibration_windows(data, entry.spec, 2)
    taught = SelfTaught(entry, windows, 16)
    settings = TuneSettings(steps=30, batch=16, learning_rate=2e-4)
    fake = train_quantised(read_network(entry.graph()), taught, settings)
    after = write_quantised(fake, entry, windows, tmp_path / "qat" / "1")
    with torch.no_grad():
        expected = torch.sigmoid(fake(taught.features(windows))).numpy()
    # A sum that falls between two steps may be rounded either way: one step of 255, here and there.
    assert np.abs(score(open_session(after.file), windows, entry.spec) - expected).max() < 0.02
    comparison = compare(entry, after, read_clips(data, entry.spec, 2), turns=3)
    assert comparison.after.clip_accuracy == 1.0


def test_gradients_pass_through_the_rounding_and_stop_where_it_clips(entry: Entry) -> None:
    fake = FakeQuantised(read_network(entry.graph()))
    fake.train()
    features = torch.randn(4, 1, 49, 64, generator=torch.Generator().manual_seed(0))
    torch.autograd.backward(fake(features).square().sum())
    for kernel in fake.kernels:
        assert kernel.grad is not None
        assert float(kernel.grad.abs().sum()) > 0.0
    assert torch.all(fake.ranges > 0)


def test_a_graph_that_hears_something_in_silence_is_not_written(entry: Entry, tmp_path: Path) -> None:
    network = read_network(entry.graph())
    with torch.no_grad():
        torch.as_tensor(network.head.bias).add_(20.0)
    with pytest.raises(ConfigurationError, match="nothing in silence"):
        write_entry(put_network(entry.graph(), network), entry, tmp_path / "loud" / "1")


def test_scores_that_are_not_finite_are_refused(entry: Entry, tmp_path: Path) -> None:
    network = read_network(entry.graph())
    with torch.no_grad():
        torch.as_tensor(network.head.bias).fill_(float("nan"))
    file = tmp_path / "model.onnx"
    onnx.save(put_network(entry.graph(), network), file)
    with pytest.raises(ConfigurationError, match="finite"):
        check(file, entry.spec)


def test_a_model_that_takes_one_size_of_batch_is_refused_by_name(entry: Entry, tmp_path: Path) -> None:
    fixed = entry.spec.model_copy(update={"input": entry.spec.input.model_copy(update={"batch": 4})})
    (tmp_path / "model.onnx").write_bytes(entry.file.read_bytes())
    (tmp_path / "spec.json").write_text(fixed.model_dump_json(), encoding="utf-8")
    with pytest.raises(ConfigurationError, match="batches of any size"):
        read_entry(tmp_path)
