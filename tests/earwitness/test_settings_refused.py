"""Keys that do not exist and values that cannot work are refused, with key, value and what is accepted."""

import json
from pathlib import Path

import pytest

from earwitness.settings import load_settings
from schemas.errors import ConfigurationError
from tests.earwitness.conftest import refused, toml

SECRET = "correct horse battery staple"  # noqa: S105 - nobody's


def undecided(**flags: str) -> str:
    """Return the message with which a model and what is set over it are refused."""
    settings = load_settings(flags={key.replace("__", "."): value for key, value in flags.items()})
    with pytest.raises(ConfigurationError) as error:
        settings.decision()
    return str(error.value)


# -- unknown keys ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("key", "named"),
    [
        ("nonsense", "kafka, registry, topics, model"),
        ("nonsense.more", "kafka, registry, topics, model"),
        ("kafka.nonsense", "kafka.bootstrap_servers, kafka.security_protocol"),
        ("batch.nonsense", "batch.max_windows, batch.max_wait_ms, batch.max_backlog_windows"),
        ("detect.nonsense", "detect.segment_windows, detect.max_missing_s"),
    ],
)
def test_an_unknown_flag_is_refused_with_what_there_is(key: str, named: str) -> None:
    message = refused(flags={key: "1"})
    assert message.startswith(f"{key.removesuffix('.more')} is 'unknown'; accepted: {named}")


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("NONSENSE", "EARWITNESS_NONSENSE is 'unknown'; accepted: EARWITNESS_KAFKA__…, EARWITNESS_REG"),
        ("NONSENSE__MORE", "EARWITNESS_NONSENSE__MORE is 'unknown'; accepted: EARWITNESS_KAFKA__…"),
        ("KAFKA__NONSENSE", "kafka.nonsense is 'unknown'; accepted: kafka.bootstrap_servers"),
        ("BATCH__NONSENSE", "batch.nonsense is 'unknown'; accepted: batch.max_windows"),
    ],
)
def test_an_unknown_variable_is_refused_with_what_there_is(
    monkeypatch: pytest.MonkeyPatch, name: str, message: str
) -> None:
    monkeypatch.setenv(f"EARWITNESS_{name}", "1")
    assert message in refused()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("nonsense = 1", "nonsense is 'unknown'; accepted: kafka, registry"),
        ("[nonsense]\nx = 1", "nonsense is 'unknown'; accepted: kafka, registry"),
        ("[worker]\nnonsense = 1", "worker.nonsense is 'unknown'; accepted: worker.group, worker.begin_at"),
        ("[status]\nnonsense = 1", "status.nonsense is 'unknown'; accepted: status.host, status.port"),
    ],
)
def test_an_unknown_key_in_the_file_is_refused_with_what_there_is(
    tmp_path: Path, text: str, message: str
) -> None:
    assert message in refused(toml(tmp_path, text))


