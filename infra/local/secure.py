"""A directory -> a real Kafka that believes nobody: TLS, SCRAM, client certificates, tokens, ACLs.

    SASL      TLS and SCRAM-SHA-512          EXPIRED     as SASL, the server's certificate is over
    MTLS      TLS both ways                  ELSEWHERE   as SASL, the server's certificate is another host's
    OAUTH     TLS and OAUTHBEARER

Without an ACL nobody may do anything (`allow.everyone.if.no.acl.found=false`). The exception is the listener
in plain text on loopback, whose ANONYMOUS is the super user: a test's own administration, and the check that
the broker is up. No installation but a test's should have one. Tokens are checked by Kafka's own validator of
unsecured ones, which believes whatever they say: enough to see that clients bring them.
"""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from confluent_kafka.admin import (  # type: ignore[attr-defined]  # it exports them without saying so
    AdminClient,
    ScramCredentialInfo,
    ScramMechanism,
    UserScramCredentialUpsertion,
)

from infra.local.certificates import Authority, Pair
from infra.local.kafka import QUIET_CLIENT, KafkaNode, Listener, start_kafka
from infra.local.ports import LOOPBACK

SASL, MTLS, OAUTH = "SASL", "MTLS", "OAUTH"
EXPIRED, ELSEWHERE = "EXPIRED", "ELSEWHERE"
LISTENERS = {
    SASL: Listener(LOOPBACK, "SASL_SSL"),
    MTLS: Listener(LOOPBACK, "SSL"),
    OAUTH: Listener(LOOPBACK, "SASL_SSL"),
    EXPIRED: Listener(LOOPBACK, "SASL_SSL"),
    ELSEWHERE: Listener(LOOPBACK, "SASL_SSL"),
}
ANOTHER_HOST = "kafka.elsewhere.example"
SCRAM_ITERATIONS, ANSWER_S = 4096, 20.0
_LOGIN = "org.apache.kafka.common.security"
_SCRAM = f"{_LOGIN}.scram.ScramLoginModule required;"
_TOKENS = f'{_LOGIN}.oauthbearer.OAuthBearerLoginModule required unsecuredLoginStringClaim_sub="broker";'


@dataclass(frozen=True, slots=True)
class SecureKafka:
    """A broker that believes nobody, and who vouches for whom."""

    node: KafkaNode
    authority: Authority
    foreign: Authority
    """An authority that the broker does not trust."""

    @property
    def super_servers(self) -> str:
        """Where whoever connects may do anything."""
        return self.node.bootstrap_servers

    @property
    def admin(self) -> AdminClient:
        """Administers as the super user."""
        return AdminClient({"bootstrap.servers": self.super_servers, **QUIET_CLIENT})

    def servers(self, listener: str) -> str:
        """Return where clients of a listener connect."""
        return self.node.plan.address(listener)

    def add_user(self, name: str, password: str) -> None:
        """Let somebody in by SCRAM-SHA-512."""
        how = ScramCredentialInfo(ScramMechanism.SCRAM_SHA_512, SCRAM_ITERATIONS)
        change = UserScramCredentialUpsertion(name, how, password.encode())
        admin = self.admin
        for future in admin.alter_user_scram_credentials([change]).values():
            future.result(ANSWER_S)


@contextmanager
def start_secure_kafka(directory: Path) -> Iterator[SecureKafka]:
    """Run the broker; certificates are made in the directory.

    Raises:
        MissingToolError: Java or Maven is missing.
        ServerStartError: the broker did not start; the message quotes the end of its log.

    """
    authority, foreign = Authority("ours", directory), Authority("foreign", directory)
    stores = {
        None: authority.server("localhost", LOOPBACK),
        EXPIRED: authority.server("localhost", LOOPBACK, expired=True),
        ELSEWHERE: authority.server(ANOTHER_HOST),
    }
    with start_kafka(secure_options(authority, stores), listeners=LISTENERS) as node:
        yield SecureKafka(node, authority, foreign)


def secure_options(authority: Authority, stores: Mapping[str | None, Pair]) -> dict[str, str]:
    """Return the server options; `stores` are the certificates by listener, None for all others."""
    options = {
        "authorizer.class.name": "org.apache.kafka.metadata.authorizer.StandardAuthorizer",
        "allow.everyone.if.no.acl.found": "false",
        "super.users": "User:ANONYMOUS",
        "ssl.truststore.type": "PEM",
        "ssl.truststore.location": str(authority.ca_file),
        "ssl.principal.mapping.rules": "RULE:^CN=([^,]+).*$/$1/,DEFAULT",
        f"listener.name.{MTLS.lower()}.ssl.client.auth": "required",
        f"listener.name.{OAUTH.lower()}.sasl.enabled.mechanisms": "OAUTHBEARER",
        f"listener.name.{OAUTH.lower()}.oauthbearer.sasl.jaas.config": _TOKENS,
    }
    for listener, pair in stores.items():
        prefix = "" if listener is None else f"listener.name.{listener.lower()}."
        options[f"{prefix}ssl.keystore.type"] = "PEM"
        options[f"{prefix}ssl.keystore.location"] = str(pair.as_key_store())
    for listener in (SASL, EXPIRED, ELSEWHERE):
        options[f"listener.name.{listener.lower()}.sasl.enabled.mechanisms"] = "SCRAM-SHA-512"
        options[f"listener.name.{listener.lower()}.scram-sha-512.sasl.jaas.config"] = _SCRAM
    return options
