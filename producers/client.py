"""Settings and the caller's client options -> a Kafka producer's options, and why its broker is away.

The caller brings the connection (servers, TLS, SASL). What keeps frames in order, whole and on the partition
that every other client would choose is decided here and cannot be overridden.
"""

import logging
from collections.abc import Mapping
from dataclasses import dataclass

from confluent_kafka import KafkaError, KafkaException, Producer

from schemas.client_words import said_safely, secrets_of
from schemas.errors import ConfigurationError

_LOG = logging.getLogger(__name__)

MAX_LINGER_MS = 1000.0
_FIXED: dict[str, object] = {
    "enable.idempotence": True,
    "acks": "all",
    # Equal to the Java client's default for every record with a key; librdkafka's own default is CRC-32.
    "partitioner": "murmur2_random",
}
_DEFAULTS: dict[str, object] = {
    "client.id": "earwitness-producer",
    # librdkafka would log every attempt to connect, up to 20 a second; `ClientErrors` says each reason once.
    "log_level": 2,
    # After an outage frames wait for the connection: the default of 10 s is 10 s of latency.
    "reconnect.backoff.max.ms": 1000,
}
_SETTINGS = {
    "linger.ms": "linger_ms",
    "queue.buffering.max.ms": "linger_ms",
    "delivery.timeout.ms": "delivery_timeout_ms",
    "message.timeout.ms": "delivery_timeout_ms",
    "queue.buffering.max.messages": "buffer_frames",
    "queue.buffering.max.kbytes": "buffer_kbytes",
    "compression.type": "compression",
    "compression.codec": "compression",
}
_OWNED = {"request.required.acks", "partitioner_cb", "transactional.id", "error_cb", "logger", *_FIXED}
_TELLING = ("_AUTHENTICATION", "_SSL", "SASL_AUTHENTICATION_FAILED", "_RESOLVE", "_TRANSPORT")
"""Errors that say why nothing is delivered, the most telling first; others follow."""
_ONE_BROKER = {"_TRANSPORT", "_RESOLVE", "_TIMED_OUT"}
"""Errors of one connection: the others may well be working."""


@dataclass(frozen=True, slots=True)
class PublisherSettings:
    """How frames wait and how long.

    `linger_ms`: a frame waits so long for company; 0 to 2 for live sound. `buffer_frames`, `buffer_kbytes`:
    what may wait for the broker. `delivery_timeout_ms`: a frame that has waited so long is given up.
    `compression`: none on a fast network, lz4 on a slow one.
    """

    linger_ms: float = 1.0
    delivery_timeout_ms: int = 120_000
    buffer_frames: int = 100_000
    buffer_kbytes: int = 131_072
    compression: str = "none"

    def __post_init__(self) -> None:
        if not 0.0 <= self.linger_ms <= MAX_LINGER_MS:
            raise ConfigurationError("linger_ms", self.linger_ms, f"0 to {MAX_LINGER_MS:g}")
        if self.delivery_timeout_ms < 1000 or self.delivery_timeout_ms <= self.linger_ms:
            accepted = "1000 or more (0 would keep frames for ever) and more than linger_ms"
            raise ConfigurationError("delivery_timeout_ms", self.delivery_timeout_ms, accepted)
        for key in ("buffer_frames", "buffer_kbytes"):
            if getattr(self, key) < 1:
                raise ConfigurationError(key, getattr(self, key), "1 or more: the buffer is bounded")


class ClientErrors:
    """What the client last said about its connections; delivery reports only say that time ran out."""

    def __init__(self, secrets: frozenset[str], aloud: bool = True) -> None:
        self._secrets, self._aloud = secrets, aloud
        self._first: dict[str, str] = {}
        self._last: dict[str, str] = {}

    def note(self, error: KafkaError) -> None:
        """Keep an error of the client; say so where it means that nothing at all is delivered."""
        name, text = error.name(), self.redacted(error.str())
        new = name not in self._first
        self._first.setdefault(name, text)
        self._last[name] = text
        if self._aloud and new and name not in _ONE_BROKER:
            _LOG.warning("kafka client: %s", self.reason(error))

    def clear(self) -> None:
        """Forget everything: something was delivered."""
        self._first.clear()
        self._last.clear()

    def reason(self, error: KafkaError) -> str:
        """Return what an error or a delivery report says, and why, as far as the client has said."""
        name = next((name for name in (*_TELLING, *self._last) if name in self._last), error.name())
        said = "" if name == error.name() else f"; {name}: {self._said(name)}"
        return self.redacted(error.str()) + said

    def _said(self, name: str) -> str:
        # The first words of an outage often say why (a handshake), the last how things are (refused).
        first, last = self._first.get(name, ""), self._last.get(name, "")
        return first if first == last else f"{first}; lastly: {last}"

    def redacted(self, text: str) -> str:
        """Return a text without any of the caller's secrets."""
        return said_safely(text, self._secrets)


def open_client(client: Mapping[str, object], settings: PublisherSettings) -> tuple[Producer, ClientErrors]:
    """Create a producer. It connects in the background: a broker that is away is no error here.

    Raises:
        ConfigurationError: an option is unknown, wrong, or not the caller's to choose.

    """
    errors = ClientErrors(secrets_of(client))
    options = {**client_options(client, settings), "error_cb": errors.note}
    try:
        return Producer(options, logger=_LOG), errors
    except (KafkaException, TypeError, ValueError) as exc:
        raise ConfigurationError(
            "client", sorted(client), f"librdkafka's: {errors.redacted(_text(exc))}"
        ) from None


def client_options(client: Mapping[str, object], settings: PublisherSettings) -> dict[str, object]:
    """Return librdkafka's options.

    Raises:
        ConfigurationError: the caller sets what is decided here or by the publisher's settings.

    """
    for option in client:
        if option in _OWNED and client[option] != _FIXED.get(option):
            raise ConfigurationError("client", option, "options other than that: frames depend on it")
        if option in _SETTINGS:
            raise ConfigurationError("client", option, f"the publisher's setting {_SETTINGS[option]} instead")
    ours = {
        "linger.ms": settings.linger_ms,
        "delivery.timeout.ms": settings.delivery_timeout_ms,
        "queue.buffering.max.messages": settings.buffer_frames,
        "queue.buffering.max.kbytes": settings.buffer_kbytes,
        "compression.type": settings.compression,
    }
    return {**_DEFAULTS, **client, **ours, **_FIXED}


def _text(exc: Exception) -> str:
    if isinstance(exc, KafkaException) and isinstance(exc.args[0], KafkaError):
        return exc.args[0].str()
    return str(exc)
