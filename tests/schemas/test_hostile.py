"""What may come from outside: every broken record is a dead letter with its reason, and nothing else."""

import random
import tracemalloc
from dataclasses import replace
from io import BytesIO

import fastavro
import numpy as np
import pytest
import soundfile

from processors.pcm import mono
from schemas.codec import Codec, released_schemas
from schemas.coverage import Coverage
from schemas.detection import Detection
from schemas.errors import DeadLetterError, InvalidFrameError, MalformedRecordError, UnknownSchemaError
from schemas.frame import MAX_VALUES, AudioFrame, Encoding, sensor_of
from schemas.sensor import SensorState
from tests.schemas.records import COVERAGE, DETECTION, EPOCH, FRAME, LEVEL, RECORDS, SENSOR

CODEC = Codec()
GOOD = CODEC.encode(FRAME)
HEADER = GOOD[:10]


def frame(**fields: object) -> bytes:
    """Return the bytes of a frame with these fields, whatever they claim."""
    out = BytesIO()
    schema = fastavro.parse_schema(released_schemas()["audio_frame"][-1])
    good = {name: getattr(FRAME, name) for name in FRAME.__slots__}
    fastavro.schemaless_writer(out, schema, {**good, **fields})
    return HEADER + out.getvalue()


@pytest.mark.parametrize(
    ("value", "error", "message"),
    [
        (None, MalformedRecordError, "the value is empty; accepted: an Avro record"),
        (b"", MalformedRecordError, "the value is empty; accepted: an Avro record"),
        (b"RIFF\x24\0\0\0WAVE", MalformedRecordError, "it begins with 5249464624000000574"),
        (b"\xc3\x01", MalformedRecordError, "it begins with c301; accepted: c301 and a fingerprint"),
        (b"\0\0\0", MalformedRecordError, "it begins with 000000; accepted"),
        (b"\0\0\0\0\x07rest", UnknownSchemaError, "unknown schema id 7: no schema registry is configured"),
        (b"\xc3\x01" + bytes(8) + b"rest", UnknownSchemaError, "unknown schema fingerprint 0000000000000000"),
        (HEADER, MalformedRecordError, "not the Avro of audio_frame"),
        (GOOD[:-1], MalformedRecordError, "not the Avro of audio_frame"),
        (GOOD + b"\0", MalformedRecordError, "1 bytes follow the audio_frame; accepted: none"),
        (frame(data=b""), InvalidFrameError, "data is '0 bytes'; accepted: 6 bytes, for 3 samples of 1"),
        (frame(data=bytes(5)), InvalidFrameError, "data is '5 bytes'; accepted: 6 bytes"),
        (frame(encoding="PCM_F32LE"), InvalidFrameError, "data is '6 bytes'; accepted: 12 bytes"),
        (frame(encoding="FLAC", data=b""), InvalidFrameError, "data is '0 bytes'; accepted: 1 to 4194304"),
        (frame(samples=0), InvalidFrameError, "samples is '0'; accepted: 1 to 1048576"),
        (frame(samples=-3), InvalidFrameError, "samples is '-3'; accepted: 1 to 1048576"),
        (frame(samples=2**31 - 1), InvalidFrameError, "samples is '2147483647'; accepted: 1 to 1048576"),
        (frame(channels=0), InvalidFrameError, "channels is '0'; accepted: 1 to 16"),
        (frame(channels=17), InvalidFrameError, "channels is '17'; accepted: 1 to 16"),
        (frame(channels=16, samples=65537), InvalidFrameError, "samples is '65537'; accepted: 1 to 65536"),
        (
            frame(sample_rate_hz=1000, samples=66_001, data=bytes(132_002)),
            InvalidFrameError,
            "samples is '66001'; accepted: 1 to 66000",
        ),
        (frame(sample_rate_hz=0), InvalidFrameError, "sample_rate_hz is '0'; accepted: 1000 to 384000"),
        (frame(sample_rate_hz=999), InvalidFrameError, "sample_rate_hz is '999'"),
        (frame(sample_rate_hz=384_001), InvalidFrameError, "sample_rate_hz is '384001'"),
        (frame(first_sample=-1), InvalidFrameError, "first_sample is '-1'; accepted: 0 to"),
        (frame(first_sample=2**62 + 1), InvalidFrameError, "first_sample is '4611686018427387905'"),
        (frame(captured_at_us=-1), InvalidFrameError, "captured_at_us is '-1'; accepted: 0 to"),
        (frame(captured_at_us=2**63 - 1), InvalidFrameError, "captured_at_us is '9223372036854775807'"),
        (frame(channels=17, data=bytes(102)), InvalidFrameError, "channels is '17'; accepted: 1 to 16"),
        (frame(channels=-1, samples=-3), InvalidFrameError, "channels is '-1'; accepted: 1 to 16"),
        (
            frame(epoch=EPOCH[:8] + b"\xff" + EPOCH[9:]),
            InvalidFrameError,
            "accepted: the 16 bytes of a UUID of version 7",
        ),
        (frame(epoch=bytes(16)), InvalidFrameError, "epoch is '00000000000000000000000000000000'; accepted"),
        (frame(epoch=b"\xff" * 16), InvalidFrameError, "accepted: the 16 bytes of a UUID of version 7"),
    ],
)
def test_a_broken_frame_is_a_dead_letter_with_its_reason(
    value: bytes | None, error: type[DeadLetterError], message: str
) -> None:
    with pytest.raises(error) as refused:
        CODEC.decode(AudioFrame, value)
    assert message in str(refused.value)


