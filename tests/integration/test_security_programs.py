"""Capture with a spool, and the workers of the past and of shadows, with the rights of their roles alone."""

import json
import os
import time
from datetime import datetime
from pathlib import Path
from uuid import uuid4

import numpy as np
import pytest
import soundfile
from confluent_kafka import Producer

from earwitness.acls import Role
from earwitness.play import clip_pool
from producers.fleet import FleetSettings
from producers.spool import what_waits
from schemas.detection import DetectionState
from tests.integration.commands import WELL, run
from tests.integration.harness import DEADLINE_S, Appended, Programs, Tenant, play, wait_until
from tests.integration.quick_model import write_quick_model
from tests.integration.secured import SECRET, Secured, Settings

pytestmark = pytest.mark.timeout(600)
RATE_HZ, SOUND_S = 16_000, 2
OF_OTHERS = 0o077
"""What a mode lets others than the owner do."""
ALL = "SECURITY_ALL"


def let_in(secured: Secured, tenant: Tenant, role: Role, group: str | None = None) -> Settings:
    """Let somebody in with the rights of a role; return their settings."""
    name = f"{tenant.name}-{role}"
    secured.admit(name)
    secured.grant(role, name, tenant.name, group)
    return {**secured.by_password(name), "topics.tenants": json.dumps([tenant.name])}


def test_what_a_killed_capture_left_in_its_spool_is_sent_and_read_back(
    secured: Secured, programs: Programs, tmp_path: Path
) -> None:
    tenant = secured.tenant(f"t{uuid4().hex[:8]}").create(partitions=2)
    here = {**let_in(secured, tenant, Role.SPOOLING_SENSORS), "spool.drain_rate": 50}
    sound, spool, frames = tmp_path / "hall.wav", tmp_path / "spool", SOUND_S * 50
    soundfile.write(sound, np.zeros(SOUND_S * RATE_HZ), RATE_HZ)
    capture = ["capture", str(sound), "--sensor", "hall", "--spool", str(spool), "--fast"]
    killed = programs.run(capture, {**here, "kafka.bootstrap_servers": "127.0.0.1:1"})
    killed.said("the capture is over; .* frames follow from the spool")
    wait_until(lambda: [one.frames for one in what_waits(spool)] == [frames], "all being on the disk")
    assert not any(one.stat().st_mode & OF_OTHERS for one in (spool, *spool.iterdir()))
    killed.process.kill()
    back = programs.run(capture, here)
    assert back.process.wait(DEADLINE_S), back.log
    assert back.process.exit_status == 0, back.log
    assert f"{frames} to the backfill" in back.log
    assert "the log was read: it had 0 frames of those in the spool" in back.log
    for topic in (tenant.topics.frames, tenant.topics.backfill):
        assert len(tenant.read(topic)) == frames
    assert SECRET not in back.log + killed.log


@pytest.mark.skipif(ALL not in os.environ, reason=f"a minute: set {ALL}=1")
def test_workers_of_the_past_and_of_shadows_work_with_their_rights(
    secured: Secured, programs: Programs, tmp_path: Path
) -> None:
    tenant = secured.tenant(f"t{uuid4().hex[:8]}").create(partitions=1)
    for version in ("1", "2"):
        write_quick_model(tmp_path / "quick" / version, version=version)
    model, here = (
        tmp_path / "quick" / "1",
        {"model.catalogue": tmp_path, "model.path": tmp_path / "quick" / "1"},
    )
    operator = let_in(secured, tenant, Role.OPERATOR, tenant.name)
    done = run({**operator, **here}, "model", "rollout", "quick", "2", "--shadow", "--in", "12", "--json")
    assert done.code == WELL, done.said
    begins_s = datetime.fromisoformat(done.lines[0]["from"]).timestamp()
    workers = []
    for role, of in ((Role.BACKFILL_WORKER, "backfill"), (Role.SHADOW_WORKER, "shadow")):
        told = {**let_in(secured, tenant, role, f"{tenant.name}-{of}"), **here, f"topics.{of}": True}
        told["worker.group"] = f"{tenant.name}-{of}"
        flat = {key.replace(".", "__"): value for key, value in told.items()}
        workers.append(programs.work(tenant, model, **flat))
    for worker in workers:
        worker.ready()
    wait_until(lambda: time.time() > begins_s, "the shadow beginning")
    play(tenant, FleetSettings(sensors=1, seconds=8.0), clip_pool(None, RATE_HZ)).finish()
    wait_until(lambda: tenant.read(tenant.topics.shadows[0]), "something heard in the shadow")
    resent(tenant, tenant.read(tenant.topics.frames))
    wait_until(
        lambda: any(d.state is DetectionState.ENDED for d in tenant.detections()),
        "something heard of the past",
    )
    for worker in workers:
        assert worker.terminate() < DEADLINE_S
        assert worker.process.exit_status == 0, worker.log
        assert SECRET not in worker.log


def resent(tenant: Tenant, frames: list[Appended]) -> None:
    """Append frames to the backfill, as they are."""
    producer = Producer(tenant.client)
    for frame in frames:
        producer.produce(tenant.topics.backfill, frame.value, frame.key, frame.partition)
    assert producer.flush(DEADLINE_S) == 0
