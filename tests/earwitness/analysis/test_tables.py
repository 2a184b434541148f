"""Labels and tables of detections, as other programs want them."""

import csv
import json
import time
from io import BytesIO, StringIO
from pathlib import Path

import duckdb
import pyarrow.parquet
import pytest

from earwitness.analysis.tables import (
    COLUMNS,
    MAX_LINE_BYTES,
    OUR_COLUMNS,
    RAVEN_COLUMNS,
    detection_of,
    detections_in,
    labels_in,
    row,
    write_audacity,
    write_csv,
    write_jsonl,
    write_parquet,
    write_raven,
)
from earwitness.analysis.wanted import utc_text
from earwitness.watch import Published
from schemas.detection import Detection
from schemas.errors import ConfigurationError
from schemas.identity import new_epoch
from tests.earwitness.analysis.said import EPOCH, RATE_HZ, detected

SIREN, BARK = detected(1, 3.5), detected(2, 4, "dog\tbark\n", 0.5)
HERE = SIREN.epoch


def lines(write: object, *detections: Detection, first: int = 0, end: int = 10 * RATE_HZ) -> list[str]:
    out = StringIO()
    write(labels_in(detections, HERE, first, end), out)  # type: ignore[operator]  # one of two functions
    return out.getvalue().splitlines()


def test_audacity_gets_start_end_and_label_between_tabs() -> None:
    assert lines(write_audacity, BARK, SIREN) == [
        "1.000000\t3.500000\tsiren 0.9000",
        "2.000000\t4.000000\tdog bark 0.5000",
    ]


def test_labels_count_from_the_first_sample_of_the_sound_and_end_with_it() -> None:
    #        sound   ├───────┤
    #          1     2       3     3.5
    # siren    ├──────────────────┤
    assert lines(write_audacity, SIREN, first=2 * RATE_HZ, end=3 * RATE_HZ) == [
        "0.000000\t1.000000\tsiren 0.9000"
    ]


def test_labels_elsewhere_and_of_other_epochs_are_not_in_the_sound() -> None:
    other = detected(1, 3, epoch=new_epoch(EPOCH))
    assert not labels_in([SIREN, other], HERE, 4 * RATE_HZ, 5 * RATE_HZ)
    assert [label.detection for label in labels_in([SIREN, other], HERE, 0, 5 * RATE_HZ)] == [SIREN]


def test_a_raven_table_has_its_seven_columns_first_and_one_line_a_selection() -> None:
    rows = list(csv.reader(lines(write_raven, SIREN, BARK), delimiter="\t", quoting=csv.QUOTE_NONE))
    assert tuple(rows[0]) == (*RAVEN_COLUMNS, *OUR_COLUMNS)
    assert rows[0][:7] == [
        "Selection",
        "View",
        "Channel",
        "Begin Time (s)",
        "End Time (s)",
        "Low Freq (Hz)",
        "High Freq (Hz)",
    ]
    assert rows[1][:7] == ["1", "Spectrogram 1", "1", "1.000000000", "3.500000000", "0.000", "8000.000"]
    assert rows[2][0] == "2"
    assert dict(zip(rows[0], rows[2], strict=True))["Label"] == "dog bark"
    assert rows[1][-1] == SIREN.id


def test_times_in_labels_are_exact_to_the_sample_at_any_rate() -> None:
    for sample in (1, 44_099, 44_101, 123_456_789):
        found = Detection(**{n: getattr(SIREN, n) for n in Detection.__slots__} | {"sample_rate_hz": 44_100})
        begin = Detection(
            **{n: getattr(found, n) for n in Detection.__slots__}
            | {"start_sample": sample, "end_sample": sample + 1}
        )
        (line,) = lines(write_audacity, begin, end=sample + 2)
        assert round(float(line.split("\t")[0]) * 44_100) == sample


