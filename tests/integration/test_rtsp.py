"""A camera that is away for five seconds goes on by itself, in a new epoch, all accounted for."""

import re
import time
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from statistics import median

import pytest

from infra.local.errors import MissingToolError
from infra.local.rtsp import Payload, RtspServer, start_rtsp
from schemas.frame import AudioFrame
from schemas.identity import epoch_text
from schemas.sensor import Presence
from tests.integration.harness import (
    CODEC,
    DEADLINE_S,
    Program,
    Programs,
    Tenant,
    covered,
    timelines,
    wait_until,
)

AWAY_S = 5.0
RATE_HZ = 16_000
FOUR_SECONDS = 200  # frames of 20 ms
SENSOR = "gate"
pytestmark = pytest.mark.timeout(300)


@pytest.fixture
def camera() -> Iterator[RtspServer]:
    try:
        with start_rtsp(Payload.L16, RATE_HZ) as server:
            yield server
    except MissingToolError as missing:
        pytest.skip(str(missing))


def frames_of(tenant: Tenant) -> list[AudioFrame]:
    """Read the camera's frames, in the order of the log; a worker's ticks have no key."""
    return [CODEC.decode(AudioFrame, r.value) for r in tenant.read(tenant.topics.frames) if r.key]


def by_epoch(frames: list[AudioFrame]) -> dict[str, list[AudioFrame]]:
    found: dict[str, list[AudioFrame]] = {}
    for frame in frames:
        found.setdefault(epoch_text(frame.epoch), []).append(frame)
    return found


def stored(tenant: Tenant) -> int:
    """Count the frames in the log: it cannot be read to its end while sound goes on."""
    return sum(tenant.ends(tenant.topics.frames).values())


def wait_for_frames(tenant: Tenant, more: int) -> None:
    """Wait until so many more frames are stored than there are now."""
    enough = stored(tenant) + more
    wait_until(lambda: stored(tenant) >= enough, f"{more} frames")


def capture_of(programs: Programs, tenant: Tenant, server: RtspServer, *options: str) -> Program:
    """Start `earwitness capture` as a user does, with a password in the address that is nobody's business."""
    where = {"kafka.bootstrap_servers": tenant.servers, "topics.tenants": f'["{tenant.name}"]'}
    url = server.url.replace("rtsp://", "rtsp://kate:hunter2@")
    return programs.run(["capture", url, "--sensor", SENSOR, "--verbose", *options], where)


def test_a_server_that_is_gone_for_five_seconds_opens_an_epoch_and_nothing_is_unaccounted_for(
    camera: RtspServer, tenant: Tenant, programs: Programs, quick_model: Path
) -> None:
    tenant.create(partitions=2)
    worker = programs.work(tenant, quick_model)
    worker.ready()
    capture = capture_of(programs, tenant, camera)
    wait_for_frames(tenant, FOUR_SECONDS)

    camera.kill()
    cut_s = time.monotonic()
    capture.said("connecting again")
    wait_until(lambda: time.monotonic() >= cut_s + AWAY_S, "the five seconds to pass")
    camera.start()
    capture.said("sound was lost")
    wait_for_frames(tenant, FOUR_SECONDS)
    capture.terminate()
    wait_until(lambda: len(tenant.silent()) == 1, "SILENT at the end")
    worker.terminate()

    frames = frames_of(tenant)
    (first, before), (second, after) = by_epoch(frames).items()
    assert first < second, "the second epoch has the newer name"
    for epoch in (before, after):
        assert epoch[0].first_sample == 0
        assert all(later.first_sample == frame.end_sample for frame, later in pairwise(epoch))
    records = [record for record in tenant.read(tenant.topics.frames) if record.key]
    for frame, record in zip(frames, records, strict=True):
        assert frame.captured_at_us <= 1000 * (record.appended_ms + 1), "captured in the future"
    late_ms = [r.appended_ms - f.captured_at_us / 1000 for f, r in zip(frames, records, strict=True)]
    assert median(late_ms) < 250, "half a second at the beginning of a connection is held, and only that"
    ends = {(SENSOR, first): before[-1].end_sample, (SENSOR, second): after[-1].end_sample}
    said = timelines(tenant.coverage())
    assert {of: covered(stretches) for of, stretches in said.items()} == {
        of: [(0, n)] for of, n in ends.items()
    }

    print(f"captured to appended: median {median(late_ms):.1f} ms, at most {max(late_ms):.1f}")
    gap_s = (after[0].captured_at_us - before[-1].captured_at_us) / 1e6 - after[0].samples / RATE_HZ
    assert AWAY_S - 0.5 < gap_s < AWAY_S + DEADLINE_S
    loss = re.search(r"gate: sound was lost: .* was away for ([\d.]+) s .*; (\d+) samples", capture.log)
    assert loss, capture.log
    assert float(loss[1]) == pytest.approx(gap_s, abs=1.0)
    assert int(loss[2]) / RATE_HZ == pytest.approx(gap_s, abs=1.0)
    report = re.search(r"gate: (\d+) frames stored, (\d+) samples; 2 epochs; LOST (\d+) samples", capture.log)
    assert report, capture.log
    assert [int(report[1]), int(report[2])] == [len(frames), sum(ends.values())]
    assert report[3] == loss[2]
    assert capture.process.exit_status == 1, "lost sound is in the exit code"
    assert "hunter2" not in capture.log

    # An idle sensor is SILENT after five seconds and a margin: in between, or only at the end.
    silences = [state for state in tenant.states() if state.state is Presence.SILENT]
    assert {state.epoch for state in silences} <= {first, second}
    assert silences[-1].epoch == second


def test_a_cable_that_is_cut_is_noticed_and_the_sound_goes_on_when_it_is_mended(
    camera: RtspServer, tenant: Tenant, programs: Programs
) -> None:
    tenant.create(partitions=1)
    capture = capture_of(programs, tenant, camera)
    wait_for_frames(tenant, 50)
    camera.freeze()
    capture.said("connecting again")
    camera.thaw()
    capture.said("sound was lost")
    wait_for_frames(tenant, 50)
    capture.terminate()
    before, after = by_epoch(frames_of(tenant)).values()
    for epoch in (before, after):
        assert all(later.first_sample == frame.end_sample for frame, later in pairwise(epoch))
    gap_s = (after[0].captured_at_us - before[-1].captured_at_us) / 1e6
    lost = re.search(r"LOST (\d+) samples", capture.log)
    assert lost, capture.log
    assert int(lost[1]) / RATE_HZ == pytest.approx(gap_s, abs=1.0)


def test_a_camera_that_never_was_there_is_an_error_unless_it_is_waited_for(
    camera: RtspServer, tenant: Tenant, programs: Programs
) -> None:
    tenant.create(partitions=1)
    camera.kill()
    capture, patient = (
        capture_of(programs, tenant, camera),
        capture_of(programs, tenant, camera, "--keep-trying"),
    )
    assert capture.process.wait(DEADLINE_S)
    assert capture.process.exit_status == 1
    assert "Connection refused" in capture.log.splitlines()[-1]
    assert "hunter2" not in capture.log
    patient.said("trying again")
    camera.start()
    wait_for_frames(tenant, 50)
    patient.terminate()
    assert patient.process.exit_status == 0, "nothing was lost: there was no sound before"
