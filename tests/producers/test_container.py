"""Containers give the sound that was put into them; those that are broken say so."""

from pathlib import Path
from threading import Event

import numpy as np
import pytest

from producers.capture import Capture, CaptureSettings, Pace
from producers.source import Block
from producers.sources.container import ContainerSource, Decoder, is_url, without_secrets
from schemas.errors import CaptureError
from tests.producers.conftest import ManualClock, MemorySink, counting
from tests.producers.media import RATE_HZ, tone, web, write_container


def heard(source: ContainerSource) -> Block:
    return np.concatenate(list(source.blocks()))


@pytest.mark.parametrize(
    ("name", "codec", "channels"),
    [("a.mkv", "pcm_s16le", 1), ("b.mkv", "flac", 2), ("c.mov", "pcm_s16be", 2), ("d.mkv", "pcm_f32le", 2)],
)
def test_sound_that_was_kept_without_loss_comes_back_sample_for_sample(
    tmp_path: Path, name: str, codec: str, channels: int
) -> None:
    sound = counting(30_000, channels)
    source = ContainerSource(write_container(tmp_path / name, sound, codec))
    assert (source.sample_rate_hz, source.channels) == (RATE_HZ, channels)
    assert source.samples is not None
    assert source.samples == pytest.approx(30_000, abs=20)  # MKV declares milliseconds
    assert np.array_equal(heard(source), sound)
    assert np.array_equal(heard(source), sound), "a second pass is the same"


@pytest.mark.parametrize("channels", [1, 2])
def test_an_mp4_keeps_its_rate_and_its_channels(tmp_path: Path, channels: int) -> None:
    file = write_container(tmp_path / "a.mp4", tone(2.0, 44_100, channels), "aac", 44_100)
    source = ContainerSource(file)
    assert (source.sample_rate_hz, source.channels) == (44_100, channels)
    assert source.samples == pytest.approx(88_200, abs=2048)
    block = heard(source)
    assert block.dtype == np.int16
    assert len(block) == pytest.approx(88_200, abs=3000)
    rms = float(np.sqrt(np.mean(block[10_000:80_000].astype(float) ** 2)))
    assert rms == pytest.approx(16_384 / 2**0.5, rel=0.05)


def test_an_mp4_played_as_fast_as_possible_lies_in_the_past(tmp_path: Path) -> None:
    file = write_container(tmp_path / "a.mp4", tone(3.0), "aac")
    sink = MemorySink(ManualClock())
    played = Capture("roof", sink, CaptureSettings(pace=Pace.FAST), sink.clock).play(
        [ContainerSource(file)], Event()
    )
    assert played.epochs == 1
    assert max(frame.captured_at_us for frame in sink.frames) <= sink.clock.wall_us()


def test_a_container_that_was_cut_off_is_an_error_after_what_is_there(tmp_path: Path) -> None:
    whole = write_container(
        tmp_path / "a.mov", counting(60_000), "pcm_s16le", options={"movflags": "faststart"}
    )
    cut = tmp_path / "cut.mov"
    cut.write_bytes(whole.read_bytes()[:60_000])
    source, done = ContainerSource(cut), 0
    blocks = source.blocks()

    def read_on() -> None:
        nonlocal done
        for block in blocks:
            done += len(block)

    with pytest.raises(CaptureError, match=r"cut\.mov: "):
        read_on()
    assert 20_000 < done < 30_000


@pytest.mark.parametrize("content", [b"", b"no sound at all", bytes(100_000)])
def test_what_is_no_container_is_refused(tmp_path: Path, content: bytes) -> None:
    file = tmp_path / "a.mp4"
    file.write_bytes(content)
    with pytest.raises(CaptureError, match=r"a\.mp4"):
        ContainerSource(file)


