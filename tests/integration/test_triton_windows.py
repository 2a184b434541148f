"""A thousand windows of real recordings on a real Triton: the scores are ONNX Runtime's, to the bit."""

import asyncio
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from infra.local.triton_installation import TritonInstallation
from models.catalogue import find
from processors.metrics import Metrics
from processors.score import OnnxScorer, ScorerSettings
from processors.triton.scorer import TritonScorer
from producers.clips import ClipPool
from producers.sources.files import files_in
from schemas.model import read_spec
from tests.integration.tritons import tritons

WINDOWS, BATCH, RATE_HZ = 1000, 32, 16_000
SHIPPED = "earwitness-small/2"


@pytest.fixture(scope="module")
def windows(shared_data: Path) -> NDArray[np.int16]:
    """int16[1000, 16000], cut from recordings of ten kinds, half a second apart."""
    pool = ClipPool.read(files_in(shared_data / "esc10")[::2], RATE_HZ)
    cut = [
        clip.samples[at : at + RATE_HZ]
        for clip in pool.clips
        for at in range(0, len(clip.samples) - RATE_HZ, RATE_HZ // 2)
    ]
    assert len(cut) >= WINDOWS
    return np.stack(cut[:: len(cut) // WINDOWS][:WINDOWS])


@pytest.mark.parametrize("shared_memory", ["off", "system"])
async def test_a_thousand_windows_score_as_they_do_in_process(
    windows: NDArray[np.int16], triton_installation: TritonInstallation, tmp_path: Path, shared_memory: str
) -> None:
    model = find(SHIPPED)
    spec = read_spec(model)
    in_process = OnnxScorer(model, spec)
    with tritons(tmp_path / "repository", model, 1) as (server,):
        endpoints = (server.url,)
        settings = ScorerSettings(kind="triton", endpoints=endpoints, shared_memory=shared_memory)  # type: ignore[arg-type]
        scorer = TritonScorer(spec, settings, Metrics())
        await scorer.start()
        batches = [windows[at : at + BATCH] for at in range(0, WINDOWS, BATCH)]
        found = np.concatenate([s.scores for s in await asyncio.gather(*map(scorer.score, batches))])
        await scorer.close()
    wanted = np.concatenate([in_process.run(batch) for batch in batches])
    await in_process.close()
    assert len(np.unique(windows, axis=0)) > 0.9 * WINDOWS
    assert np.ptp(wanted, axis=0).min() > 0.1
    assert np.abs(found - wanted).max() <= 1e-5
    assert found.tobytes() == wanted.tobytes()
