"""Verdict: what the judge found wrong, what it counted, and how long everything took; to JSON and back."""

import json
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from enum import StrEnum
from typing import Self

MAX_EXAMPLES = 10


class Kind(StrEnum):
    """What may be wrong."""

    LOST = "LOST"
    """An acknowledged record is not in the log, or nobody accounts for samples that are."""
    COVERAGE = "COVERAGE"
    """Samples have another outcome than the rules give them, or were never appended."""
    DIGEST = "DIGEST"
    """Outputs name more than one decision digest."""
    MISSING = "MISSING"
    """A detection that the rules give was not published."""
    EXTRA = "EXTRA"
    """A detection was published that the rules do not give."""
    ALTERED = "ALTERED"
    """A detection was published with another value than the rules give it."""
    ORDER = "ORDER"
    """The first word of a detection is not ACTIVE, or there is no ENDED."""
    COMMIT = "COMMIT"
    """Frames were passed that were still needed, or that were never appended."""
    DEAD_LETTER = "DEAD_LETTER"
    """Dead letters are not exactly the broken records and what the rules refuse."""
    STATE = "STATE"
    """The last word about a sensor is not that it is SILENT since its last frame."""


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that is wrong, how often, and a few places where it is."""

    kind: Kind
    text: str
    count: int
    examples: tuple[str, ...]

    @classmethod
    def of(cls, kind: Kind, text: str, places: Iterable[str]) -> "list[Finding]":
        """Return a finding, or none where there are no places."""
        found = list(places)
        return [cls(kind, text, len(found), tuple(found[:MAX_EXAMPLES]))] if found else []


@dataclass(frozen=True, slots=True)
class Verdict:
    """What was found; `latencies` has, for each detection and state that the disturbed group published, the
    append time of the record that decided it and that of its first appearance, milliseconds since 1970.
    """

    findings: tuple[Finding, ...]
    counts: Mapping[str, int]
    latencies: tuple[tuple[int, int], ...]

    @property
    def clean(self) -> bool:
        """Whether nothing is wrong."""
        return not self.findings

    @property
    def kinds(self) -> frozenset[Kind]:
        """What kinds of things are wrong."""
        return frozenset(finding.kind for finding in self.findings)

    def to_json(self) -> str:
        """Return it as JSON text."""
        return json.dumps(asdict(self), indent=2)

    @classmethod
    def from_json(cls, text: str) -> Self:
        """Read it back."""
        fields = json.loads(text)
        findings = (
            Finding(Kind(f["kind"]), f["text"], f["count"], tuple(f["examples"])) for f in fields["findings"]
        )
        latencies = ((since, until) for since, until in fields["latencies"])
        return cls(tuple(findings), fields["counts"], tuple(latencies))
