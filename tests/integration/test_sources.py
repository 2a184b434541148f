"""Every kind of source, through the program that users run, into a real topic."""

import os
import re
import shutil
import subprocess
from collections.abc import Iterable
from itertools import pairwise
from pathlib import Path
from threading import Event

import numpy as np
import pytest
import soundfile

from producers.source import Block
from schemas.frame import AudioFrame
from tests.integration.harness import CODEC, DEADLINE_S, Programs, Tenant, command, variables, wait_until
from tests.producers.conftest import counting, heard
from tests.producers.media import RATE_HZ, tone, web, write_container

pytestmark = pytest.mark.timeout(180)


def where(tenant: Tenant) -> dict[str, object]:
    """Return the settings of a program that speaks to a tenant's topics."""
    return {"kafka.bootstrap_servers": tenant.servers, "topics.tenants": f'["{tenant.name}"]'}


def run(tenant: Tenant, *arguments: str, data: bytes | None = None) -> subprocess.CompletedProcess[bytes]:
    """Run a capture to its end, with data on its standard input."""
    told = {"PATH": "/usr/bin:/bin", **variables(where(tenant))}
    return subprocess.run(
        command("capture", *arguments), env=told, input=data, capture_output=True, timeout=DEADLINE_S
    )


def frames_of(tenant: Tenant) -> list[AudioFrame]:
    """Read all frames, in the order of the log."""
    return [CODEC.decode(AudioFrame, record.value) for record in tenant.read(tenant.topics.frames)]


def sensors_of(tenant: Tenant) -> list[str]:
    """Return the sensors that frames are of, each once, in the order of the log."""
    records = tenant.read(tenant.topics.frames)
    return list(dict.fromkeys(record.key.decode() for record in records if record.key))


def epochs_of(frames: Iterable[AudioFrame]) -> list[list[AudioFrame]]:
    found: dict[bytes, list[AudioFrame]] = {}
    for frame in frames:
        found.setdefault(frame.epoch, []).append(frame)
    return list(found.values())


def wav(file: Path, sound: Block) -> Path:
    soundfile.write(file, sound, RATE_HZ, subtype="PCM_16")
    return file


@pytest.mark.parametrize("sample_format", ["s16le", "f32le"])
def test_a_recording_that_is_poured_into_standard_input_is_stored_sample_for_sample(
    tenant: Tenant, sample_format: str
) -> None:
    tenant.create(partitions=1)
    sound = counting(4 * RATE_HZ, 2)
    data = sound.tobytes() if sample_format == "s16le" else (sound.astype("<f4") / 32768).tobytes()
    done = run(
        tenant, "-", "--sensor", "pipe", "--channels", "2", "--sample-format", sample_format, data=data
    )
    assert done.returncode == 0, done.stderr.decode()
    frames = frames_of(tenant)
    assert np.array_equal(heard(frames), sound)
    assert len(epochs_of(frames)) == 1
    appended_ms = [record.appended_ms for record in tenant.read(tenant.topics.frames)]
    for frame, at_ms in zip(frames, appended_ms, strict=True):
        assert frame.captured_at_us <= 1000 * (at_ms + 1), "captured in the future"
    assert b"pipe: 200 frames stored, 64000 samples; 1 epoch" in done.stderr


def test_what_ffmpeg_makes_of_an_mp4_is_stored_as_the_mp4_itself_is(tenant: Tenant, tmp_path: Path) -> None:
    if shutil.which("ffmpeg") is None:
        pytest.skip("ffmpeg is not on this machine: apt-get install ffmpeg")
    tenant.create(partitions=1)
    file = write_container(tmp_path / "talk.mp4", tone(3.0), "aac")
    raw = subprocess.run(
        ["ffmpeg", "-v", "error", "-i", file, "-f", "s16le", "-"], capture_output=True, check=True
    ).stdout
    assert run(tenant, "-", "--sensor", "pipe", data=raw).returncode == 0
    assert run(tenant, str(file), "--sensor", "file", "--fast").returncode == 0
    piped, played = epochs_of(frames_of(tenant))
    samples = min(len(heard(piped)), len(heard(played)))
    assert samples >= 3 * RATE_HZ
    difference = heard(piped)[:samples].astype(int) - heard(played)[:samples]
    assert np.abs(difference).max() <= 2, "two decoders round differently, by no more than that"


