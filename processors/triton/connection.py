"""Address and TLS -> gRPC connections of their own, with room for the largest batch."""

import ssl
from pathlib import Path

import grpc

from processors.batch import MAX_BATCH_WINDOWS
from processors.score import ScorerSettings
from schemas.errors import ConfigurationError
from schemas.model import ModelSpec

_ROOM_BYTES = 1 << 20
"""For what surrounds the numbers in a message, and for metadata and errors."""


def credentials_of(settings: ScorerSettings) -> grpc.ChannelCredentials | None:
    """Read the files that TLS needs; None without TLS.

    Raises:
        ConfigurationError: a file cannot be read, or is not what it has to be.

    """
    if not settings.tls:
        return None
    credentials = grpc.ssl_channel_credentials(
        root_certificates=_read("ca_file", settings.ca_file),
        private_key=_read("key_file", settings.key_file),
        certificate_chain=_read("certificate_file", settings.certificate_file),
    )
    _check_files(settings)
    return credentials


def open_channel(
    address: str, credentials: grpc.ChannelCredentials | None, spec: ModelSpec
) -> grpc.aio.Channel:
    """Open a connection that is shared with no other channel of this process."""
    options = [
        ("grpc.use_local_subchannel_pool", 1),
        ("grpc.max_send_message_length", -1),
        ("grpc.max_receive_message_length", MAX_BATCH_WINDOWS * spec.raw_width * 4 + _ROOM_BYTES),
        ("grpc.enable_retries", 0),  # it is decided here what may be tried again, and where
        # Triton takes pings without data for abuse; with calls in flight they show a connection that is gone.
        ("grpc.keepalive_time_ms", 10_000),
        ("grpc.keepalive_timeout_ms", 5_000),
        ("grpc.keepalive_permit_without_calls", 0),
    ]
    if credentials is None:
        return grpc.aio.insecure_channel(address, options=options)
    return grpc.aio.secure_channel(address, credentials, options=options)


def _check_files(settings: ScorerSettings) -> None:
    """Refuse what gRPC would take, and then never connect with."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    authorities, certificate = settings.ca_file, settings.certificate_file
    try:
        if authorities is not None:
            context.load_verify_locations(authorities)
    except OSError as exc:  # OpenSSL's errors are of this kind
        accepted = f"a PEM file of certificates: {exc}"
        raise ConfigurationError("scorer.ca_file", str(authorities), accepted) from exc
    try:
        if certificate is not None:
            context.load_cert_chain(certificate, settings.key_file, password=_no_password)
    except OSError as exc:
        accepted = f"a PEM file whose key, without a password, is in {settings.key_file}: {exc}"
        raise ConfigurationError("scorer.certificate_file", str(certificate), accepted) from exc


def _no_password() -> str:
    return ""  # rather than asking for one on the terminal


def _read(key: str, path: Path | None) -> bytes | None:
    if path is None:
        return None
    try:
        return path.read_bytes()
    except OSError as exc:
        raise ConfigurationError(f"scorer.{key}", str(path), f"a readable PEM file: {exc}") from exc
