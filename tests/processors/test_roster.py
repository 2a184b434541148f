"""A sensor that should be there is missed by the worker that reads its partition, until it is heard."""

import pytest

from processors.roster import Roster
from schemas.topics import partition_of
from tests.processors.build import KEY, Ear, decide, record, tick

TOPIC, NUMBER = KEY
PARTITIONS = 8
HERE = [name for name in (f"s{n}" for n in range(100)) if partition_of(name.encode(), PARTITIONS) == NUMBER]


@pytest.mark.parametrize(
    ("key", "published"),  # by the test of org.apache.kafka.common.utils.Utils.murmur2
    [(b"21", -973_932_308), (b"foobar", -790_332_482), (b"a-little-bit-long-string", -985_981_536)],
)
def test_the_partition_of_a_key_is_that_of_every_kafka_client(key: bytes, published: int) -> None:
    assert partition_of(key, 8) == (published & 0x7FFFFFFF) % 8
    assert partition_of(key, 1 << 31) == published & 0x7FFFFFFF


def test_only_sensors_of_ones_own_partitions_are_missed_and_only_while_they_are_not_heard() -> None:
    ear, roster = Ear(decide()), Roster(TOPIC, [*(f"s{n}" for n in range(100)), HERE[0]])
    roster.split(PARTITIONS)
    partitions = ear.pipeline.partitions
    assert roster.missing(partitions) == len(HERE)
    ear.hear(record(0, 0, 0, 8, sensor=HERE[0].encode()), record(1, 0, 0, 8, sensor=b"a stranger"))
    assert roster.missing(partitions) == len(HERE) - 1
    ear.hear(tick(2, 1000))  # it has gone quiet, and is closed
    assert roster.missing(partitions) == len(HERE)


def test_of_another_tenants_partitions_nobody_is_missed() -> None:
    roster = Roster("acme.audio.frames", HERE)
    roster.split(PARTITIONS)
    assert roster.missing(Ear(decide()).pipeline.partitions) == 0
