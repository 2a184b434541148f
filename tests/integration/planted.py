"""Sound that is planted in a frames topic sample by sample: whoever tests knows what is where."""

from collections.abc import Iterable
from dataclasses import dataclass, field

import numpy as np
from confluent_kafka import Producer
from numpy.typing import NDArray

from producers.publisher import FramePublisher
from schemas.coverage import Coverage, Outcome
from schemas.frame import AudioFrame, Encoding
from schemas.identity import epoch_text, new_epoch
from tests.integration.harness import CODEC, DEADLINE_S, RATE_HZ, Tenant

FRAME_SAMPLES = RATE_HZ // 50
Pcm = NDArray[np.int16]


def square(seconds: float, peak: int) -> Pcm:
    """Return a square wave, int16[seconds * RATE_HZ]."""
    sound = np.full(round(seconds * RATE_HZ), peak, np.int16)
    sound[1::2] *= -1
    return sound


@dataclass(slots=True)
class Planted:
    """A sensor whose sound is appended at once, `begin_us` being its clock at sample 0 of its epoch."""

    tenant: Tenant
    sensor: str
    begin_us: int
    epoch: bytes = field(default_factory=new_epoch)
    next_sample: int = 0

    def utc(self, sample: int) -> int:
        """Return the sensor's clock at a sample."""
        return self.begin_us + sample * 1_000_000 // RATE_HZ

    def say(self, pcm: Pcm) -> "Planted":
        """Append sound, in frames of 20 ms."""
        self._publish(
            self._frame(pcm[at : at + FRAME_SAMPLES], self.next_sample + at)
            for at in range(0, len(pcm), FRAME_SAMPLES)
        )
        self.next_sample += len(pcm)
        return self

    def lose(self, samples: int) -> "Planted":
        """Number samples that are never appended."""
        self.next_sample += samples
        return self

    def cover(self, outcome: Outcome, start: int = 0, end: int | None = None, digest: str = "0" * 64) -> None:
        """Append coverage of some samples, or of all so far, as a worker would say it."""
        last = self.next_sample if end is None else end
        topics, key = self.tenant.topics, self.sensor.encode()
        frames = [record for record in self.tenant.read(topics.frames) if record.key == key]
        said = Coverage(
            sensor=self.sensor,
            epoch=epoch_text(self.epoch),
            start_sample=start,
            end_sample=last,
            sample_rate_hz=RATE_HZ,
            start_us=self.utc(start),
            end_us=self.utc(last),
            topic=topics.frames,
            partition=frames[0].partition,
            first_offset=frames[start // FRAME_SAMPLES].offset,
            last_offset=frames[(last - 1) // FRAME_SAMPLES].offset,
            outcome=outcome,
            missing_samples=0,
            decision_digest=digest,
            level=None,
        )
        producer = Producer(dict(self.tenant.client))
        producer.produce(topics.coverage, CODEC.encode(said), key, said.partition)
        assert producer.flush(DEADLINE_S) == 0

    def _frame(self, pcm: Pcm, first: int) -> AudioFrame:
        captured_us = self.utc(first + len(pcm))
        data = pcm.astype("<i2").tobytes()
        return AudioFrame(self.epoch, first, len(pcm), captured_us, RATE_HZ, 1, Encoding.PCM_S16LE, data)

    def _publish(self, frames: Iterable[AudioFrame]) -> None:
        publisher = FramePublisher(dict(self.tenant.client), self.tenant.topics.frames, CODEC)
        for frame in frames:
            publisher.publish_waiting(self.sensor, frame)
        assert publisher.close(DEADLINE_S) == 0
