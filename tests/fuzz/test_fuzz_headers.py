"""Headers that no client would write, in a real log: whoever reads it with our reader gets past them."""

import asyncio

from infra.local.kafka import KafkaServer
from processors.log import NO_NAME, LogReader
from tests.fuzz.batch import Written, append
from tests.integration.harness import Tenant

ROUNDS = 30
"""Python specializes what is called often, and then looks no more whether a call has failed."""


def test_a_name_that_is_not_text_is_a_placeholder_and_all_else_is_as_it_was(kafka: KafkaServer) -> None:
    tenant = Tenant(kafka.bootstrap_servers, "fuzz-headers").create(1)
    topic = tenant.topics.frames
    odd: list[tuple[bytes, bytes | None]] = [
        (b"\xff\xfe", b"1"),
        (b"ok", b"2"),
        (b"null", None),
        (b"\xed\xa0\x80", None),
    ]
    sent: list[Written] = [
        (b"key", b"odd", odd),
        (None, b"good", [("süd".encode(), b"\xff")]),
        (b"key", b"none", []),
    ]
    asyncio.run(append(tenant.servers, topic, 0, ROUNDS * sent))
    with LogReader(tenant.client) as reader:
        found = list(reader.read(topic, {0: (0, ROUNDS * len(sent))}))
    assert [(r.key, r.value) for r in found] == ROUNDS * [(key, value) for key, value, _ in sent]
    headers = [record.headers for record in found]
    named = ((NO_NAME, b"1"), ("ok", b"2"), ("null", None), (NO_NAME, None))
    assert headers == ROUNDS * [named, (("süd", b"\xff"),), ()]
