"""A seed -> records for the frames topic, as broken sensors and attackers write them.

Each begins as a good frame of some encoding, rate and size, or as a record of another kind, and is changed in
one way, by chance that repeats itself. Some are good frames still: what is what, `tests.fuzz.judge` says.
"""

import random
import struct
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from schemas.codec import Codec, Format
from tests.fuzz import forge
from tests.fuzz.forge import Fields
from tests.schemas.records import RECORDS

SENSORS = 48
"""Keys of mutants that name a sensor: few, for each that is heard costs a worker memory."""
INT32, INT64 = (-(1 << 31), (1 << 31) - 1), (-(1 << 63), (1 << 63) - 1)
YEAR_10889_MS = (1 << 48) - 1
"""The last time that a UUIDv7 can name."""
BOMB_BYTES = 4 << 20
"""Of zeros, which compress to next to nothing."""
BURST_SAMPLES, BURST_RATES_HZ, BURST_EPOCH = 1 << 20, (384_000, 384_000, 16_000, 384_000), 20
"""As much as one frame may hold, at some rates in turn, and how many frames there are of one epoch."""
HOSTILE_TEXT = (
    b"\xff\xfe", b"\xc0\xaf", b"\xed\xa0\x80", b"\xf4\x90\x80\x80", b"\xe2\x80\xae", b"a\0b", b"\x1b[2J\r\n",
    "\u202eroof\u2066".encode(), "\ufeff".encode(), "\u200b".encode(), b"'; DROP TABLE x; --", b"%n%s{0}",
)  # fmt: skip
HOSTILE_KEYS = (None, b"", b"x" * 257, b"x" * 100_000, b"bell\x07", b"two\nlines", *HOSTILE_TEXT)

Header = tuple[str, bytes | None]


@dataclass(frozen=True, slots=True)
class Mutant:
    """A record to append, and how it came to be; some are to be sent `compressed`."""

    kind: str
    key: bytes | None
    value: bytes | None
    headers: tuple[Header, ...] = ()
    compressed: bool = False


