"""A published detection reads as one line for people and one JSON object for programs."""

import json
import threading
from dataclasses import asdict, replace

import pytest
from confluent_kafka import Producer

from earwitness.analysis.wanted import utc_text
from earwitness.watch import Published, detections
from processors.ledger import SCORER_HEADER
from processors.log import LogReader
from schemas.codec import Codec
from schemas.detection import Detection, DetectionState
from schemas.errors import ConfigurationError
from schemas.latency import LATENCY_HEADER, Readings
from tests.processors.shell import DEADLINE_S, TOPICS, broker_with_topics
from tests.processors.test_publish import ACTIVE

APPENDED_MS = ACTIVE.end_us // 1000 + 25
ENDED = replace(ACTIVE, state=DetectionState.ENDED, end_sample=40_000, windows=24, continued=True)
STAGES = Readings(
    {"captured": ACTIVE.end_us, "appended": ACTIVE.end_us + 2_000, "sent": ACTIVE.end_us + 20_000}
)


def published(detection: Detection) -> Published:
    return Published(detection, APPENDED_MS, 7, "onnxruntime/1/CPU", STAGES)


def append(
    broker: str,
    *values: bytes,
    partition: int = 2,
    scorer: bytes = b"tiny",
    stages: bytes = STAGES.to_wire(),
) -> None:
    """Append records to the detections topic as a worker does."""
    producer = Producer({"bootstrap.servers": broker, "log_level": 0})
    headers: list[tuple[str, str | bytes | None]] = [(SCORER_HEADER, scorer), (LATENCY_HEADER, stages)]
    for value in values:
        producer.produce(TOPICS.detections, value, b"roof", partition, timestamp=APPENDED_MS, headers=headers)
    assert producer.flush(DEADLINE_S) == 0


def first(broker: str, count: int, codec: Codec | None = None) -> list[Published]:
    """Read the first detections of the topic."""
    stop, found = threading.Event(), []
    timer = threading.Timer(DEADLINE_S, stop.set)
    timer.start()
    with LogReader({"bootstrap.servers": broker}) as reader:
        for one in detections(reader, TOPICS.detections, codec or Codec(), stop, earliest=True):
            found.append(one)
            if len(found) == count:
                stop.set()
    timer.cancel()
    return found


def test_latency_runs_from_the_last_sample_of_the_deciding_window_to_the_log() -> None:
    assert published(ACTIVE).latency_ms == 25.0


def test_only_the_beginning_of_a_detection_has_a_latency() -> None:
    assert published(ENDED).latency_ms is None
    assert json.loads(published(ENDED).as_json())["latency_ms"] is None


def test_json_is_every_field_of_the_detection_and_where_it_stands_in_the_log() -> None:
    line = published(ACTIVE).as_json()
    assert "\n" not in line
    assert json.loads(line) == {
        **asdict(ACTIVE),
        "state": "ACTIVE",
        "appended_ms": APPENDED_MS,
        "offset": 7,
        "scorer": "onnxruntime/1/CPU",
        "latency_ms": 25.0,
        "stages": STAGES.as_json(),
    }


def test_a_line_says_when_who_what_how_surely_and_how_late() -> None:
    assert published(ACTIVE).as_line().split() == [
        "15:06:40.000Z",
        "roof",
        "ACTIVE",
        "siren",
        "0.75",
        "latency",
        "25",
        "ms",
    ]


def test_a_line_of_an_end_says_how_long_it_was_and_whether_it_goes_on() -> None:
    assert published(ENDED).as_line().endswith("siren             0.75    2.5 s (goes on)")
    assert published(replace(ENDED, continued=False)).as_line().endswith("2.5 s")


def test_a_detection_without_a_score_says_so() -> None:
    assert published(replace(ENDED, peak_score=None)).as_line().split()[4] == "-"


def test_with_the_append_time_the_readings_are_whole() -> None:
    whole = published(ACTIVE).readings
    assert whole is not None
    assert whole.total_us == 25_000
    assert replace(published(ACTIVE), latency=None).readings is None