def test_a_recording_on_the_web_is_stored_to_its_end_and_one_that_is_not_there_is_an_error(
    tenant: Tenant, tmp_path: Path
) -> None:
    tenant.create(partitions=1)
    with web() as site:
        sound = counting(2 * RATE_HZ)
        site.files["talk.mkv"] = write_container(tmp_path / "talk.mkv", sound, "flac").read_bytes()
        done = run(tenant, f"{site.url}/talk.mkv", "--sensor", "web", "--fast")
        assert done.returncode == 0, done.stderr.decode()
        assert np.array_equal(heard(frames_of(tenant)), sound)
        missing = run(tenant, f"{site.url}/none.mkv?key=secret", "--sensor", "web")
    assert missing.returncode == 1
    last = missing.stderr.decode().splitlines()[-1]
    assert last.startswith("earwitness: cannot capture from http://127.0.0.1:")
    assert "Not Found" in last
    assert b"secret" not in missing.stderr


def test_a_web_radio_that_is_cut_goes_on_in_a_new_epoch_and_says_so_at_the_end(
    tenant: Tenant, programs: Programs, tmp_path: Path
) -> None:
    tenant.create(partitions=1)
    with web() as site:
        # The encoder makes 64 kbit/s of this rate: the site sends as much as real time takes.
        file = write_container(tmp_path / "a.mp3", tone(10.0, 48_000), "libmp3lame", 48_000)
        site.radio = file.read_bytes()
        capture = programs.run(["capture", f"{site.url}/radio", "--sensor", "radio"], where(tenant))
        wait_until(lambda: sum(tenant.ends(tenant.topics.frames).values()) > 50, "a second of sound")
        site.cut.set()
        capture.said("connecting again")
        site.cut.clear()
        capture.said("radio: sound was lost: .* was away for .*; what follows is a new epoch")
        before = sum(tenant.ends(tenant.topics.frames).values())
        wait_until(lambda: sum(tenant.ends(tenant.topics.frames).values()) > before + 20, "more sound")
        capture.terminate()
    assert capture.process.exit_status == 1
    assert re.search(r"radio: \d+ frames stored, \d+ samples; 2 epochs; LOST \d+ samples", capture.log)
    for epoch in epochs_of(frames_of(tenant)):
        assert all(later.first_sample == frame.end_sample for frame, later in pairwise(epoch))


def test_files_that_arrive_in_a_watched_folder_are_played_once_each_and_a_broken_one_is_said(
    tenant: Tenant, programs: Programs, tmp_path: Path
) -> None:
    tenant.create(partitions=1)
    folder = tmp_path / "inbox"
    folder.mkdir()
    sounds = {name: counting(RATE_HZ)[number:] for number, name in enumerate(("first", "second", "third"))}
    wav(folder / "first.wav", sounds["first"])
    arguments = ["capture", str(folder), "--watch", "--fast", "--settle", "0.5", "--sensor", "hall-{stem}"]
    capture = programs.run(arguments, where(tenant))
    capture.said(r"hall-first: \S+first\.wav")
    whole = wav(tmp_path / "second.wav", sounds["second"]).read_bytes()
    with (folder / "second.wav").open("wb", buffering=0) as out:
        for start in range(0, len(whole), 8000):
            out.write(whole[start : start + 8000])
            Event().wait(0.2)  # a copy over a slow line
    capture.said(r"hall-second: \S+second\.wav")
    (folder / "broken.wav").write_bytes(whole[:20_000])
    capture.said(r"cannot capture from \S+broken\.wav: cut off: .*; the watch goes on")
    (folder / "third.part").write_bytes(wav(tmp_path / "third.wav", sounds["third"]).read_bytes())
    (folder / "third.part").rename(folder / "third.wav")
    capture.said(r"hall-third: \S+third\.wav")
    samples = sum(len(sound) for sound in sounds.values())
    wait_until(lambda: sum(tenant.ends(tenant.topics.frames).values()) >= 150, "three sounds")
    capture.terminate()

    assert capture.process.exit_status == 1
    assert f"{samples} samples; 3 epochs; BROKEN: 1 recordings" in capture.log
    assert sensors_of(tenant) == ["hall-first", "hall-second", "hall-third"]
    for epoch, sound in zip(epochs_of(frames_of(tenant)), sounds.values(), strict=True):
        assert np.array_equal(heard(epoch), sound)


