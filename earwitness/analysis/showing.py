"""What analysts are shown: tables for people, lines of JSON for programs."""

import json
from collections import Counter
from collections.abc import Iterator
from dataclasses import asdict

from earwitness.analysis.diff import Compared, Difference, Kind, Sound
from earwitness.analysis.wanted import utc_text

Rows = tuple[tuple[str, ...], list[list[str]]]
"""The names of the columns, and the lines below them."""


def diff_lines(compared: Compared) -> Iterator[str]:
    """Return each difference as a JSON object, then each label's tally, then how many are identical."""
    for difference in compared.differences:
        yield json.dumps(
            {"difference": difference.kind, **_sides(difference), "fields": difference.fields},
            ensure_ascii=False,
        )
    for label, tally in compared.by_label.items():
        yield json.dumps({"label": label, **asdict(tally)}, ensure_ascii=False)
    yield json.dumps({"identical": compared.identical})


def diff_rows(compared: Compared, examples: int) -> Iterator[Rows]:
    """Return a table of all labels, and one of the first examples of every kind and label."""
    columns = ("label", "alike", "other edges", "other values", "only A", "only B", "A, s", "B, s", "both, s")
    yield (
        columns,
        [
            [label, *(str(n) for n in (t.alike, t.edges, t.fields, t.only_a, t.only_b)), *_seconds(t)]
            for label, t in compared.by_label.items()
        ],
    )
    shown: Counter[tuple[Kind, str]] = Counter()
    rows = []
    for difference in compared.differences:
        key = difference.kind, difference.sound.label
        shown[key] += 1
        if shown[key] <= examples:
            rows.append(_example(difference))
    if rows:
        yield ("", "label", "sensor", "from", "to", "score A", "score B", "id"), rows


def _seconds(tally: object) -> list[str]:
    return [f"{getattr(tally, name):.1f}" for name in ("seconds_a", "seconds_b", "seconds_both")]


def _sides(difference: Difference) -> dict[str, object]:
    return {side: sound and asdict(sound) for side, sound in (("a", difference.a), ("b", difference.b))}


def _example(difference: Difference) -> list[str]:
    sound = difference.sound
    kind = difference.kind if not difference.fields else f"{difference.kind}: {', '.join(difference.fields)}"
    times = [utc_text(sound.start_us), utc_text(sound.end_us)]
    return [kind, sound.label, sound.sensor, *times, _score(difference.a), _score(difference.b), sound.ids[0]]


def _score(sound: Sound | None) -> str:
    return "-" if sound is None or sound.peak_score is None else f"{sound.peak_score:.3f}"
