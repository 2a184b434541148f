"""The least rights of each role, as they are written and as they are shown."""

import json
import shlex

import pytest
from typer.testing import CliRunner

from earwitness.acls import DESCRIBE, READ, WRITE, Grant, Kind, Right, Role, default_group, rights_of
from earwitness.cli import app
from earwitness.cli.topics import ROLES
from schemas.errors import ConfigurationError
from schemas.topics import Topics

ACME = Topics("acme")
SHOW = ["topics", "acls", "--principal", "User:anna", "-s", 'topics.tenants=["acme"]']


def test_sensors_may_write_sound_and_nothing_else() -> None:
    assert rights_of(Role.SENSORS, ACME, "any") == (Right(Kind.TOPIC, "acme.audio.frames", WRITE),)


def test_sensors_with_a_spool_may_write_the_past_as_well_and_read_both_back() -> None:
    assert set(rights_of(Role.SPOOLING_SENSORS, ACME, "any")) == {
        Right(Kind.TOPIC, f"acme.audio.frames{past}", operation)
        for past in ("", ".backfill")
        for operation in (READ, WRITE)
    }


@pytest.mark.parametrize("role", Role)
def test_no_right_of_one_tenant_is_one_of_another_however_they_are_named(role: Role) -> None:
    """A tenant may be named as the beginning of another, as a word of topics' names, or not at all."""
    names = ["", "acme", "acme-two", "acm", "audio", "replay"]
    for ours in names:
        rights = rights_of(role, Topics(ours), "g")
        for theirs in set(names) - {ours}:
            for topic in Topics(theirs).every:
                assert not any(right.covers(Kind.TOPIC, topic, READ) for right in rights), (ours, topic)
                assert not any(right.covers(Kind.TOPIC, topic, WRITE) for right in rights), (ours, topic)


def test_reading_and_writing_include_describing_and_not_each_other() -> None:
    right = Right(Kind.TOPIC, "t", WRITE)
    assert right.covers(Kind.TOPIC, "t", DESCRIBE)
    assert not right.covers(Kind.TOPIC, "t", READ)
    assert not right.covers(Kind.TOPIC, "t.more", WRITE)
    assert not right.covers(Kind.GROUP, "t", WRITE)


def test_workers_of_the_past_and_of_shadows_have_groups_of_their_own_and_readers_their_names() -> None:
    groups = {role: default_group(role, "User:anna", "earwitness") for role in Role}
    assert groups[Role.WORKER] == groups[Role.OPERATOR] == "earwitness"
    assert groups[Role.BACKFILL_WORKER] == "earwitness-backfill"
    assert groups[Role.SHADOW_WORKER] == "earwitness-shadow"
    assert groups[Role.CONSUMER] == groups[Role.ANALYST] == "anna-*"
    group = next(r for r in rights_of(Role.CONSUMER, ACME, "anna-*") if r.kind is Kind.GROUP)
    assert group.covers(Kind.GROUP, "anna-alerts", READ)
    assert not group.covers(Kind.GROUP, "annabel", READ)


def test_workers_of_two_tenants_reach_each_others_group_unless_each_has_its_own() -> None:
    def may_join(group: str, theirs: str) -> bool:
        return any(r.covers(Kind.GROUP, theirs, READ) for r in rights_of(Role.WORKER, ACME, group))

    assert may_join("earwitness", "earwitness")
    assert may_join("acme", "acme")
    assert not any(may_join("acme", theirs) for theirs in ("earwitness", "other", "acme-two", "acm"))


@pytest.mark.parametrize(
    ("role", "more", "said"),
    [
        ("worker", [], True),
        ("backfill-worker", [], True),
        ("shadow-worker", [], True),
        ("worker", ["-s", "worker.group=acme"], False),
        ("worker", ["--group", "acme"], False),
        ("sensors", [], False),
    ],
)
def test_a_group_that_is_every_tenants_is_said(role: str, more: list[str], said: bool) -> None:
    shown = CliRunner().invoke(app, [*SHOW, "--role", role, *more])
    assert shown.exit_code == 0
    assert (
        shown.stderr.count("worker.group is earwitness, as every tenant's"),
        shown.stderr.count("\n"),
    ) == (
        said,
        said,
    )


def test_commands_are_those_of_kafkas_own_tool() -> None:
    grant = Grant("User:CN=anna, O=acme", rights_of(Role.CONSUMER, ACME, "anna-*"))
    words = [shlex.split(command) for command in grant.commands("kafka:9093")]
    begin = ["kafka-acls", "--bootstrap-server", "kafka:9093", "--add"]
    begin += ["--allow-principal", "User:CN=anna, O=acme", "--operation", "Read"]
    assert words == [
        [*begin, "--group", "anna-", "--resource-pattern-type", "prefixed"],
        [*begin, "--topic", "acme.audio.coverage"],
        [*begin, "--topic", "acme.audio.detections"],
        [*begin, "--topic", "acme.audio.sensors"],
    ]


@pytest.mark.parametrize("principal", ["anna", "User:", ":anna", "User:*", ""])
def test_a_principal_that_is_nobody_or_everybody_is_refused(principal: str) -> None:
    with pytest.raises(ConfigurationError, match="--principal"):
        Grant(principal, ())


def test_the_command_shows_rights_without_asking_a_broker() -> None:
    shown = CliRunner().invoke(app, [*SHOW, "--role", "spooling-sensors", "--json"])
    assert shown.exit_code == 0
    assert [json.loads(line) for line in shown.stdout.splitlines()] == [
        {"principal": "User:anna", "kind": "topic", "name": name, "operation": operation, "prefixed": False}
        for name in (ACME.frames, ACME.backfill)
        for operation in (READ, WRITE)
    ]
    text = CliRunner().invoke(app, [*SHOW, "--role", "spooling-sensors"]).stdout
    assert text.count("kafka-acls ") == 2


def test_the_command_names_every_role_and_refuses_others() -> None:
    assert ", ".join(Role) == ROLES
    refused = CliRunner().invoke(app, [*SHOW, "--role", "root"])
    assert isinstance(refused.exception, ConfigurationError)
    assert refused.exception.accepted == ", ".join(Role)
