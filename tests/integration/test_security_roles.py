"""Every role's real programs on a broker that believes nobody, with the rights of its role and no others.

The people have what `earwitness topics acls --apply` writes. All that the super user does is to let them in,
to write those rights, and to read what came of it.
"""

import json
import os
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from itertools import product
from pathlib import Path
from uuid import uuid4

import pytest
from confluent_kafka import Consumer

from earwitness.acls import Kind, Role
from earwitness.play import clip_pool
from producers.fleet import FleetSettings
from schemas.coverage import Outcome
from tests.integration.commands import run
from tests.integration.harness import DEADLINE_S, Programs, Tenant, play, timelines, wait_until
from tests.integration.secured import SECRET, Secured, Settings, TokenServer, serve_tokens

pytestmark = pytest.mark.timeout(300)
SECONDS, SENSORS = 3.0, 2
ALL = "EARWITNESS_SECURITY_ALL"
only_with_all = pytest.mark.skipif(ALL not in os.environ, reason=f"half a minute each: set {ALL}=1")


@pytest.fixture
def tokens(secured: Secured) -> Iterator[TokenServer]:
    """An endpoint that gives tokens to whoever has a password."""
    with serve_tokens(TokenServer(secured.password)) as server:
        yield server


@pytest.fixture(
    params=[
        pytest.param("password", marks=only_with_all),  # most other tests here are of passwords
        pytest.param("certificate", marks=only_with_all),
        "token",
    ]
)
def way(request: pytest.FixtureRequest) -> str:
    """How people say who they are."""
    return str(request.param)


def settings_of(secured: Secured, tokens: TokenServer, way: str, name: str, tenant: str) -> Settings:
    """Return the settings of somebody who says who they are in one of three ways."""
    who = {
        "password": lambda: secured.by_password(name),
        "certificate": lambda: secured.by_certificate(name),
        "token": lambda: secured.by_token(name, tokens.url),
    }[way]()
    return {**who, "topics.tenants": json.dumps([tenant])}


def test_all_roles_work_with_their_rights(
    way: str, secured: Secured, tokens: TokenServer, programs: Programs, quick_model: Path
) -> None:
    """The operator makes topics, the worker works, sensors sound, the service and the analyst see it."""
    tenant = secured.tenant(f"t{uuid4().hex[:8]}")
    who = {role: f"{tenant.name}-{role}" for role in Role}
    said = {role: settings_of(secured, tokens, way, name, tenant.name) for role, name in who.items()}
    for role, name in who.items():
        if way == "password":
            secured.kafka.add_user(name, secured.password(name))
        granted(secured, tenant, role, name)

    done = run(said[Role.OPERATOR], "topics", "create", "--partitions", "2")
    assert done.code == 0, done.said
    worker = programs.work(
        tenant,
        quick_model,
        **{key.replace(".", "__"): value for key, value in said[Role.WORKER].items()},
    )
    watching = programs.run(["watch", "--json", "--earliest"], said[Role.CONSUMER])
    worker.ready()
    done = run(said[Role.SENSORS], "simulate", "--sensors", str(SENSORS), "--seconds", str(SECONDS))
    assert done.code == 0, done.said
    watching.said('"state": "ENDED"')
    wait_until(lambda: heard(tenant) == SENSORS, "every sensor being accounted for")

    assert consumed(secured, said[Role.CONSUMER], who[Role.CONSUMER], tenant)
    again = run({**said[Role.ANALYST], "model.path": quick_model}, "replay", "--json")
    assert again.code == 0, again.said
    assert {line["id"] for line in again.lines} == {found.id for found in tenant.detections()}
    operator = {**said[Role.OPERATOR], "worker.group": tenant.name, "model.path": quick_model}
    doctor = run(operator, "doctor", "--json")
    assert "not be looked at" not in doctor.out.decode()
    assert worker.terminate() < DEADLINE_S
    assert worker.process.exit_status == 0, worker.log
    for output in (worker.log, watching.log, done.said, again.said, doctor.said):
        assert SECRET not in output
        assert "Traceback" not in output
    if way == "token":
        assert set(tokens.asked) == {"grant_type=client_credentials&scope=kafka"}


