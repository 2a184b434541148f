"""Commands about the topics of a tenant."""

from typing import Annotated

import typer

from earwitness.cli.base import (
    OPERATE,
    WENT_WRONG,
    AsJson,
    Broker,
    Config,
    Set,
    app,
    read_settings,
    show,
    show_table,
)

topics_app = typer.Typer(help="The topics of a tenant.", no_args_is_help=True)
app.add_typer(topics_app, name="topics", rich_help_panel=OPERATE)


@topics_app.command()
def create(
    config: Config = None,
    setting: Set = None,
    broker: Broker = None,
    partitions: Annotated[int, typer.Option(min=1, max=10_000)] = 8,
    replicas: Annotated[int, typer.Option(min=1, max=10)] = 1,
    retention_days: Annotated[float, typer.Option(min=0.001, help="Of frames and of what is said.")] = 7.0,
) -> None:
    """Create the topics that are missing, with the configuration that they need.

    Example: earwitness topics create -b kafka:9092 --partitions 32 --replicas 3
    """
    from earwitness.topics import TopicAdmin
    from schemas.topics import Topics

    settings = read_settings(config, setting, broker)
    admin = TopicAdmin(settings.kafka.librdkafka())
    for tenant in settings.topics.tenants:
        created = admin.create(Topics(tenant), partitions, replicas, retention_days)
        for name in created:
            show(f"created {name}")
        if not created:
            show("all topics exist already")


@topics_app.command()
def describe(
    config: Config = None, setting: Set = None, broker: Broker = None, as_json: AsJson = False
) -> None:
    """Show the topics and the configuration that matters.

    Example: earwitness topics describe -b kafka:9092
    """
    from dataclasses import asdict
    from json import dumps

    from earwitness.topics import TopicAdmin
    from schemas.topics import Topics

    settings = read_settings(config, setting, broker)
    names = [name for tenant in settings.topics.tenants for name in Topics(tenant).every]
    found = TopicAdmin(settings.kafka.librdkafka()).describe(names)
    if as_json:
        for topic in found.values():
            show(dumps(asdict(topic)))
    else:
        columns = ("partitions", "replicas", "timestamp_type", "cleanup_policy", "retention_ms")
        rows = [[name, *(str(getattr(found.get(name), c, "missing")) for c in columns)] for name in names]
        show_table(("topic", *columns), rows)
    if len(found) < len(names):
        raise typer.Exit(WENT_WRONG)
