"""One set of settings is the same to librdkafka and to Faust, and contradictions are refused."""

import datetime
import ssl
from pathlib import Path
from typing import Any

import faust
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from processors.security import MECHANISMS, PROTOCOLS, TOKENS, Security
from schemas.errors import ConfigurationError

SECRET = "correct horse battery staple"  # noqa: S105 - nobody's
ENDPOINT = "https://login.example/token"
SASL: dict[str, str] = {"mechanism": "SCRAM-SHA-512", "username": "worker", "password": SECRET}


@pytest.fixture(scope="module")
def pem(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """A certificate that signs itself, with its key, in clear and encrypted with `SECRET`."""
    directory, key = tmp_path_factory.mktemp("pem"), ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "localhost")])
    now, day = datetime.datetime.now(datetime.UTC), datetime.timedelta(days=1)
    builder = x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
    certificate = builder.not_valid_before(now - day).not_valid_after(now + day).sign(key, hashes.SHA256())
    encrypted = serialization.BestAvailableEncryption(SECRET.encode())
    return {
        "certificate": _written(directory, "c.pem", certificate.public_bytes(serialization.Encoding.PEM)),
        "key": _written(directory, "k.pem", _key_bytes(key, serialization.NoEncryption())),
        "encrypted": _written(directory, "e.pem", _key_bytes(key, encrypted)),
    }


def _written(directory: Path, name: str, data: bytes) -> str:
    (directory / name).write_bytes(data)
    return str(directory / name)


def _key_bytes(
    key: ec.EllipticCurvePrivateKey, encryption: serialization.KeySerializationEncryption
) -> bytes:
    return key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, encryption)


def test_by_default_nobody_is_asked_for_anything() -> None:
    security = Security()
    assert security.librdkafka() == {"security.protocol": "PLAINTEXT"}
    assert security.faust() is None


@pytest.mark.parametrize("mechanism", [one for one in MECHANISMS if one != TOKENS])
def test_a_name_and_a_password_go_to_both_clients(mechanism: str) -> None:
    security = Security(protocol="SASL_PLAINTEXT", **{**SASL, "mechanism": mechanism})
    assert security.librdkafka() == {
        "security.protocol": "SASL_PLAINTEXT",
        "sasl.mechanism": mechanism,
        "sasl.username": "worker",
        "sasl.password": SECRET,
    }
    credentials = security.faust()
    assert isinstance(credentials, faust.SASLCredentials)
    assert credentials.protocol.value == "SASL_PLAINTEXT"
    assert credentials.mechanism.value == mechanism
    assert (credentials.username, credentials.password) == ("worker", SECRET)
    assert credentials.ssl_context is None


def test_an_endpoint_of_tokens_goes_to_both_clients(pem: dict[str, str]) -> None:
    client = {"mechanism": TOKENS, "username": "worker", "password": SECRET}
    security = Security(
        protocol="SASL_SSL", ca_file=pem["certificate"], oauth_url=ENDPOINT, oauth_scope="kafka", **client
    )
    assert security.librdkafka() == {
        "security.protocol": "SASL_SSL",
        "sasl.mechanism": "OAUTHBEARER",
        "sasl.oauthbearer.method": "oidc",
        "sasl.oauthbearer.client.id": "worker",
        "sasl.oauthbearer.client.secret": SECRET,
        "sasl.oauthbearer.token.endpoint.url": ENDPOINT,
        "sasl.oauthbearer.scope": "kafka",
        "ssl.ca.location": pem["certificate"],
    }
    credentials = security.faust()
    assert isinstance(credentials, faust.OAuthCredentials)
    assert credentials.protocol.value == "SASL_SSL"
    assert credentials.ssl_context is not None
    assert credentials.ssl_context.verify_mode is ssl.CERT_REQUIRED
    assert "worker" in repr(credentials.oauth_cb)
    assert SECRET not in repr(security) + repr(credentials) + repr(credentials.oauth_cb)


@pytest.mark.parametrize(("file", "password"), [("key", None), ("encrypted", SECRET)])
def test_certificates_go_to_both_clients(pem: dict[str, str], file: str, password: str | None) -> None:
    security = Security(
        protocol="SSL",
        ca_file=pem["certificate"],
        certificate_file=pem["certificate"],
        key_file=pem[file],
        key_password=password,
    )
    options = {
        "security.protocol": "SSL",
        "ssl.ca.location": pem["certificate"],
        "ssl.certificate.location": pem["certificate"],
        "ssl.key.location": pem[file],
        "ssl.key.password": password,
    }
    assert security.librdkafka() == {key: value for key, value in options.items() if value is not None}
    credentials = security.faust()
    assert isinstance(credentials, faust.SSLCredentials)
    assert credentials.context.check_hostname
    assert credentials.context.verify_mode is ssl.CERT_REQUIRED
    assert credentials.context.cert_store_stats()["x509"] == 1


