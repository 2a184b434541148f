"""Marks are committed in the generation they were made in, or not at all; aiokafka would take a later one."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
from aiokafka import AIOKafkaConsumer
from aiokafka.errors import IllegalGenerationError
from faust.types import TP

from processors.transport import commit_marks
from tests.integration.harness import Tenant

MARK = 0
"""Of an empty partition the only offset there is; nothing was committed before."""


@asynccontextmanager
async def _member(tenant: Tenant) -> AsyncIterator[AIOKafkaConsumer]:
    consumer = AIOKafkaConsumer(
        tenant.topics.frames,
        bootstrap_servers=tenant.servers,
        group_id=tenant.name,
        enable_auto_commit=False,
        heartbeat_interval_ms=200,
    )
    await consumer.start()
    try:
        yield consumer
    finally:
        await consumer.stop()


async def _of_generation(consumer: AIOKafkaConsumer, generation: int) -> None:
    """Wait until a consumer is in a generation of its group."""
    while consumer._coordinator.generation != generation or not consumer.assignment():
        await consumer.getmany(timeout_ms=50)


async def test_marks_of_an_earlier_generation_are_not_sent_in_a_later_one(tenant: Tenant) -> None:
    tenant.create(2)
    async with _member(tenant) as first:
        await _of_generation(first, 1)
        async with _member(tenant) as second:
            await _of_generation(first, 2)
            await _of_generation(second, 2)
            while len(first.assignment()) > 1:  # the generation is known a moment before what it gave away
                await first.getmany(timeout_ms=50)
            ours = {TP(p.topic, p.partition): MARK for p in first.assignment()}
            others = {TP(p.topic, p.partition): MARK for p in second.assignment()}
            assert not await commit_marks(first._coordinator, 1, others)
            assert await commit_marks(first._coordinator, 2, ours)
            committed = tenant.committed(tenant.name)
            assert {committed[tp.partition] for tp in ours} == {MARK}
            assert {committed[tp.partition] for tp in others} == {-1001}


async def test_the_broker_refuses_the_marks_of_who_does_not_know_that_the_group_has_gone_on(
    tenant: Tenant,
) -> None:
    tenant.create(1)
    async with _member(tenant) as member:
        await _of_generation(member, 1)
        member._coordinator.generation = 0
        with pytest.raises(IllegalGenerationError):
            await commit_marks(member._coordinator, 0, {TP(tenant.topics.frames, 0): MARK})
        assert tenant.committed(tenant.name)[0] < 0
