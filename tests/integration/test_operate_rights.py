"""An operator who may not look at everything is told what was not looked at, and everything else."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from confluent_kafka.admin import (  # type: ignore[attr-defined]  # it exports them without saying so
    AclBinding,
    AclOperation,
    AclPermissionType,
    AdminClient,
    ResourcePatternType,
    ResourceType,
)

from infra.local.kafka import start_kafka
from infra.local.ports import LOOPBACK, free_ports
from tests.integration.commands import BROKEN, WARNINGS, found, run
from tests.integration.harness import Tenant

TIMEOUT_S = 20.0
pytestmark = pytest.mark.timeout(180)
_LOGIN = 'org.apache.kafka.common.security.plain.PlainLoginModule required user_anna="anna-secret";'


@contextmanager
def guarded_kafka() -> Iterator[tuple[str, str]]:
    """Run a broker on which anna, on a listener with passwords, may do only what ACLs allow.

    Gives the servers of whoever may do anything, and anna's.
    """
    open_port, controller_port, guarded_port = free_ports(3)
    opened, guarded = f"PLAINTEXT://{LOOPBACK}:{open_port}", f"GUARDED://{LOOPBACK}:{guarded_port}"
    options = {
        "controller.quorum.voters": f"1@{LOOPBACK}:{controller_port}",
        "listeners": f"{opened},{guarded},CONTROLLER://{LOOPBACK}:{controller_port}",
        "advertised.listeners": f"{opened},{guarded}",
        "listener.security.protocol.map": "PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT,GUARDED:SASL_PLAINTEXT",
        "listener.name.guarded.sasl.enabled.mechanisms": "PLAIN",
        "listener.name.guarded.plain.sasl.jaas.config": _LOGIN,
        "authorizer.class.name": "org.apache.kafka.metadata.authorizer.StandardAuthorizer",
        "super.users": "User:ANONYMOUS",
    }
    with start_kafka(options, port=open_port):
        yield f"{LOOPBACK}:{open_port}", f"{LOOPBACK}:{guarded_port}"


def allow(servers: str, name: str, *operations: AclOperation) -> None:
    """Let anna do something with all topics whose names begin so."""
    what = ResourceType.TOPIC, name, ResourcePatternType.PREFIXED, "User:anna", "*"
    rights = [AclBinding(*what, operation, AclPermissionType.ALLOW) for operation in operations]
    client = AdminClient({"bootstrap.servers": servers})
    for future in client.create_acls(rights).values():
        future.result(TIMEOUT_S)


def test_what_may_not_be_looked_at_is_a_warning_and_all_else_is_looked_at(quick_model: Path) -> None:
    with guarded_kafka() as (servers, guarded):
        tenant = Tenant(servers, "acme").create(partitions=1)
        where = {
            "kafka.bootstrap_servers": guarded,
            "kafka.security_protocol": "SASL_PLAINTEXT",
            "kafka.sasl_mechanism": "PLAIN",
            "kafka.sasl_username": "anna",
            "kafka.sasl_password": "anna-secret",
            "topics.tenants": '["acme"]',
            "model.path": quick_model,
        }
        nothing = run(where, "doctor", "--json")
        allow(servers, "acme.", AclOperation.DESCRIBE, AclOperation.READ)
        some = run(where, "doctor", "--json")
        stranger = run({**where, "kafka.sasl_password": "wrong-secret"}, "doctor", "--json")

    assert nothing.code == WARNINGS, nothing.out
    for topic in (tenant.topics.frames, tenant.topics.sensors):
        assert f"{topic}: cannot be looked at" in found(nothing.lines, "topics", "warn")
    assert "may not be looked at" in found(nothing.lines, "workers", "warn")
    assert "quick/1" in found(nothing.lines, "model", "ok")

    assert some.code == WARNINGS, some.out
    assert "its configuration may not be looked at" in found(some.lines, "topics", "warn")
    assert "none within the hour" in found(some.lines, "dead-letters", "ok")
    assert "may not be looked at" in found(some.lines, "workers", "warn")

    assert stranger.code == BROKEN
    assert "uthentication" in found(stranger.lines, "brokers", "broken")
    assert b"secret" not in stranger.out
