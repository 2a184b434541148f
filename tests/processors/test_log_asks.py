"""What is asked again of a broker: that which passes while a cluster finds itself anew."""

from collections.abc import Iterator

import pytest
from confluent_kafka import KafkaError, KafkaException

from processors.log import until_led

PASSING = (KafkaError._DESTROY_BROKER, KafkaError.NOT_LEADER_FOR_PARTITION)


@pytest.mark.parametrize("code", PASSING)
def test_a_broker_that_leaves_in_the_midst_of_a_question_is_not_the_end(code: int) -> None:
    said: Iterator[KafkaException | int] = iter([KafkaException(KafkaError(code)), 7])
    assert until_led(5.0)(lambda: _answer(next(said))) == 7


def test_what_does_not_pass_is_said_at_once() -> None:
    refused = KafkaException(KafkaError(KafkaError.TOPIC_AUTHORIZATION_FAILED))
    said: Iterator[KafkaException | int] = iter([refused, 7])
    with pytest.raises(KafkaException):
        until_led(5.0)(lambda: _answer(next(said)))


def _answer(said: KafkaException | int) -> int:
    if isinstance(said, KafkaException):
        raise said
    return said
