"""Detections in a file or a topic <-> detections as a consumer holds them: one an id, by sensor and time."""

from collections.abc import Sequence
from pathlib import Path

from earwitness.analysis import tables
from earwitness.analysis.lookup import upserted
from earwitness.analysis.target import part_of
from earwitness.analysis.wanted import Wanted
from earwitness.settings import Settings
from processors.log import LogReader, read_as
from schemas.detection import Detection, DetectionState
from schemas.errors import ConfigurationError

WRITTEN = (".jsonl", ".csv", ".parquet")
READ = (".jsonl", ".parquet")


def write_detections(file: Path, detections: Sequence[Detection]) -> None:
    """Write detections in the format that the file's extension names."""
    with part_of(file) as part:
        if file.suffix.lower() == ".parquet":
            tables.write_parquet(detections, part)
            return
        write = tables.write_csv if file.suffix.lower() == ".csv" else tables.write_jsonl
        with part.open("w", encoding="utf-8", newline="") as out:
            write(detections, out)


def read_side(
    option: str, name: str, settings: Settings, wanted: Wanted, decision: str | None
) -> list[Detection]:
    """Read one side of a comparison: what one decision said of the sound that is meant.

    Raises:
        ConfigurationError: there is no such side, or several decisions have said something and none is named.

    """
    # Narrowed down by time only now: what began is upserted by what ended, which may be earlier.
    found = [d for d in read_detections(name, settings, wanted) if wanted.overlaps(d.start_us, d.end_us)]
    by = {d.decision_digest: f"{d.model_name}/{d.model_version}" for d in found}
    named = sorted(digest for digest in by if digest.startswith(decision or ""))
    if len(by) and (len(named) > 1 or not named):
        known = ", ".join(f"{digest[:12]} ({by[digest]})" for digest in sorted(by))
        raise ConfigurationError(option, decision, f"one of the decisions that {name} holds: {known}")
    return [d for d in found if d.decision_digest in named]


def read_detections(name: str, settings: Settings, wanted: Wanted) -> list[Detection]:
    """Read what was detected at the sensors that are meant, at any time: from a file, else from a topic.

    Raises:
        ConfigurationError: there is neither, or what is there are not detections.

    """
    file = Path(name)
    if file.suffix in READ:
        if not file.is_file():
            raise ConfigurationError("what to compare", name, "a file that exists, or a topic")
        held = _from_parquet(file) if file.suffix == ".parquet" else _from_lines(file)
        return upserted(d for d in held if wanted.names(d.sensor))
    with LogReader(settings.kafka.librdkafka()) as reader:
        if name not in reader.topics():
            raise ConfigurationError("what to compare", name, f"a file ({', '.join(READ)}) or a topic")
        codec = settings.codec()
        said = (read_as(codec, Detection, record) for record in reader.read(name))
        return upserted(d for d in said if d is not None and wanted.names(d.sensor))


def _from_lines(file: Path) -> list[Detection]:
    with file.open("rb") as lines:
        return list(tables.detections_in(lines, str(file)))


def _from_parquet(file: Path) -> list[Detection]:
    try:
        from pyarrow import ArrowInvalid, parquet
    except ImportError as exc:
        accepted = "a .jsonl file, or an environment with pyarrow: the extra `analyst`"
        raise ConfigurationError("what to compare", str(file), accepted) from exc

    try:
        rows = parquet.read_table(file, columns=list(Detection.__slots__)).to_pylist()
        return [Detection(**{**row, "state": DetectionState(row["state"])}) for row in rows]
    except (ArrowInvalid, KeyError, TypeError, ValueError) as exc:
        raise ConfigurationError("what to compare", str(file), f"a table of detections: {exc}") from exc