@pytest.mark.parametrize("record", RECORDS, ids=lambda record: record.NAME)
def test_a_mutated_record_is_a_good_one_or_a_dead_letter_and_nothing_else(record: AudioFrame) -> None:
    r = random.Random(record.NAME)  # noqa: S311 - chance that repeats itself
    good = CODEC.encode(record)
    refused = 0
    for _ in range(4_000):
        mutant = bytearray(good)
        for _ in range(r.randint(1, 4)):
            at = r.randrange(len(mutant))
            mutant[at : at + r.randint(0, 3)] = r.randbytes(r.randint(0, 3))
        try:
            assert isinstance(CODEC.decode(type(record), bytes(mutant)), type(record))
        except DeadLetterError:
            refused += 1
    assert 1_000 < refused < 4_000  # both ways were walked


@pytest.mark.parametrize("length", [10**9, 2**40, 2**62, -1, -(2**62)])
def test_nothing_is_allocated_for_what_a_record_claims(length: int) -> None:
    claimed = HEADER + GOOD[10:-7] + _zigzag(length)  # data of so many bytes, none of which are there
    tracemalloc.start()
    with pytest.raises(MalformedRecordError):
        CODEC.decode(AudioFrame, claimed)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 100_000


def _zigzag(value: int) -> bytes:
    value = (value << 1) ^ (value >> 63)
    out = b""
    while value > 0x7F:
        out += bytes([value & 0x7F | 0x80])
        value >>= 7
    return out + bytes([value])


def flac(samples: int, rate_hz: int = 16_000) -> bytes:
    out = BytesIO()
    soundfile.write(out, np.zeros(samples, np.int16), rate_hz, format="FLAC", subtype="PCM_16")
    return out.getvalue()


def flac_frame(samples: int, data: bytes) -> AudioFrame:
    return replace(FRAME, encoding=Encoding.FLAC, samples=samples, data=data)


def test_a_flac_bomb_is_refused_before_it_is_decoded() -> None:
    bomb = flac(50_000_000)  # 100 MB of silence
    assert len(bomb) < 1_000_000
    tracemalloc.start()
    with pytest.raises(InvalidFrameError, match="50000000 samples"):
        mono(flac_frame(1000, bomb))
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 3 * len(bomb)


def _claim(stream: bytes, samples: int) -> bytes:
    """Write another count of samples into a stream's header: 36 bits, 21 bytes in."""
    field = int.from_bytes(stream[18:26])
    return stream[:18] + (field >> 36 << 36 | samples).to_bytes(8) + stream[26:]


@pytest.mark.parametrize("claimed", [0, 999, 1001, MAX_VALUES])
def test_a_flac_stream_with_another_count_in_its_header_is_refused(claimed: int) -> None:
    with pytest.raises(DeadLetterError):
        mono(flac_frame(1000, _claim(flac(1000), claimed)))


@pytest.mark.parametrize("there", [900, 1100])
def test_a_flac_stream_that_lies_about_its_length_is_refused_or_cut(there: int) -> None:
    lying = flac_frame(1000, _claim(flac(there), 1000))
    try:
        assert len(mono(lying)) == 1000
    except DeadLetterError:
        assert there < 1000


