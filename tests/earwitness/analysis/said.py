"""Coverage and detections of a sensor, made up for tests of what is drawn and written of them."""

from schemas.coverage import Coverage, Level, Outcome
from schemas.detection import Detection, DetectionState
from schemas.identity import detection_id, epoch_text, new_epoch

RATE_HZ, DIGEST = 16_000, "ab" * 32
START_US = 1_800_000_000_000_000
EPOCH = new_epoch()
SECOND_US = 1_000_000


def covered(
    begin_s: float,
    end_s: float,
    outcome: Outcome = Outcome.SCORED,
    rms_dbfs: float | None = -40.0,
    offsets: tuple[int, int] | None = None,
) -> Coverage:
    """Say what became of a stretch; a frame a second, so that offsets are seconds."""
    first, last = offsets or (int(begin_s), int(end_s) - 1)
    peak_dbfs = None if rms_dbfs is None else rms_dbfs + 10
    return Coverage(
        sensor="kitchen",
        epoch=epoch_text(EPOCH),
        start_sample=round(begin_s * RATE_HZ),
        end_sample=round(end_s * RATE_HZ),
        sample_rate_hz=RATE_HZ,
        start_us=START_US + round(begin_s * 1e6),
        end_us=START_US + round(end_s * 1e6),
        topic="audio.frames",
        partition=0,
        first_offset=first,
        last_offset=last,
        outcome=outcome,
        missing_samples=0,
        decision_digest=DIGEST,
        level=Level(rms_dbfs, peak_dbfs, 0.0, 0.0, 0.0),
    )


def expired(first_offset: int, last_offset: int) -> Coverage:
    """Say that nobody could read some offsets."""
    nothing: dict[str, None] = dict.fromkeys(
        ("sensor", "epoch", "start_sample", "end_sample", "sample_rate_hz", "start_us", "end_us", "level")
    )
    return Coverage(
        **nothing,
        topic="audio.frames",
        partition=0,
        first_offset=first_offset,
        last_offset=last_offset,
        outcome=Outcome.EXPIRED,
        missing_samples=0,
        decision_digest=DIGEST,
    )


def detected(
    begin_s: float,
    end_s: float,
    label: str = "siren",
    score: float | None = 0.9,
    sensor: str = "kitchen",
    epoch: bytes = EPOCH,
) -> Detection:
    """Say that a label was heard."""
    start = round(begin_s * RATE_HZ)
    return Detection(
        id=detection_id(sensor, epoch, label, start, DIGEST),
        sensor=sensor,
        label=label,
        state=DetectionState.ENDED,
        epoch=epoch_text(epoch),
        start_sample=start,
        end_sample=round(end_s * RATE_HZ),
        sample_rate_hz=RATE_HZ,
        start_us=START_US + round(begin_s * 1e6),
        end_us=START_US + round(end_s * 1e6),
        peak_score=score,
        windows=3,
        threshold=0.5,
        continued=False,
        missing_samples=0,
        model_name="quick",
        model_version="1",
        decision_digest=DIGEST,
        topic="audio.frames",
        partition=0,
        first_offset=int(begin_s),
        last_offset=int(end_s),
    )
