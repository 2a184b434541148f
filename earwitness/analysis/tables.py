"""Detections -> tables and label tracks that other programs open.

    rows of all that is known   .parquet .csv .jsonl    DuckDB, pandas, a spreadsheet
    labels beside a sound file  .selections.txt         Raven: seconds from the start of the sound
                                .txt                    Audacity: the same

Raven's selection tables are described in its user's manual (Raven Pro 1.4 User's Manual, chapter 6: text
separated by tabs, its first line names the columns) and in its knowledge base ("Save all selections in
current tables"); all seven of its own columns are given, ours follow as annotations. Audacity's label tracks
are described in its manual ("Importing and Exporting Labels": start, end and text, in seconds, between tabs).
"""

import csv
import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from itertools import count
from pathlib import Path
from typing import IO, Any

from pydantic import TypeAdapter

from earwitness.analysis.wanted import utc_text
from schemas.detection import Detection
from schemas.errors import ConfigurationError

RAVEN_COLUMNS = (
    "Selection",
    "View",
    "Channel",
    "Begin Time (s)",
    "End Time (s)",
    "Low Freq (Hz)",
    "High Freq (Hz)",
)
OUR_COLUMNS = ("Label", "Score", "Sensor", "Begin UTC", "End UTC", "Goes On", "Missing Samples", "Id")
MAX_LINE_BYTES, MAX_SHOWN_BYTES = 1 << 20, 200
MIN_INT64, MAX_INT64 = -(1 << 63), (1 << 63) - 1
RAVEN_VIEW = "Spectrogram 1"
COLUMNS = (*Detection.__slots__, "start_utc", "end_utc", "length_s")


@dataclass(frozen=True, slots=True)
class Label:
    """A detection inside a file of sound: samples `[begin, end)` from the file's start."""

    detection: Detection
    begin: int
    end: int

    @property
    def begin_s(self) -> float:
        """Seconds from the start of the file."""
        return self.begin / self.detection.sample_rate_hz

    @property
    def end_s(self) -> float:
        """Seconds from the start of the file."""
        return self.end / self.detection.sample_rate_hz


def labels_in(detections: Iterable[Detection], epoch: str, first_sample: int, end_sample: int) -> list[Label]:
    """Return the detections that overlap samples `[first_sample, end_sample)` of an epoch, cut to them."""
    inside = [
        Label(
            d, max(d.start_sample, first_sample) - first_sample, min(d.end_sample, end_sample) - first_sample
        )
        for d in detections
        if d.epoch == epoch and d.start_sample < end_sample and d.end_sample > first_sample
    ]
    return sorted(inside, key=lambda label: (label.begin, label.end, label.detection.label))


def write_raven(labels: Sequence[Label], out: IO[str]) -> None:
    """Write a Raven selection table; frequencies span all that the sound can hold: models do not say more."""
    rows = csv.writer(out, delimiter="\t", lineterminator="\n", quoting=csv.QUOTE_NONE, quotechar=None)
    rows.writerow((*RAVEN_COLUMNS, *OUR_COLUMNS))
    for number, label in enumerate(labels, 1):
        found = label.detection
        rows.writerow(
            (
                number,
                RAVEN_VIEW,
                1,
                f"{label.begin_s:.9f}",
                f"{label.end_s:.9f}",
                "0.000",
                f"{found.sample_rate_hz / 2:.3f}",
                _plain(found.label),
                _score(found),
                _plain(found.sensor),
                utc_text(found.start_us),
                utc_text(found.end_us),
                str(found.continued).lower(),
                found.missing_samples,
                found.id,
            )
        )


def write_audacity(labels: Sequence[Label], out: IO[str]) -> None:
    """Write an Audacity label track: start, end, label and score."""
    for label in labels:
        text = f"{_plain(label.detection.label)} {_score(label.detection)}".rstrip()
        out.write(f"{label.begin_s:.6f}\t{label.end_s:.6f}\t{text}\n")


