"""Certificates of a test's own authority count where they should, and nowhere else."""

import ssl
from pathlib import Path

import pytest

from infra.local.certificates import Authority, Pair
from infra.local.secure import ELSEWHERE, EXPIRED, secure_options


def shaken(server: Pair, trusted: Path, host: str) -> None:
    """Have a server and a client shake hands in memory."""
    theirs = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    theirs.load_cert_chain(server.certificate_file, server.key_file)
    there, back = ssl.MemoryBIO(), ssl.MemoryBIO()
    client = ssl.create_default_context(cafile=str(trusted)).wrap_bio(back, there, server_hostname=host)
    answering = theirs.wrap_bio(there, back, server_side=True)
    for side in (client, answering, client, answering):
        try:
            side.do_handshake()
        except ssl.SSLWantReadError:
            continue


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority("ours", tmp_path_factory.mktemp("ours"))


@pytest.mark.parametrize("host", ["localhost", "127.0.0.1"])
def test_a_server_is_believed_under_its_names(host: str, authority: Authority) -> None:
    shaken(authority.server("localhost", "127.0.0.1"), authority.ca_file, host)


def test_a_server_is_not_believed_under_another_name_or_authority_or_when_it_is_over(
    authority: Authority, tmp_path: Path
) -> None:
    server, foreign = authority.server("localhost"), Authority("foreign", tmp_path)
    with pytest.raises(ssl.SSLCertVerificationError, match="IP address mismatch"):
        shaken(server, authority.ca_file, "127.0.0.1")
    with pytest.raises(ssl.SSLCertVerificationError, match="unable to get local issuer"):
        shaken(server, foreign.ca_file, "localhost")
    with pytest.raises(ssl.SSLCertVerificationError, match="has expired"):
        shaken(authority.server("localhost", expired=True), authority.ca_file, "localhost")


def test_keys_are_for_their_owner_and_encrypted_where_there_is_a_password(authority: Authority) -> None:
    plain, hidden = authority.client("anna"), authority.client("berta", password="opensesame")  # noqa: S106
    assert plain.key_file.stat().st_mode & 0o777 == 0o600
    assert b"BEGIN PRIVATE KEY" in plain.key_file.read_bytes()
    assert b"BEGIN ENCRYPTED PRIVATE KEY" in hidden.key_file.read_bytes()


def test_nobody_may_do_anything_without_a_right_on_any_listener(authority: Authority) -> None:
    server = authority.server("localhost")
    options = secure_options(authority, {None: server, EXPIRED: server, ELSEWHERE: server})
    assert options["allow.everyone.if.no.acl.found"] == "false"
    assert options["super.users"] == "User:ANONYMOUS"
    assert options["listener.name.mtls.ssl.client.auth"] == "required"
