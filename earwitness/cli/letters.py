"""Commands about what could not be read: dead-letters list, show, retry."""

import json
import sys
import time
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
    read_settings,
    show,
    show_table,
)
from schemas.errors import ConfigurationError, DeadLetterError

if TYPE_CHECKING:
    from earwitness.operation.letters import Asked, Letter

letters_app = typer.Typer(help="Records that could not be read.", no_args_is_help=True)
app.add_typer(letters_app, name="dead-letters", rich_help_panel=OPERATE)

Since = Annotated[
    str | None, typer.Option("--since", metavar="TIME", help="ISO 8601 with a zone, or so long ago: 15m, 1h.")
]
ExceptionName = Annotated[
    str | None,
    typer.Option(
        "--exception",
        metavar="NAME",
        help="Such as UnknownSchemaError.",
        autocompletion=lambda: [kind.__name__ for kind in DeadLetterError.__subclasses__()],
    ),
]


@letters_app.command("list")
def list_letters(
    config: Config = None,
    setting: Set = None,
    broker: Broker = None,
    since: Since = None,
    exception: ExceptionName = None,
    sensor: Annotated[str | None, typer.Option(metavar="NAME", help="Of one sensor, or a glob.")] = None,
    limit: Annotated[int, typer.Option(min=1, max=1_000_000, help="The last so many.")] = 100,
    summary: Annotated[bool, typer.Option("--summary", help="Counts by reason and sensor.")] = False,
    as_json: AsJson = False,
) -> None:
    """List what could not be read, the newest last.

    Example: earwitness dead-letters list --since 1h --summary
    """
    from earwitness.operation.letters import as_json as line_of
    from earwitness.operation.letters import letters, newest
    from earwitness.operation.letters import summary as counted
    from processors.log import LogReader

    settings = read_settings(config, setting, broker)
    asked = _asked(since, exception, sensor)
    with LogReader(settings.kafka.librdkafka()) as reader:
        found = letters(reader, settings.tenant.dead_letters, asked)
        if summary:
            return _show_summary(counted(found), as_json=as_json)
        shown, count = newest(found, limit)
    if as_json:
        for letter in shown:
            show(line_of(letter))
    else:
        columns = ("appended", "letter", "record", "sensor", "bytes", "exception", "message")
        show_table(columns, [letter.as_cells() for letter in shown])
        complain(f"{len(shown)} of {count} dead letters")
    return None


@letters_app.command("show")
def show_letter(
    place: Annotated[str, typer.Argument(help="Of the letter, or of the record that it tells of.")],
    config: Config = None,
    setting: Set = None,
    broker: Broker = None,
    raw: Annotated[bool, typer.Option("--raw", help="Its exact bytes, to standard output.")] = False,
    as_json: AsJson = False,
) -> None:
    """Show a dead letter: its headers, its bytes, and how it reads now.

    Example: earwitness dead-letters show 'audio.dead-letters[3]@17' --raw > frame.bin
    """
    from earwitness.operation.letters import at, hexdump, shown
    from processors.log import LogReader

    settings = read_settings(config, setting, broker)
    with LogReader(settings.kafka.librdkafka()) as reader:
        letter = at(reader, settings.tenant.dead_letters, place)
    value = letter.record.value or b""
    if raw:
        sys.stdout.buffer.write(value)
        sys.stdout.buffer.flush()
        return
    about = shown(settings.codec(), letter)
    if as_json:
        show(json.dumps(about))
        return
    for name, said in about.items():
        show(f"{name:<12} {said if isinstance(said, str) else json.dumps(said)}")
    for line in hexdump(value):
        show(line)


@letters_app.command("retry")
def retry_letters(
    places: Annotated[
        list[str] | None, typer.Argument(metavar="[PLACE]...", help="Of letters, or of their records.")
    ] = None,
    config: Config = None,
    setting: Set = None,
    broker: Broker = None,
    since: Since = None,
    exception: ExceptionName = None,
    sensor: Annotated[str | None, typer.Option(metavar="NAME", help="Of one sensor, or a glob.")] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say what would be done.")] = False,
    as_json: AsJson = False,
) -> None:
    """Append those that are frames now to audio.frames.backfill, byte for byte.

    Not to audio.frames: a late frame would open runs in, or cut, the sound that its sensor sends now. A
    worker with topics.backfill and a group of its own hears them. Doing it twice is harmless: detections have
    the same ids. Letters stay where they are.

    Exit code: 0 all of them are frames now, 1 some still are not, or something went wrong.

    Example: earwitness dead-letters retry --exception UnknownSchemaError --since 1d
    """
    from earwitness.operation.append import append
    from earwitness.operation.letters import at, letters
    from earwitness.operation.retry import bounded, to_backfill, tried
    from processors.log import LogReader

    if not places and exception is None and since is None and sensor is None:
        raise ConfigurationError("PLACE", None, "places, or at least one of --exception, --since, --sensor")
    settings = read_settings(config, setting, broker)
    topics, asked = settings.tenant, _asked(since, exception, sensor)
    with LogReader(settings.kafka.librdkafka()) as reader:
        reader.partitions(topics.backfill)  # it must be there before anything is said to be done
        if places:
            found = [
                letter for place in places if asked.means(letter := at(reader, topics.dead_letters, place))
            ]
        else:
            found = list(bounded(letters(reader, topics.dead_letters, asked)))
    done = tried(settings.codec(), found)
    if not dry_run:
        append(settings.kafka.librdkafka(), settings.publisher, to_backfill(topics, done.good))
    _show_tried(done.good, "would be retried" if dry_run else "retried", as_json=as_json)
    for letter, why in done.still_bad:
        _show_still_bad(letter, why, as_json=as_json)
    complain(
        f"{len(done.good)} frames for {topics.backfill}, {len(done.still_bad)} letters are still not read"
    )
    if done.still_bad:
        raise typer.Exit(WENT_WRONG)


def _asked(since: str | None, exception: str | None, sensor: str | None) -> "Asked":
    from earwitness.analysis.wanted import parse_time
    from earwitness.operation.letters import Asked

    since_us = None if since is None else parse_time(since, "--since", time.time_ns() // 1000)
    return Asked(None if since_us is None else since_us // 1000, exception, sensor)


def _show_summary(groups: list[dict[str, object]], *, as_json: bool) -> None:
    columns = ("exception", "sensor", "count", "last", "message")
    if not as_json:
        show_table(columns, [[str(group[name]) for name in columns] for group in groups])
        return
    for group in groups:
        show(json.dumps(group))


def _show_tried(good: "list[Letter]", what: str, *, as_json: bool) -> None:
    for letter in good:
        if as_json:
            show(json.dumps({**letter.about(), "done": what, "why_not": None}))
        else:
            show(f"{what} {letter.record.place}, from {letter.original}, of {letter.sensor}")


def _show_still_bad(letter: "Letter", why: str, *, as_json: bool) -> None:
    if as_json:
        show(json.dumps({**letter.about(), "done": None, "why_not": why}))
    else:
        show(f"not read {letter.record.place}, from {letter.original}, of {letter.sensor}: {why}")
