"""Dead letters: how they read now, in which order they are tried again, and which are meant."""

from collections.abc import Sequence
from dataclasses import replace

import pytest

from earwitness.operation.letters import Asked, Letter, hexdump, newest, read_frame, shown, summary
from earwitness.operation.retry import MAX_BYTES, bounded, tried
from processors.log import Record
from schemas.codec import Codec
from schemas.deadletter import DeadLetter, Header
from schemas.errors import ConfigurationError, MalformedRecordError
from schemas.frame import AudioFrame, Encoding
from schemas.identity import new_epoch

CODEC = Codec()
EARLY = new_epoch()
LATE = new_epoch(EARLY)


def frame(epoch: bytes = EARLY, first: int = 0) -> AudioFrame:
    return AudioFrame(epoch, first, 160, 1_790_000_000_000_000, 16_000, 1, Encoding.PCM_S16LE, bytes(320))


def letter(
    value: bytes | None,
    offset: int = 0,
    key: bytes | None = b"hall",
    exception: str = "UnknownSchemaError",
    own: Sequence[Header] = (),
) -> Letter:
    """A letter whose record stood at `offset`."""
    held = DeadLetter("audio.frames", 0, offset, exception, "why", key, value, tuple(own))
    record = Record(
        "audio.dead-letters", 0, 100 + offset, 1_790_000_000_000, key, value, tuple(held.wire_headers())
    )
    return Letter(record, held)


def test_frames_are_tried_again_by_sensor_epoch_and_sample_each_of_them_once() -> None:
    order = [
        (b"attic", frame(LATE, 0)),
        (b"hall", frame(EARLY, 0)),
        (b"hall", frame(EARLY, 160)),
        (b"hall", frame(LATE, 0)),
    ]
    letters = [letter(CODEC.encode(one), offset, key) for offset, (key, one) in enumerate(order)]
    done = tried(CODEC, [*reversed(letters), letters[0]])
    assert [one.original for one in done.good] == [f"audio.frames[0]@{offset}" for offset in range(4)]
    assert done.still_bad == []


def test_what_still_is_no_frame_is_listed_with_the_reason() -> None:
    flac = AudioFrame(EARLY, 0, 160, 1, 16_000, 1, Encoding.FLAC, b"fLaC" + bytes(60))
    gone = letter(None, 4, own=[("earwitness-value-bytes", b"9000000")])
    bad = [
        letter(b"rubbish", 1),
        letter(CODEC.encode(frame()), 2, key=b"\xff"),
        letter(CODEC.encode(flac), 3),
        gone,
        Letter(gone.record, None),
    ]
    reasons = dict(zip([1, 2, 3, 4, 5], (why for _, why in tried(CODEC, bad).still_bad), strict=False))
    assert tried(CODEC, bad).good == []
    assert reasons[1].startswith("MalformedRecordError")
    assert reasons[2].startswith("InvalidFrameError: key")
    assert "FLAC" in reasons[3]
    assert "9000000 bytes" in reasons[4]
    assert "audio.frames[0]@4" in reasons[4]


def test_a_letter_of_somebody_else_says_so() -> None:
    foreign = Letter(letter(b"hello").record, None)
    assert (foreign.exception, foreign.original) == ("NotADeadLetter", None)
    with pytest.raises(MalformedRecordError, match="its headers say no reason"):
        read_frame(CODEC, foreign)


def test_a_letter_is_shown_with_its_own_headers_and_as_what_it_reads_now() -> None:
    good = shown(
        CODEC, letter(CODEC.encode(frame(EARLY, 160)), own=[("traceparent", b"00-1"), ("none", None)])
    )
    assert good["headers"] == {"traceparent": "00-1", "none": None}
    assert (good["frame"]["first_sample"], good["frame"]["data_bytes"]) == (160, 320)
    bad = shown(CODEC, letter(b"rubbish", key=b"\xff\xfe"))
    assert (bad["sensor"], bad["frame"]) == ("0xfffe", None)
    assert bad["reads"].startswith("InvalidFrameError: key")


def test_a_dump_is_bounded_and_says_what_it_leaves_out() -> None:
    assert list(hexdump(b"RIFF\x00\xff")) == [f"00000000  {'52 49 46 46 00 ff':<47}  RIFF.."]
    long = list(hexdump(bytes(10_000)))
    assert len(long) == 33
    assert long[-1] == "… and 9488 bytes more: --raw writes all of them"
    assert list(hexdump(b"")) == []


def test_letters_are_chosen_by_reason_and_sensor() -> None:
    one = letter(b"x", key=b"hall-7", exception="InvalidFrameError")
    assert Asked().means(one)
    assert Asked(exception="InvalidFrameError", sensor="hall-*").means(one)
    assert not Asked(exception="StaleEpochError").means(one)
    assert not Asked(sensor="roof").means(one)
    assert Asked(sensor="hall[7]").means(letter(b"x", key=b"hall[7]"))


def test_a_summary_counts_by_reason_and_sensor_the_most_first() -> None:
    found = summary([letter(b"x", 1), letter(b"x", 2, key=b"roof"), letter(b"x", 3)])
    assert [(group["sensor"], group["count"]) for group in found] == [("hall", 2), ("roof", 1)]
    assert found[0]["last"] == "audio.dead-letters[0]@103"


def test_the_newest_letters_are_the_last_by_append_time_of_all_partitions() -> None:
    appended = [(0, 5), (0, 7), (1, 1), (1, 2), (1, 6)]
    found = []
    for offset, (partition, at_ms) in enumerate(appended):
        one = letter(b"x", offset)
        found.append(replace(one, record=replace(one.record, partition=partition, timestamp=at_ms)))
    last, count = newest(found, 3)
    assert ([one.record.timestamp for one in last], count) == ([5, 6, 7], 5)


def test_more_letters_than_can_be_put_in_order_in_memory_are_refused() -> None:
    many = [letter(bytes(1 << 20))] * (MAX_BYTES >> 20)
    assert len(list(bounded(many[:100]))) == 100
    with pytest.raises(ConfigurationError, match="at most 512 MiB at once"):
        list(bounded(many))
