"""Lists that come with a model -> its labels, groups of them, and the columns of each that is reported.

    labels   .txt: one a line; .csv: a column display_name, label or name, and perhaps index
    groups   .csv: label,member; .toml: label = ["member", …]

A label is ours, a member is what the model calls one of its columns; a member may be in several groups.
"""

import csv
import difflib
import tomllib
from collections.abc import Iterable, Mapping, Sequence
from io import StringIO
from pathlib import Path

from schemas.errors import ConfigurationError
from schemas.model import MAX_WIDTH

MAX_LIST_BYTES = 4 << 20
NAME_COLUMNS = ("display_name", "label", "name")
Columns = dict[str, tuple[int, ...]]
Groups = dict[str, tuple[str, ...]]


def read_labels(path: Path) -> tuple[str, ...]:
    """Read what a model calls its columns, in their order.

    Raises:
        ConfigurationError: the file cannot be read, a name is empty or twice there, or an index is missing.

    """
    if path.suffix.lower() == ".csv":
        labels = _labels_of_rows(path)
    else:
        labels = [line.strip() for line in _text("--labels", path).splitlines()]
    if not 1 <= len(labels) <= MAX_WIDTH:
        raise ConfigurationError("--labels", f"{path}: {len(labels)} labels", f"1 to {MAX_WIDTH}")
    if odd := sorted({f"{name!r}" for name in labels if not name or labels.count(name) > 1})[:5]:
        raise ConfigurationError(
            "--labels", f"{path}: {', '.join(odd)}", "names that are not empty, each once"
        )
    return tuple(labels)


def read_groups(path: Path) -> Groups:
    """Read which members make up a label of ours.

    Raises:
        ConfigurationError: the file cannot be read, or is something else.

    """
    groups: dict[str, list[str]] = {}
    pairs = _pairs_of_toml(path) if path.suffix.lower() == ".toml" else _pairs_of_csv(path)
    for label, member in pairs:
        if not label or not member or member in groups.setdefault(label, []):
            raise ConfigurationError(
                "--groups", f"{path}: {label!r}, {member!r}", "both, and every pair once"
            )
        groups[label].append(member)
    if not groups:
        raise ConfigurationError("--groups", str(path), "at least one group")
    return {label: tuple(members) for label, members in groups.items()}


def read_thresholds(path: Path) -> dict[str, float]:
    """Read thresholds by label, from a file with the columns label and threshold.

    Raises:
        ConfigurationError: the file cannot be read, or a threshold is no number.

    """
    found: dict[str, float] = {}
    for row in _rows("--thresholds", path, ("label", "threshold")):
        try:
            value = float(row["threshold"])
        except ValueError:
            value = 0.0
        if not 0 < value <= 1 or row["label"] in found:
            said = f"{path}: {row['label']}, {row['threshold']}"
            raise ConfigurationError("--thresholds", said, "more than 0, at most 1, and every label once")
        found[row["label"]] = value
    return found


def reported(names: Sequence[str], groups: Groups | None, wanted: Sequence[str]) -> Columns:
    """Return the columns of every label that is reported, in the order in which they are reported.

    Without `wanted` these are all groups, or without groups all names. `wanted` may name both.

    Raises:
        ConfigurationError: a group's member or something wanted is not there.

    """
    column = {name: at for at, name in enumerate(names)}
    known: Columns = {name: (at,) for name, at in column.items()}
    for label, members in (groups or {}).items():
        _check_known(f"--groups: members of {label}", members, column)
        known[label] = tuple(column[member] for member in members)
    _check_known("--report", wanted, known)
    return {label: known[label] for label in wanted or groups or names}


def _check_known(key: str, asked: Iterable[str], known: Mapping[str, object]) -> None:
    for name in asked:
        if name not in known:
            near = difflib.get_close_matches(name, known, n=3, cutoff=0.4)
            accepted = f"what the model or a group is called{', perhaps ' if near else ''}"
            raise ConfigurationError(key, name, accepted + " or ".join(map(repr, near)))


def _labels_of_rows(path: Path) -> list[str]:
    rows = _rows("--labels", path, ())
    there = list(rows[0]) if rows else []
    named = next((name for name in NAME_COLUMNS if name in there), None)
    if named is None:
        accepted = f"a first line that names a column {', '.join(NAME_COLUMNS)}; and perhaps index"
        raise ConfigurationError("--labels", f"{path}, with columns {there}", accepted)
    if "index" not in there:
        return [row[named] for row in rows]
    by_index = {row["index"]: row[named] for row in rows}
    if set(by_index) != {str(at) for at in range(len(rows))}:
        raise ConfigurationError("--labels", f"{path}: index", f"0 to {len(rows) - 1}, each once")
    return [by_index[str(at)] for at in range(len(rows))]


def _pairs_of_csv(path: Path) -> list[tuple[str, str]]:
    return [(row["label"], row["member"]) for row in _rows("--groups", path, ("label", "member"))]


def _pairs_of_toml(path: Path) -> list[tuple[str, str]]:
    accepted = 'lines like siren = ["Siren", "Ambulance (siren)"]'
    try:
        groups = tomllib.loads(_text("--groups", path))
    except tomllib.TOMLDecodeError as exc:
        raise ConfigurationError("--groups", str(path), f"{accepted}: {exc}") from exc
    for label, members in groups.items():
        if not isinstance(members, list) or not all(isinstance(member, str) for member in members):
            raise ConfigurationError("--groups", f"{path}: {label}", accepted)
    return [(label, member) for label, members in groups.items() for member in members]


def _rows(key: str, path: Path, columns: Sequence[str]) -> list[dict[str, str]]:
    try:
        rows = list(csv.DictReader(StringIO(_text(key, path)), strict=True))
    except csv.Error as exc:
        raise ConfigurationError(key, str(path), f"a CSV file: {exc}") from exc
    whole = all(None not in row and None not in row.values() for row in rows)
    if not rows or not whole or not set(columns) <= set(rows[0]):
        named = f"with the columns {', '.join(columns)}" if columns else "with names of columns"
        raise ConfigurationError(
            key, str(path), f"a CSV file {named} in its first line, and every line complete"
        )
    return [{name: value.strip() for name, value in row.items()} for row in rows]


def _text(key: str, path: Path) -> str:
    try:
        with path.open("rb") as file:
            content = file.read(MAX_LIST_BYTES + 1)
    except OSError as exc:
        raise ConfigurationError(key, str(path), f"a file that can be read: {exc.strerror}") from exc
    if len(content) > MAX_LIST_BYTES:
        raise ConfigurationError(key, str(path), f"a file of at most {MAX_LIST_BYTES} bytes")
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as exc:
        raise ConfigurationError(key, str(path), f"text in UTF-8: {exc}") from exc
