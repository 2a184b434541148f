"""Sound that waited in a spool is heard by workers of the backfill; what they hear joins the same topic."""

import json
import subprocess
from pathlib import Path

import numpy as np
import pytest
import soundfile

from schemas.detection import DetectionState
from schemas.frame import AudioFrame
from schemas.identity import epoch_text
from tests.integration.harness import CODEC, DEADLINE_S, Programs, Tenant, command, timelines, wait_until

RATE_HZ, SOUND_S = 16_000, 8
pytestmark = pytest.mark.timeout(240)


def write_noise(file: Path) -> Path:
    """Two loud stretches in silence."""
    noise = np.random.default_rng(3).integers(-20_000, 20_000, SOUND_S * RATE_HZ).astype(np.int16)
    noise[: 2 * RATE_HZ] = noise[5 * RATE_HZ : 6 * RATE_HZ] = 0
    soundfile.write(file, noise, RATE_HZ, subtype="PCM_16")
    return file


def test_spooled_sound_is_drained_and_its_detections_join_those_of_live_sound(
    tenant: Tenant, programs: Programs, quick_model: Path, tmp_path: Path
) -> None:
    tenant.create(partitions=2)
    sound, spool = write_noise(tmp_path / "hall.wav"), tmp_path / "spool"
    here: dict[str, object] = {"topics.tenants": f'["{tenant.name}"]', "spool.drain_rate": 50}
    arguments = ["capture", str(sound), "--sensor", "hall", "--spool", str(spool)]

    away = programs.run([*arguments, "--fast"], {**here, "kafka.bootstrap_servers": "127.0.0.1:1"})
    away.said("the capture is over; .* frames follow from the spool")
    away.terminate()
    assert away.process.exit_status == 0, away.log
    frames = SOUND_S * 50
    assert (
        f"hall: 0 frames stored, {SOUND_S * RATE_HZ} samples; 1 epoch; {frames} spooled; BROKER AWAY"
        in away.log
    )
    shown = subprocess.run(command("spool", str(spool), "--json"), capture_output=True, check=True).stdout
    (waits,) = map(json.loads, shown.splitlines())
    assert (waits["sensor"], waits["frames"], waits["sound_s"]) == ("hall", frames, pytest.approx(SOUND_S))

    back = programs.run([*arguments, "--fast"], {**here, "kafka.bootstrap_servers": tenant.servers})
    wait_until(lambda: back.process.exit_status is not None, "all is delivered", DEADLINE_S)
    assert back.process.exit_status == 0, back.log
    assert f"{2 * frames} frames stored" in back.log
    assert f"{frames} to the backfill" in back.log
    past = [CODEC.decode(AudioFrame, record.value) for record in tenant.read(tenant.topics.backfill)]
    assert [frame.first_sample for frame in past] == [320 * k for k in range(frames)]
    assert {epoch_text(frame.epoch) for frame in past} == {waits["epoch"]}

    group = f"{tenant.name}-backfill"
    live = programs.work(tenant, quick_model)
    worker = programs.work(tenant, quick_model, topics__backfill="true", worker__group=group)
    for program in (live, worker):
        program.ready()

    def heard(topic: str) -> list[tuple[str, int, int]]:
        ended = (d for d in tenant.detections() if d.state is DetectionState.ENDED and d.topic == topic)
        return sorted((d.label, d.start_sample, d.end_sample) for d in ended)

    wait_until(lambda: len(timelines(tenant.coverage())) == 2, "coverage of both", DEADLINE_S)
    wait_until(
        lambda: heard(tenant.topics.frames) and heard(tenant.topics.backfill) == heard(tenant.topics.frames),
        "the same is heard in the same sound, live and as backfill",
        DEADLINE_S,
    )
    of_past = [d for d in tenant.detections() if d.topic == tenant.topics.backfill]
    assert {d.epoch for d in of_past} == {waits["epoch"]}
    said = timelines(tenant.coverage())["hall", waits["epoch"]]
    assert (said[0][0], said[-1][1]) == (0, SOUND_S * RATE_HZ)