def test_a_watch_outlives_files_that_no_sensor_or_frame_can_be_made_of(
    tenant: Tenant, programs: Programs, tmp_path: Path
) -> None:
    tenant.create(partitions=1)
    folder = tmp_path / "inbox"
    folder.mkdir()
    arguments = ["capture", str(folder), "--watch", "--fast", "--settle", "0.5", "--frame-ms", "1000"]
    capture = programs.run([*arguments, "--sensor", "a-{stem}" + "x" * 100], where(tenant))
    whole = wav(tmp_path / "whole.wav", counting(RATE_HZ)).read_bytes()
    (folder / f"{'n' * 200}.wav").write_bytes(whole)
    capture.said(r"broken: cannot capture from \S+n\.wav': sensor is .*; the watch goes on")
    (folder / os.fsdecode(b"\xff.wav")).write_bytes(whole)
    capture.said(r"broken: cannot capture from \S+udcff\.wav': its name is not UTF-8.*; the watch goes on")
    soundfile.write(folder / "wide.wav", np.zeros((96_000, 16), np.int16), 96_000, subtype="PCM_16")
    capture.said(r"broken: cannot capture from \S+wide\.wav': frame_ms is 1000.*; the watch goes on")
    (folder / "good.wav").write_bytes(whole)
    wait_until(lambda: sum(tenant.ends(tenant.topics.frames).values()) >= 1, "the sound that can be stored")
    (folder / "good.wav").write_bytes(whole[:44] + counting(RATE_HZ)[::-1].tobytes())
    capture.said(r"good\.wav: it was written to after it was captured")
    wait_until(lambda: sum(tenant.ends(tenant.topics.frames).values()) >= 2, "the changed sound")
    capture.terminate()

    assert capture.process.exit_status == 1
    assert "BROKEN: 3 recordings; CAPTURED AGAIN: 1 recordings that changed" in capture.log
    assert sensors_of(tenant) == ["a-good" + "x" * 100]


def test_a_standard_input_that_is_closed_is_said_in_one_line(tenant: Tenant) -> None:
    tenant.create(partitions=1)
    program = ["/bin/sh", "-c", 'exec "$@" <&-', "sh", *command("capture", "-", "--sensor", "a")]
    told = {"PATH": "/usr/bin:/bin", **variables(where(tenant))}
    done = subprocess.run(program, env=told, capture_output=True, timeout=DEADLINE_S)
    assert done.returncode == 1
    last = done.stderr.decode().splitlines()[-1]
    assert last == "earwitness: cannot capture from standard input: it is closed; pipe raw samples into it"
    assert b"Traceback" not in done.stderr


def test_a_capture_from_a_pipe_that_is_asked_to_stop_delivers_what_it_has(
    tenant: Tenant, programs: Programs, tmp_path: Path
) -> None:
    tenant.create(partitions=1)
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    capture = programs.run(["capture", str(pipe), "--sensor", "pipe"], where(tenant))
    with pipe.open("wb", buffering=0) as out:
        out.write(counting(RATE_HZ).tobytes())
        wait_until(lambda: sum(tenant.ends(tenant.topics.frames).values()) >= 50, "a second of sound")
        took_s = capture.terminate()
    assert capture.process.exit_status == 0, capture.log
    assert took_s < 5.0
    assert np.array_equal(heard(frames_of(tenant)), counting(RATE_HZ))
