"""Records in JSON: the same values as in Avro, and of what else comes nothing but dead letters."""

import json
import math
import random
from collections.abc import Callable
from dataclasses import asdict, fields, replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas.codec import IN_JSON, Codec, Format, Record, released_schemas
from schemas.coverage import Coverage, Level, Outcome
from schemas.detection import Detection, DetectionState
from schemas.errors import DeadLetterError, MalformedRecordError
from schemas.frame import AudioFrame
from schemas.json_text import MAX_JSON_BYTES, from_json
from schemas.sensor import Presence, SensorState
from tests.schemas.records import COVERAGE, DETECTION, FRAME, RECORDS, SENSOR

AVRO, JSON = Codec(), Codec(output=Format.JSON)
SERVED = [record for record in RECORDS if record.NAME in IN_JSON]
GOOD: dict[str, Any] = json.loads(JSON.encode(DETECTION))

texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
ints, longs = st.integers(-(1 << 31), (1 << 31) - 1), st.integers(-(1 << 63), (1 << 63) - 1)
doubles = st.floats(allow_nan=False, allow_infinity=False)
levels = st.builds(Level, st.none() | doubles, st.none() | doubles, doubles, doubles, doubles)


def records(kind: type[Record], **more: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    """Draw records with any values that their schema has room for."""
    by_type = {"str": texts, "float": doubles, "bool": st.booleans()}
    by_name = {**dict.fromkeys(("partition", "sample_rate_hz", "windows", "channels"), ints), **more}
    drawn: dict[str, st.SearchStrategy[Any]] = {}
    for field in fields(kind):  # type: ignore[arg-type]
        name, *nullable = str(getattr(field.type, "__name__", field.type)).split(" | ")
        plain = by_name.get(field.name, by_type.get(name, longs))
        drawn[field.name] = st.none() | plain if nullable else plain
    return st.builds(kind, **drawn)


ANY: st.SearchStrategy[Record] = st.one_of(
    records(Detection, state=st.sampled_from(DetectionState), sample_rate_hz=st.integers(1, (1 << 31) - 1)),
    records(Coverage, outcome=st.sampled_from(Outcome), level=levels),
    records(SensorState, state=st.sampled_from(Presence), level=levels),
)


@given(ANY)
def test_what_was_encoded_is_decoded_alike_in_both_forms(record: Record) -> None:
    in_json = JSON.encode(record)
    assert in_json[:1] == b"{"
    assert b"\n" not in in_json
    assert AVRO.decode(type(record), in_json) == record == JSON.decode(type(record), AVRO.encode(record))
    assert repr(JSON.decode(type(record), in_json)) == repr(AVRO.decode(type(record), AVRO.encode(record)))


@pytest.mark.parametrize("record", SERVED, ids=lambda record: record.NAME)
def test_a_record_in_json_has_the_fields_of_the_record(record: Detection) -> None:
    assert json.loads(JSON.encode(record)) == asdict(record)
    assert list(json.loads(JSON.encode(record))) == list(record.__slots__)


def test_a_frame_is_avro_whatever_the_others_are() -> None:
    assert JSON.encode(FRAME) == AVRO.encode(FRAME)


def test_a_frame_in_json_is_a_dead_letter() -> None:
    with pytest.raises(MalformedRecordError, match=r"it begins with 7b.*; accepted: c301"):
        JSON.decode(AudioFrame, b'{"epoch": "' + b"0" * 32 + b'"}')


def test_text_is_utf_8_as_it_is() -> None:
    assert '"label":"Möwe 🐦"'.encode() in JSON.encode(DETECTION)


def test_a_number_that_is_none_is_not_written() -> None:
    with pytest.raises(ValueError, match="Out of range float values"):
        JSON.encode(replace(DETECTION, peak_score=math.nan))


def test_fields_of_a_later_release_are_ignored() -> None:
    later = {"-type": "later", **GOOD, "later": {"deep": [1, None]}}
    assert JSON.decode(Detection, json.dumps(later).encode()) == DETECTION


def test_white_space_and_the_order_of_fields_mean_nothing() -> None:
    turned = dict(reversed(GOOD.items()))
    assert JSON.decode(Detection, json.dumps(turned, indent=2).encode() + b"\r\n") == DETECTION


def test_a_whole_number_is_a_double_where_one_is_due() -> None:
    threshold = JSON.decode(Detection, changed(threshold=1)).threshold
    assert isinstance(threshold, float)
    assert threshold == 1.0


def changed(**values: object) -> bytes:
    """Return a good detection with some other values."""
    return json.dumps({**GOOD, **values}).encode()


def without(name: str) -> bytes:
    """Return a detection that lacks a field."""
    return json.dumps({key: value for key, value in GOOD.items() if key != name}).encode()


def raw(name: str, text: str) -> bytes:
    """Return a detection in which one value is some text as it is."""
    return changed(**{name: "HERE"}).replace(b'"HERE"', text.encode())


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        (b"{", "not JSON: Expecting property name"),
        (b"{}", "not the JSON of detection: id is missing"),
        (b"{}[]", "not JSON: Extra data"),
        (b'{"id": "\xff"}', "not JSON: 'utf-8' codec can't decode"),
        (changed() + changed(), "not JSON: Extra data"),
        (changed()[:-1], "not JSON"),
        (without("id"), "id is missing"),
        (without("peak_score"), "peak_score is missing"),
        (changed(id=None), "id is None; accepted: string"),
        (changed(id=7), "id is 7; accepted: string"),
        (changed(state="LOUD"), "state is 'LOUD'; accepted: ACTIVE, ENDED"),
        (changed(state=["ACTIVE"]), "state is ['ACTIVE']"),
        (changed(windows=True), "windows is True; accepted: int"),
        (changed(windows=1.0), "windows is 1.0; accepted: int"),
        (changed(windows="1"), "windows is '1'"),
        (changed(windows=1 << 31), "windows is 2147483648; accepted: int"),
        (changed(end_sample=1 << 63), "end_sample is 9223372036854775808; accepted: long"),
        (changed(continued=1), "continued is 1; accepted: boolean"),
        (changed(peak_score="1"), "peak_score is '1'; accepted: null or double"),
        (changed(threshold=10**400), "not the JSON of detection: int too large to convert to float"),
        (changed(threshold="0.5"), "threshold is '0.5'; accepted: double"),
        (changed(label="\ud800"), "not the JSON of detection: 'utf-8' codec can't encode"),
        (raw("threshold", "NaN"), "NaN is not a number of JSON's"),
        (raw("threshold", "-Infinity"), "-Infinity is not a number of JSON's"),
        (raw("threshold", "1e999"), "1e999 is out of range"),
        (raw("windows", "9" * 5000), "not JSON: Exceeds the limit"),
        (b'{"id": "a", "id": "b"}', "'id' is there more than once"),
        (changed()[:-1] + b', "later": {"a": 1, "a": 2}}', "'a' is there more than once"),
        (b'{"a":' * 100_000, "not JSON: maximum recursion depth"),
        (b"{" + b" " * MAX_JSON_BYTES + b"}", f"JSON of {MAX_JSON_BYTES + 2} bytes; accepted: at most"),
    ],
)
def test_anything_else_is_a_dead_letter_with_its_reason(value: bytes, reason: str) -> None:
    with pytest.raises(MalformedRecordError) as refused:
        AVRO.decode(Detection, value)
    assert reason in str(refused.value)
    assert len(str(refused.value)) < 200


