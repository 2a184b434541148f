"""Admission: which frames of a sensor count, and which of them open a run (the first rule)."""

from dataclasses import dataclass, field

from processors.decision import Decision, DecisionSettings
from processors.run import Opening, Run
from schemas.errors import InvalidFrameError, StaleEpochError
from schemas.frame import AudioFrame, sensor_of
from schemas.identity import epoch_text
from schemas.rollout import bucket_of


@dataclass(slots=True, eq=False)
class Sensor:
    """What admission needs to know of a sensor; `run` is the open one, `runs` also has those that drain.

    `latest_ms` is the highest append time that it has had, `bucket` its place among those that shares of a
    rollout are taken of, `decision` what decides for it, up to `decided_until_ms`.
    """

    name: str
    key: bytes
    bucket: float
    latest_ms: int
    decision: Decision | None
    decided_until_ms: float
    last_ms: int
    epoch: bytes
    expected: int
    rate_hz: int
    channels: int
    run: Run | None = None
    runs: list[Run] = field(default_factory=list)


def meet(key: bytes, frame: AudioFrame, now_ms: int) -> Sensor:
    """Return a sensor that is heard of for the first time.

    Raises:
        MalformedRecordError: the key is no sensor's id.

    """
    return Sensor(
        name=sensor_of(key),
        key=key,
        bucket=bucket_of(key),
        latest_ms=now_ms,
        decision=None,
        decided_until_ms=0,
        last_ms=0,
        epoch=frame.epoch,
        expected=0,
        rate_hz=frame.sample_rate_hz,
        channels=frame.channels,
    )


def admit(
    sensor: Sensor, frame: AudioFrame, now_ms: int, rules: DecisionSettings, idle_ms: int
) -> tuple[bool, Opening | None]:
    """Say whether a frame counts, and whether it opens a run; `idle_ms` is the rules' `idle_s`.

    Raises:
        StaleEpochError: it is of an older epoch of a live sensor.
        InvalidFrameError: it changes the format within an epoch.

    """
    if now_ms - sensor.last_ms > idle_ms or frame.epoch > sensor.epoch:
        return True, Opening.OPENED
    if frame.epoch < sensor.epoch:
        raise StaleEpochError(epoch_text(frame.epoch), epoch_text(sensor.epoch))
    ahead = frame.first_sample - sensor.expected
    if ahead == 0 and frame.sample_rate_hz == sensor.rate_hz and frame.channels == sensor.channels:
        return True, None
    _check_format(sensor, frame)
    tolerated = rules.max_gap_s * frame.sample_rate_hz
    if -tolerated <= ahead < 0:
        return False, None  # late, or a duplicate: it changes nothing
    return True, None if 0 <= ahead <= tolerated else Opening.OPENED


def _check_format(sensor: Sensor, frame: AudioFrame) -> None:
    for field_name, now, before in (
        ("sample_rate_hz", frame.sample_rate_hz, sensor.rate_hz),
        ("channels", frame.channels, sensor.channels),
    ):
        if now != before:
            raise InvalidFrameError(field_name, now, f"{before}, until the sensor opens a new epoch")
