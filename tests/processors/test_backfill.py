"""A backfill tells of the past: what was heard goes beside the live topics, and who is there stays."""

from collections.abc import Iterator

import pytest

from schemas.codec import Codec
from schemas.detection import Detection
from schemas.sensor import SensorState
from tests.processors.shell import DEADLINE_S, TOPICS, broker_with_topics, read
from tests.processors.test_publish import ACTIVE, Fates, output_of
from tests.schemas.records import SENSOR


@pytest.fixture
def broker() -> Iterator[str]:
    with broker_with_topics() as address:
        yield address


async def test_the_state_of_a_sensor_of_the_past_is_let_go_of_and_not_published(broker: str) -> None:
    fates, held = Fates(), dict[object, int]()
    publisher = fates.publisher(broker)
    past = output_of(SENSOR, held, topic=TOPICS.backfill)
    heard = output_of(ACTIVE, held, topic=TOPICS.backfill)
    live = output_of(SENSOR, held)
    publisher.send([past, heard, live])
    assert past not in held
    assert publisher.unacknowledged == 2
    assert await publisher.drain(DEADLINE_S)
    await publisher.close(0)
    assert ({output for output, _ in fates.published}, held, fates.failures) == ({heard, live}, {}, [])
    (detection,) = read(broker, TOPICS.detections, 1)
    (state,) = read(broker, TOPICS.sensors, 1)
    assert Codec().decode(Detection, detection.value) == ACTIVE
    assert Codec().decode(SensorState, state.value) == SENSOR
