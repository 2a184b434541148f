"""A header whose name is not UTF-8 does not keep anybody from reading the records around it."""

from typing import Any

import pytest
from aiokafka.consumer import fetcher
from aiokafka.structs import TopicPartition

from processors.unpack import survive_header_names
from tests.fuzz.batch import Written, batch_of

NAMES = (b"plain", b"\xff\xfe", b"\xed\xa0\x80", "süd".encode(), b"half \xe2\x82")


@pytest.fixture(autouse=True)
def surviving(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fetcher, "MemoryRecords", fetcher.MemoryRecords)  # put back when the test is over
    monkeypatch.setattr(fetcher, "PartitionRecords", fetcher.PartitionRecords)
    survive_header_names()


def unpacked(data: bytes, first_offset: int = 0) -> list[Any]:
    """Return the records that aiokafka makes of what a broker returned for one partition."""
    records = fetcher.MemoryRecords(data)
    place = TopicPartition("t", 0)
    return list(fetcher.PartitionRecords(place, records, [], first_offset, None, None, True, 0))


@pytest.mark.parametrize("compressed", [False, True])
def test_every_record_of_a_batch_is_read_whatever_its_headers_are_called(compressed: bool) -> None:
    sent = [(b"k%d" % at, b"v" * at, ((name, b"\xff"), (b"next", None))) for at, name in enumerate(NAMES)]
    found = unpacked(bytes(batch_of(sent, compressed=compressed)))
    assert [(r.offset, r.key, r.value) for r in found] == [(at, k, v) for at, (k, v, _) in enumerate(sent)]
    names = [name for record in found for name, _ in record.headers][::2]
    assert names == ["plain", r"\xff\xfe", r"\xed\xa0\x80", "süd", r"half \xe2\x82"]
    assert {record.headers[0][1] for record in found} == {b"\xff"}
    assert {record.headers[1] for record in found} == {("next", None)}


@pytest.mark.parametrize("first", [0, 1, 4])
def test_what_was_read_before_is_not_read_again(first: int) -> None:
    good: list[Written] = [(None, b"v", ((b"plain", b""),)) for _ in NAMES]
    odd: list[Written] = [(None, b"v", ((name, b""),)) for name in NAMES]
    batches = [batch_of(sent, base_offset=5 * at) for at, sent in enumerate((good, good, odd, good, odd))]
    found = unpacked(b"".join(map(bytes, batches)), first)
    assert [record.offset for record in found] == list(range(first, 25))
