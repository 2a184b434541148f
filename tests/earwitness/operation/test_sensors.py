"""audio.sensors is read to its end, on a real broker; who should be there is read from a list."""

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from time import time

import pytest
from confluent_kafka import Producer

from earwitness.operation.health import Severity
from earwitness.operation.sensors import COLUMNS, Row, forgotten, named, read_expected, sensors
from earwitness.topics import TopicAdmin
from infra.local.kafka import KafkaServer
from processors.log import LogReader
from schemas.codec import Codec
from schemas.errors import ConfigurationError
from schemas.sensor import Presence, SensorState
from schemas.topics import Topics
from tests.earwitness.operation.test_health import SECOND_US, WELL
from tests.processors.shell import DEADLINE_S, until_listed

CODEC = Codec()


@pytest.fixture
def topics(kafka: KafkaServer, topic_prefix: str) -> Topics:
    made = Topics(topic_prefix)
    admin = TopicAdmin({"bootstrap.servers": kafka.bootstrap_servers})
    admin.create(made, partitions=3, replicas=1, retention_days=1)
    until_listed(admin, made.every)
    return made


@pytest.fixture
def reader(kafka: KafkaServer) -> Iterator[LogReader]:
    with LogReader({"bootstrap.servers": kafka.bootstrap_servers}) as opened:
        yield opened


def say(kafka: KafkaServer, topics: Topics, *states: SensorState | tuple[str, bytes | None]) -> None:
    """Append states, or a value of somebody else's under a key, in order."""
    producer = Producer({"bootstrap.servers": kafka.bootstrap_servers})
    for state in states:
        key, value = state if isinstance(state, tuple) else (state.sensor, CODEC.encode(state))
        producer.produce(topics.sensors, value, key)
    assert producer.flush(DEADLINE_S) == 0


def now(name: str, **other: object) -> SensorState:
    """A sensor that is well, now."""
    return replace(WELL, sensor=name, appended_at_us=round(time() * 1e6), **other)  # type: ignore[arg-type]


def looked(reader: LogReader, topics: Topics, *patterns: str, expected: tuple[str, ...] = ()) -> list[Row]:
    return sensors(reader, CODEC, topics.sensors, expected, patterns)


def test_the_last_word_of_each_sensor_counts_and_the_worst_comes_first(
    kafka: KafkaServer, topics: Topics, reader: LogReader
) -> None:
    say(
        kafka,
        topics,
        now("hall", state=Presence.SILENT),
        now("kitchen"),
        now("hall"),
        now("roof"),
        now("roof", state=Presence.SILENT, since_us=1),
        now("attic", clock_offset_us=-5 * SECOND_US),
    )
    rows = looked(reader, topics, expected=("kitchen", "cellar", "roof"))
    assert [(row.sensor, row.level) for row in rows] == [
        ("cellar", Severity.BROKEN),
        ("roof", Severity.BROKEN),
        ("attic", Severity.WARN),
        ("hall", Severity.OK),
        ("kitchen", Severity.OK),
    ]
    assert [row.sensor for row in looked(reader, topics, "*l*", "roof")] == ["roof", "hall"]
    assert [row.sensor for row in looked(reader, topics, "c*", expected=("cellar",))] == ["cellar"]


def test_who_is_silent_and_not_on_the_list_is_only_a_warning(
    kafka: KafkaServer, topics: Topics, reader: LogReader
) -> None:
    say(kafka, topics, *(now(name, state=Presence.SILENT, since_us=1) for name in ("hall", "old")))
    for expected, level in ((("hall",), Severity.WARN), ((), Severity.BROKEN)):
        found = {row.sensor: row.level for row in looked(reader, topics, expected=expected)}
        assert found == {"hall": Severity.BROKEN, "old": level}


def test_a_row_has_a_cell_for_every_column_and_its_json_has_every_field(
    kafka: KafkaServer, topics: Topics, reader: LogReader
) -> None:
    say(kafka, topics, now("hall"), now("deaf", level=replace(WELL.level, rms_dbfs=None, zero_fraction=1.0)))  # type: ignore[type-var]
    rows = looked(reader, topics, expected=("cellar",))
    assert [len(row.as_cells()) for row in rows] == [len(COLUMNS)] * 3
    cellar, deaf, hall = (json.loads(row.as_json()) for row in rows)
    assert cellar.keys() == deaf.keys() == hall.keys() > set(SensorState.__slots__)
    assert (cellar["state"], cellar["epoch"], cellar["problems"][0]["name"]) == (
        "SILENT",
        None,
        "NEVER_STARTED",
    )
    assert (deaf["worst"], deaf["problems"][0]["name"]) == ("broken", "DIGITAL_SILENCE")
    assert (hall["worst"], hall["problems"], hall["drift_ppm"]) == ("ok", [], None)


def test_an_id_that_reads_as_a_glob_is_found_by_it_and_forgotten_by_it_alone(
    kafka: KafkaServer, topics: Topics, reader: LogReader
) -> None:
    say(kafka, topics, *(now(name, state=Presence.SILENT, since_us=1) for name in ("hall1", "hall[1]")))
    assert "hall[1]" in {row.sensor for row in looked(reader, topics, "hall[1]")}
    rows = looked(reader, topics)
    assert list(forgotten(named(rows, ["hall[1]"]), topics.sensors)) == ["hall[1]"]
    for glob in ("hall*", "hall?", "*"):
        with pytest.raises(ConfigurationError, match=r"--forget is .*ids as `earwitness sensors` lists them"):
            named(rows, ["hall1", glob])


def test_what_is_deleted_or_of_somebody_else_is_no_sensor(
    kafka: KafkaServer, topics: Topics, reader: LogReader
) -> None:
    say(kafka, topics, now("hall"), now("gone"), ("gone", None), ("rubbish", b"hello"))
    assert [row.sensor for row in looked(reader, topics)] == ["hall"]


def test_a_topic_that_is_missing_is_named(reader: LogReader, topic_prefix: str) -> None:
    with pytest.raises(ConfigurationError, match=r"topic .*audio\.sensors"):
        looked(reader, Topics(f"{topic_prefix}x"))


def test_a_list_of_sensors_has_one_id_a_line_and_comments(tmp_path: Path) -> None:
    file = tmp_path / "fleet.txt"
    file.write_text("# ground floor\nhall\n\n  kitchen  # over the stove\nhall\nKüche 2\n", "utf-8")
    assert read_expected(file) == ("hall", "kitchen", "Küche 2")
    assert read_expected(None) == ()


@pytest.mark.parametrize("content", [b"\xff\xfe", b"a\x07b\n", b"x" * 300])
def test_a_list_that_names_no_sensors_is_refused(tmp_path: Path, content: bytes) -> None:
    file = tmp_path / "fleet.txt"
    file.write_bytes(content)
    with pytest.raises(ConfigurationError, match=r"sensors\.expected"):
        read_expected(file)


def test_a_list_that_is_not_there_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="a text file that can be read"):
        read_expected(tmp_path / "none.txt")
    with pytest.raises(ConfigurationError, match="a text file that can be read"):
        read_expected(tmp_path)
