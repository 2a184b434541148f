"""A model is refused that scores a window by its company, or hears something in silence."""

from pathlib import Path

import pytest
from torch import Tensor, nn

from models.export import write_onnx
from models.session import check_company, check_silence, noise, open_session, score
from schemas.errors import ConfigurationError


class Loudness(nn.Module):
    """Score a window by its own level, or by that of its whole batch; a hum is added."""

    def __init__(self, of_all: bool, hum: float = 0.0) -> None:
        super().__init__()
        self._of_all, self._hum = of_all, hum

    def forward(self, audio: Tensor) -> Tensor:
        level = (audio.float() / 32768).abs().amax(dim=1, keepdim=True)
        if self._of_all:
            level = level * 0 + level.amax()
        return level + self._hum


def written(model: nn.Module, tmp_path: Path) -> Path:
    write_onnx(model.eval(), tmp_path / "model.onnx")
    return tmp_path / "model.onnx"


def test_scores_come_in_the_order_of_the_windows(tmp_path: Path) -> None:
    scores = score(open_session(written(Loudness(of_all=False), tmp_path)), noise(16_000))
    assert scores.shape == (64, 1)
    assert scores[0] < scores[20] < scores[40] < scores[60]


def test_a_model_whose_scores_depend_on_the_batch_is_refused(tmp_path: Path) -> None:
    check_company(written(Loudness(of_all=False), tmp_path))
    with pytest.raises(ConfigurationError, match="the same scores in a batch of any size"):
        check_company(written(Loudness(of_all=True), tmp_path))


def test_a_model_without_a_finite_score_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="finite scores"):
        check_company(written(Loudness(of_all=False, hum=float("inf")), tmp_path))


def test_a_model_that_hears_something_in_silence_is_refused(tmp_path: Path) -> None:
    hums = written(Loudness(of_all=False, hum=0.6), tmp_path)
    check_silence(hums, [0.7])
    with pytest.raises(ConfigurationError, match="nothing in silence"):
        check_silence(hums, [0.5])
