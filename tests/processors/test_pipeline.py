"""Frames of 4 samples at 1000 Hz, windows of 8 every 4, active where a window is loud."""

import json
from collections.abc import Iterable
from itertools import pairwise

import numpy as np
import pytest
from confluent_kafka.schema_registry import SchemaRegistryClient
from hypothesis import given, settings
from hypothesis import strategies as st

from processors.batch import Batch, BatchSettings
from processors.partition import Start
from processors.pipeline import Pipeline
from processors.run import Feed, Slot
from schemas.codec import Codec, released_schemas
from schemas.coverage import Coverage
from schemas.detection import Detection
from schemas.errors import SchemaUnresolvedError, UnknownSchemaError
from schemas.frame import AudioFrame
from schemas.registry import ConfluentRegistry
from tests.processors.build import CODEC, KEY, Ear, Record, decide, loudness, record, stream
from tests.processors.logs import Entry

NAN, INF = float("nan"), float("inf")


def outcomes(said: Iterable[Record]) -> list[tuple[int | None, int | None, str]]:
    return [(x.start_sample, x.end_sample, x.outcome.value) for x in said if isinstance(x, Coverage)]


@pytest.mark.parametrize("score", [NAN, INF, -INF])
def test_a_window_whose_scores_are_not_finite_has_failed_and_the_others_of_its_batch_have_not(
    score: float,
) -> None:
    pipeline = Pipeline(decide(labels=("a", "b")), CODEC, BatchSettings(max_windows=3, max_wait_ms=0))
    pipeline.assign({KEY: Start(0, 0)})
    pipeline.feed(KEY, stream(0, 16), Feed(0.0))
    batch = pipeline.take(0.0)
    assert batch is not None
    pipeline.scored(batch, np.array([[0, 0], [0.9, score], [0, 0]], np.float32), 0.0)
    pipeline.finish()
    said = [output.record for output in pipeline.outputs()]
    assert outcomes(said) == [(0, 8, "SCORED"), (8, 12, "FAILED"), (12, 16, "SCORED")]
    assert not any(isinstance(x, Detection) for x in said)


def test_the_scorers_final_error_fails_every_window_of_the_batch() -> None:
    ear = Ear(decide())
    ear.pipeline.feed(KEY, stream(0, 12, loud=True), Feed(0.0))
    for batch in ear.batches():
        ear.pipeline.failed(batch, 0.0)
    assert outcomes(ear.said() + ear.finish()) == [(0, 12, "FAILED")]


def test_results_of_an_earlier_generation_are_ignored() -> None:
    ear = Ear(decide())
    ear.pipeline.feed(KEY, stream(0, 12, loud=True), Feed(0.0))
    scored, failed = ear.batches()
    ear.pipeline.assign({KEY: Start(0, 0)})
    ear.pipeline.scored(scored, loudness(scored.pcm), 0.0)
    ear.pipeline.failed(failed, 0.0)
    assert ear.said() == []
    assert ear.pipeline.backlog == 0
    assert ear.mark() == 0


def test_a_result_that_arrives_twice_counts_once() -> None:
    ear = Ear(decide())
    ear.pipeline.feed(KEY, stream(0, 8, loud=True), Feed(0.0))
    [batch] = ear.batches()
    ear.pipeline.scored(batch, loudness(batch.pcm), 0.0)
    once = ear.said()
    ear.pipeline.failed(batch, 0.0)
    assert ear.said() == []
    assert any(isinstance(x, Detection) for x in once)


def test_a_new_generation_forgets_what_waited_and_what_was_decided() -> None:
    ear = Ear(decide())
    ear.pipeline.feed(KEY, stream(0, 8), Feed(0.0))
    ear.pipeline.assign({KEY: Start(5, 5)})
    assert ear.pipeline.due_s() is None
    assert ear.pipeline.outputs() == []
    assert list(ear.pipeline.partitions) == [KEY]
    assert ear.mark() == 5


def test_an_acknowledgement_of_an_earlier_generation_lets_go_of_nothing_in_this_one() -> None:
    ear = Ear(decide())
    ear.hear(*stream(0, 44))
    earlier, ear.unacknowledged = ear.unacknowledged, []
    ear.pipeline.assign({KEY: Start(0, 0)})
    ear.hear(*stream(0, 44))
    for output in earlier:
        output.acknowledged()
    assert ear.mark() == 0


def test_the_backlog_counts_windows_that_wait_and_windows_that_are_being_scored() -> None:
    pipeline = Pipeline(decide(), CODEC, BatchSettings(max_windows=2, max_wait_ms=1000))
    pipeline.assign({KEY: Start(0, 0)})
    pipeline.feed(KEY, stream(0, 16), Feed(0.0))  # three windows
    assert (pipeline.backlog, pipeline.due_s()) == (3, 0.0)
    batch = pipeline.take(0.0)
    assert batch is not None
    assert (pipeline.backlog, pipeline.due_s()) == (3, 1.0)
    pipeline.scored(batch, loudness(batch.pcm), 0.0)
    assert pipeline.backlog == 1


def test_partitions_share_batches_and_keep_apart() -> None:
    keys = [("audio.frames", 0), ("audio.frames", 1), ("other.audio.frames", 0)]
    pipeline = Pipeline(decide(), CODEC, BatchSettings(max_windows=3, max_wait_ms=0))
    pipeline.assign({key: Start(0, 0) for key in keys})
    for key in keys:
        pipeline.feed(key, stream(0, 8, loud=key == keys[1]), Feed(0.0))
    batch = pipeline.take(0.0)
    assert batch is not None
    assert len(batch.items) == 3
    pipeline.scored(batch, loudness(batch.pcm), 0.0)
    found = [(x.topic, x.partition) for x in pipeline.outputs() if isinstance(x.record, Detection)]
    assert found == [keys[1]]


