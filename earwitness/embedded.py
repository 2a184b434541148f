"""The embedded broker: librdkafka's in-memory Kafka, for the demo and for tests.

It keeps about 5 MB a partition, stamps records with their senders' clocks, and knows no administration:
nothing for real use.
"""

import logging
from collections.abc import Iterable, Iterator
from contextlib import contextmanager

from confluent_kafka import Producer

from schemas.errors import StopError

logger = logging.getLogger("librdkafka")
TIMEOUT_S = 10.0


@contextmanager
def embedded_broker(topics: Iterable[str]) -> Iterator[str]:
    """Run a broker in this process while the context lasts; give its address.

    Raises:
        StopError: it did not start.

    """
    holder = Producer({"test.mock.num.brokers": 1}, logger=logger)  # the cluster lives as long as this client
    for topic in topics:
        holder.list_topics(topic, TIMEOUT_S)  # asking for a topic makes it, with four partitions
    brokers = list(holder.list_topics(timeout=TIMEOUT_S).brokers.values())
    if not brokers:
        raise StopError("the embedded broker did not start")
    yield f"{brokers[0].host}:{brokers[0].port}"
    holder.flush(0)