# -- values that cannot work ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("batch.max_windows", "many", "batch.max_windows is 'many'; accepted: Input should be a valid int"),
        ("batch.max_windows", "0", "batch.max_windows is 0; accepted: 1 to 4096"),
        ("batch.max_windows", "1024", "batch.max_backlog_windows is 512; accepted: at least batch.max_wi"),
        ("batch.max_wait_ms", "-1", "batch.max_wait_ms is -1.0; accepted: 0 to 1000"),
        ("detect.segment_windows", "0", "detect.segment_windows is 0; accepted: at least 1"),
        ("detect.max_gap_s", "61", "detect.max_gap_s is 61.0; accepted: more than 0, at most 60"),
        ("detect.idle_s", "0", "detect.idle_s is 0.0; accepted: more than 0"),
        ("detect.idle_s", "inf", "detect.idle_s is 'inf'; accepted: Input should be a finite number"),
        ("detect.margin_s", "nan", "detect.margin_s is 'nan'; accepted: Input should be a finite number"),
        ("window.hop_s", "inf", "window.hop_s is 'inf'; accepted: Input should be a finite number"),
        ("window.hop_s", "0", "window.hop_s is '0'; accepted: Input should be greater than 0"),
        ("model.m", "0", "model.m is '0'; accepted: Input should be greater than or equal to 1"),
        ("model.thresholds.loud", "1.5", "model.thresholds.loud is '1.5'; accepted: Input should be less"),
        ("scorer.threads", "0", "scorer.threads is 0; accepted: 1 to 256"),
        ("worker.group", "", "worker.group is ''; accepted: a name"),
        ("worker.begin_at", "yesterday", "worker.begin_at is 'yesterday'; accepted: latest, earliest, or a"),
        ("worker.session_timeout_s", "1", "worker.session_timeout_s is 1.0; accepted: 6 to 300"),
        ("worker.overload", "drop", "worker.overload is 'drop'; accepted: Input should be 'lag' or 'shed'"),
        ("worker.deadline_ms", "99", "worker.deadline_ms is 99; accepted: 100 to 60000"),
        ("worker.fetch_min_bytes", "0", "worker.fetch_min_bytes is 0; accepted: 1 to"),
        ("status.port", "99999", "status.port is 99999; accepted: 0 to 65535"),
        ("log.level", "loud", "log.level is 'loud'; accepted: Input should be 'debug', 'info', 'warning'"),
        ("topics.tenants", "[]", "topics.tenants is '[]'; accepted: Value should have at least 1 item"),
        ("topics.tenants", '["a b"]', "topics.tenants.0 is 'a b'; accepted: String should match pattern"),
        ("kafka.bootstrap_servers", "", "kafka.bootstrap_servers is ''; accepted: String should have at"),
        ("kafka.embedded", "perhaps", "kafka.embedded is 'perhaps'; accepted: Input should be a valid bool"),
        ("kafka", "127.0.0.1:9092", "kafka is '(hidden)'; accepted: Input should be a valid dict"),
    ],
)
def test_a_value_that_cannot_work_is_refused_with_key_value_and_what_is_accepted(
    key: str, value: str, message: str
) -> None:
    assert refused(flags={key: value}).startswith(message)


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (
            {"worker.deadline_ms": "100", "batch.max_wait_ms": "40"},
            "worker.deadline_ms is 100; accepted: 200 or more: 4 times worker.fetch_max_wait_ms and",
        ),
        (
            {"topics.backfill": "true", "worker.group": "earwitness-backfill"},
            "worker.overload is 'shed'; accepted: lag with topics.backfill, which is of the past",
        ),
    ],
)
def test_a_worker_that_would_shed_everything_is_refused(flags: dict[str, str], message: str) -> None:
    load_settings(flags=flags).connections()
    with pytest.raises(ConfigurationError) as error:
        load_settings(flags={**flags, "worker.overload": "shed"}).connections()
    assert str(error.value).startswith(message)


def test_a_slice_cannot_be_given_as_a_whole_and_in_part() -> None:
    message = refused(flags={"kafka": "x", "kafka.sasl_password": SECRET})
    assert message == "kafka is 'given as a whole and in part'; accepted: one of the two"


def test_a_file_that_is_not_toml_is_named_with_the_place_that_is_wrong(tmp_path: Path) -> None:
    message = refused(toml(tmp_path, "[batch]\nmax_windows 4", "broken.toml"))
    assert "broken.toml" in message
    assert "line 2" in message
    toml(tmp_path, "[batch")
    assert "settings is 'earwitness.toml'; accepted: values that parse" in refused()


