"""What `earwitness capture` says before there is any sound."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.producers.test_microphone import ALSA, need_portaudio

REPOSITORY = Path(__file__).parents[2]


def run(*arguments: str, **environment: str) -> tuple[int, str, str]:
    """Run the command; return its exit code and what it printed."""
    told = {"PATH": os.environ["PATH"], "PYTHONPATH": str(REPOSITORY), **environment}
    program = [sys.executable, "-m", "earwitness.cli", "capture", *arguments]
    done = subprocess.run(program, env=told, capture_output=True, text=True, timeout=60)
    return done.returncode, done.stdout, done.stderr


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "SOURCE is None; accepted: A file, a folder"),
        (["a.wav"], "--sensor is None; accepted: the sensor's id"),
        (["-", "--sensor", "a", "--fast"], "--fast is True; accepted: nothing"),
        (["mic", "--sensor", "a", "--repeat"], "--repeat is True; accepted: nothing"),
        (["a.wav", "--sensor", "a", "--watch"], "--watch is 'a.wav'; accepted: a folder that exists"),
        (["a.wav", "--sensor", "a", "--settle", "3"], "--settle is 3.0; accepted: with --watch only"),
        (
            [".", "--watch", "--sensor", "a", "--settle", "0"],
            "--settle is 0.0; accepted: 0.1 to 3600 seconds",
        ),
        (["rtsp://h/a", "--sensor", "a", "--transport", "x"], "--transport is 'x'; accepted: tcp, udp"),
    ],
)
def test_what_cannot_work_ends_with_2_and_one_line(arguments: list[str], message: str) -> None:
    code, printed, said = run(*arguments)
    assert (code, printed) == (2, "")
    assert said.startswith(f"earwitness: {message}")
    assert len(said.splitlines()) == 1


def test_microphones_are_listed_for_people_and_for_programs(tmp_path: Path) -> None:
    need_portaudio()
    (tmp_path / "sound.raw").write_bytes(bytes(1000))
    config = tmp_path / "asound.conf"
    config.write_text(ALSA.format(file=tmp_path / "sound.raw"), "utf-8")
    code, printed, _ = run("--list-devices", "--json", ALSA_CONFIG_PATH=str(config))
    assert code == 0
    names = [json.loads(line)["name"] for line in printed.splitlines()]
    if not names:
        pytest.skip("this PortAudio was built without ALSA")
    assert "recorded (ALSA)" in names
    code, printed, _ = run("--list-devices", ALSA_CONFIG_PATH=str(config))
    assert code == 0
    assert "recorded (ALSA)" in printed
