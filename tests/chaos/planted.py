"""Evidence -> evidence with a defect: an output topic is copied to a new one, and changed on the way.

A copy has append times of its own, so what was committed when proves nothing about it: commits are left out.
"""

from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from itertools import count

from confluent_kafka import Producer
from confluent_kafka.admin import AdminClient
from confluent_kafka.cimpl import NewTopic

from infra.local.kafka import QUIET_CLIENT
from schemas.codec import R
from tests.chaos.evidence import Evidence
from tests.integration.harness import CODEC, Appended, Tenant

_NUMBERS = count()

Change = Callable[[list[Appended]], Iterable[Appended]]


@dataclass(frozen=True, slots=True)
class Copied:
    """What stood in a topic: of the disturbed group, then of the fresh one."""

    disturbed: list[Appended]
    fresh: list[Appended]


def stands(evidence: Evidence, role: str) -> Copied:
    """Read an output topic of a round."""
    where = evidence.round
    records = Tenant(where.servers, where.tenant).read(where.topics[role], where.begin[role])
    split = where.fresh[role]
    before = [record for record in records if record.offset < split[record.partition]]
    return Copied(before, [record for record in records if record.offset >= split[record.partition]])


def planted(evidence: Evidence, role: str, disturbed: Change = list, fresh: Change = list) -> Evidence:
    """Copy an output topic, changing what the groups said."""
    where, copied = evidence.round, stands(evidence, role)
    before, after = list(disturbed(copied.disturbed)), list(fresh(copied.fresh))
    topic = f"{where.tenant}.copy-{next(_NUMBERS)}"
    client = {"bootstrap.servers": where.servers, **QUIET_CLIENT}
    numbers = where.begin[role]
    admin = AdminClient(client)
    admin.create_topics([NewTopic(topic, len(numbers), 1)])[topic].result(30)
    producer = Producer({**client, "enable.idempotence": True})
    for record in [*before, *after]:
        producer.produce(
            topic, record.value, record.key, partition=record.partition, headers=list(record.headers)
        )
    assert producer.flush(60) == 0
    sizes = Counter(record.partition for record in before)
    moved = replace(
        where,
        topics={**where.topics, role: topic},
        begin={**where.begin, role: dict.fromkeys(numbers, 0)},
        fresh={**where.fresh, role: {number: sizes[number] for number in numbers}},
    )
    return replace(evidence, round=moved, commits=())


def read_as(kind: type[R], record: Appended) -> R:
    """Return what a record says."""
    return CODEC.decode(kind, record.value)


def altered(record: Appended, said: object) -> Appended:
    """Return a record that says something else."""
    return replace(record, value=CODEC.encode(said))  # type: ignore[arg-type]
