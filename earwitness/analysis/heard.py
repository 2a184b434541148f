"""Detections in a file or a topic <-> detections as a consumer holds them: one an id, by sensor and time."""

from collections.abc import Sequence
from pathlib import Path

from earwitness.analysis import tables
from earwitness.analysis.lookup import upserted
from earwitness.settings import Settings
from processors.log import LogReader, read_as
from schemas.detection import Detection, DetectionState
from schemas.errors import ConfigurationError

WRITTEN = (".jsonl", ".csv", ".parquet")
READ = (".jsonl", ".parquet")


def check_target(option: str, file: Path, extensions: Sequence[str], *, force: bool) -> None:
    """Refuse a file that cannot be written, before there is anything to write.

    Raises:
        ConfigurationError: its extension is not one of these, it is there already, or its folder is not.

    """
    if file.suffix not in extensions:
        raise ConfigurationError(option, str(file), f"a file that ends in {', '.join(extensions)}")
    if file.exists() and not force:
        raise ConfigurationError(option, str(file), "a file that is not there yet, or --force")
    if not file.absolute().parent.is_dir():
        raise ConfigurationError(option, str(file), "a file in a folder that exists")


def write_detections(file: Path, detections: Sequence[Detection]) -> None:
    """Write detections in the format that the file's extension names."""
    if file.suffix == ".parquet":
        tables.write_parquet(detections, file)
        return
    write = tables.write_csv if file.suffix == ".csv" else tables.write_jsonl
    with file.open("w", encoding="utf-8", newline="") as out:
        write(detections, out)


def read_detections(name: str, settings: Settings) -> list[Detection]:
    """Read detections from a file, or from a topic where there is no such file.

    Raises:
        ConfigurationError: there is neither, or what is there are not detections.

    """
    file = Path(name)
    if file.suffix in READ and file.is_file():
        return upserted(_from_parquet(file) if file.suffix == ".parquet" else _from_lines(file))
    with LogReader(settings.kafka.librdkafka()) as reader:
        if name not in reader.topics():
            raise ConfigurationError("what to compare", name, f"a file ({', '.join(READ)}) or a topic")
        codec = settings.codec()
        said = (read_as(codec, Detection, record) for record in reader.read(name))
        return upserted(detection for detection in said if detection is not None)


def _from_lines(file: Path) -> list[Detection]:
    with file.open(encoding="utf-8") as lines:
        return [tables.detection_of(line, n, str(file)) for n, line in enumerate(lines, 1) if line.strip()]


def _from_parquet(file: Path) -> list[Detection]:
    from pyarrow import ArrowInvalid, parquet

    try:
        rows = parquet.read_table(file, columns=list(Detection.__slots__)).to_pylist()
        return [Detection(**{**row, "state": DetectionState(row["state"])}) for row in rows]
    except (ArrowInvalid, KeyError, TypeError, ValueError) as exc:
        raise ConfigurationError("what to compare", str(file), f"a table of detections: {exc}") from exc
