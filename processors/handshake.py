"""A broker that does not take us -> why, seen with Python's own TLS.

librdkafka says of a certificate that is over, foreign, or another host's that it "could not be verified", and
of a listener that speaks TLS where it does not that brokers are down. A second look tells them apart.
"""

import socket
import ssl
import struct
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from cryptography import x509

ANSWER_S, OBJECTS_S = 2.0, 0.5
_ASKS_VERSIONS = struct.pack(">ihhih", 10, 18, 0, 0x45415257, -1)
"""Kafka's ApiVersions request, version 0, with a number that the answer repeats and no client's name."""
_CLOSES = (ConnectionResetError, BrokenPipeError, ssl.SSLEOFError, ssl.SSLZeroReturnError)


def look_closer(client: Mapping[str, Any]) -> str | None:
    """Return what stands between us and the first broker with which something does, or None.

    `client` has librdkafka's options. Takes a few times ANSWER_S a broker at most.
    """
    protocol = str(client.get("security.protocol", "PLAINTEXT"))
    own = client.get("ssl.certificate.location")
    if protocol.endswith("SSL") and own is not None and (over := _is_over(Path(own))):
        return over
    for host, port in _addresses(str(client.get("bootstrap.servers", ""))):
        try:
            found = _spoken_to(client, protocol, host, port)
        except (OSError, ValueError):  # nobody is there, or files cannot be read: others say so
            continue
        if found:
            return f"{host}:{port} {found}"
    return None


def _spoken_to(client: Mapping[str, Any], protocol: str, host: str, port: int) -> str | None:
    if protocol.endswith("SSL"):
        return _in_tls(host, port, _context(client), protocol, own="ssl.certificate.location" in client)
    return _in_the_clear(host, port, protocol)


def _in_the_clear(host: str, port: int, protocol: str) -> str | None:
    trusting = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    trusting.check_hostname, trusting.verify_mode = False, ssl.CERT_NONE
    try:
        with socket.create_connection((host, port), ANSWER_S) as raw, trusting.wrap_socket(raw):
            return f"speaks TLS, and kafka.security_protocol is {protocol}"
    except (ssl.SSLError, OSError):
        return None


def _in_tls(host: str, port: int, context: ssl.SSLContext, protocol: str, *, own: bool) -> str | None:
    with socket.create_connection((host, port), ANSWER_S) as raw:
        try:
            secured = context.wrap_socket(raw, server_hostname=host)
        except ssl.SSLCertVerificationError as exc:
            return f"shows a certificate that does not count: {exc.verify_message.rstrip('.')}"
        except TimeoutError:
            return None
        except (ssl.SSLError, *_CLOSES):  # it may just be starting, or a proxy's that has lost it
            return _where_it_answers_in_the_clear(host, port, protocol)
        with secured:
            return _objection(secured, own=own)


def _where_it_answers_in_the_clear(host: str, port: int, protocol: str) -> str | None:
    with socket.create_connection((host, port), ANSWER_S) as raw:
        raw.sendall(_ASKS_VERSIONS)
        if len(answer := raw.recv(8)) == 8 and answer[4:] == _ASKS_VERSIONS[8:12]:
            return f"does not speak TLS, and kafka.security_protocol is {protocol}"
    return None


def _objection(secured: ssl.SSLSocket, *, own: bool) -> str | None:
    """Return what the server says of our certificate: since TLS 1.3 it says so after the handshake."""
    secured.settimeout(OBJECTS_S)
    try:
        secured.recv(1)
    except ssl.SSLError as exc:
        if not own:
            return "wants a certificate, and there is no kafka.ssl_certificate_file"
        return f"refuses the certificate of kafka.ssl_certificate_file: {_words(exc.reason)}"
    except OSError:
        return None  # it waits for what we say: it is content
    return None


def _words(reason: str | None) -> str:
    return (reason or "no reason").lower().replace("_", " ")


def _is_over(file: Path) -> str | None:
    try:
        ends = x509.load_pem_x509_certificate(file.read_bytes()).not_valid_after_utc
    except (OSError, ValueError):
        return None
    if ends > datetime.now(UTC):
        return None
    return f"the certificate of kafka.ssl_certificate_file, {file}, has expired: good until {ends:%Y-%m-%d}"


def _context(client: Mapping[str, Any]) -> ssl.SSLContext:
    context = ssl.create_default_context(cafile=client.get("ssl.ca.location"))
    if "ssl.certificate.location" in client:
        files = client["ssl.certificate.location"], client.get("ssl.key.location")
        context.load_cert_chain(*files, client.get("ssl.key.password", ""))
    return context


def _addresses(servers: str) -> Iterator[tuple[str, int]]:
    for server in servers.split(","):
        host, _, port = server.strip().rpartition("://")[2].rpartition(":")
        if host and port.isdigit():
            yield host.strip("[]"), int(port)
