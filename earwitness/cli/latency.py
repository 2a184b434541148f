"""The command that says where the time goes."""

from typing import TYPE_CHECKING, Annotated

import typer

from earwitness.cli.base import (
    OPERATE,
    WENT_WRONG,
    AsJson,
    Broker,
    Config,
    Set,
    app,
    complain,
    print_line,
    read_settings,
    show,
    show_table,
)
from earwitness.cli.meant import From, Sensors, To, read_wanted

if TYPE_CHECKING:
    from earwitness.operation.latency import Figures, Ledger

SENSORS_SHOWN = 5


@app.command(rich_help_panel=OPERATE)
def latency(
    config: Config = None,
    setting: Set = None,
    broker: Broker = None,
    sensor: Sensors = None,
    begin: From = "-10m",
    end: To = None,
    slowest: Annotated[
        int, typer.Option(min=0, max=1000, help="List so many of the slowest, with what is to blame.")
    ] = 0,
    as_json: AsJson = False,
) -> None:
    """Say how long each stage took, from a window's last sample to its detection in the log.

    Detections that begin are counted. Times are the broker's. The first stage is from the sensor's clock to
    the broker's: it holds the offset of the two.

    Exit code: 0 all is within its target, 1 the total is over its target or there is nothing to measure, 3 a
    stage is over its own.

    Example: earwitness latency --from -1h --sensor 'hall-*' --slowest 5
    """
    from earwitness.operation.health import exit_code
    from earwitness.operation.latency import figures, ledger_lines, read_ledger
    from processors.log import LogReader

    settings = read_settings(config, setting, broker)
    wanted, topic = read_wanted(sensor, begin, end, "broker"), settings.tenant.detections
    with LogReader(settings.kafka.librdkafka()) as reader:
        ledger = read_ledger(reader, topic, settings.codec(), wanted)
    found = figures(ledger.timed)
    if as_json:
        for line in ledger_lines(ledger, slowest):
            show(line)
    elif found:
        _show_figures(found)
        _show_offsets(ledger)
        _show_slow(ledger, slowest)
    if ledger.missing or ledger.foreign:
        complain(
            f"left out: {ledger.missing} detections without a latency header, {ledger.foreign} with a "
            "foreign one"
        )
    if not found:
        complain(f"earwitness: {topic} has no detection with a latency header in this range")
        raise typer.Exit(WENT_WRONG)
    raise typer.Exit(exit_code([one.level for one in found]))


def _show_figures(found: "list[Figures]") -> None:
    from earwitness.operation.latency import over
    from earwitness.operation.waterfall import title

    columns = "stage", "since", "count", "p50, ms", "target", "p90", "p99", "target", "max", ""
    show_table(columns, [_cells(one) for one in found])
    slow = [f"{title(one.stage)} (p50 {one.p50_ms:.1f} ms, target {one.target_ms:g})" for one in over(found)]
    show(f"over the target, worst first: {', '.join(slow) or 'no stage'}")


def _cells(one: "Figures") -> list[str]:
    target_p99 = "" if one.target_p99_ms is None else f"{one.target_p99_ms:g}"
    p50, p90, p99, longest = (f"{ms:.1f}" for ms in (one.p50_ms, one.p90_ms, one.p99_ms, one.max_ms))
    notes = [
        *(["OVER"] if one.over else []),
        *(["with the sensors' clock offsets"] if one.before == "captured" else []),
    ]
    return [
        *(one.stage, one.before, str(one.count), p50, f"{one.target_ms:g}"),
        *(p90, p99, target_p99, longest, ", ".join(notes)),
    ]


def _show_offsets(ledger: "Ledger") -> None:
    offsets = ledger.offsets_ms()
    shown = [f"{sensor} {ms:+.1f} ms" for sensor, ms in list(offsets.items())[:SENSORS_SHOWN]]
    more = f", and {len(offsets) - len(shown)} nearer to 0" if len(offsets) > len(shown) else ""
    show(
        "how far sensors' clocks are behind the broker's, plus the fastest transit (the smallest captured to "
        f"appended of each): {', '.join(shown)}{more}"
    )


def _show_slow(ledger: "Ledger", count: int) -> None:
    from earwitness.operation.waterfall import title, waterfall
    from schemas.latency import TOTAL_P99_MS

    blamed = ledger.blamed()
    if blamed:
        by_stage = ", ".join(f"{title(stage)} {times}" for stage, times in blamed.most_common())
        slow = f"{blamed.total()} of {len(ledger.timed)} took more than {TOTAL_P99_MS:g} ms"
        show(f"{slow}, by what is to blame: {by_stage}")
    for timed in ledger.slowest(count):
        show(f"{timed.published.as_line()}  blame: {title(timed.readings.worst().name)}")
        print_line(waterfall(timed.readings))
