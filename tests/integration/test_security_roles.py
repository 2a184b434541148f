"""Every role's real programs on a broker that believes nobody, with the rights of its role and no others.

The people have what `earwitness topics acls --apply` writes. All that the super user does is to let them in,
to write those rights, and to read what came of it.
"""

import json
import os
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from uuid import uuid4

import pytest
from confluent_kafka import Consumer, Producer

from earwitness.acls import Kind, Role
from earwitness.play import clip_pool
from earwitness.topics import TopicAdmin
from processors.log import LogReader
from producers.fleet import FleetSettings
from schemas.coverage import Outcome
from schemas.deadletter import DeadLetter
from schemas.detection import Detection
from tests.integration.commands import Done, run
from tests.integration.harness import (
    DEADLINE_S,
    Programs,
    Tenant,
    Worker,
    by_id,
    play,
    timelines,
    wait_until,
)
from tests.integration.quick_model import write_quick_model
from tests.integration.secured import SECRET, Secured, Settings, TokenServer, serve_tokens

pytestmark = pytest.mark.timeout(600)
SECONDS, SENSORS = 3.0, 2
OTHER_WAYS = ("certificate", "token")
ALL = "SECURITY_ALL"
only_with_all = pytest.mark.skipif(ALL not in os.environ, reason=f"half a minute each: set {ALL}=1")