def test_json_that_is_no_object_is_not_a_record() -> None:
    schema = released_schemas()["detection"][-1]
    with pytest.raises(MalformedRecordError, match="JSON of type list; accepted: an object"):
        from_json("detection", schema, b"[1]")


@pytest.mark.parametrize("level", [{}, [], "loud", {**asdict(SENSOR)["level"], "dc_fraction": None}])
def test_a_level_that_is_none_is_a_dead_letter(level: object) -> None:
    value = json.dumps({**json.loads(JSON.encode(COVERAGE)), "level": level}).encode()
    with pytest.raises(MalformedRecordError, match=r"level is .*; accepted: null or earwitness\.Level"):
        AVRO.decode(Coverage, value)


def test_one_kind_in_json_is_not_taken_for_another() -> None:
    with pytest.raises(MalformedRecordError, match="not the JSON of coverage"):
        AVRO.decode(Coverage, JSON.encode(DETECTION))


@pytest.mark.parametrize("record", SERVED, ids=lambda record: record.NAME)
def test_mutated_json_is_a_good_record_or_a_dead_letter_and_nothing_else(record: Record) -> None:
    r = random.Random(record.NAME)  # noqa: S311 - chance that repeats itself
    refused = 0
    for mutant in mutants(JSON.encode(record), r.randrange, 2_000):
        try:
            assert isinstance(AVRO.decode(type(record), mutant), type(record))
        except DeadLetterError:
            refused += 1
    assert 100 < refused < 2_000  # both ways were walked


def mutants(good: bytes, below: Callable[[int], int], count: int) -> list[bytes]:
    """Return copies with one to three bytes replaced by others that JSON is made of."""
    alphabet = b'{}[]":,0123456789.eE-+truefalsn\\ \xc3\x00'
    made = []
    for _ in range(count):
        mutant = bytearray(good)
        for _ in range(1 + below(3)):
            mutant[below(len(mutant))] = alphabet[below(len(alphabet))]
        made.append(bytes(mutant))
    return made
