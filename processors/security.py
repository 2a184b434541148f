"""How to prove who we are to Kafka: the same settings for librdkafka and for Faust's consumer.

PLAIN, SCRAM-…   a name and a password          OAUTHBEARER   tokens of an endpoint, by client credentials
SSL              a certificate and its key
"""

import ssl
from dataclasses import dataclass, field
from ipaddress import ip_address
from typing import Any
from urllib.parse import SplitResult, urlsplit

import faust

from schemas.errors import ConfigurationError

PROTOCOLS = ("PLAINTEXT", "SSL", "SASL_PLAINTEXT", "SASL_SSL")
TOKENS = "OAUTHBEARER"
MECHANISMS = ("PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512", TOKENS)


@dataclass(frozen=True, slots=True, kw_only=True)
class Security:
    """TLS and SASL; secrets never show in a repr.

    Raises:
        ConfigurationError: values that contradict.

    """

    protocol: str = "PLAINTEXT"
    mechanism: str | None = None
    username: str | None = None
    password: str | None = field(default=None, repr=False)
    ca_file: str | None = None
    certificate_file: str | None = None
    key_file: str | None = None
    key_password: str | None = field(default=None, repr=False)
    oauth_url: str | None = field(default=None, repr=False)
    """With OAUTHBEARER: what gives tokens for `username` and `password`, a client's id and its secret."""
    oauth_scope: str | None = None

    def __post_init__(self) -> None:
        if self.protocol not in PROTOCOLS:
            raise ConfigurationError("kafka.security_protocol", self.protocol, ", ".join(PROTOCOLS))
        if self.sasl and self.mechanism not in MECHANISMS:
            raise ConfigurationError("kafka.sasl_mechanism", self.mechanism, ", ".join(MECHANISMS))
        if self.sasl and not (self.username and self.password):
            raise ConfigurationError("kafka.sasl_username and sasl_password", "not set", "both")
        self._check_tokens()
        if not self.sasl and (self.mechanism or self.username or self.password):
            needs = "SASL_PLAINTEXT or SASL_SSL where there is a mechanism, a name or a password"
            raise ConfigurationError("kafka.security_protocol", self.protocol, needs)
        if self.key_file and not self.certificate_file:
            raise ConfigurationError("kafka.ssl_certificate_file", None, "the certificate of the key")
        if not self.tls and (self.ca_file or self.certificate_file or self.key_file):
            needs = "SSL or SASL_SSL where there is a certificate or a key"
            raise ConfigurationError("kafka.security_protocol", self.protocol, needs)

    def _check_tokens(self) -> None:
        url, parts = self.oauth_url, _parts(self.oauth_url)
        if "@" in parts.netloc:
            accepted = "a URL without a name and a password: there are kafka.sasl_username and sasl_password"
            raise ConfigurationError("kafka.oauth_token_url", "(hidden)", accepted)
        if self.tokens and not _hidden_on_the_way(parts):
            accepted = f"https://… with {TOKENS}, or http:// to this machine: a secret is sent there"
            shown = None if url is None else url.partition("?")[0]
            raise ConfigurationError("kafka.oauth_token_url", shown, accepted)
        if not self.tokens and (url is not None or self.oauth_scope is not None):
            needs = f"{TOKENS} where there is an oauth_token_url or an oauth_scope"
            raise ConfigurationError("kafka.sasl_mechanism", self.mechanism, needs)

    @property
    def sasl(self) -> bool:
        """Whether somebody says who they are by SASL."""
        return self.protocol.startswith("SASL_")

    @property
    def tokens(self) -> bool:
        """Whether tokens are sent, not the name and the password."""
        return self.sasl and self.mechanism == TOKENS

    @property
    def tls(self) -> bool:
        """Whether the connection is encrypted."""
        return self.protocol.endswith("SSL")

    def librdkafka(self) -> dict[str, Any]:
        """Return the options for confluent-kafka's clients."""
        options = {
            "security.protocol": self.protocol,
            **(self._who() if self.sasl else {}),
            "ssl.ca.location": self.ca_file,
            "ssl.certificate.location": self.certificate_file,
            "ssl.key.location": self.key_file,
            "ssl.key.password": self.key_password,
        }
        return {key: value for key, value in options.items() if value is not None}

    def faust(self) -> Any:
        """Return Faust's credentials, or None for none."""
        context = self._context() if self.tls else None
        if self.tokens:
            # An HTTP client that only this needs would cost every command 0.2 s of its start.
            from processors.tokens import TokenEndpoint, Tokens

            endpoint = TokenEndpoint(
                self.oauth_url or "", self.username or "", self.password or "", self.oauth_scope
            )
            return faust.OAuthCredentials(oauth_cb=Tokens(endpoint), ssl_context=context)
        if self.sasl:
            return faust.SASLCredentials(
                username=self.username, password=self.password, mechanism=self.mechanism, ssl_context=context
            )
        return faust.SSLCredentials(context) if context is not None else None

    def _who(self) -> dict[str, str | None]:
        if not self.tokens:
            who = {"sasl.username": self.username, "sasl.password": self.password}
            return {"sasl.mechanism": self.mechanism, **who}
        return {
            "sasl.mechanism": self.mechanism,
            "sasl.oauthbearer.method": "oidc",
            "sasl.oauthbearer.client.id": self.username,
            "sasl.oauthbearer.client.secret": self.password,
            "sasl.oauthbearer.token.endpoint.url": self.oauth_url,
            "sasl.oauthbearer.scope": self.oauth_scope,
        }

    def _context(self) -> ssl.SSLContext:
        try:
            context = ssl.create_default_context(cafile=self.ca_file)
            if self.certificate_file is not None:
                # Without a password of any kind OpenSSL would ask for one at the terminal.
                context.load_cert_chain(self.certificate_file, self.key_file, self.key_password or "")
        except (OSError, ssl.SSLError) as exc:
            files = self.ca_file, self.certificate_file, self.key_file
            raise ConfigurationError("kafka.ssl_…_file", files, f"readable PEM files: {exc}") from exc
        return context


def _parts(url: str | None) -> SplitResult:
    """Return the parts of a URL; empty ones where it is none."""
    try:
        return urlsplit(url or "")
    except ValueError:
        return urlsplit("")


def _hidden_on_the_way(url: SplitResult) -> bool:
    """Say whether nobody between us and a URL can read what is sent there."""
    host = url.hostname or ""
    if url.scheme != "http":
        return url.scheme == "https" and bool(host)
    try:
        return host == "localhost" or ip_address(host).is_loopback
    except ValueError:
        return False
