"""Timeline -> lines of text as wide as the terminal; what it says does not depend on colour."""

from collections.abc import Callable, Sequence

from rich.text import Text

from earwitness.analysis.outcome import NOT_HEARD
from earwitness.analysis.timeline import Column, Timeline
from earwitness.analysis.wanted import utc_text, utc_time
from schemas.coverage import Outcome

QUIETEST_DBFS = -80.0
BARS = " ▁▂▃▄▅▆▇█"
SHADES = "░▒▓█"
MIN_COLUMNS, MARGIN = 20, 14
MAX_LABELS = 20
TICK_COLUMNS = 12
SIGNS = {
    Outcome.SCORED.value: ("━", "green", "scored"),
    Outcome.SHORT.value: ("╌", "yellow", "too short to be scored"),
    Outcome.GAP.value: ("G", "bold yellow", "too much missing"),
    Outcome.SHED.value: ("S", "bold magenta", "shed under overload"),
    Outcome.FAILED.value: ("F", "bold red", "the scorer failed"),
    Outcome.EXPIRED.value: ("E", "bold red", "removed by retention, never heard"),
    NOT_HEARD: ("·", "dim", "nothing said: not heard"),
}


def draw(timeline: Timeline, width: int) -> list[Text]:
    """Return the lines of a picture `width` characters wide."""
    columns = timeline.columns(max(MIN_COLUMNS, width - MARGIN))
    labels = timeline.labels
    lines = [
        _title(timeline, len(columns)),
        Text(),
        _row("peak", columns, lambda c: (_bar(c.peak_dbfs), "cyan")),
        _row("RMS", columns, lambda c: (_bar(c.rms_dbfs), "blue")),
        _row("heard", columns, lambda c: SIGNS[c.outcome][:2]),
        *(_row(label, columns, _shade(label)) for label in labels[:MAX_LABELS]),
        _axis(columns),
        Text(),
        _legend(timeline),
    ]
    if len(labels) > MAX_LABELS:
        lines.append(Text(f"{len(labels) - MAX_LABELS} more labels are not drawn"))
    return lines


def _title(timeline: Timeline, count: int) -> Text:
    title = Text(_plain(timeline.sensor), style="bold")
    each_s = (timeline.end_us - timeline.begin_us) / 1e6 / count
    title.append(
        f"  {utc_text(timeline.begin_us)} to {utc_text(timeline.end_us)}, a column is {each_s:.3g} s",
        style="not bold",
    )
    title.append("".join(f"\n{_plain(decider)}" for decider in timeline.deciders), style="not bold dim")
    return title


def _row(name: str, columns: Sequence[Column], sign: Callable[[Column], tuple[str, str]]) -> Text:
    line = Text(_plain(name))
    line.truncate(MARGIN - 2, overflow="ellipsis")
    line.align("right", MARGIN - 2)
    line.append(" ")
    for column in columns:
        line.append(*sign(column))
    return line


def _plain(text: str) -> str:
    """Return text that cannot move the cursor: labels and names come from outside."""
    return "".join(character if character.isprintable() else " " for character in text)


def _bar(dbfs: float | None) -> str:
    if dbfs is None:
        return BARS[0]
    height = (dbfs - QUIETEST_DBFS) / -QUIETEST_DBFS
    return BARS[min(len(BARS) - 1, max(1, 1 + int(height * (len(BARS) - 1))))]


def _shade(label: str) -> Callable[[Column], tuple[str, str]]:
    def sign(column: Column) -> tuple[str, str]:
        score = column.labels.get(label)
        if score is None:
            return " ", ""
        return SHADES[min(len(SHADES) - 1, int(score * len(SHADES)))], "red"

    return sign


def _axis(columns: Sequence[Column]) -> Text:
    marks, line = "", ""
    for number, column in enumerate(columns[: 1 - TICK_COLUMNS]):
        if number % TICK_COLUMNS == 0:
            time = utc_time(column.start_us).strftime("%H:%M:%S")
            marks, line = f"{marks:<{number}}╵", f"{line:<{number}}{time}"
    return Text(f"{'':>{MARGIN - 1}}{marks}\n{'UTC':>{MARGIN - 2}} {line}")


def _legend(timeline: Timeline) -> Text:
    legend = Text()
    for outcome, share in timeline.share().items():
        sign, style, words = SIGNS[outcome]
        legend.append(f"{'':>{MARGIN - 1}}")
        legend.append(sign, style=style)
        seconds = share * (timeline.end_us - timeline.begin_us) / 1e6
        legend.append(f" {words} {share:.2%} ({seconds:.1f} s)\n")
    heard = f"{len(timeline.detections)} detections, darker with a higher score ({SHADES})"
    legend.append(f"{'':>{MARGIN - 1}}{heard}; levels from {QUIETEST_DBFS:g} to 0 dBFS ({BARS.strip()})")
    return legend
