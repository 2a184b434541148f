"""The trace of a frame goes on with the windows that it completes: to the scorer, and to what is heard."""

from dataclasses import replace

import pytest

from processors.pipeline import trace_of
from processors.run import Feed
from tests.processors.build import Ear, decide, stream

TRACE = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"


def test_a_batch_has_the_trace_of_the_frame_that_completed_its_window() -> None:
    ear = Ear(decide())
    frames = stream(0, 32)
    frames[3] = replace(frames[3], headers=[("other", None), ("traceparent", TRACE.encode())])
    ear.pipeline.feed(("audio.frames", 3), frames, Feed(0.0))
    traces = {batch.items[0].window.last_offset: trace_of(batch) for batch in ear.batches()}
    assert traces[3] == TRACE
    assert {trace for offset, trace in traces.items() if offset != 3} == {None}


@pytest.mark.parametrize("value", [None, b"", b"junk", TRACE.upper().encode(), b"\xff" * 55, b"0" * 1000])
def test_what_is_no_trace_is_nobodys(value: bytes | None) -> None:
    ear = Ear(decide())
    frames = [replace(frame, headers=[("traceparent", value)]) for frame in stream(0, 32)]
    ear.pipeline.feed(("audio.frames", 3), frames, Feed(0.0))
    batches = ear.batches()
    assert batches
    assert {trace_of(batch) for batch in batches} == {None}