def test_a_container_without_sound_is_refused(tmp_path: Path) -> None:
    import av

    file = tmp_path / "silent.mkv"
    with av.open(str(file), "w") as container:
        stream = container.add_stream("mpeg4", rate=25)
        stream.width, stream.height, stream.pix_fmt = 32, 32, "yuv420p"
        frame = av.VideoFrame.from_ndarray(np.zeros((32, 32, 3), np.uint8), format="rgb24")
        container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    with pytest.raises(CaptureError, match="it holds no sound"):
        ContainerSource(file)


def test_a_file_that_is_a_playlist_fetches_nothing(tmp_path: Path) -> None:
    with web() as site:
        file = tmp_path / "a.mp4"
        file.write_text(f"#EXTM3U\n#EXT-X-TARGETDURATION:1\n#EXTINF:1,\n{site.url}/secret.ts\n", "utf-8")
        with pytest.raises(CaptureError):
            list(ContainerSource(file).blocks())
        assert site.served == 0


@pytest.mark.parametrize(
    ("name", "codec"), [("talk.ogg", "flac"), ("talk.mp3", "libmp3lame"), ("talk.mkv", "flac")]
)
def test_a_recording_at_an_address_is_read_to_its_end(tmp_path: Path, name: str, codec: str) -> None:
    with web() as site:
        site.files[name] = write_container(tmp_path / name, tone(2.0), codec).read_bytes()
        assert len(heard(ContainerSource(f"{site.url}/{name}"))) == pytest.approx(32_000, abs=3000)


def test_an_address_that_is_not_there_is_an_error_without_its_secrets() -> None:
    with web() as site:
        url = site.url.replace("://", "://kate:secret@") + "/none.mp3?token=secret"
        with pytest.raises(CaptureError) as error:
            ContainerSource(url)
    assert "secret" not in str(error.value)
    assert "kate" not in str(error.value)
    assert "none.mp3" in str(error.value)


@pytest.mark.parametrize(
    ("location", "shown"),
    [
        ("rtsp://kate:p%40ss@10.0.0.7:554/a/b?key=1", "rtsp://***@10.0.0.7:554/a/b?***"),
        ("rtsp://kate:p@ss@10.0.0.7/a", "rtsp://***@10.0.0.7/a"),
        ("https://host/a.mp4", "https://host/a.mp4"),
        ("http://kate:secret@[host/a", "http://***@[host/a"),
        ("rtsp://admin:p#ss@host/a", "rtsp://***@host/a"),
        ("rtsp://admin:p?ss@host/a#key", "rtsp://***@host/a#***"),
        ("rtsp://admin:p/ss@host/a", "rtsp://***@host/a"),
        ("rtmps://u:secret@h/a", "rtmps://***@h/a"),
        ("https://host/a?mail=k@te&token=secret", "https://***"),
        ("recordings/a@b.wav", "recordings/a@b.wav"),
    ],
)
def test_secrets_are_left_out_of_what_a_location_is_called(location: str, shown: str) -> None:
    assert without_secrets(location) == shown


def test_an_address_is_told_from_a_path() -> None:
    assert is_url("RTSP://host/a")
    assert not is_url("file:///etc/passwd")
    assert not is_url("C://x")
    assert not is_url("a.wav")


@pytest.mark.parametrize(("ended", "ends"), [(False, False), (True, True)])
def test_a_playlist_that_grows_is_no_recording(tmp_path: Path, ended: bool, ends: bool) -> None:
    with web() as site:
        segment = write_container(tmp_path / "0.ts", tone(2.0, 48_000), "mp2", 48_000)
        site.files["0.ts"] = segment.read_bytes()
        lines = ["#EXTM3U", "#EXT-X-VERSION:3", "#EXT-X-TARGETDURATION:2", "#EXTINF:2.0,", "0.ts"]
        lines += ["#EXT-X-ENDLIST"] if ended else []
        site.files["a.m3u8"] = ("\n".join(lines) + "\n").encode()
        with Decoder(f"{site.url}/a.m3u8") as decoder:
            assert decoder.format.ends is ends
