"""The commands, as a user runs them against a real broker."""

import json
import re
import subprocess
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile

from producers.clips import ClipPool
from schemas.detection import DetectionState
from schemas.frame import AudioFrame
from tests.integration.harness import (
    CODEC,
    RATE_HZ,
    Programs,
    Tenant,
    by_id,
    command,
    unended,
    variables,
    wait_until,
)

WITHIN_S = 60
FRAME_SAMPLES = RATE_HZ // 50
pytestmark = pytest.mark.timeout(180)


def run(*arguments: str, settings: dict[str, object] | None = None) -> str:
    """Run a command to its end; return what it printed to standard output."""
    told = {"PATH": "/usr/bin:/bin", "COLUMNS": "200", **variables(settings or {})}
    done = subprocess.run(command(*arguments), env=told, capture_output=True, text=True, timeout=WITHIN_S)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def where(tenant: Tenant) -> dict[str, object]:
    """Return the settings of a program that speaks to a tenant's topics."""
    return {"kafka.bootstrap_servers": tenant.servers, "topics.tenants": f'["{tenant.name}"]'}


def lines(text: str) -> list[dict[str, Any]]:
    """Read one JSON object a line."""
    return [json.loads(line) for line in text.splitlines()]


@pytest.fixture
def wav(tmp_path: Path, recordings: ClipPool) -> Path:
    """Some recordings, one after another; the end is not on any grid."""
    sound = np.concatenate([clip.samples for clip in recordings.clips[:6]])
    file = tmp_path / "kitchen.wav"
    soundfile.write(file, sound[: 24 * RATE_HZ + 12_345], RATE_HZ, subtype="PCM_16")
    return file


def test_topics_are_created_once_and_described(tenant: Tenant) -> None:
    names = set(tenant.topics.every)
    first = run("topics", "create", "--partitions", "3", settings=where(tenant))
    assert {line.removeprefix("created ") for line in first.splitlines()} == names
    assert "exist already" in run("topics", "create", "--partitions", "3", settings=where(tenant))
    described = {
        topic["name"]: topic for topic in lines(run("topics", "describe", "--json", settings=where(tenant)))
    }
    assert described.keys() == names
    counts = {name: topic["partitions"] for name, topic in described.items()}
    assert counts == {name: 1 if name == tenant.topics.control else 3 for name in names}
    assert described[tenant.topics.frames]["timestamp_type"] == "LogAppendTime"
    assert described[tenant.topics.sensors]["cleanup_policy"] == "compact"


def test_a_file_scanned_captured_and_watched_is_heard_alike(
    tenant: Tenant, programs: Programs, quick_model: Path, wav: Path
) -> None:
    tenant.create(partitions=2)
    scanned = lines(run("scan", "--json", str(wav), settings={"model.path": quick_model}))
    assert len(scanned) > 3
    worker, watch = (
        programs.work(tenant, quick_model),
        programs.run(["watch", "--json", "--earliest"], where(tenant)),
    )
    worker.ready()
    run("capture", str(wav), "--sensor", "kitchen", "--fast", settings=where(tenant))
    wait_until(lambda: len(tenant.silent()) == 1 and not unended(tenant.detections()), "the end of the file")

    heard = [found for found in by_id(tenant.detections()).values() if found.sensor == "kitchen"]
    live = {(d.label, d.start_sample, d.end_sample, d.peak_score, d.windows, d.continued) for d in heard}
    told = ("label", "start_sample", "end_sample", "score", "windows", "continued")
    assert live == {tuple(found[name] for name in told) for found in scanned}

    everything = tenant.detections()
    wait_until(lambda: len(watch.log.splitlines()) >= len(everything), "all are shown")
    shown = lines(watch.log)
    assert sorted((d["id"], d["state"]) for d in shown) == sorted((d.id, d.state.value) for d in everything)
    assert all(d["latency_ms"] is not None for d in shown if d["state"] == DetectionState.ACTIVE)
    watch.terminate()
    assert watch.process.exit_status == 0


def test_a_capture_that_is_asked_to_stop_delivers_all_that_it_has_numbered(
    tenant: Tenant, programs: Programs, wav: Path
) -> None:
    tenant.create(partitions=2)
    capture = programs.run(["capture", str(wav), "--sensor", "hall", "--repeat"], where(tenant))
    wait_until(lambda: sum(tenant.ends(tenant.topics.frames).values()) > 50, "a second of sound")
    capture.terminate()
    assert capture.process.exit_status == 0
    frames = [CODEC.decode(AudioFrame, record.value) for record in tenant.read(tenant.topics.frames)]
    assert all(later.first_sample == earlier.end_sample for earlier, later in pairwise(frames))
    stored = re.search(r"hall: (\d+) frames stored, (\d+) samples", capture.log)
    assert stored, capture.log
    assert [int(count) for count in stored.groups()] == [len(frames), frames[-1].end_sample]


def test_a_simulated_fleet_reports_what_is_in_the_log(tenant: Tenant) -> None:
    tenant.create(partitions=4)
    (report,) = lines(
        run("simulate", "--sensors", "7", "--seconds", "6", "--speed", "3", "--json", settings=where(tenant))
    )
    assert report["acknowledged"] == report["frames_sent"] == 7 * 6 * 50
    assert sum(tenant.ends(tenant.topics.frames).values()) == report["acknowledged"]
    assert set(report["samples_acknowledged"].values()) == {6 * RATE_HZ}
