"""One good record of each kind."""

from schemas.codec import Record
from schemas.coverage import Coverage, Level, Outcome
from schemas.detection import Detection, DetectionState
from schemas.frame import AudioFrame, Encoding
from schemas.model import ModelSpec
from schemas.rollout import Mode, Rollout
from schemas.sensor import Presence, SensorState

EPOCH = bytes.fromhex("019a0b1c2d3e7f4a8b5c6d7e8f901234")
EPOCH_TEXT = "019a0b1c-2d3e-7f4a-8b5c-6d7e8f901234"
LEVEL = Level(-12.5, None, 0.25, 0.5, -0.125)

FRAME = AudioFrame(EPOCH, 300, 3, 1_750_000_000_123_456, 16_000, 1, Encoding.PCM_S16LE, b"\1\0\xff\x7f\0\x80")
DETECTION = Detection(
    id="26a2616e-b573-5ec3-aec3-68cbe734b6c9",
    sensor="dach/süd-1",
    label="Möwe 🐦",
    state=DetectionState.ENDED,
    epoch=EPOCH_TEXT,
    start_sample=8_000,
    end_sample=1 << 62,
    sample_rate_hz=16_000,
    start_us=-1,
    end_us=253_402_300_799_999_999,
    peak_score=None,
    windows=7,
    threshold=0.1,
    continued=True,
    missing_samples=3,
    model_name="starter",
    model_version="1.0",
    decision_digest="ab" * 32,
    topic="audio.frames",
    partition=7,
    first_offset=1 << 40,
    last_offset=(1 << 40) + 9,
)
COVERAGE = Coverage(
    sensor="roof",
    epoch=EPOCH_TEXT,
    start_sample=0,
    end_sample=8_000,
    sample_rate_hz=16_000,
    start_us=1,
    end_us=2,
    topic="audio.frames",
    partition=0,
    first_offset=0,
    last_offset=1,
    outcome=Outcome.SHORT,
    missing_samples=0,
    decision_digest="ab" * 32,
    level=LEVEL,
)
EXPIRED = Coverage(
    sensor=None,
    epoch=None,
    start_sample=None,
    end_sample=None,
    sample_rate_hz=None,
    start_us=None,
    end_us=None,
    topic="audio.frames",
    partition=0,
    first_offset=5,
    last_offset=9,
    outcome=Outcome.EXPIRED,
    missing_samples=0,
    decision_digest="ab" * 32,
    level=None,
)
SENSOR = SensorState(
    sensor="roof",
    state=Presence.SILENT,
    since_us=None,
    epoch=EPOCH_TEXT,
    end_sample=8_000,
    sample_rate_hz=16_000,
    channels=2,
    captured_at_us=1,
    appended_at_us=2,
    clock_offset_us=-5,
    topic="audio.frames",
    partition=0,
    last_offset=1,
    level=LEVEL,
)
SPEC = ModelSpec(
    name="starter",
    version="2",
    sample_rate_hz=16_000,
    window_samples=16_000,
    hop_samples=8_000,
    labels=("Möwe 🐦",),
    thresholds={"Möwe 🐦": 0.5},
    m=1,
    n=1,
    licence="Apache-2.0",
    digest="ab" * 32,
)
ROLLOUT = Rollout(
    at_us=1_750_000_000_123_456,
    mode=Mode.SPLIT,
    model=SPEC.model_dump_json(),
    candidate=SPEC.model_copy(update={"version": "3"}).model_dump_json(),
    share=0.25,
)
RECORDS: list[Record] = [FRAME, DETECTION, COVERAGE, EXPIRED, SENSOR, ROLLOUT]
