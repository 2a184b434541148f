"""A certificate authority of a test's own -> PEM files: servers', clients', expired ones.

Keys are elliptic, and unencrypted unless a password is given.
"""

import datetime
import ipaddress
from dataclasses import dataclass, field
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

YEAR = datetime.timedelta(days=365)
DAY = datetime.timedelta(days=1)


@dataclass(frozen=True, slots=True)
class Pair:
    """A certificate and its key, as files."""

    certificate_file: Path
    key_file: Path

    def as_key_store(self) -> Path:
        """Return both in one file, the key first: what Kafka takes for a key store of type PEM."""
        store = self.key_file.with_suffix(".store.pem")
        store.write_bytes(self.key_file.read_bytes() + self.certificate_file.read_bytes())
        return store


@dataclass(slots=True)
class Authority:
    """Issues certificates into a directory; `ca_file` is what those trust who trust it."""

    name: str
    directory: Path
    _key: ec.EllipticCurvePrivateKey = field(init=False, repr=False)
    _certificate: x509.Certificate = field(init=False, repr=False)

    def __post_init__(self) -> None:
        self.directory.mkdir(parents=True, exist_ok=True)
        self._key = ec.generate_private_key(ec.SECP256R1())
        name = _named(self.name)
        draft = _draft(name, name, self._key, expired=False)
        draft = draft.add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        draft = draft.add_extension(_SIGNS, critical=True)
        self._certificate = draft.sign(self._key, hashes.SHA256())
        self.ca_file.write_bytes(self._certificate.public_bytes(serialization.Encoding.PEM))

    @property
    def ca_file(self) -> Path:
        """The authority's own certificate."""
        return self.directory / f"{self.name}.crt"

    def server(self, *hosts: str, expired: bool = False) -> Pair:
        """Issue what a server at these names or addresses shows."""
        names = x509.SubjectAlternativeName([_host(host) for host in hosts])
        return self._issue(f"server-{hosts[0]}", ExtendedKeyUsageOID.SERVER_AUTH, names, expired=expired)

    def client(self, name: str, *, expired: bool = False, password: str | None = None) -> Pair:
        """Issue what a client of this name shows."""
        names = x509.SubjectAlternativeName([x509.DNSName(name)])
        return self._issue(name, ExtendedKeyUsageOID.CLIENT_AUTH, names, expired=expired, password=password)

    def _issue(
        self,
        name: str,
        usage: x509.ObjectIdentifier,
        names: x509.SubjectAlternativeName,
        *,
        expired: bool,
        password: str | None = None,
    ) -> Pair:
        key, stem = (
            ec.generate_private_key(ec.SECP256R1()),
            f"{self.name}-{name}{'-expired' if expired else ''}",
        )
        draft = _draft(_named(name), self._certificate.subject, key, expired=expired)
        draft = draft.add_extension(names, critical=False)
        draft = draft.add_extension(x509.ExtendedKeyUsage([usage]), critical=False)
        certificate = draft.sign(self._key, hashes.SHA256())
        pair = Pair(self.directory / f"{stem}.crt", self.directory / f"{stem}.key")
        pair.certificate_file.write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
        pair.key_file.write_bytes(_pem(key, password))
        pair.key_file.chmod(0o600)
        return pair


_SIGNS = x509.KeyUsage(
    digital_signature=False,
    content_commitment=False,
    key_encipherment=False,
    data_encipherment=False,
    key_agreement=False,
    key_cert_sign=True,
    crl_sign=True,
    encipher_only=False,
    decipher_only=False,
)


def _named(name: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])


def _draft(
    subject: x509.Name, issuer: x509.Name, key: ec.EllipticCurvePrivateKey, *, expired: bool
) -> x509.CertificateBuilder:
    now = datetime.datetime.now(datetime.UTC)
    begin, end = (now - YEAR, now - DAY) if expired else (now - DAY, now + YEAR)
    builder = x509.CertificateBuilder(issuer, subject, key.public_key(), x509.random_serial_number())
    return builder.not_valid_before(begin).not_valid_after(end)


def _host(host: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(host))
    except ValueError:
        return x509.DNSName(host)


def _pem(key: ec.EllipticCurvePrivateKey, password: str | None) -> bytes:
    how: serialization.KeySerializationEncryption = serialization.NoEncryption()
    if password is not None:
        how = serialization.BestAvailableEncryption(password.encode())
    return key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, how)
