"""int16 samples -> the bytes of a frame, in each of the encodings that readers know."""

from io import BytesIO

import numpy as np
import soundfile

from producers.source import FULL_SCALE, Block
from schemas.errors import ConfigurationError
from schemas.frame import Encoding


def encode_samples(block: Block, sample_rate_hz: int, encoding: Encoding) -> bytes:
    """Encode `int16[n, channels]`, interleaved; every encoding gives the same samples back.

    Raises:
        ConfigurationError: FLAC cannot hold this many channels or this rate.

    """
    if encoding is Encoding.PCM_S16LE:
        return block.astype("<i2", copy=False).tobytes()
    if encoding is Encoding.PCM_F32LE:
        return (block.astype("<f4") / np.float32(FULL_SCALE)).tobytes()
    return _flac(block, sample_rate_hz)


def _flac(block: Block, sample_rate_hz: int) -> bytes:
    out = BytesIO()
    try:
        soundfile.write(out, block, sample_rate_hz, format="FLAC", subtype="PCM_16")
    except soundfile.SoundFileError as exc:
        sound = f"FLAC for {block.shape[1]} channels at {sample_rate_hz} Hz"
        accepted = "up to 8 channels; rates up to 65535 Hz, above that multiples of 10; else PCM_S16LE"
        raise ConfigurationError("encoding", sound, accepted) from exc
    return out.getvalue()
