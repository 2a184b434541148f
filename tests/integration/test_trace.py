"""A frame that belongs to a trace: what is heard in it names the trace, whoever wrote the frame."""

import time
from pathlib import Path

from confluent_kafka import Producer

from schemas.frame import AudioFrame, Encoding
from schemas.identity import new_epoch
from tests.integration.harness import CODEC, DEADLINE_S, RATE_HZ, Programs, Tenant, wait_until
from tests.integration.planted import FRAME_SAMPLES, square

TRACE = b"00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"


def test_a_detection_carries_the_trace_of_the_frame_that_completed_its_window(
    tenant: Tenant, programs: Programs, quick_model: Path
) -> None:
    tenant.create(partitions=1)
    worker = programs.work(tenant, quick_model)
    worker.ready()
    producer, epoch = Producer(dict(tenant.client)), new_epoch()
    sound, begin_us = square(6.0, 12_000), time.time_ns() // 1000
    for at in range(0, len(sound), FRAME_SAMPLES):
        data = sound[at : at + FRAME_SAMPLES].astype("<i2").tobytes()
        end = at + FRAME_SAMPLES
        captured_us = begin_us + end * 1_000_000 // RATE_HZ
        frame = AudioFrame(epoch, at, FRAME_SAMPLES, captured_us, RATE_HZ, 1, Encoding.PCM_S16LE, data)
        # The window that ends with the second second is the one by which two of three are loud.
        headers: dict[str, str | bytes | None] = {"traceparent": TRACE} if end <= 2 * RATE_HZ else {}
        producer.produce(tenant.topics.frames, CODEC.encode(frame), b"roof", headers=headers)
    assert producer.flush(DEADLINE_S) == 0
    wait_until(lambda: len(tenant.silent()) == 1, "the sensor is SILENT")
    heard = tenant.read(tenant.topics.detections)
    traced = [record for record in heard if dict(record.headers).get("traceparent") == TRACE]
    assert 0 < len(traced) < len(heard)