def test_a_variable_that_is_not_json_is_said_to_come_from_the_environment(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("EARWITNESS_TOPICS__TENANTS", "acme")
    message = refused()
    assert message.startswith("settings is 'environment'; accepted: values that parse")
    assert "topics" in message


# -- what is set over a model ---------------------------------------------------------------------------


@pytest.mark.parametrize("hop_s", ["0.00003", "0.10001", "1e-9"])
def test_a_hop_that_is_no_whole_number_of_samples_is_refused(tiny_model: Path, hop_s: str) -> None:
    message = undecided(model__path=str(tiny_model), window__hop_s=hop_s)
    assert message == f"window.hop_s is {float(hop_s)!r}; accepted: a whole number of samples at 16000 Hz"


def test_a_hop_longer_than_a_window_is_refused(tiny_model: Path) -> None:
    assert undecided(model__path=str(tiny_model), window__hop_s="0.3") == (
        "window.hop_s is 0.3; accepted: at most a window, 0.2 s: "
        "sound between two windows would never be heard"
    )


@pytest.mark.parametrize("flags", [{"model__m": "4"}, {"model__n": "1"}, {"model__m": "9", "model__n": "8"}])
def test_more_windows_than_are_looked_at_are_refused(tiny_model: Path, flags: dict[str, str]) -> None:
    message = undecided(model__path=str(tiny_model), **flags)
    m, n = flags.get("model__m", "2"), flags.get("model__n", "3")
    assert message.startswith(f"model.m is {m}; accepted: at most model.n, {n}:")


def test_more_windows_than_any_model_may_look_at_are_refused(tiny_model: Path) -> None:
    message = undecided(model__path=str(tiny_model), model__n="1001")
    assert message == "model.n is 1001; accepted: Input should be less than or equal to 1000"


def test_a_threshold_for_a_label_that_the_model_lacks_is_refused_with_its_labels(tiny_model: Path) -> None:
    message = undecided(model__path=str(tiny_model), model__thresholds='{"loud": 0.5, "sirene": 0.5}')
    assert message == "model.thresholds is ['sirene']; accepted: labels of the model: ('loud', 'high')"


def test_a_model_that_is_nowhere_is_refused_with_those_that_there_are() -> None:
    message = undecided(model__path="earwitness-huge/1")
    assert message.startswith("model.path is 'earwitness-huge/1'; accepted: a directory with spec.json")


def test_a_tolerance_of_a_whole_window_is_refused(tiny_model: Path) -> None:
    message = undecided(model__path=str(tiny_model), detect__max_missing_s="0.2")
    assert message == "detect.max_missing_s is 0.2; accepted: less than a window, 0.2 s"


# -- secrets --------------------------------------------------------------------------------------------

SECRETS = {
    "kafka.sasl_password": SECRET,
    "kafka.ssl_key_password": SECRET,
    "registry.password": SECRET,
}


@pytest.mark.parametrize(
    ("option", "way"),
    [
        ("sasl.password", "kafka.sasl_password instead, which both clients know"),
        ("sasl.mechanisms", "kafka.sasl_mechanism instead"),
        ("security.protocol", "kafka.security_protocol instead"),
        ("bootstrap.servers", "kafka.bootstrap_servers instead"),
        ("sasl.oauthbearer.client.secret", "kafka.sasl_password instead"),
        ("ssl.ca.pem", "kafka.ssl_ca_file instead"),
        ("ssl.key.pem", "kafka.ssl_key_file instead"),
        ("ssl.certificate.location", "kafka.ssl_certificate_file instead"),
        ("ssl.cipher.suites", "nothing: it is always checked"),
        ("enable.ssl.certificate.verification", "nothing: it is always checked"),
        ("ssl.endpoint.identification.algorithm", "nothing: it is always checked"),
        ("enable.sasl.oauthbearer.unsecure.jwt", "nothing: it is always checked"),
    ],
)
def test_options_of_librdkafka_say_neither_who_we_are_nor_whom_we_believe(option: str, way: str) -> None:
    told = refused(flags={"kafka.client": json.dumps({"socket.timeout.ms": 1, option: SECRET})})
    assert told.startswith(f"kafka.client is '{option}'; accepted: {way}")
    assert SECRET not in told


def test_an_option_without_a_setting_of_its_own_passes() -> None:
    options = {"ssl.crl.location": "/etc/revoked.pem", "sasl.oauthbearer.extensions": "cluster=a"}
    settings = load_settings(flags={"kafka.client": json.dumps(options)})
    assert settings.kafka.librdkafka().items() >= options.items()


def test_secrets_are_in_no_repr() -> None:
    settings = load_settings(
        flags={
            **SECRETS,
            "kafka.security_protocol": "SASL_PLAINTEXT",
            "kafka.sasl_mechanism": "PLAIN",
            "kafka.sasl_username": "worker",
        }
    )
    for shown in (settings, settings.kafka, settings.kafka.security, settings.connections()):
        assert SECRET not in repr(shown)
        assert SECRET not in str(shown)
    assert settings.kafka.librdkafka()["sasl.password"] == SECRET


@pytest.mark.parametrize(
    "flags",
    [
        {"kafka.sasl_pasword": SECRET},
        {"registry.pass": SECRET},
        {"kafka.client": SECRET},
        {"kafka.client": f'{{"sasl.password": ["{SECRET}"]}}'},
        {"kafka.client.sasl.password": SECRET},
        {"kafka.oauth_token_url": f'["{SECRET}"]', "log.level": "loud"},
        {"kafka.oauth_token_url.key": SECRET},
        {"registry.password.value": SECRET},
        {"kafka.sasl_password": SECRET, "kafka.sasl_password.value": SECRET},
        {**SECRETS, "log.level": "loud"},
    ],
)
def test_secrets_are_in_no_message(flags: dict[str, str]) -> None:
    assert SECRET not in refused(flags=flags)


def test_a_misspelt_secret_is_not_repeated_from_the_environment_or_the_file_either(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert SECRET not in refused(toml(tmp_path, f"[kafka]\nsasl_pasword = '{SECRET}'\n", "typo.toml"))
    assert SECRET not in refused(toml(tmp_path, f"[kafka]\nsasl_password = '{SECRET}\n", "broken.toml"))
    monkeypatch.setenv("EARWITNESS_KAFKA__SASL_PASWORD", SECRET)
    assert SECRET not in refused()
