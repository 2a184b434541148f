"""The command that compares a candidate with the model that counts."""

import time
from typing import Annotated

import typer

from earwitness.cli.base import AsJson, Broker, Config, Set, read_settings, show, show_table
from earwitness.cli.meant import From, Sensors, To, read_wanted
from earwitness.cli.models import models_app


@models_app.command()
def agreement(
    config: Config = None,
    setting: Set = None,
    broker: Broker = None,
    sensor: Sensors = None,
    begin: From = None,
    end: To = None,
    examples: Annotated[
        int, typer.Option(min=0, max=1000, help="Disagreements shown of each label and side.")
    ] = 3,
    as_json: AsJson = False,
) -> None:
    """Say how a candidate in the shadow, or for a share of the sensors, agrees with the model, by label.

    Without times it is the last trial that was rolled out, as far as it has come. Times are the broker's, as
    those of rollouts are. Nothing is listened to again: detections and coverage say it all.

    In the shadow, the time that both listened to is compared: seconds heard by both, or by one of them,
    sounds and how many of them the other met, the Jaccard index and Cohen's kappa of time; what only one of
    them listened to is left out, and said. For a share, sounds an hour in each arm, with a 95 % interval, and
    whether dealing the sensors by chance may have made the difference. A sound is detections that go on in
    one another.

    Example: earwitness model agreement --from -1d --sensor 'hall-*'
    """
    from earwitness.analysis.lookup import Lookup
    from earwitness.analysis.report import listened_text, notes, report_lines, report_on, report_rows
    from earwitness.analysis.trial import read_trial
    from processors.log import LogReader

    settings = read_settings(config, setting, broker)
    wanted = read_wanted(sensor, begin, end, "broker")
    trial = read_trial(settings, wanted, time.time_ns() // 1000)
    with LogReader(settings.kafka.librdkafka()) as reader:
        lookup = Lookup(reader, settings.codec(), settings.tenant, settings.frames_topics[0])
        report = report_on(lookup, trial, wanted, examples)
    if as_json:
        for line in report_lines(report):
            show(line)
        return
    show(f"{trial.as_text()}\n{listened_text(report)}")
    show_table(*report_rows(report))
    for note in notes(report):
        show(note)