@pytest.fixture(scope="module")
def catalogue(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two versions of a model."""
    folder = tmp_path_factory.mktemp("catalogue")
    for version in ("1", "2"):
        write_quick_model(folder / "quick" / version, version=version)
    return folder


@pytest.fixture
def tokens(secured: Secured) -> Iterator[TokenServer]:
    """An endpoint that gives tokens to whoever has a password."""
    with serve_tokens(TokenServer(secured.password)) as server:
        yield server


def settings_of(secured: Secured, tokens: TokenServer, way: str, name: str, tenant: str) -> Settings:
    """Return the settings of somebody who says who they are in one of three ways."""
    who = {
        "password": lambda: secured.by_password(name),
        "certificate": lambda: secured.by_certificate(name),
        "token": lambda: secured.by_token(name, tokens.url),
    }[way]()
    return {**who, "topics.tenants": json.dumps([tenant])}


def let_in(secured: Secured, tokens: TokenServer, way: str, tenant: Tenant) -> dict[Role, Settings]:
    """Let somebody of every role in, with the rights of the role; return their settings."""
    said = {}
    for role in Role:
        name = f"{tenant.name}-{role}"
        if way == "password":
            secured.kafka.add_user(name, secured.password(name))
        granted(secured, tenant, role, name)
        said[role] = settings_of(secured, tokens, way, name, tenant.name)
    return said


def work(programs: Programs, tenant: Tenant, model: Path, settings: Settings) -> Worker:
    """Start the worker of a role."""
    return programs.work(tenant, model, **{key.replace(".", "__"): value for key, value in settings.items()})


@pytest.mark.parametrize("way", ["password", *(pytest.param(way, marks=only_with_all) for way in OTHER_WAYS)])
def test_all_roles_work_with_their_rights(
    way: str, secured: Secured, tokens: TokenServer, programs: Programs, catalogue: Path
) -> None:
    """The operator makes topics, the worker works, sensors sound, the service and the analyst see it."""
    tenant, model = secured.tenant(f"t{uuid4().hex[:8]}"), catalogue / "quick" / "1"
    said, done = let_in(secured, tokens, way, tenant), list[Done]()

    def well(role: Role, *arguments: str, code: int = 0) -> Done:
        done.append(run({**said[role], "model.path": model, "model.catalogue": catalogue}, *arguments))
        assert done[-1].code == code, done[-1].out.decode() + done[-1].said
        return done[-1]

    well(Role.OPERATOR, "topics", "create", "--partitions", "2")
    worker = work(programs, tenant, model, said[Role.WORKER])
    watching = programs.run(["watch", "--json", "--earliest"], said[Role.CONSUMER])
    worker.ready()
    well(Role.SENSORS, "simulate", "--sensors", str(SENSORS), "--seconds", str(SECONDS))
    watching.said('"state": "ENDED"')
    wait_until(lambda: heard(tenant) == SENSORS, "every sensor being accounted for")

    assert consumed(secured, said[Role.CONSUMER], tenant)
    again = well(Role.ANALYST, "replay", "--json")
    assert {line["id"] for line in again.lines} == {found.id for found in tenant.detections()}
    topic = f"{tenant.name}.audio.replay.mine"
    well(Role.ANALYST, "replay", "--to-topic", topic)
    assert by_id(tenant.decoded(Detection, topic)).keys() == by_id(tenant.detections()).keys()

    said[Role.OPERATOR]["worker.group"] = tenant.name
    done.append(run({**said[Role.OPERATOR], "model.path": model}, "doctor", "--json"))
    assert "not be looked at" not in done[-1].out.decode()
    bury(tenant)
    well(Role.OPERATOR, "dead-letters", "retry", "--exception", "UnknownSchemaError")
    assert len(tenant.read(tenant.topics.backfill)) == 1
    well(Role.OPERATOR, "model", "rollout", "quick", "2", "--json")
    wait_until(lambda: len(tenant.silent()) == SENSORS, "the sensors being silent")
    gone = min(sensor for sensor, _ in tenant.silent())
    assert f"forgotten: {gone}" in well(Role.OPERATOR, "sensors", gone, "--forget").said

    assert worker.terminate() < DEADLINE_S
    assert worker.process.exit_status == 0, worker.log
    for output in (worker.log, watching.log, *(one.out.decode() + one.said for one in done)):
        assert SECRET not in output
        assert "Traceback" not in output
    if way == "token":
        assert set(tokens.asked) == {"grant_type=client_credentials&scope=kafka"}


@pytest.mark.parametrize("way", OTHER_WAYS)
def test_sound_is_heard_and_read_by_whoever_has_a_certificate_or_a_token(
    way: str, secured: Secured, tokens: TokenServer, programs: Programs, quick_model: Path
) -> None:
    """The programs of sensors and of workers; the others' clients, which are made from the same options."""
    tenant = secured.tenant(f"t{uuid4().hex[:8]}")
    said = let_in(secured, tokens, way, tenant)
    assert TopicAdmin(secured.client(said[Role.OPERATOR])).create(tenant.topics, 1, 1, 1.0)
    worker = work(programs, tenant, quick_model, said[Role.WORKER])
    worker.ready()
    done = run(said[Role.SENSORS], "simulate", "--sensors", str(SENSORS), "--seconds", str(SECONDS))
    assert done.code == 0, done.said
    wait_until(lambda: heard(tenant) == SENSORS, "every sensor being accounted for")
    assert consumed(secured, said[Role.CONSUMER], tenant)
    for role in set(Role) - {Role.OPERATOR, Role.CONSUMER, Role.ANALYST}:
        frames = tenant.topics.backfill if role is Role.BACKFILL_WORKER else tenant.topics.frames
        assert TopicAdmin(secured.client(said[role])).partitions([frames]) == {frames: 1}
    with LogReader(secured.client(said[Role.ANALYST])) as log:
        assert len(log.partitions(tenant.topics.frames)) == 1
    assert worker.terminate() < DEADLINE_S
    for output in (worker.log, done.out.decode() + done.said):
        assert SECRET not in output
        assert "Traceback" not in output
    if way == "token":
        assert set(tokens.asked) == {"grant_type=client_credentials&scope=kafka"}


def bury(tenant: Tenant) -> None:
    """Write a dead letter of a frame, as a worker without a registry would: others can read it."""
    frame = tenant.read(tenant.topics.frames)[0]
    why = "UnknownSchemaError", "unknown schema id 7: no schema registry"
    letter = DeadLetter(tenant.topics.frames, frame.partition, frame.offset, *why, frame.key, frame.value, ())
    producer = Producer(tenant.client)
    producer.produce(tenant.topics.dead_letters, frame.value, frame.key, headers=[*letter.wire_headers()])
    assert producer.flush(DEADLINE_S) == 0


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


def consumed(secured: Secured, settings: Mapping[str, object], tenant: Tenant) -> bool:
    """Read the detections as a service does: a member of a group of its own, which commits."""
    options = {
        "group.id": f"{tenant.name}-{Role.CONSUMER}-alerts",
        "auto.offset.reset": "earliest",
        "enable.auto.commit": False,
    }
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
    playing = play(tenant, FleetSettings(sensors=1, seconds=None), clip_pool(None, 16_000))
    try:
        yield
    finally:
        playing._stop.set()
        playing.finish()


def test_two_tenants_sensors_cannot_write_each_others_frames(secured: Secured) -> None:
    ours, theirs = (secured.tenant(f"t{uuid4().hex[:8]}").create(partitions=1) for _ in range(2))
    for tenant in (ours, theirs):
        secured.kafka.add_user(tenant.name, secured.password(tenant.name))
        secured.grant(Role.SENSORS, tenant.name, tenant.name)
    for who, whose in ((ours, ours), (ours, theirs), (theirs, ours)):
        settings = {**secured.by_password(who.name), "topics.tenants": json.dumps([whose.name])}
        pattern = ("--pattern", f"of-{who.name}-{{}}")
        done = run(settings, "simulate", "--sensors", "1", "--seconds", "0.1", *pattern)
        assert (done.code == 0) is (who is whose), done.said
        assert who is whose or f"topic {whose.name}.audio.frames is 'not for us'" in done.said
    senders = [{record.key for record in tenant.read(tenant.topics.frames)} for tenant in (ours, theirs)]
    assert senders == [{f"of-{ours.name}-1".encode()}, set()]


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