class Mutator:
    """Makes mutants from a seed; the times in them are those of now."""

    def __init__(self, seed: int) -> None:
        self._r = random.Random(seed)  # noqa: S311 - chance that repeats itself
        self._names = [f"fuzz-{number}".encode() for number in range(SENSORS - 2)]
        self._names += ["屋根 %s{}$(rm)".encode(), b"x" * 256]
        self._last: dict[bytes, Fields] = {}
        self._foreign = [codec.encode(x) for codec in (Codec(), Codec(output=Format.JSON)) for x in RECORDS]

    def mutants(self, count: int) -> Iterator[Mutant]:
        """Yield so many mutants, of all kinds."""
        kinds, weights = zip(*_KINDS.items(), strict=True)
        for kind in self._r.choices(kinds, [weight for _, weight in weights], k=count):
            yield _KINDS[kind][0](self, kind)

    def burst(self, count: int) -> Iterator[Mutant]:
        """Yield frames of one sensor, of 2 MB each and tiny as they come; one in ten is stale, or late."""
        r, epochs = self._r, [forge.epoch_at(time.time_ns() // 1_000_000 + n, self._r) for n in range(count)]
        silence = forge.noise(r, BURST_SAMPLES, 1) * 0
        streams = {rate_hz: forge.flac(silence, rate_hz) for rate_hz in BURST_RATES_HZ}
        for number in range(count):
            nth, at = divmod(number, BURST_EPOCH)
            rate_hz = BURST_RATES_HZ[nth % len(BURST_RATES_HZ)]
            stale, late = nth > 0 and at % 10 == 5, at % 10 == 7
            fields = {
                "epoch": epochs[nth - stale],
                "first_sample": max(0, at * BURST_SAMPLES - late * (BURST_SAMPLES + rate_hz)),
                "samples": BURST_SAMPLES,
                "captured_at_us": time.time_ns() // 1000,
                "sample_rate_hz": rate_hz,
                "channels": 1,
                "encoding": "FLAC",
                "data": streams[rate_hz],
            }
            yield Mutant("burst", b"fuzz-burst", forge.avro("audio_frame", fields))

    def _key(self) -> bytes:
        return self._r.choice(self._names)

    def _good(self) -> tuple[bytes, Fields]:
        """Return a sensor and a frame of it, which may go on where its last one ended."""
        key, fields = self._key(), forge.good_fields(self._r)
        last = self._last.get(key)
        if last is not None and self._r.random() < 0.5:
            kept = ("sample_rate_hz", "channels", "encoding", "samples", "data", "epoch")
            fields.update({name: last[name] for name in kept})
            fields["first_sample"] = last["first_sample"] + last["samples"]
        self._last[key] = fields
        return key, fields

    def good(self, kind: str) -> Mutant:
        """Leave a frame as it is."""
        key, fields = self._good()
        return Mutant(kind, key, forge.avro("audio_frame", fields))

    def bits(self, kind: str) -> Mutant:
        """Flip one to eight bits, half of the time near the front, where the numbers are."""
        key, fields = self._good()
        value = bytearray(forge.avro("audio_frame", fields))
        for _ in range(self._r.randint(1, 8)):
            end = len(value) if self._r.random() < 0.5 else min(len(value), 64)
            value[self._r.randrange(end)] ^= 1 << self._r.randrange(8)
        return Mutant(kind, key, bytes(value))

    def pieces(self, kind: str) -> Mutant:
        """Cut a frame short, or put bytes in, or say a piece of it twice, or swap two pieces."""
        r, (key, fields) = self._r, self._good()
        value = forge.avro("audio_frame", fields)
        a, b, c = sorted(r.randrange(len(value) + 1) for _ in range(3))
        changed = r.choice((
            value[:a],
            value[a:],
            value[:a] + r.randbytes(r.randint(1, 40)) + value[a:],
            value[:b] + value[a:b] + value[b:],
            value[:a] + value[b:c] + value[a:b] + value[c:],
            value + value,
        ))  # fmt: skip
        return Mutant(kind, key, changed)

    def numbers(self, kind: str) -> Mutant:
        """Give one or two numbers values at, or beyond, the limits of what they are."""
        r, (key, fields) = self._r, self._good()
        fields = dict(fields)
        for name in r.sample(("first_sample", "samples", "captured_at_us", "sample_rate_hz", "channels"), 2):
            near = r.choice((0, 1, 16, 17, 999, 1000, 384_000, 384_001, 1 << 20, 1 << 62, (1 << 62) + 1))
            fields[name] = r.choice((*INT32, *INT64, 1 << 63, 1 << 70, 253_402_300_799_999_999, near, -near))
            if r.random() < 0.5:
                break
        claimed = r.choice((None, None, None, 0, -1, 10**9, 1 << 40, *INT64))
        return Mutant(kind, key, forge.numbers(fields, claimed))

    def floats(self, kind: str) -> Mutant:
        """Send floats that are not finite, or far beyond full scale."""
        r, (key, fields) = self._r, self._good()
        count = fields["samples"] * fields["channels"]
        odd = r.choice((float("nan"), float("inf"), float("-inf"), 3e38, -3e38, 1e-45, -0.0, 1.0))
        data = bytearray(struct.pack(f"<{count}f", *([0.25] * count)))
        struct.pack_into("<f", data, 4 * r.randrange(count), odd)
        changed = {**fields, "encoding": "PCM_F32LE", "data": bytes(data)}
        return Mutant(kind, key, forge.avro("audio_frame", changed))

    def foreign(self, kind: str) -> Mutant:
        """Send a record of another kind, in Avro or JSON, or framed as a registry's or by nobody."""
        r = self._r
        value = r.choice(self._foreign)
        prefix = r.choice(
            (None, None, b"\0" + r.randbytes(4), b"\xc3\x01" + r.randbytes(8), b"\0", b"{", b"")
        )
        return Mutant(kind, self._key(), value if prefix is None else prefix + value[10:])

    def key(self, kind: str) -> Mutant:
        """Send a good frame under a key that names nobody."""
        _, fields = self._good()
        return Mutant(kind, self._r.choice(HOSTILE_KEYS), forge.avro("audio_frame", fields))

    def size(self, kind: str) -> Mutant:
        """Send nothing at all, or a little, or as much as the topic takes."""
        r, key = self._r, self._key()
        value = r.choice((None, b"", b"\xc3", b"\0", b"{}", b"[", r.randbytes(r.randint(1, 200))))
        if r.random() < 0.02:
            value = r.choice((bytes(1_000_000), forge.header("audio_frame") + b"\xff" * 1_000_000))
        return Mutant(kind, r.choice((key, None)), value)

    def bomb(self, kind: str) -> Mutant:
        """Send zeros that came compressed: as value, as a frame's data, as key, or in a header."""
        r, (key, fields) = self._r, self._good()
        zeros, value = bytes(r.randint(1 << 20, BOMB_BYTES)), forge.avro("audio_frame", fields)
        as_data = forge.numbers({**fields, "encoding": "PCM_S16LE", "data": zeros})
        return r.choice((
            Mutant(kind, key, zeros, compressed=True),
            Mutant(kind, key, as_data, compressed=True),
            Mutant(kind, zeros, value, compressed=True),
            Mutant(kind, key, b"no frame", (("zeros", zeros),), compressed=True),
            Mutant(kind, key, None, (("zeros", zeros),), compressed=True),
        ))  # fmt: skip

    def header(self, kind: str) -> Mutant:
        """Send a frame, or what is none, with headers that nobody would write."""
        r, (key, fields) = self._r, self._good()
        value = r.choice((forge.avro("audio_frame", fields), b"no frame", None))
        names = (
            "traceparent",
            "earwitness-tick",
            "__streams.errors.topic",
            "",
            "\u202e",
            "a\nb",
            "x" * 5_000,
        )
        values = (None, b"", b"00-" + b"f" * 32 + b"-" + b"0" * 16 + b"-01", bytes(3_000), *HOSTILE_TEXT)
        headers = [(r.choice(names), r.choice(values)) for _ in range(r.choice((1, 2, 3, 300)))]
        return Mutant(kind, r.choice((key, None)), value, tuple(headers))

    def flac(self, kind: str) -> Mutant:
        """Send a FLAC stream that is not what it, or its frame, says it is."""
        r, (key, fields) = self._r, self._good()
        samples, channels = r.choice((160, 1600)), r.choice((1, 2, 8))
        rate_hz = fields["sample_rate_hz"]
        stream = forge.flac(forge.noise(r, samples, channels), rate_hz)
        data, samples = r.choice(_FLACS)(r, stream, samples, rate_hz)
        changed = {"encoding": "FLAC", "samples": samples, "channels": channels, "data": data}
        return Mutant(kind, key, forge.avro("audio_frame", {**fields, **changed}))

    def epoch(self, kind: str) -> Mutant:
        """Send an epoch of the far past or future, or one that is no UUIDv7."""
        r, (key, fields) = self._r, self._good()
        ours = fields["epoch"]
        variants = bytes((*ours[:8], ours[8] & 0x3F | r.choice((0, 0x40, 0xC0)), *ours[9:]))
        version = bytes((*ours[:6], ours[6] & 0x0F | r.randrange(16) << 4, *ours[7:]))
        times = (forge.epoch_at(0, r), forge.epoch_at(YEAR_10889_MS, r), forge.epoch_at(1 << 40, r))
        changed = {**fields, "epoch": r.choice((*times, variants, version, bytes(16), b"\xff" * 16))}
        return Mutant(kind, key, forge.avro("audio_frame", changed))

    def order(self, kind: str) -> Mutant:
        """Go on in the sensor's epoch with another format, or far ahead, or long before."""
        r, (key, fields) = self._r, self._good()
        first = fields["first_sample"]
        jumps = (first + (1 << 61), (1 << 62) - 1, 1 << 62, 0, max(0, first - 100), first + 1, first + 4_000)
        change = r.choice((
            {"first_sample": r.choice(jumps)},
            {"sample_rate_hz": r.choice(forge.RATES_HZ)},
            {"captured_at_us": r.choice((0, 1, 253_402_300_799_999_999, 10**17))},
        ))  # fmt: skip
        return Mutant(kind, key, forge.avro("audio_frame", {**fields, **change}))

    def long(self, kind: str) -> Mutant:
        """Send more sound in one frame than anybody would, in few bytes."""
        r, (key, fields) = self._r, self._good()
        samples = r.choice((48_000, 200_000, 1 << 20))
        stream = forge.flac(forge.noise(r, samples, 1) * 0, fields["sample_rate_hz"])
        changed = {"encoding": "FLAC", "samples": samples, "channels": 1, "data": stream}
        return Mutant(kind, key, forge.avro("audio_frame", {**fields, **changed}))


Stream = tuple[bytes, int]


def _blocks(r: random.Random, stream: bytes, samples: int, rate_hz: int) -> Stream:
    """Claim a metadata block of 16 MB, or give it, or an unknown one, or a thousand of them."""
    one = r.choice((
        b"\x01\xff\xff\xff" + bytes(100),
        b"\x01\x00\x40\x00" + bytes(0x4000),
        b"\x7e\x00\x00\x04head",
        b"\x04\x00\x00\x08\xff\xff\xff\xff\xff\xff\xff\xff",
        b"\x06\x00\x00\x20" + b"\xff" * 32,
        b"\x01\0\0\0" * 1000,
    ))  # fmt: skip
    return stream[:4] + b"\0" + stream[5:42] + one + stream[42:], samples


_FLACS: tuple[Callable[[random.Random, bytes, int, int], Stream], ...] = (
    lambda r, x, n, _: (forge.streaminfo(x, samples=r.choice((0, n - 1, n + 1, 1 << 20, (1 << 36) - 1))), n),
    lambda r, x, n, _: (forge.streaminfo(x, samples=1 << 20), 1 << 20 if r.random() < 0.5 else 1 << 17),
    lambda r, x, n, _: (forge.streaminfo(x, rate_hz=r.choice((0, 1, 655_350, 1_048_575))), n),
    lambda r, x, n, _: (forge.streaminfo(x, channels=r.randrange(8)), n),
    lambda r, x, n, _: (x[: r.randrange(len(x))], n),
    lambda r, x, n, _: (x + x, r.choice((n, 2 * n))),
    lambda r, x, n, _: (x + r.randbytes(r.randint(1, 1000)), n),
    lambda r, x, n, _: (b"fLaC" + r.randbytes(200), n),
    lambda r, x, n, _: (b"OggS" + x[4:], n),
    lambda r, x, n, _: (x[: forge.FLAC_HEADER_BYTES] + r.randbytes(len(x)), n),
    _blocks,
)

_KINDS: dict[str, tuple[Callable[[Mutator, str], Mutant], float]] = {
    "good": (Mutator.good, 10),
    "bits": (Mutator.bits, 20),
    "pieces": (Mutator.pieces, 15),
    "numbers": (Mutator.numbers, 15),
    "floats": (Mutator.floats, 4),
    "foreign": (Mutator.foreign, 8),
    "key": (Mutator.key, 6),
    "size": (Mutator.size, 5),
    "bomb": (Mutator.bomb, 0.05),
    "header": (Mutator.header, 4),
    "flac": (Mutator.flac, 8),
    "epoch": (Mutator.epoch, 4),
    "order": (Mutator.order, 4),
    "long": (Mutator.long, 0.1),
}
"""How each kind is made, and how often."""
