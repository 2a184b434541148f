"""The caller brings the connection; what frames depend on is decided here."""

import logging

import pytest
from confluent_kafka import KafkaError

from producers.client import ClientErrors, PublisherSettings, client_options, open_client
from schemas.errors import ConfigurationError


def test_frames_are_idempotent_acknowledged_by_all_and_partitioned_as_java_does() -> None:
    options = client_options({"bootstrap.servers": "broker:9092"}, PublisherSettings())
    assert options["enable.idempotence"] is True
    assert options["acks"] == "all"
    assert options["partitioner"] == "murmur2_random"
    assert options["linger.ms"] == 1.0
    assert options["compression.type"] == "none"


def test_tls_sasl_and_a_client_id_of_the_callers_pass_through() -> None:
    client = {
        "security.protocol": "SASL_SSL",
        "sasl.username": "mic",
        "ssl.ca.location": "ca",
        "client.id": "roof",
    }
    assert client.items() <= client_options(client, PublisherSettings()).items()


@pytest.mark.parametrize(
    "client",
    [
        {"partitioner": "consistent_random"},
        {"acks": 1},
        {"request.required.acks": 1},
        {"enable.idempotence": False},
        {"error_cb": print},
        {"linger.ms": 50},
        {"message.timeout.ms": 0},
    ],
)
def test_options_that_frames_depend_on_cannot_be_overridden(client: dict[str, object]) -> None:
    with pytest.raises(ConfigurationError, match=next(iter(client))):
        client_options(client, PublisherSettings())


@pytest.mark.parametrize(
    "client", [{"no.such.option": "hunter2"}, {"security.protocol": "SASL_SSL", "sasl.mechanism": "hunter2"}]
)
def test_an_option_that_the_client_refuses_is_named_without_the_password(client: dict[str, object]) -> None:
    with pytest.raises(ConfigurationError) as refused:
        open_client({**client, "sasl.username": "mic", "sasl.password": "hunter2"}, PublisherSettings())
    assert "hunter2" not in str(refused.value)


@pytest.mark.parametrize(
    "settings",
    [
        {"linger_ms": -1},
        {"linger_ms": 5000},
        {"delivery_timeout_ms": 0},
        {"buffer_frames": 0},
        {"buffer_kbytes": 0},
    ],
)
def test_settings_that_could_not_work_are_refused(settings: dict[str, int]) -> None:
    with pytest.raises(ConfigurationError, match=next(iter(settings))):
        PublisherSettings(**settings)  # type: ignore[arg-type]


def test_the_most_telling_error_explains_a_time_out_and_shows_no_password(
    caplog: pytest.LogCaptureFixture,
) -> None:
    errors = ClientErrors(frozenset({"hunter2"}))
    errors.note(KafkaError(KafkaError._ALL_BROKERS_DOWN, "1/1 brokers are down"))
    errors.note(KafkaError(KafkaError._TRANSPORT, "connection refused"))
    errors.note(KafkaError(KafkaError._AUTHENTICATION, "mic:hunter2 is not welcome"))
    reason = errors.reason(KafkaError(KafkaError._MSG_TIMED_OUT, "Message timed out"))
    assert reason == "Message timed out; _AUTHENTICATION: mic:*** is not welcome"
    assert "hunter2" not in caplog.text


def test_a_reason_gives_the_first_and_the_last_words_of_an_outage() -> None:
    errors = ClientErrors(frozenset())
    for text in ("handshake failed (after 3ms in state SSL_HANDSHAKE)", "in between", "refused"):
        errors.note(KafkaError(KafkaError._TRANSPORT, text))
    reason = errors.reason(KafkaError(KafkaError._MSG_TIMED_OUT, "timed out"))
    assert reason == "timed out; _TRANSPORT: handshake failed; lastly: refused"


def test_each_outage_is_said_once_and_again_after_something_was_delivered(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.WARNING)
    errors, down = ClientErrors(frozenset()), KafkaError(KafkaError._ALL_BROKERS_DOWN, "all are down")
    errors.note(down)
    errors.note(down)
    assert caplog.text.count("all are down") == 1
    errors.clear()
    errors.note(down)
    assert caplog.text.count("all are down") == 2


def test_one_broker_of_several_that_is_away_is_no_warning(caplog: pytest.LogCaptureFixture) -> None:
    ClientErrors(frozenset()).note(KafkaError(KafkaError._TRANSPORT, "connection refused"))
    assert not caplog.records
