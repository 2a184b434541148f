"""Commands that change the model of workers that run."""

import json
import time
from typing import TYPE_CHECKING, Annotated

import typer

from earwitness.cli.base import AsJson, Broker, Config, Set, read_settings, show, show_table
from earwitness.cli.models import models_app
from schemas.errors import ConfigurationError

if TYPE_CHECKING:
    from schemas.rollout import Rollout

Share = Annotated[
    float | None,
    typer.Option(
        help="Let it count for this share of the sensors only, between 0 and 1, chosen by their ids."
    ),
]
Shadow = Annotated[
    bool,
    typer.Option("--shadow", help="Let it hear beside the model that counts, to topics of its own."),
]
In = Annotated[float, typer.Option("--in", help="Seconds from now; 12 or more.")]


@models_app.command()
def rollout(
    name: Annotated[str, typer.Argument(help="The model's name, as in the catalogue.")],
    version: Annotated[str, typer.Argument(help="Its version.")],
    config: Config = None,
    setting: Set = None,
    broker: Broker = None,
    share: Share = None,
    shadow: Shadow = False,
    in_s: In = 30.0,
    as_json: AsJson = False,
) -> None:
    """Let another model count from a time on, the same for whoever reads the log again.

    With scorer.kind = triton it is loaded and warmed on every endpoint first. Workers that score in process
    find it in their catalogue (model.catalogue). A shadow is heard by workers with topics.shadow = true. What
    others stay with is what counts last so far; before the first rollout, what these settings say, which
    must be the workers' own. To go back, roll the old version out.

    Example: earwitness model rollout earwitness-small 2 -b kafka:9092 --share 0.1
    """
    from earwitness.rollout import Wish, roll_out
    from schemas.rollout import Mode

    if shadow and share is not None:
        raise ConfigurationError("--share", share, "nothing beside --shadow: a shadow hears every sensor")
    if share is not None and not 0 < share < 1:
        raise ConfigurationError("--share", share, "more than 0 and less than 1; leave it out for all")
    mode = Mode.SHADOW if shadow else Mode.SWITCH if share is None else Mode.SPLIT
    settings = read_settings(config, setting, broker)
    for said in roll_out(settings, Wish(name, version, mode, share, in_s)):
        _show(said.topic, [said.rollout], as_json)


@models_app.command(name="cancel")
def cancel_rollouts(
    config: Config = None, setting: Set = None, broker: Broker = None, as_json: AsJson = False
) -> None:
    """Take back the rollouts that have not begun: what counts until then goes on.

    Example: earwitness model cancel -b kafka:9092
    """
    from earwitness.rollout import cancel

    nothing = True
    for said in cancel(read_settings(config, setting, broker)):
        _show(said.topic, [said.rollout], as_json)
        nothing = False
    if nothing and not as_json:
        show("no rollout is about to begin")


@models_app.command()
def rollouts(
    config: Config = None, setting: Set = None, broker: Broker = None, as_json: AsJson = False
) -> None:
    """List which model counted, counts and will count from when on.

    Example: earwitness model rollouts -b kafka:9092
    """
    from earwitness.rollout import announced
    from schemas.topics import Topics

    for frames, found in announced(read_settings(config, setting, broker)).items():
        topic = Topics.beside(frames).control
        _show(topic, found, as_json)
        if not found and not as_json:
            show(f"{topic}: none; what the workers' settings name counts")


def _show(topic: str, found: list["Rollout"], as_json: bool) -> None:
    from datetime import UTC, datetime

    rows, now_ms = [], time.time() * 1000
    begun = [one.at_ms for one in found if one.at_ms <= now_ms]
    for one in found:
        candidate = one.candidate_spec
        model = None if one.model is None else one.spec.reference
        rows.append(
            {
                "topic": topic,
                "from": datetime.fromtimestamp(one.at_ms / 1000, UTC).isoformat(timespec="milliseconds"),
                "mode": str(one.mode),
                "counts": "later" if one.at_ms > now_ms else "now" if one.at_ms == begun[-1] else "no more",
                "model": model,
                "candidate": candidate and candidate.reference,
                "share": one.share,
            }
        )
    if as_json:
        for row in rows:
            show(json.dumps(row))
    elif rows:
        show_table(
            list(rows[0]), [["" if cell is None else str(cell) for cell in row.values()] for row in rows]
        )