def test_a_password_over_tls_is_sent_encrypted_by_both_clients(pem: dict[str, str]) -> None:
    security = Security(protocol="SASL_SSL", ca_file=pem["certificate"], **SASL)
    assert security.librdkafka()["security.protocol"] == "SASL_SSL"
    credentials = security.faust()
    assert credentials.protocol.value == "SASL_SSL"
    assert credentials.ssl_context.verify_mode is ssl.CERT_REQUIRED


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"protocol": "TLS"}, rf"kafka\.security_protocol is 'TLS'; accepted: {', '.join(PROTOCOLS)}"),
        ({"protocol": "SASL_SSL"}, r"kafka\.sasl_mechanism is None; accepted: PLAIN, SCRAM"),
        ({**SASL, "protocol": "SASL_SSL", "mechanism": "GSSAPI"}, r"kafka\.sasl_mechanism is 'GSSAPI'"),
        ({**SASL, "protocol": "SASL_SSL", "password": None}, "not set'; accepted: both"),
        ({**SASL, "protocol": "SASL_SSL", "username": ""}, "not set'; accepted: both"),
        (SASL, r"kafka\.security_protocol is 'PLAINTEXT'; accepted: SASL_PLAINTEXT or SASL_SSL"),
        ({**SASL, "protocol": "SSL"}, r"kafka\.security_protocol is 'SSL'; accepted: SASL_PLAINTEXT or"),
        ({**SASL, "protocol": "SASL_SSL", "mechanism": TOKENS}, r"kafka\.oauth_token_url is None; accepted"),
        ({**SASL, "protocol": "SASL_SSL", "mechanism": TOKENS, "oauth_url": "login.example"}, "https://…"),
        (
            {**SASL, "protocol": "SASL_SSL", "mechanism": TOKENS, "oauth_url": f"https://me:{SECRET}@host"},
            r"kafka\.oauth_token_url is '\(hidden\)'",
        ),
        *(
            (
                {**SASL, "protocol": "SASL_SSL", "mechanism": TOKENS, "oauth_url": f"{url}?key={SECRET}"},
                r"kafka\.oauth_token_url is '[^?]*'; accepted: https://…",
            )
            for url in ("http://login.example/t", "http://localhost.example/t", "http://10.0.0.1", "https://")
        ),
        ({**SASL, "protocol": "SASL_SSL", "oauth_url": ENDPOINT}, "accepted: OAUTHBEARER where there is an"),
        ({"oauth_scope": "kafka"}, "accepted: OAUTHBEARER where there is an"),
        ({"ca_file": "ca.pem"}, r"kafka\.security_protocol is 'PLAINTEXT'; accepted: SSL or SASL_SSL"),
        ({**SASL, "protocol": "SASL_PLAINTEXT", "ca_file": "k.pem"}, r"accepted: SSL or SASL_SSL"),
        (
            {"protocol": "SSL", "key_file": "k.pem"},
            r"ssl_certificate_file is None; accepted: the certificate",
        ),
    ],
)
def test_settings_that_contradict_are_refused_without_the_password(
    given: dict[str, Any], message: str
) -> None:
    with pytest.raises(ConfigurationError, match=message) as refused:
        Security(**given)
    assert SECRET not in str(refused.value)


def test_files_that_cannot_be_read_are_named(tmp_path: Path, pem: dict[str, str]) -> None:
    missing = str(tmp_path / "nowhere.pem")
    with pytest.raises(ConfigurationError, match=r"nowhere\.pem.*readable PEM files"):
        Security(protocol="SSL", ca_file=missing).faust()
    with pytest.raises(ConfigurationError, match="readable PEM files"):
        Security(protocol="SSL", certificate_file=pem["key"], key_file=pem["key"]).faust()


def test_an_encrypted_key_without_its_password_is_refused_and_nobody_is_asked(pem: dict[str, str]) -> None:
    security = Security(protocol="SSL", certificate_file=pem["certificate"], key_file=pem["encrypted"])
    with pytest.raises(ConfigurationError, match="readable PEM files"):
        security.faust()


@pytest.mark.parametrize("host", ["localhost", "127.0.0.1:8080", "127.9.9.9", "[::1]:8080"])
def test_an_endpoint_in_the_clear_is_taken_on_this_machine_alone(host: str) -> None:
    url, client = f"http://{host}/token", {**SASL, "mechanism": TOKENS}
    options = Security(protocol="SASL_SSL", oauth_url=url, **client).librdkafka()
    assert options["sasl.oauthbearer.token.endpoint.url"] == url


def test_secrets_are_in_no_repr() -> None:
    security = Security(protocol="SASL_SSL", key_password=SECRET, **SASL)
    url = f"{ENDPOINT}?key={SECRET}"
    tokens = Security(protocol="SASL_SSL", oauth_url=url, **{**SASL, "mechanism": TOKENS})
    for one in (security, tokens):
        assert SECRET not in repr(one)
        assert SECRET not in str(one)
        assert SECRET not in repr(one.faust())
    assert SECRET not in repr(tokens.faust().oauth_cb)