def row(detection: Detection) -> dict[str, Any]:
    """Return all that a detection says, with its times in words as well."""
    said = {name: getattr(detection, name) for name in Detection.__slots__}
    length_s = (detection.end_sample - detection.start_sample) / detection.sample_rate_hz
    return {
        **said,
        "state": detection.state.value,
        "start_utc": utc_text(detection.start_us),
        "end_utc": utc_text(detection.end_us),
        "length_s": length_s,
    }


def detections_in(lines: IO[bytes], source: str) -> Iterator[Detection]:
    """Read detections back from lines of JSON, such as `earwitness watch --json` prints or we write.

    Raises:
        ConfigurationError: a line is not one, not UTF-8, or too long.

    """
    for number in count(1):
        line = lines.readline(MAX_LINE_BYTES + 1)
        if not line:
            return
        if line.strip():
            yield detection_of(line, number, source)


def detection_of(line: str | bytes, number: int, source: str = "standard input") -> Detection:
    """Read a detection back from line `number` of a source.

    Raises:
        ConfigurationError: it is not one.

    """
    try:
        if len(line) > MAX_LINE_BYTES:
            raise ValueError("too long")
        found = _detections().validate_json(line)
        _check(found)
    except (ValueError, ArithmeticError) as exc:
        shown = line if isinstance(line, str) else line[:MAX_SHOWN_BYTES].decode("utf-8", "replace")
        accepted = "a detection as one JSON object, in UTF-8"
        raise ConfigurationError(f"line {number} of {source}", shown.strip(), accepted) from exc
    return found


def _check(detection: Detection) -> None:
    """Refuse what no table can hold: a rate of 0 Hz, a time in the year 300,000, a sample of 30 digits."""
    for value in row(detection).values():
        if isinstance(value, int) and not MIN_INT64 <= value <= MAX_INT64:
            raise ValueError("too large")


@cache
def _detections() -> TypeAdapter[Detection]:
    """Return what reads detections; making it takes a thousand times as long as using it."""
    return TypeAdapter(Detection)


def write_csv(detections: Iterable[Detection], out: IO[str]) -> None:
    """Write one line a detection under a line of names (RFC 4180)."""
    rows = csv.DictWriter(out, COLUMNS)
    rows.writeheader()
    rows.writerows(map(row, detections))


def write_jsonl(detections: Iterable[Detection], out: IO[str]) -> None:
    """Write one JSON object a line."""
    for detection in detections:
        out.write(json.dumps(row(detection), ensure_ascii=False) + "\n")


def write_parquet(detections: Sequence[Detection], file: Path) -> None:
    """Write a Parquet file; `start_utc` and `end_utc` are timestamps in microseconds, UTC.

    Raises:
        ConfigurationError: pyarrow is not installed.

    """
    try:
        import pyarrow as pa
        import pyarrow.parquet
    except ImportError as exc:
        needed = "a format that needs no pyarrow, or pyarrow: pip install 'earwitness[analyst]'"
        raise ConfigurationError("--out", str(file), needed) from exc

    rows = [{**row(d), "start_utc": d.start_us, "end_utc": d.end_us} for d in detections]
    columns = {name: [one[name] for one in rows] for name in COLUMNS}
    schema = pa.schema([(name, _arrow_type(pa, name)) for name in COLUMNS])
    pyarrow.parquet.write_table(pa.table(columns, schema), file, compression="zstd")


def _arrow_type(pa: Any, name: str) -> Any:
    if name in (
        "sensor",
        "label",
        "state",
        "epoch",
        "model_name",
        "model_version",
        "decision_digest",
        "topic",
    ):
        return pa.dictionary(pa.int32(), pa.string())
    if name in ("start_utc", "end_utc"):
        return pa.timestamp("us", tz="UTC")
    if name in ("peak_score", "threshold", "length_s"):
        return pa.float64()
    if name in ("partition", "windows", "sample_rate_hz"):
        return pa.int32()
    return {"id": pa.string(), "continued": pa.bool_()}.get(name, pa.int64())


def _score(detection: Detection) -> str:
    return "" if detection.peak_score is None else f"{detection.peak_score:.4f}"


def _plain(text: str) -> str:
    """Return text that keeps a line one line and a column one column."""
    return " ".join(text.split())
