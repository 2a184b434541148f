"""Whoever is turned away is told why, in one line, soon, and without a secret.

Every failure is shown to what asks brokers for all our commands, and one to each real program: starting all
programs with all failures would take minutes, and they ask through the same few functions. Two that ask as
others do are started with SECURITY_ALL=1.
"""

import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import soundfile

from earwitness.acls import Role
from earwitness.topics import TopicAdmin, check_topics
from infra.local.ports import free_ports
from infra.local.secure import ELSEWHERE, EXPIRED
from processors.log import LogReader
from schemas.errors import ConfigurationError
from tests.integration.commands import Done, run
from tests.integration.harness import Tenant
from tests.integration.secured import SECRET, Secured, Settings, TokenServer, serve_tokens

pytestmark = pytest.mark.timeout(300)
NAME = "turned-away"


@dataclass(frozen=True, slots=True)
class Failure:
    """Something that keeps us out: settings, and words of the reason."""

    settings: Callable[[Secured], Settings]
    reason: str


def plain(secured: Secured) -> Settings:
    return {"kafka.bootstrap_servers": secured.by_password(NAME)["kafka.bootstrap_servers"]}


def without_certificate(secured: Secured) -> Settings:
    mutual = secured.by_certificate(NAME)
    return {key: value for key, value in mutual.items() if "certificate" not in key and "_key" not in key}


def without_tokens(secured: Secured) -> Settings:
    return secured.by_token(NAME, f"http://127.0.0.1:{free_ports(1)[0]}/token")


FAILURES = {
    "a wrong password": Failure(
        lambda s: {**s.by_password(NAME), "kafka.sasl_password": f"wrong-{SECRET}"}, "invalid credentials"
    ),
    "an unknown user": Failure(lambda s: s.by_password("nobody-knows"), "invalid credentials"),
    "an expired certificate": Failure(lambda s: s.by_certificate(NAME, expired=True), "has expired: good"),
    "a foreign certificate": Failure(
        lambda s: s.by_certificate(NAME, foreign=True),
        "refuses the certificate of kafka.ssl_",
    ),
    "no certificate": Failure(without_certificate, "wants a certificate"),
    "a broker of a foreign authority": Failure(
        lambda s: {**s.by_password(NAME), "kafka.ssl_ca_file": s.kafka.foreign.ca_file},
        "unable to get local issuer certificate",
    ),
    "a broker with another host's certificate": Failure(
        lambda s: s.by_password(NAME, ELSEWHERE), "IP address mismatch"
    ),
    "a broker with an expired certificate": Failure(
        lambda s: s.by_password(NAME, EXPIRED), "certificate has expired"
    ),
    "plain text to a port of TLS": Failure(plain, "speaks TLS, and kafka.security_protocol is PLAINTEXT"),
    "TLS to a port of plain text": Failure(
        lambda s: {**s.by_password(NAME), "kafka.bootstrap_servers": s.kafka.super_servers},
        "does not speak TLS, and kafka.security_protocol is SASL_SSL",
    ),
    "no endpoint of tokens": Failure(without_tokens, "Failed to acquire SASL OAUTHBEARER token"),
}


@pytest.fixture(scope="module")
def strangers(secured: Secured) -> Secured:
    """A broker that knows one more name, to which nothing is allowed."""
    secured.admit(NAME)
    return secured


@pytest.mark.parametrize("failure", FAILURES)
def test_who_is_turned_away_is_told_the_real_reason(failure: str, strangers: Secured) -> None:
    wrong = FAILURES[failure]
    client = strangers.client(wrong.settings(strangers))

    def sender() -> None:
        TopicAdmin(client).check_admitted("acme.audio.frames")

    def operator() -> None:
        TopicAdmin(client).partitions(["acme.audio.frames"])

    def reader() -> None:
        with LogReader(client) as log:
            log.partitions("acme.audio.frames")

    with ThreadPoolExecutor() as pool:
        for told in pool.map(refusal, (sender, operator, reader)):
            assert wrong.reason in told
            assert told.startswith("kafka.bootstrap_servers is")
            assert SECRET not in told


def refusal(ask: Callable[[], None]) -> str:
    """Return what somebody was told who asked."""
    with pytest.raises(ConfigurationError) as refused:
        ask()
    return str(refused.value)


def test_an_endpoint_that_gives_no_token_is_quoted(strangers: Secured) -> None:
    with serve_tokens(TokenServer(lambda _: "another")) as server:
        client = strangers.client(strangers.by_token(NAME, server.url))
        told = refusal(lambda: TopicAdmin(client).check_admitted("acme.audio.frames"))
    assert "no such client, or another secret" in told
    assert SECRET not in told


def test_rights_that_lack_are_named_with_topic_or_group(strangers: Secured, topic_prefix: str) -> None:
    tenant, name = strangers.tenant(topic_prefix).create(partitions=1), f"{topic_prefix}-worker"
    strangers.admit(name)
    client = strangers.client(strangers.by_password(name))
    assert f"topic {tenant.topics.control} is 'not for us'; accepted: READ" in checked(client, tenant)
    strangers.grant(Role.CONSUMER, name, tenant.name)
    assert "READ" in checked(client, tenant)
    strangers.grant(Role.WORKER, name, tenant.name, "another-group")
    check_topics(TopicAdmin(client), tenant.topics, embedded=False)
    told = refusal(lambda: TopicAdmin(client).check_group("not-this-one"))
    TopicAdmin(client).check_group("another-group")
    assert "worker.group is 'not-this-one'; accepted: a group with READ for us" in told


def checked(client: dict[str, object], tenant: Tenant) -> str:
    return refusal(lambda: check_topics(TopicAdmin(client), tenant.topics, embedded=False))


PROGRAMS = {
    ("simulate", "--sensors", "1", "--seconds", "1"): "a wrong password",
    ("work",): "an expired certificate",
    ("watch",): "a broker with another host's certificate",
    ("doctor", "--json"): "a broker of a foreign authority",
}
if "SECURITY_ALL" in os.environ:
    PROGRAMS[("capture", "SOUND", "--sensor", "hall")] = "plain text to a port of TLS"
    PROGRAMS[("topics", "create")] = "a foreign certificate"


@pytest.fixture(scope="module")
def ended(
    strangers: Secured, quick_model: Path, tmp_path_factory: pytest.TempPathFactory
) -> dict[tuple[str, ...], Done]:
    """How each program ended, all at once: each takes its time to be sure."""
    sound = tmp_path_factory.mktemp("sound") / "hall.wav"
    soundfile.write(sound, np.zeros(1600), 16_000)

    def end(program: tuple[str, ...]) -> Done:
        given = FAILURES[PROGRAMS[program]].settings(strangers)
        words = [str(sound) if word == "SOUND" else word for word in program]
        return run({**given, "model.path": quick_model, "status.port": 0}, *words)

    with ThreadPoolExecutor(3) as pool:
        return dict(zip(PROGRAMS, pool.map(end, PROGRAMS), strict=True))


@pytest.mark.parametrize("program", PROGRAMS, ids=lambda program: program[0])
def test_every_program_says_it_in_one_line_and_fails(
    program: tuple[str, ...], ended: dict[tuple[str, ...], Done]
) -> None:
    done, reason = ended[program], FAILURES[PROGRAMS[program]].reason
    output = done.out.decode() + done.said
    assert done.code in (1, 2), output
    assert output.count(reason) == 1, output
    assert "Traceback" not in output
    assert SECRET not in output
    if program[0] != "doctor":
        assert len(done.said.splitlines()) == 1, output
