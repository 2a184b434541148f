"""Passage -> WAV and FLAC files that say when and where the sound was heard.

WAV: a Broadcast Wave `bext` chunk, and LIST INFO: ICRD is the UTC of the first sample with microseconds, ICMT
all that is known, as JSON; what was asked for and is not there, too: `missing_before_samples`,
`missing_samples` (zeros in it), `missing_after_samples`. FLAC: the same as Vorbis comments DATE and COMMENT.
"""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import soundfile

from earwitness.analysis.asked import Edges
from earwitness.analysis.passage import Passage
from earwitness.analysis.sound import Whereabouts
from earwitness.analysis.wanted import utc_text
from earwitness.analysis.wav import WavFormat, WavMetadata, wav_header
from schemas.detection import Detection
from schemas.errors import ConfigurationError

SOFTWARE = "Earwitness"
MAX_GAPS_TOLD = 50


def describe(
    passage: Passage, where: Whereabouts, detection: Detection | None, edges: Edges | None
) -> dict[str, object]:
    """Return all that is known about a passage, as it is written into its file."""
    known: dict[str, object] = {
        "sensor": passage.sensor,
        "start_utc": utc_text(passage.start_us),
        "end_utc": utc_text(passage.end_us),
        "start_us": passage.start_us,
        "end_us": passage.end_us,
        "epoch": passage.epoch,
        "first_sample": passage.first_sample,
        "end_sample": passage.end_sample,
        "sample_rate_hz": passage.sample_rate_hz,
        "channels": passage.channels,
        "missing_before_samples": None if edges is None else edges.before,
        "missing_samples": passage.missing_samples,
        "missing_after_samples": None if edges is None else edges.after,
        "gaps": passage.gaps[:MAX_GAPS_TOLD],
        "dropped_frames": passage.dropped_frames,
        "topic": where.topic,
        "partition": where.partition,
        "first_offset": passage.first_offset,
        "last_offset": passage.last_offset,
    }
    if detection is not None:
        told = (
            "id",
            "label",
            "state",
            "peak_score",
            "start_sample",
            "end_sample",
            "model_name",
            "model_version",
        )
        known["detection"] = {name: getattr(detection, name) for name in told}
    return known


def write_wav(passage: Passage, content: Mapping[str, object], file: Path) -> None:
    """Write int16 as PCM and float32 as floats; more than 4 GiB as RF64."""
    form = WavFormat(passage.sample_rate_hz, passage.channels, passage.dtype, passage.samples)
    title = _title(content)
    metadata = WavMetadata(
        description=f"{title} {content['start_utc']} {content['topic']}[{content['partition']}]",
        originator=SOFTWARE,
        reference=_reference(content),
        start_us=passage.start_us,
        info={
            "INAM": title,
            "ICRD": str(content["start_utc"]),
            "ISFT": SOFTWARE,
            "ICMT": json.dumps(content),
        },
    )
    with file.open("wb") as out:
        out.write(wav_header(form, metadata))
        for block in passage.blocks():
            out.write(block.tobytes())


def write_flac(passage: Passage, content: Mapping[str, object], file: Path) -> None:
    """Write int16 as it is and float32 with 24 bits.

    Raises:
        ConfigurationError: FLAC cannot hold this many channels, or this rate.

    """
    subtype = "PCM_16" if passage.dtype == "int16" else "PCM_24"
    try:
        with soundfile.SoundFile(
            file, "w", passage.sample_rate_hz, passage.channels, subtype, format="FLAC"
        ) as out:
            out.title, out.date, out.software = _title(content), str(content["start_utc"]), SOFTWARE
            out.artist, out.comment = str(content["sensor"]), json.dumps(content)
            for block in passage.blocks():
                out.write(block)
    except soundfile.LibsndfileError as exc:
        sound = f"FLAC for {passage.channels} channels at {passage.sample_rate_hz} Hz"
        accepted = "up to 8 channels; rates up to 65535 Hz, above that multiples of 10; else a name in .wav"
        raise ConfigurationError("--out", sound, accepted) from exc


def _title(content: Mapping[str, object]) -> str:
    detection: Any = content.get("detection")
    return (
        f"{content['sensor']}" if detection is None else f"{detection['label']} heard by {content['sensor']}"
    )


def _reference(content: Mapping[str, object]) -> str:
    """Return 32 characters that name the sound: the detection's id, or else its epoch."""
    detection: Any = content.get("detection")
    return str(content["epoch"] if detection is None else detection["id"]).replace("-", "")