def test_what_was_published_is_read_with_its_place_its_scorer_and_its_stages() -> None:
    codec = Codec()
    with broker_with_topics() as broker:
        append(broker, codec.encode(ACTIVE), codec.encode(ENDED))
        active, ended = first(broker, 2)
    assert active == Published(ACTIVE, APPENDED_MS, 0, "tiny", STAGES)
    assert ended == Published(ENDED, APPENDED_MS, 1, "tiny", STAGES)


def test_a_detection_of_somebody_elses_making_needs_no_headers() -> None:
    with broker_with_topics() as broker:
        producer = Producer({"bootstrap.servers": broker, "log_level": 0})
        producer.produce(TOPICS.detections, Codec().encode(ACTIVE), b"roof", 0)
        assert producer.flush(DEADLINE_S) == 0
        (found,) = first(broker, 1)
    assert (found.detection, found.scorer, found.latency) == (ACTIVE, None, None)


@pytest.mark.parametrize("stages", [b"soon", b"\xff", b"[1]", b'{"sent_us": "late"}', b"[" * 100_000, b"NaN"])
def test_a_header_that_is_not_one_of_ours_is_none_said_once_and_does_not_end_the_watch(
    stages: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    value = Codec().encode(ACTIVE)
    with broker_with_topics() as broker:
        append(broker, value, value, scorer=b"\xfe", stages=stages)
        append(broker, value)
        *foreign, ours = first(broker, 3)
    assert [(one.detection, one.scorer, one.latency) for one in foreign] == [(ACTIVE, None, None)] * 2
    assert json.loads(foreign[0].as_json())["stages"] is None
    assert (ours.scorer, ours.latency) == ("tiny", STAGES)
    warned = [
        r.message for r in caplog.records if r.levelname == "WARNING" and "is not one of ours" in r.message
    ]
    assert [
        f"header {name} " in line for name, line in zip((SCORER_HEADER, LATENCY_HEADER), warned, strict=True)
    ]


def test_whoever_watches_from_now_on_sees_nothing_of_before() -> None:
    codec, stop, seen = Codec(), threading.Event(), list[Published]()
    with broker_with_topics() as broker:
        append(broker, codec.encode(replace(ACTIVE, id="before")))
        watching = detections(LogReader({"bootstrap.servers": broker}), TOPICS.detections, codec, stop)
        thread = threading.Thread(target=lambda: seen.append(next(watching)), daemon=True)
        thread.start()
        for n in range(200):  # until it has begun to watch
            append(broker, codec.encode(replace(ACTIVE, id=f"{n}")))
            thread.join(0.05)
            if not thread.is_alive():
                break
        stop.set()
        watching.close()  # type: ignore[attr-defined]  # a generator has it
    assert seen
    assert seen[0].detection.id != "before"


def test_a_topic_that_does_not_exist_is_said_not_to() -> None:
    stop = threading.Event()
    with (
        broker_with_topics() as broker,
        pytest.raises(ConfigurationError, match=r"topic no/such/topic is .*a topic that exists"),
    ):
        next(detections(LogReader({"bootstrap.servers": broker}), "no/such/topic", Codec(), stop))


def test_what_is_no_detection_is_named_and_does_not_end_the_watch(caplog: pytest.LogCaptureFixture) -> None:
    with broker_with_topics() as broker:
        append(broker, b"hello", Codec().encode(ACTIVE))
        (seen,) = first(broker, 1)
    assert seen.detection == ACTIVE
    assert f"{TOPICS.detections}[2]@0: not a detection" in caplog.text


@pytest.mark.parametrize(
    ("start_us", "read"),
    [
        (-(1 << 63), "00:00:00.000Z"),
        (-1, "23:59:59.999Z"),
        (253_402_300_799_999_999, "23:59:59.999Z"),
        (253_402_300_800_000_000, "23:59:59.999Z"),
        ((1 << 63) - 1, "23:59:59.999Z"),
    ],
)
def test_a_time_that_no_calendar_has_is_shown_at_the_calendars_edge(start_us: int, read: str) -> None:
    assert published(replace(ACTIVE, start_us=start_us)).as_line().startswith(read)
    assert utc_text(start_us)[11:23] + "Z" == read
