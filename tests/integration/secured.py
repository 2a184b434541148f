"""Who connects to a broker that believes nobody, and how: clients' options, and the same as our settings."""

import base64
import json
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from typing import Any

from confluent_kafka import KafkaException
from confluent_kafka.admin import (  # type: ignore[attr-defined]  # it exports them without saying so
    AclBindingFilter,
    AclOperation,
    AclPermissionType,
    AdminClient,
    ResourcePatternType,
    ResourceType,
)

from earwitness.acls import Grant, Kind, Role, default_group, rights_of
from earwitness.settings import load_settings
from earwitness.topics import TopicAdmin
from infra.local.ports import LOOPBACK
from infra.local.secure import MTLS, OAUTH, SASL, SecureKafka
from schemas.topics import Topics
from tests.integration.harness import DEADLINE_S, Tenant, wait_until

SECRET = "hunter2-and-a-half"  # noqa: S105 - in every password and key, so that it can be looked for
MECHANISM = "SCRAM-SHA-512"
Settings = dict[str, object]


@dataclass(frozen=True, slots=True)
class Secured:
    """A secure broker, and people who have been let in."""

    kafka: SecureKafka

    def tenant(self, name: str) -> Tenant:
        """Return a tenant as the super user sees it."""
        return Tenant(self.kafka.super_servers, name)

    def password(self, name: str) -> str:
        """Return somebody's password."""
        return f"{name}-{SECRET}"

    def admit(self, name: str) -> None:
        """Give somebody a password that works, and wait until it does."""
        self.kafka.add_user(name, self.password(name))
        client = load_settings(None, _flags(self.by_password(name))).kafka.librdkafka()
        wait_until(lambda: _lets_in(client), f"{name} being let in")

    def grant(self, role: Role, name: str, tenant: str, group: str | None = None) -> None:
        """Write the ACLs of a role."""
        principal = f"User:{name}"
        rights = rights_of(role, Topics(tenant), group or default_group(role, principal, tenant))
        TopicAdmin({"bootstrap.servers": self.kafka.super_servers}).allow(Grant(principal, rights))

    def take_away(self, name: str, kind: Kind, resource: str) -> None:
        """Take somebody's rights to a topic or a group away."""
        literal, what = ResourcePatternType.LITERAL, ResourceType[kind.name]
        every: list[Any] = [f"User:{name}", None, AclOperation.ANY, AclPermissionType.ANY]
        taken = AclBindingFilter(what, resource, literal, *every)
        admin = self.kafka.admin
        (answer,) = admin.delete_acls([taken]).values()
        assert answer.result(DEADLINE_S), "there was nothing to take away"

    def by_password(self, name: str, listener: str = SASL) -> Settings:
        """Return the settings of somebody with a password."""
        return {
            "kafka.bootstrap_servers": self.kafka.servers(listener),
            "kafka.security_protocol": "SASL_SSL",
            "kafka.sasl_mechanism": MECHANISM,
            "kafka.sasl_username": name,
            "kafka.sasl_password": self.password(name),
            "kafka.ssl_ca_file": self.kafka.authority.ca_file,
        }

    def by_certificate(self, name: str, *, expired: bool = False, foreign: bool = False) -> Settings:
        """Return the settings of somebody with a certificate; the key of a good one is encrypted."""
        authority = self.kafka.foreign if foreign else self.kafka.authority
        pair = authority.client(name, expired=expired, password=self.password(name))
        return {
            "kafka.bootstrap_servers": self.kafka.servers(MTLS),
            "kafka.security_protocol": "SSL",
            "kafka.ssl_ca_file": self.kafka.authority.ca_file,
            "kafka.ssl_certificate_file": pair.certificate_file,
            "kafka.ssl_key_file": pair.key_file,
            "kafka.ssl_key_password": self.password(name),
        }

    def by_token(self, name: str, endpoint: str) -> Settings:
        """Return the settings of somebody who fetches tokens."""
        return {
            **self.by_password(name, OAUTH),
            "kafka.sasl_mechanism": "OAUTHBEARER",
            "kafka.oauth_token_url": endpoint,
            "kafka.oauth_scope": "kafka",
        }

    def client(self, settings: Mapping[str, object]) -> dict[str, Any]:
        """Return the options for a plain client of whoever has these settings."""
        return {**load_settings(None, _flags(settings)).kafka.librdkafka(), "log_level": 0}


def _flags(settings: Mapping[str, object]) -> dict[str, str]:
    return {key: str(value) for key, value in settings.items()}


def _lets_in(client: Mapping[str, Any]) -> bool:
    try:
        return bool(AdminClient({**client, "log_level": 0}).list_topics(timeout=2.0).brokers)
    except KafkaException:
        return False


@dataclass(slots=True)
class TokenServer:
    """An endpoint of the tests' own: gives unsecured tokens to whoever has the right secret.

    `Kafka`'s own validator of unsecured tokens takes them; no real installation has either.
    """

    secret_of: Callable[[str], str]
    life_s: int = 300
    asked: list[str] = field(default_factory=list)
    """What was asked for: scopes and all, without the secret."""
    url: str = ""

    def answer(self, authorization: str, body: str) -> tuple[int, dict[str, object]]:
        """Return status and JSON."""
        self.asked.append(body)
        name, _, secret = base64.b64decode(authorization.removeprefix("Basic ")).decode().partition(":")
        if secret != self.secret_of(name):
            return 401, {"error": "invalid_client", "error_description": "no such client, or another secret"}
        return 200, {"access_token": unsecured_token(name, self.life_s), "expires_in": self.life_s}


def unsecured_token(name: str, life_s: int) -> str:
    """Return a token that nobody signed."""
    now_s = int(time.time())
    parts = {"alg": "none"}, {"sub": name, "iat": now_s, "exp": now_s + life_s}
    coded = (base64.urlsafe_b64encode(json.dumps(part).encode()).rstrip(b"=") for part in parts)
    return b".".join([*coded, b""]).decode()


@contextmanager
def serve_tokens(server: TokenServer) -> Iterator[TokenServer]:
    """Serve tokens on loopback."""

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["content-length"])).decode()
            status, answer = server.answer(self.headers.get("authorization", ""), body)
            said = json.dumps(answer).encode()
            self.send_response(status)
            self.send_header("content-type", "application/json")
            self.send_header("content-length", str(len(said)))
            self.end_headers()
            self.wfile.write(said)

        def log_message(self, *_: object) -> None:
            """Say nothing."""

    serving = ThreadingHTTPServer((LOOPBACK, 0), Handler)
    thread = Thread(target=serving.serve_forever, daemon=True)
    thread.start()
    server.url = f"http://{LOOPBACK}:{serving.server_port}/token"
    try:
        yield server
    finally:
        serving.shutdown()
        thread.join()
        serving.server_close()
