"""Audio files -> blocks: whatever libsndfile reads, in bounded memory, and never half a file in silence.

libsndfile shortens a file that was cut off to what is there and says so only in its log; that log is read
here, so that a broken recording is an error and not a quiet one.
"""

import re
from collections.abc import Iterator
from os.path import isdir, isfile  # pathlib's raise where a name is too long
from pathlib import Path

import soundfile

from producers.source import Block, to_int16
from schemas.errors import CaptureError
from schemas.frame import MAX_CHANNELS, MAX_SAMPLE_RATE_HZ, MIN_SAMPLE_RATE_HZ

BLOCK_SAMPLES = 16_384
_ALIASES = {"aif", "aifc", "oga", "opus", "snd", "sph"}
"""Extensions in use that are not names of formats. `raw` is one but says nothing about its samples."""
_UNDECLARED_BYTES = 0x7FFF_F000
"""Programs that write to a pipe declare a length from here up: there they mean "until the end"."""
_DECLARED = re.compile(r"^\s*(?:data|SSND|Data Size|riff)\s*: (\d+) \(should be (\d+)\)", re.MULTILINE)
_CUT_OFF = re.compile(r"File ended unexpectedly|Calculated frame count \d+ does not match")
_MPEG_SLACK_SAMPLES = 2 * 1152
"""An MP3 file without a header of its own declares a length that is right to about a frame or two."""


def audio_extensions() -> frozenset[str]:
    """Return the extensions, without the dot and in lower case, of files that can be read here."""
    formats = {name.lower() for name in soundfile.available_formats()}
    return frozenset(formats - {"raw"} | _ALIASES)


def files_in(path: Path) -> list[Path]:
    """List a file, or the audio files in a folder and its sub-folders, in the order of their paths.

    Raises:
        CaptureError: there is nothing at this path, or no sound in this folder.

    """
    if isfile(path):
        return [path]
    if not isdir(path):
        raise CaptureError(str(path), "there is no such file or folder")
    extensions = audio_extensions()
    found = sorted(file for file in path.rglob("*") if _is_audio(file, extensions))
    if not found:
        raise CaptureError(str(path), f"no sound in this folder; looked for {', '.join(sorted(extensions))}")
    return found


def _is_audio(file: Path, extensions: frozenset[str]) -> bool:
    hidden = file.name.startswith(".")
    return not hidden and file.suffix.lower().removeprefix(".") in extensions and file.is_file()


class FileSource:
    """One audio file; every pass opens it anew.

    Raises:
        CaptureError: it is missing, not sound, empty, cut off, or outside what a frame can carry.

    """

    def __init__(self, path: Path, block_samples: int = BLOCK_SAMPLES) -> None:
        self._path, self._block_samples = path, block_samples
        with self._open() as file:
            self._rate_hz, self._channels = int(file.samplerate), int(file.channels)
            self._samples = int(file.frames)
            self._refuse_unless_whole(str(file.extra_info))
            self._slack_samples = _MPEG_SLACK_SAMPLES if "MPEG" in file.subtype else 0

    @property
    def name(self) -> str:
        """The file's path."""
        return str(self._path)

    @property
    def sample_rate_hz(self) -> int:
        """Samples per second and channel."""
        return self._rate_hz

    @property
    def channels(self) -> int:
        """Channels in the file."""
        return self._channels

    @property
    def samples(self) -> int:
        """Samples per channel that the file declares."""
        return self._samples

    def blocks(self) -> Iterator[Block]:
        """Read the file once, `int16[up to block_samples, channels]` at a time.

        Raises:
            CaptureError: it cannot be read to the length that it declares.

        """
        done = 0
        with self._open() as file:
            while len(block := self._read(file, done)):
                done += len(block)
                yield block
        if done < self._samples - self._slack_samples:
            raise CaptureError(self.name, f"it ends after {done} of {self._samples} samples: was it cut off?")

    def _open(self) -> soundfile.SoundFile:
        if not isfile(self._path):
            raise CaptureError(self.name, "there is no such file")
        try:
            return soundfile.SoundFile(self._path)
        except (soundfile.SoundFileError, OSError, TypeError) as exc:
            raise CaptureError(self.name, _reason(exc)) from exc

    def _read(self, file: soundfile.SoundFile, done: int) -> Block:
        try:
            return to_int16(file.read(self._block_samples, dtype="float64", always_2d=True))
        except soundfile.SoundFileError as exc:
            raise CaptureError(
                self.name, f"broken after {done} of {self._samples} samples: {_reason(exc)}"
            ) from exc

    def _refuse_unless_whole(self, log: str) -> None:
        declared = _DECLARED.search(log)
        if declared is not None and int(declared[2]) < int(declared[1]) < _UNDECLARED_BYTES:
            raise CaptureError(self.name, f"cut off: it declares {declared[1]} bytes and has {declared[2]}")
        if _CUT_OFF.search(log):
            raise CaptureError(self.name, "cut off: it ends before the length that it declares")
        if self._samples == 0:
            raise CaptureError(self.name, "it holds no samples")
        if not MIN_SAMPLE_RATE_HZ <= self._rate_hz <= MAX_SAMPLE_RATE_HZ:
            accepted = f"{MIN_SAMPLE_RATE_HZ} to {MAX_SAMPLE_RATE_HZ} Hz"
            raise CaptureError(self.name, f"its rate is {self._rate_hz} Hz; accepted: {accepted}")
        if self._channels > MAX_CHANNELS:
            raise CaptureError(self.name, f"it has {self._channels} channels; accepted: 1 to {MAX_CHANNELS}")


def _reason(exc: Exception) -> str:
    return str(getattr(exc, "error_string", exc)).rstrip(".") or type(exc).__name__