def test_mutated_flac_is_sound_or_a_dead_letter_and_nothing_else() -> None:
    r = random.Random(1)  # noqa: S311 - chance that repeats itself
    out = BytesIO()
    noise = np.random.default_rng(1).integers(-9000, 9000, 400).astype(np.int16)
    soundfile.write(out, noise, 16_000, format="FLAC", subtype="PCM_16")
    refused = 0
    for _ in range(1_000):
        data = bytearray(out.getvalue())
        for _ in range(r.randint(1, 3)):
            data[r.randrange(len(data))] = r.randrange(256)
        try:
            assert len(mono(flac_frame(400, bytes(data)))) == 400
        except DeadLetterError:
            refused += 1
    assert 0 < refused < 1_000


@pytest.mark.parametrize(
    "key",
    [
        None,
        b"",
        b"\xff",
        b"\xc0\xaf",
        b"\xed\xa0\x80",
        b"roof\0",
        b"roof\n",
        "a\u202eb".encode(),
        "\u200b".encode(),
        b"x" * 257,
        "\ue000".encode(),
    ],
)
def test_a_key_that_does_not_print_is_refused(key: bytes | None) -> None:
    with pytest.raises(InvalidFrameError, match=r"key is .*; accepted: 1 to 256 bytes of printable UTF-8"):
        sensor_of(key)


@pytest.mark.parametrize("sensor", ["roof", "dach/süd-1", "屋根", "a b", "🎤", "x" * 256, "%s{}$(rm)"])
def test_a_key_that_prints_is_a_sensor(sensor: str) -> None:
    assert sensor_of(sensor.encode()) == sensor


def test_a_reason_quotes_a_long_key_in_part() -> None:
    with pytest.raises(InvalidFrameError) as refused:
        sensor_of(b"x" * 10_000_000)
    assert len(str(refused.value)) < 200


@pytest.mark.parametrize("rate_hz", [1 << 31, -(1 << 31) - 1, (1 << 63) - 1])
@pytest.mark.parametrize("record", [COVERAGE, DETECTION, SENSOR], ids=lambda record: record.NAME)
def test_an_int_of_more_than_32_bits_is_refused_in_avro_as_it_is_in_json(
    record: Coverage | Detection | SensorState, rate_hz: int
) -> None:
    value = CODEC.encode(record)
    assert value.count(_zigzag(16_000)) == 1
    wide = value.replace(_zigzag(16_000), _zigzag(rate_hz))
    with pytest.raises(MalformedRecordError, match=f"sample_rate_hz is {rate_hz}; accepted: int"):
        CODEC.decode(type(record), wide)


@pytest.mark.parametrize("rate_hz", [0, -16_000])
def test_a_detection_without_a_rate_is_refused_since_nobody_could_say_when_it_was(rate_hz: int) -> None:
    with pytest.raises(MalformedRecordError, match=f"sample_rate_hz is {rate_hz}; accepted: 1 or more"):
        CODEC.decode(Detection, CODEC.encode(replace(DETECTION, sample_rate_hz=rate_hz)))


@pytest.mark.parametrize("number", [float("nan"), float("inf"), float("-inf")])
def test_a_double_that_is_not_finite_is_refused_in_avro_as_it_is_in_json(number: float) -> None:
    for record, name in (
        (replace(COVERAGE, level=replace(LEVEL, peak_dbfs=number)), "peak_dbfs"),
        (replace(DETECTION, peak_score=number), "peak_score"),
        (replace(DETECTION, threshold=number), "threshold"),
    ):
        with pytest.raises(MalformedRecordError, match=f"{name} is .*; accepted: a finite number"):
            CODEC.decode(type(record), CODEC.encode(record))


def test_a_frame_of_66_s_is_taken_and_a_longer_one_is_not_however_few_its_bytes_are() -> None:
    stream = flac(66_001)
    assert len(stream) < 100_000
    longest = replace(FRAME, sample_rate_hz=1000, samples=66_000, data=bytes(132_000))
    assert CODEC.decode(AudioFrame, CODEC.encode(longest)) == longest
    assert CODEC.plain_frames([CODEC.encode(longest)] * 20)[0] is not None
    longer = frame(sample_rate_hz=1000, samples=66_001, data=bytes(132_002))
    assert CODEC.plain_frames([longer] * 20) == [None] * 20
    with pytest.raises(InvalidFrameError, match="samples is '66001'; accepted: 1 to 66000"):
        CODEC.decode(AudioFrame, frame(encoding="FLAC", sample_rate_hz=1000, samples=66_001, data=stream))
