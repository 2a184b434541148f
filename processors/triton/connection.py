"""Address and TLS -> gRPC connections of their own, with room for the largest batch."""

from pathlib import Path

import grpc

from processors.score import ScorerSettings
from schemas.errors import ConfigurationError
from schemas.model import ModelSpec

_ROOM_BYTES = 1 << 20
"""For what surrounds the numbers in a message, and for metadata and errors."""
_MAX_WINDOWS = 4096


def credentials_of(settings: ScorerSettings) -> grpc.ChannelCredentials | None:
    """Read the files that TLS needs; None without TLS.

    Raises:
        ConfigurationError: a file cannot be read.

    """
    if not settings.tls:
        return None
    return grpc.ssl_channel_credentials(
        root_certificates=_read("ca_file", settings.ca_file),
        private_key=_read("key_file", settings.key_file),
        certificate_chain=_read("certificate_file", settings.certificate_file),
    )


def open_channel(
    address: str, credentials: grpc.ChannelCredentials | None, spec: ModelSpec
) -> grpc.aio.Channel:
    """Open a connection that is shared with no other channel of this process."""
    options = [
        ("grpc.use_local_subchannel_pool", 1),
        ("grpc.max_send_message_length", -1),
        ("grpc.max_receive_message_length", _MAX_WINDOWS * len(spec.labels) * 4 + _ROOM_BYTES),
        ("grpc.enable_retries", 0),  # it is decided here what may be tried again, and where
        # Triton takes pings without data for abuse; with calls in flight they show a connection that is gone.
        ("grpc.keepalive_time_ms", 10_000),
        ("grpc.keepalive_timeout_ms", 5_000),
        ("grpc.keepalive_permit_without_calls", 0),
    ]
    if credentials is None:
        return grpc.aio.insecure_channel(address, options=options)
    return grpc.aio.secure_channel(address, credentials, options=options)


def _read(key: str, path: Path | None) -> bytes | None:
    if path is None:
        return None
    try:
        return path.read_bytes()
    except OSError as exc:
        raise ConfigurationError(f"scorer.{key}", str(path), f"a readable PEM file: {exc}") from exc