def test_late_frames_and_gaps_are_counted_once() -> None:
    ear = Ear(decide())
    ear.hear(*stream(0, 12), record(3, 12, 8, 12), record(4, 40, 20, 40))
    assert ear.pipeline.take_counts() == {"late": 1, "gap": 3}  # windows 2 … 4 touch [12, 20)
    assert ear.pipeline.take_counts() == {}


def registry() -> ConfluentRegistry:
    return ConfluentRegistry(SchemaRegistryClient.new_client({"url": "mock://pipeline"}))


def test_a_record_whose_schema_must_be_looked_up_first_is_taken_after_that() -> None:
    shared = registry()
    theirs, ours = Codec(shared), Codec(shared)
    ours.prepare(AudioFrame)
    schema = json.loads(json.dumps(released_schemas()["audio_frame"][-1]))
    schema["doc"] = "Another text under another id."
    schema_id = shared.register("theirs", json.dumps(schema))
    good = theirs.decode(AudioFrame, record(0, 0, 0, 8).value)
    value = b"\0" + schema_id.to_bytes(4) + theirs.encode(good)[5:]
    entries = [Entry(0, 0, b"s", value), Entry(1, 0, b"s", theirs.encode(good))]

    pipeline = Pipeline(decide(), ours)
    pipeline.assign({KEY: Start(0, 0)})
    with pytest.raises(SchemaUnresolvedError) as unresolved:
        pipeline.feed(KEY, entries, Feed(0.0))
    assert unresolved.value.schema_id == schema_id
    assert pipeline.partitions[KEY].position == 0
    ours.resolve(schema_id)
    pipeline.feed(KEY, entries, Feed(0.0))
    assert pipeline.partitions[KEY].position == 2
    assert pipeline.backlog == 1
    with pytest.raises(UnknownSchemaError):
        ours.resolve(999_999)


@st.composite
def _arrivals(draw: st.DrawFn) -> tuple[list[Entry], list[int], int, list[int]]:
    """Draw a sensor's sound cut into frames, how many of them come at once, batch size, scoring order."""
    loud = draw(st.lists(st.booleans(), min_size=4, max_size=25))
    cuts = draw(st.sets(st.integers(1, len(loud) * 12 - 1), max_size=30))
    edges = [0, *sorted(cuts), len(loud) * 12]
    entries: list[Entry] = []
    for a, b in pairwise(edges):
        sound = np.concatenate([np.full(12, 20_000 if x else 1, np.int16) for x in loud])[a:b]
        entries.append(_frame(len(entries), a, sound))
    at_once = draw(st.lists(st.integers(1, 9), min_size=1, max_size=40))
    order = draw(st.lists(st.integers(0, 99), min_size=1, max_size=40))
    return entries, at_once, draw(st.integers(1, 12)), order


def _frame(offset: int, first: int, sound: np.typing.NDArray[np.int16]) -> Entry:
    like = CODEC.decode(AudioFrame, record(offset, first, first, first + len(sound)).value)
    frame = AudioFrame(
        like.epoch,
        first,
        len(sound),
        (first + len(sound)) * 1000,
        1000,
        1,
        like.encoding,
        sound.astype("<i2").tobytes(),
    )
    return Entry(offset, first + len(sound), b"s", CODEC.encode(frame))


def _detections(
    entries: list[Entry], at_once: list[int], max_windows: int, order: list[int]
) -> list[tuple[object, ...]]:
    pipeline = Pipeline(
        decide(m=2, n=3, segment=8, idle_s=10), CODEC, BatchSettings(max_windows=max_windows, max_wait_ms=0)
    )
    pipeline.assign({KEY: Start(0, 0)})
    waiting: list[Batch[Slot]] = []
    position = turn = 0
    while position < len(entries) or waiting:
        count = at_once[turn % len(at_once)]
        pipeline.feed(KEY, entries[position : position + count], Feed(0.0))
        position += count
        if batch := pipeline.take(0.0):
            waiting.append(batch)
        if position >= len(entries) or order[turn % len(order)] > 50:
            for batch in sorted(waiting, key=lambda b: order[len(b.items) % len(order)]):
                pipeline.scored(batch, loudness(batch.pcm), 0.0)
            waiting.clear()
        turn += 1
    while batch := pipeline.take(0.0):
        pipeline.scored(batch, loudness(batch.pcm), 0.0)
    pipeline.finish()
    found = [x.record for x in pipeline.outputs() if isinstance(x.record, Detection)]
    return [
        (
            x.id,
            x.state,
            x.start_sample,
            x.end_sample,
            x.start_us,
            x.end_us,
            x.peak_score,
            x.windows,
            x.continued,
        )
        for x in found
    ]


@given(_arrivals())
@settings(derandomize=True, max_examples=100, deadline=None)
def test_detections_do_not_depend_on_how_the_sound_was_cut_nor_on_when_it_arrived_or_was_scored(
    drawn: tuple[list[Entry], list[int], int, list[int]],
) -> None:
    entries, at_once, max_windows, order = drawn
    sound = b"".join(CODEC.decode(AudioFrame, entry.value).data for entry in entries)
    whole = [_frame(0, 0, np.frombuffer(sound, np.int16))]
    assert _detections(entries, at_once, max_windows, order) == _detections(whole, [1], 1, [99])
