"""Windows and their scores -> Parquet: one row a window, one column a label, for DuckDB and pandas.

Rows come in no particular order: sort them by sensor, epoch and window. Where several models scored, a label
that a window's model does not have is null.
"""

import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from processors.run import Slot
from schemas.errors import ConfigurationError, StopError

if TYPE_CHECKING:
    import pyarrow

ROWS = 10_000
"""Rows that are written at once."""


class ScoreWriter:
    """Writes scores to a file, a bounded number of rows in memory; `labels` are those of all models.

    Raises:
        ConfigurationError: the file cannot be written, or pyarrow is not installed.

    """

    def __init__(self, path: Path, labels: Sequence[str]) -> None:
        self._known, self._rows = frozenset(labels), list[dict[str, Any]]()
        self._schema = _schema(labels)
        self._writer = _open(path, self._schema)

    def __enter__(self) -> "ScoreWriter":
        return self

    def __exit__(self, *_: object) -> None:
        self._write()
        self._writer.close()

    def add(self, slot: Slot) -> None:
        """Take a window whose outcome is known."""
        window, place, spec = slot.window, slot.run.place, slot.run.decision.spec
        if not self._known.issuperset(spec.labels):
            raise StopError(f"{place.sensor}: no column for the scores of {spec.reference}")
        row = {
            "sensor": place.sensor,
            "epoch": place.epoch,
            "window": window.index,
            "start_sample": window.start_sample,
            "end_sample": window.end_sample,
            "sample_rate_hz": place.rate_hz,
            "start": window.start_us,
            "end": window.end_us,
            "outcome": str(slot.outcome),
            "model": spec.reference,
            "missing_samples": window.missing,
            "topic": place.topic,
            "partition": place.partition,
            "first_offset": window.first_offset,
            "last_offset": window.last_offset,
        }
        scores = [None] * len(spec.labels) if slot.scores is None else slot.scores.tolist()
        self._rows.append(row | {_column(label): s for label, s in zip(spec.labels, scores, strict=True)})
        if len(self._rows) >= ROWS:
            self._write()

    def _write(self) -> None:
        import pyarrow

        self._writer.write_table(pyarrow.Table.from_pylist(self._rows, self._schema))
        self._rows.clear()


@contextmanager
def score_parts(target: Path | None, count: int) -> Iterator[list[Path | None]]:
    """Give files to write scores to, one a process; all of them become the target when all went well."""
    if target is None:
        yield [None] * count
        return
    with tempfile.TemporaryDirectory(prefix=".scores-", dir=target.absolute().parent) as folder:
        parts = [Path(folder, f"{number}.parquet") for number in range(count)]
        yield [*parts]
        _join(parts, Path(folder, "all.parquet")).replace(target)


def _join(parts: Sequence[Path], target: Path) -> Path:
    from pyarrow import parquet

    files = [parquet.ParquetFile(part) for part in parts]
    with parquet.ParquetWriter(target, files[0].schema_arrow, compression="zstd") as writer:
        for file in files:
            for rows in file.iter_batches(ROWS):
                writer.write_batch(rows)
    return target


def _column(label: str) -> str:
    return f"score_{label}"


def _schema(labels: Sequence[str]) -> "pyarrow.Schema":
    try:
        import pyarrow as pa
    except ImportError as exc:
        accepted = "an environment with pyarrow, as `make demo` makes it: the extra `analyst`"
        raise ConfigurationError("--scores", "pyarrow is missing", accepted) from exc

    time, text = pa.timestamp("us", tz="UTC"), pa.dictionary(pa.int32(), pa.string())
    fixed: list[tuple[str, Any]] = [("sensor", text), ("epoch", text), ("window", pa.int64())]
    fixed += [(name, pa.int64()) for name in ("start_sample", "end_sample")]
    fixed += [("sample_rate_hz", pa.int32()), ("start", time), ("end", time), ("outcome", text)]
    fixed += [("model", text)]
    fixed += [("missing_samples", pa.int64()), ("topic", text), ("partition", pa.int32())]
    fixed += [("first_offset", pa.int64()), ("last_offset", pa.int64())]
    return pa.schema([*fixed, *((_column(label), pa.float32()) for label in labels)])


def _open(path: Path, schema: "pyarrow.Schema") -> Any:
    from pyarrow import parquet

    try:
        return parquet.ParquetWriter(path, schema, compression="zstd")
    except OSError as exc:
        raise ConfigurationError("--scores", str(path), f"a file that can be written: {exc}") from exc
