import pytest

from schemas.deadletter import DeadLetter
from schemas.errors import MalformedRecordError

LETTER = DeadLetter(
    topic="audio.frames",
    partition=3,
    offset=1 << 40,
    exception="InvalidFrameError",
    message="samples is '0'; accepted: 1 to 1048576",
    key=b"\xff\0",
    value=b"any bytes at all \0\xff",
    headers=(("traceparent", b"00-1"), ("empty", None), ("traceparent", b"00-2")),
)


def test_a_dead_letter_is_read_back_as_it_was_written() -> None:
    assert DeadLetter.from_wire(LETTER.key, LETTER.value, LETTER.wire_headers()) == LETTER


def test_the_headers_are_those_of_kip_1034_behind_the_records_own() -> None:
    assert LETTER.wire_headers() == [
        ("traceparent", b"00-1"),
        ("empty", None),
        ("traceparent", b"00-2"),
        ("__streams.errors.topic", b"audio.frames"),
        ("__streams.errors.partition", b"3"),
        ("__streams.errors.offset", b"1099511627776"),
        ("__streams.errors.exception", b"InvalidFrameError"),
        ("__streams.errors.message", b"samples is '0'; accepted: 1 to 1048576"),
    ]


def test_headers_of_an_earlier_death_are_replaced() -> None:
    stray = DeadLetter("t", 0, 0, "E", "m", None, None, (("__streams.errors.topic", b"other"), ("a", b"b")))
    assert ("__streams.errors.topic", b"other") not in stray.wire_headers()
    again = DeadLetter.from_wire(None, None, stray.wire_headers())
    assert (again.topic, again.headers) == ("t", (("a", b"b"),))


def test_a_record_without_key_value_or_message_may_be_dead_too() -> None:
    nothing = DeadLetter("t", 0, 0, "E", "", None, None)
    assert DeadLetter.from_wire(None, None, nothing.wire_headers()) == nothing


def test_a_message_of_any_length_is_cut() -> None:
    letter = DeadLetter("t", 0, 0, "E", "ä" * 10_000, None, None)
    assert DeadLetter.from_wire(None, None, letter.wire_headers()).message == "ä" * 1000


@pytest.mark.parametrize("lost", ["topic", "partition", "offset", "exception"])
def test_a_record_without_one_of_our_headers_is_no_dead_letter(lost: str) -> None:
    headers = [(name, value) for name, value in LETTER.wire_headers() if name != f"__streams.errors.{lost}"]
    with pytest.raises(MalformedRecordError, match=f"not a dead letter: header .*{lost}"):
        DeadLetter.from_wire(None, None, headers)


@pytest.mark.parametrize(
    ("name", "value"), [("partition", b"three"), ("offset", b""), ("topic", b"\xff"), ("message", b"\xff")]
)
def test_a_header_that_makes_no_sense_is_refused(name: str, value: bytes) -> None:
    headers = [(n, v) for n, v in LETTER.wire_headers() if n != f"__streams.errors.{name}"]
    with pytest.raises(MalformedRecordError, match="not a dead letter"):
        DeadLetter.from_wire(None, None, [*headers, (f"__streams.errors.{name}", value)])


@pytest.mark.parametrize("headers", [None, [], [("a", b"b")]])
def test_a_record_without_headers_is_no_dead_letter(headers: list[tuple[str, bytes | None]] | None) -> None:
    with pytest.raises(MalformedRecordError, match="not a dead letter"):
        DeadLetter.from_wire(None, b"value", headers)