def test_parquet_has_types_that_duckdb_understands(tmp_path: Path) -> None:
    file = tmp_path / "heard.parquet"
    write_parquet([SIREN, detected(5, 6, "silence", None)], file)
    types = {
        name: kind
        for name, kind, *_ in duckdb.execute("describe from read_parquet(?)", [str(file)]).fetchall()
    }
    assert tuple(types) == COLUMNS
    assert types["start_utc"] == types["end_utc"] == "TIMESTAMP WITH TIME ZONE"
    assert (types["label"], types["start_us"], types["continued"]) == ("VARCHAR", "BIGINT", "BOOLEAN")
    told = duckdb.execute(
        "select label, peak_score, epoch_us(start_utc) = start_us from read_parquet(?)", [str(file)]
    ).fetchall()
    assert told == [("siren", 0.9, True), ("silence", None, True)]
    assert str(pyarrow.parquet.read_schema(file).field("start_utc").type) == "timestamp[us, tz=UTC]"


def test_a_table_without_rows_still_has_its_columns(tmp_path: Path) -> None:
    write_parquet([], tmp_path / "none.parquet")
    assert pyarrow.parquet.read_table(tmp_path / "none.parquet").column_names == list(COLUMNS)
    out = StringIO()
    write_csv([], out)
    assert out.getvalue().strip().split(",") == list(COLUMNS)


def test_csv_keeps_what_would_break_a_line() -> None:
    out = StringIO()
    write_csv([BARK], out)
    (told,) = csv.DictReader(StringIO(out.getvalue()))
    assert (told["label"], told["start_utc"]) == ("dog\tbark\n", utc_text(BARK.start_us))


def test_what_is_written_as_json_and_what_watch_prints_can_be_read_back() -> None:
    out = StringIO()
    write_jsonl([BARK], out)
    assert detection_of(out.getvalue(), 1) == BARK
    assert detection_of(Published(SIREN, 1, 2, None, None).as_json(), 1) == SIREN
    assert json.loads(out.getvalue()) == row(BARK)


@pytest.mark.parametrize("line", ["", "[]", "{}", '{"id": 1}', "no", "[" * 100_000])
def test_what_is_no_detection_is_refused_with_its_line(line: str) -> None:
    with pytest.raises(ConfigurationError, match="line 7 of standard input"):
        detection_of(line, 7)
    said = {**row(SIREN), "first_offset": "seven"}
    with pytest.raises(ConfigurationError, match="line 7"):
        detection_of(json.dumps(said), 7)


def test_lines_that_are_not_utf_8_or_have_no_end_are_refused_with_their_number() -> None:
    line = json.dumps(row(SIREN)).encode()
    assert list(detections_in(BytesIO(line + b"\n\n" + line), "a.jsonl")) == [SIREN, SIREN]
    latin = json.dumps(row(SIREN)).replace("siren", "Sirène").encode("latin-1")
    for wrong in (latin, b"\xff\xfe" + line, line.replace(b"{", b"{" + b" " * MAX_LINE_BYTES)):
        with pytest.raises(ConfigurationError, match=r"line 2 of a\.jsonl"):
            list(detections_in(BytesIO(line + b"\n" + wrong), "a.jsonl"))


@pytest.mark.parametrize("said", [{"sample_rate_hz": 0}, {"start_us": 10**30}, {"start_sample": 10**30}])
def test_what_no_table_can_hold_is_no_detection(said: dict[str, int]) -> None:
    with pytest.raises(ConfigurationError, match="line 1"):
        detection_of(json.dumps({**row(SIREN), **said}), 1)


def test_a_time_beyond_the_calendar_is_kept_and_shown_at_its_edge() -> None:
    found = detection_of(json.dumps({**row(SIREN), "start_us": 10**18}), 1)
    assert found.start_us == 10**18
    assert str(row(found)["start_utc"]).startswith("9999-12-31T23:59:59")


def test_ten_thousand_lines_are_read_in_less_than_a_few_seconds() -> None:
    lines = BytesIO((json.dumps(row(SIREN)) + "\n").encode() * 10_000)
    begun_s = time.monotonic()
    assert sum(1 for _ in detections_in(lines, "a.jsonl")) == 10_000
    assert time.monotonic() - begun_s < 5
