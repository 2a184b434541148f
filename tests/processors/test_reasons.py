"""Who is refused is told what was said first, and waits no longer than it takes to be sure."""

import time
from collections.abc import Iterator

import pytest
from confluent_kafka import KafkaError, KafkaException

from infra.local.ports import LOOPBACK, free_ports
from processors.reasons import NO_ANSWER, SURE_S, Reasons, first_answer

AWAY = {"bootstrap.servers": f"{LOOPBACK}:{free_ports(1)[0]}"}
LATE = KafkaException(KafkaError(NO_ANSWER[0]))


def test_a_refusal_counts_more_than_what_it_leads_to() -> None:
    reasons = Reasons(AWAY)
    assert reasons.why() == ""
    reasons.note(KafkaError(KafkaError._ALL_BROKERS_DOWN, "1/1 brokers are down"))
    assert (reasons.refused, reasons.why()) == (False, "; it says: 1/1 brokers are down")
    reasons.note(KafkaError(KafkaError._AUTHENTICATION, "wrong (after 3ms in state AUTH_REQ)"))
    reasons.note(KafkaError(KafkaError._AUTHENTICATION, "again"))
    assert (reasons.refused, reasons.why()) == (True, "; it says: wrong")


def test_what_is_said_is_told_without_our_secrets() -> None:
    secrets = {
        "sasl.password": "hunter2",
        "sasl.oauthbearer.token.endpoint.url": "https://host/t?key=hunter3",
    }
    reasons = Reasons({**AWAY, **secrets})
    reasons.note(KafkaError(KafkaError._AUTHENTICATION, "hunter2 is wrong at https://host/t?key=hunter3"))
    assert reasons.why() == "; it says: *** is wrong at https://host/t?***"


def test_an_answer_is_waited_for_while_brokers_are_merely_away() -> None:
    turns: Iterator[KafkaException | str] = iter([LATE, LATE, "answered"])

    def ask(_: float) -> str:
        turn = next(turns)
        if isinstance(turn, KafkaException):
            raise turn
        return turn

    assert first_answer(ask, Reasons(AWAY), lambda _: None, 30.0) == "answered"


def test_nobody_waits_on_after_a_refusal() -> None:
    reasons, began_s = Reasons(AWAY), time.monotonic()

    def ask(_: float) -> str:
        reasons.note(KafkaError(KafkaError._AUTHENTICATION, "wrong"))
        raise LATE

    with pytest.raises(KafkaException):
        first_answer(ask, reasons, lambda _: None, 60.0)
    assert SURE_S <= time.monotonic() - began_s < 30.0


def test_another_error_is_an_answer() -> None:
    def ask(_: float) -> str:
        raise KafkaException(KafkaError(KafkaError.TOPIC_AUTHORIZATION_FAILED))

    with pytest.raises(KafkaException, match="TOPIC_AUTHORIZATION_FAILED"):
        first_answer(ask, Reasons(AWAY), lambda _: None, 60.0)