def granted(secured: Secured, tenant: Tenant, role: Role, name: str) -> None:
    """Write a role's rights, as the administrator: the worker's by the command."""
    if role is not Role.WORKER:
        secured.grant(role, name, tenant.name)
        return
    who = "--role", role, "--principal", f"User:{name}", "--tenant", tenant.name, "--group", tenant.name
    done = run({"kafka.bootstrap_servers": secured.kafka.super_servers}, "topics", "acls", *who, "--apply")
    assert done.code == 0, done.said


def heard(tenant: Tenant) -> int:
    """Return of how many sensors all sound was scored."""
    whole = round(SECONDS * 16_000)
    return sum(line == [(0, whole, Outcome.SCORED)] for line in timelines(tenant.coverage()).values())


def consumed(secured: Secured, settings: Mapping[str, object], name: str, tenant: Tenant) -> bool:
    """Read the detections as a service does: a member of a group of its own, which commits."""
    options = {"group.id": f"{name}-alerts", "auto.offset.reset": "earliest", "enable.auto.commit": False}
    consumer = Consumer({**secured.client(settings), **options})
    consumer.subscribe([tenant.topics.detections])
    message = consumer.poll(DEADLINE_S)
    assert message is not None
    assert message.error() is None, message.error()
    consumer.commit(asynchronous=False)
    consumer.close()
    return True


@contextmanager
def sounding(tenant: Tenant) -> Iterator[None]:
    """Have a sensor sound meanwhile, so that there is something to read and to say."""
    playing = play(tenant, FleetSettings(sensors=1, seconds=20.0), clip_pool(None, 16_000))
    yield
    playing.finish()


def test_two_tenants_sensors_cannot_write_each_others_frames(secured: Secured) -> None:
    ours, theirs = (secured.tenant(f"t{uuid4().hex[:8]}").create(partitions=1) for _ in range(2))
    for tenant in (ours, theirs):
        secured.kafka.add_user(tenant.name, secured.password(tenant.name))
        secured.grant(Role.SENSORS, tenant.name, tenant.name)
    for who, whose in product((ours, theirs), repeat=2):
        settings = {**secured.by_password(who.name), "topics.tenants": json.dumps([whose.name])}
        pattern = ("--pattern", f"of-{who.name}-{{}}")
        done = run(settings, "simulate", "--sensors", "1", "--seconds", "0.1", *pattern)
        assert (done.code == 0) is (who is whose), done.said
        assert who is whose or f"topic {whose.name}.audio.frames is 'not for us'" in done.said
    for tenant in (ours, theirs):
        senders = {record.key for record in tenant.read(tenant.topics.frames)}
        assert senders == {f"of-{tenant.name}-1".encode()}


REVOKED = [
    ("group", "GroupAuthorizationFailed"),
    ("frames", r"TopicAuthorizationFailed.*audio\.frames"),
    ("outputs", r"cannot publish to \S+audio\.(coverage|sensors|detections).*authorization"),
]


@pytest.mark.parametrize(
    ("what", "named"),
    [pytest.param(*one, marks=[] if one[0] == "frames" else only_with_all, id=one[0]) for one in REVOKED],
)
def test_a_worker_whose_rights_are_taken_away_says_so_and_ends(
    what: str, named: str, secured: Secured, programs: Programs, quick_model: Path
) -> None:
    tenant = secured.tenant(f"t{uuid4().hex[:8]}").create(partitions=1)
    secured.admit(tenant.name)
    secured.grant(Role.WORKER, tenant.name, tenant.name)
    settings = {key.replace(".", "__"): value for key, value in secured.by_password(tenant.name).items()}
    worker = programs.work(tenant, quick_model, **settings)
    worker.ready()
    taken = {
        "group": [(Kind.GROUP, tenant.name)],
        "frames": [(Kind.TOPIC, tenant.topics.frames)],
        "outputs": [(Kind.TOPIC, name) for name in tenant.topics.outputs],
    }[what]
    for kind, name in taken:
        secured.take_away(tenant.name, kind, name)
    with sounding(tenant):
        assert worker.process.wait(DEADLINE_S), f"it goes on:\n{worker.log}"
    assert worker.process.exit_status not in (0, None)
    last = next(line for line in reversed(worker.log.splitlines()) if line.startswith("earwitness: "))
    assert re.search(named, last), worker.log
    assert "Traceback" not in worker.log
    assert SECRET not in worker.log
