"""The stages of a window add up to its total, to the microsecond: no time is lost between two of them."""

import json
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from processors.batch import BatchSettings
from processors.decision import Decision
from processors.ledger import latency_header, stages
from processors.partition import Start
from processors.pipeline import Pipeline
from processors.run import Feed, Slot
from schemas.codec import Codec
from schemas.detection import Detection, DetectionState
from schemas.model import ModelSpec
from tests.processors.shell import LOUD, TOPICS, frames_of, records_of, stretches
from tests.processors.tiny_model import LABELS, RATE_HZ, WINDOW

STAGES = ("captured", "appended", "fed", "batched", "scored")
ROUNDING_S = 2e-6
"""A reading is rounded to the microsecond twice: the time of day, and how long ago it was."""
SPEC = ModelSpec(
    name="tiny",
    version="1",
    sample_rate_hz=RATE_HZ,
    window_samples=WINDOW,
    hop_samples=WINDOW,
    labels=LABELS,
    thresholds=dict.fromkeys(LABELS, 0.5),
    m=1,
    n=1,
    licence="Apache-2.0",
    digest="0" * 64,
)


def decided(fed_s: float, batched_s: float, scored_s: float) -> Slot:
    """Return the window that decided a detection, read, batched and scored at these times."""
    pipeline, codec = Pipeline(Decision(SPEC), Codec(), BatchSettings(max_windows=1)), Codec()
    pipeline.assign({(TOPICS.frames, 0): Start(0, 0)})
    pipeline.feed((TOPICS.frames, 0), records_of(codec, frames_of(stretches(LOUD))), Feed(fed_s))
    batch = pipeline.take(batched_s)
    assert batch is not None
    pipeline.scored(batch, np.array([[1.0, 0.0]], np.float32), scored_s)
    (active,) = [o for o in pipeline.outputs() if isinstance(o.record, Detection)]
    assert isinstance(active.record, Detection)
    assert active.record.state is DetectionState.ACTIVE
    assert active.slot is not None
    return active.slot


waits_s = st.floats(0, 100, allow_nan=False)


@given(
    boot_s=st.floats(0, 1e7),
    waits=st.tuples(waits_s, waits_s, waits_s),
    wall_s=st.floats(1.7e9, 4e9),
)
def test_the_stages_add_up_to_what_the_header_says(
    boot_s: float, waits: tuple[float, float, float], wall_s: float
) -> None:
    fed_s, batched_s = boot_s, boot_s + waits[0]
    scored_s = batched_s + waits[1]
    now_s = scored_s + waits[2]
    slot = decided(fed_s, batched_s, scored_s)
    header = json.loads(latency_header(slot, now_s, wall_s))
    assert list(header) == [f"{name}_us" for name in (*STAGES, "sent")]

    lengths_s = dict(stages(slot, now_s, wall_s))
    assert list(lengths_s) == [f"{before}_to_{after}" for before, after in pairwise(STAGES)]
    for (name, length_s), (before, after) in zip(lengths_s.items(), pairwise(STAGES), strict=True):
        read_s = (header[f"{after}_us"] - header[f"{before}_us"]) / 1e6
        assert length_s == pytest.approx(read_s, abs=ROUNDING_S), name
    total_s = (header["scored_us"] - header["captured_us"]) / 1e6
    assert sum(lengths_s.values()) == pytest.approx(total_s, abs=ROUNDING_S)


def test_the_readings_are_those_of_the_windows_last_sample_on_the_clocks_of_its_day() -> None:
    slot = decided(fed_s=100.0, batched_s=100.005, scored_s=100.009)
    header = json.loads(latency_header(slot, now_s=100.01, wall_s=1_800_000_000.5))
    sent_us = 1_800_000_000_500_000
    assert header == {
        "captured_us": slot.window.end_us,
        "appended_us": slot.window.appended_ms * 1000,
        "fed_us": sent_us - 10_000,
        "batched_us": sent_us - 5_000,
        "scored_us": sent_us - 1_000,
        "sent_us": sent_us,
    }
    last_read_us = frames_of(stretches(LOUD))[-1].captured_at_us
    assert slot.window.end_us == last_read_us + 1_000_000 // RATE_HZ  # the sample behind the last one


def test_a_window_that_was_never_scored_has_no_stages_behind_the_last_that_it_reached() -> None:
    slot = decided(fed_s=1.0, batched_s=2.0, scored_s=3.0)
    slot.scored_s = slot.batched_s = None
    assert [name for name, _ in stages(slot, 4.0, 1_800_000_000.0)] == [
        "captured_to_appended",
        "appended_to_fed",
    ]
