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
    complain,
    read_settings,
    show,
    show_table,
)

ROLES = (
    "sensors, spooling-sensors, worker, backfill-worker, shadow-worker, "
    "detections-consumer, analyst, operator"
)
OneRole = Annotated[str, typer.Option("--role", help=f"One of {ROLES}.")]
Principal = Annotated[str, typer.Option(help="Whom Kafka knows, such as User:anna.")]
Tenants = Annotated[
    list[str] | None, typer.Option("--tenant", help="Instead of topics.tenants; may be given again.")
]
Group = Annotated[
    str | None,
    typer.Option(
        help="A consumer group, or PREFIX*. By default of workers worker.group, of readers their NAME-*."
    ),
]

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


@topics_app.command()
def acls(
    role: OneRole,
    principal: Principal,
    config: Config = None,
    setting: Set = None,
    broker: Broker = None,
    tenant: Tenants = None,
    group: Group = None,
    apply: Annotated[bool, typer.Option("--apply", help="Write them; needs ALTER on the cluster.")] = False,
    as_json: AsJson = False,
) -> None:
    """Show the least rights that a role needs, as `kafka-acls` takes them; with --apply, write them.

    Rights are added, never taken away. Without --apply nobody is asked anything.

    Example: earwitness topics acls --role sensors --principal User:hall --tenant acme
    """
    from dataclasses import asdict
    from json import dumps

    from earwitness.acls import Grant, default_group, group_warning, read_role, rights_of
    from earwitness.topics import TopicAdmin
    from schemas.topics import Topics

    tenants = {"topics.tenants": None if tenant is None else dumps(tenant)}
    settings, what = read_settings(config, setting, broker, None, tenants), read_role(role)
    if group is None and (warning := group_warning(what, settings.topics.tenants, settings.worker.group)):
        complain(warning)
    group = group or default_group(what, principal, settings.worker.group)
    rights = {right for name in settings.topics.tenants for right in rights_of(what, Topics(name), group)}
    grant = Grant(principal, tuple(sorted(rights)))
    if apply:
        TopicAdmin(settings.kafka.librdkafka()).allow(grant)
        complain(f"{principal} may do what {what} do: {len(rights)} ACLs")
    if as_json:
        for right in grant.rights:
            show(dumps({"principal": principal, **asdict(right)}))
    elif not apply:
        for command in grant.commands(settings.kafka.bootstrap_servers):
            show(command)
