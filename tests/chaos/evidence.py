"""Evidence: what a round leaves behind, as files that the judge reads; nothing of ours is imported here.

    evidence.json    where the round lies in the topics, and by which rules it is to be judged (`Round`)
    stored.jsonl     a frame a line, that the broker acknowledged to its producer (`Stored`)
    broken.jsonl     a record a line, that is no frame and was acknowledged all the same (`Broken`)
    commits.jsonl    a line each time somebody asked what the group had committed (`Commit`)

The maps by topic have the keys of `ROLES`. All earlier rounds are closed, and their sensors never send again.
"""

import json
from base64 import b64decode, b64encode
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Self

ROLES = ("frames", "detections", "coverage", "sensors", "dead_letters")
ROUND_FILE, STORED_FILE, BROKEN_FILE, COMMITS_FILE = (
    "evidence.json",
    "stored.jsonl",
    "broken.jsonl",
    "commits.jsonl",
)

Offsets = Mapping[int, int]
"""By partition."""


@dataclass(frozen=True, slots=True)
class Rules:
    """What decides besides the model's directory; None is what the model's spec says."""

    hop_s: float | None = None
    idle_s: float = 5.0
    margin_s: float = 1.0
    max_gap_s: float = 10.0
    max_missing_s: float = 0.1
    segment_windows: int = 20
    m: int | None = None
    n: int | None = None
    thresholds: Mapping[str, float] | None = None
    """By label; labels that are missing here keep the model's."""


@dataclass(frozen=True, slots=True)
class Round:
    """Where a round lies in the topics.

    `begin`: where it begins in each topic. `frames_end`: the end of the frames topic when everything was
    closed. `fresh`: the ends of the outputs before a fresh group read the same frames again from `begin` on;
    what follows is its word, and what lies before is the disturbed group's. A topic that is not in `fresh` is
    the disturbed group's alone; `dead_letters` may be in it as well.
    """

    servers: str
    group: str
    tenant: str
    topics: Mapping[str, str]
    begin: Mapping[str, Offsets]
    frames_end: Offsets
    model: str
    """The model's directory."""
    fresh: Mapping[str, Offsets] = field(default_factory=dict)
    rules: Rules = field(default_factory=Rules)


@dataclass(frozen=True, slots=True)
class Stored:
    """A frame that the broker acknowledged; `epoch` in hex."""

    sensor: str
    epoch: str
    first_sample: int
    samples: int
    partition: int
    offset: int


@dataclass(frozen=True, slots=True)
class Broken:
    """A record that is no frame, and was acknowledged."""

    partition: int
    offset: int
    key: bytes | None
    value: bytes | None


@dataclass(frozen=True, slots=True)
class Commit:
    """What the disturbed group had committed: `at_ms` is when the answer had come, since 1970."""

    at_ms: int
    partition: int
    offset: int


@dataclass(frozen=True, slots=True)
class Evidence:
    """All that a round leaves."""

    round: Round
    stored: tuple[Stored, ...] = ()
    broken: tuple[Broken, ...] = ()
    commits: tuple[Commit, ...] = ()

    def write(self, directory: Path) -> None:
        """Write the files of a round."""
        directory.mkdir(parents=True, exist_ok=True)
        (directory / ROUND_FILE).write_text(json.dumps(asdict(self.round), indent=2), "utf-8")
        _write_lines(directory / STORED_FILE, (asdict(frame) for frame in self.stored))
        _write_lines(directory / BROKEN_FILE, (_as_text(broken) for broken in self.broken))
        _write_lines(directory / COMMITS_FILE, (asdict(commit) for commit in self.commits))

    @classmethod
    def read(cls, directory: Path) -> Self:
        """Read the files of a round."""
        return cls(
            round=_round(json.loads((directory / ROUND_FILE).read_text("utf-8"))),
            stored=tuple(Stored(**line) for line in _lines(directory / STORED_FILE)),
            broken=tuple(_from_text(line) for line in _lines(directory / BROKEN_FILE)),
            commits=tuple(Commit(**line) for line in _lines(directory / COMMITS_FILE)),
        )


def _round(fields: dict[str, Any]) -> Round:
    by_topic = {name: {role: _offsets(o) for role, o in fields[name].items()} for name in ("begin", "fresh")}
    ends, rules = _offsets(fields["frames_end"]), Rules(**fields["rules"])
    return Round(**{**fields, **by_topic, "frames_end": ends, "rules": rules})


def _offsets(fields: Mapping[str, int]) -> Offsets:
    """Return what JSON, whose keys are text, made of offsets."""
    return {int(partition): offset for partition, offset in fields.items()}


def _write_lines(path: Path, lines: Iterable[Mapping[str, object]]) -> None:
    path.write_text("".join(json.dumps(line) + "\n" for line in lines), "utf-8")


def _lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text("utf-8").splitlines()]


def _as_text(broken: Broken) -> dict[str, object]:
    texts = {name: None if x is None else b64encode(x).decode() for name, x in _bytes_of(broken).items()}
    return {"partition": broken.partition, "offset": broken.offset, **texts}


def _from_text(line: dict[str, Any]) -> Broken:
    found = {name: None if line[name] is None else b64decode(line[name]) for name in ("key", "value")}
    return Broken(line["partition"], line["offset"], found["key"], found["value"])


def _bytes_of(broken: Broken) -> dict[str, bytes | None]:
    return {"key": broken.key, "value": broken.value}
