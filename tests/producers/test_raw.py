"""Raw samples arrive whole however they were cut, and never from the future."""

import os
from pathlib import Path
from threading import Event, Thread

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from producers.source import Arrival, Block
from producers.sources.raw import RawFormat, RawSource, SampleFormat
from schemas.errors import CaptureError, ConfigurationError
from tests.producers.conftest import DEADLINE_S, counting

FORM = RawFormat()


def arrivals_of(writes: list[bytes], form: RawFormat = FORM) -> list[Arrival]:
    """Write into a pipe, one write after another, and read it to its end."""
    out, into = os.pipe()

    def write() -> None:
        with os.fdopen(into, "wb", buffering=0) as pipe:
            for data in writes:
                pipe.write(data)

    writer = Thread(target=write, daemon=True)
    writer.start()
    try:
        return list(RawSource(form, descriptor=out).arrivals(lambda _: 320, Event()))
    finally:
        os.close(out)
        writer.join(DEADLINE_S)


def heard(arrivals: list[Arrival]) -> Block:
    return np.concatenate([arrival.block for arrival in arrivals])


@settings(max_examples=25, deadline=None)
@given(st.lists(st.integers(1, 700), min_size=1, max_size=20), st.integers(1, 3), st.booleans())
def test_samples_that_were_cut_in_two_are_put_together(sizes: list[int], channels: int, floats: bool) -> None:
    form = RawFormat(16_000, channels, SampleFormat.F32LE if floats else SampleFormat.S16LE)
    sound = counting(1000, channels)
    data = (sound.astype("<f4") / 32768).tobytes() if floats else sound.astype("<i2").tobytes()
    cuts = np.cumsum([0, *sizes]).tolist()
    writes = [data[start:end] for start, end in zip(cuts, [*cuts[1:], len(data)], strict=True)]
    assert np.array_equal(heard(arrivals_of([w for w in writes if w], form)), sound)


def test_half_a_sample_at_the_end_is_left_out_and_said(caplog: pytest.LogCaptureFixture) -> None:
    assert len(heard(arrivals_of([counting(500).tobytes() + b"x"]))) == 500
    assert "ended inside a sample: 1 bytes left out" in caplog.text


def test_nothing_at_all_is_no_sound_and_no_error() -> None:
    assert arrivals_of([]) == []


@pytest.mark.parametrize("magic", [b"RIFF", b"fLaC", b"OggS", b"ID3\x04"])
def test_a_file_with_a_header_is_refused_with_what_to_do(magic: bytes) -> None:
    with pytest.raises(CaptureError, match="not raw samples: arecord -t raw"):
        arrivals_of([magic + bytes(1000)])


def test_a_named_pipe_waits_for_its_writer_and_ends_with_it(tmp_path: Path) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)

    def write() -> None:
        with pipe.open("wb") as out:
            out.write(counting(2000).tobytes())

    writer = Thread(target=write, daemon=True)
    arrivals = RawSource(FORM, pipe).arrivals(lambda _: 320, Event())
    writer.start()
    assert np.array_equal(heard(list(arrivals)), counting(2000))
    writer.join(DEADLINE_S)


def test_a_stop_ends_the_wait_for_a_writer_that_never_comes(tmp_path: Path) -> None:
    pipe, stop = tmp_path / "pipe", Event()
    os.mkfifo(pipe)
    stop.set()
    assert list(RawSource(FORM, pipe).arrivals(lambda _: 320, stop)) == []


def test_a_pipe_that_is_not_there_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(CaptureError, match="No such file"):
        list(RawSource(FORM, tmp_path / "none").arrivals(lambda _: 320, Event()))


def test_a_terminal_is_refused() -> None:
    controller, terminal = os.openpty()
    try:
        with pytest.raises(CaptureError, match="it is a terminal"):
            list(RawSource(FORM, descriptor=terminal).arrivals(lambda _: 320, Event()))
    finally:
        os.close(controller)
        os.close(terminal)


def test_a_directory_is_refused(tmp_path: Path) -> None:
    descriptor = os.open(tmp_path, os.O_RDONLY)
    try:
        with pytest.raises(CaptureError, match="standard input: it is a directory"):
            list(RawSource(FORM, descriptor=descriptor).arrivals(lambda _: 320, Event()))
    finally:
        os.close(descriptor)
    with pytest.raises(CaptureError, match="it is a directory"):
        list(RawSource(FORM, tmp_path).arrivals(lambda _: 320, Event()))


def test_a_descriptor_that_is_closed_is_an_error_before_and_while_it_is_read() -> None:
    out, into = os.pipe()
    os.write(into, bytes(20_000))
    arrivals = RawSource(FORM, descriptor=out).arrivals(lambda _: 320, Event())
    next(arrivals)
    os.close(out)
    os.close(into)
    with pytest.raises(CaptureError, match="Bad file descriptor"):
        list(arrivals)
    with pytest.raises(CaptureError, match="Bad file descriptor"):
        list(RawSource(FORM, descriptor=out).arrivals(lambda _: 320, Event()))


@pytest.mark.parametrize(("rate_hz", "channels"), [(0, 1), (999, 1), (400_000, 1), (16_000, 0), (16_000, 17)])
def test_a_format_that_no_frame_can_carry_is_refused(rate_hz: int, channels: int) -> None:
    with pytest.raises(ConfigurationError, match=r"rate|channels"):
        RawFormat(rate_hz, channels)
