"""The judge of the fuzz run itself: sound that is whole is never left to the decoder to judge."""

import random
from dataclasses import replace

import numpy as np

from schemas.codec import Codec
from schemas.frame import AudioFrame, Encoding
from schemas.identity import new_epoch
from tests.fuzz import forge
from tests.fuzz.judge import Verdict, judge
from tests.fuzz.mutate import Mutant, Mutator
from tests.fuzz.streams import Sound, whole
from tests.integration.harness import Appended

SAMPLES, RATE_HZ, SEED, MUTANTS = 1600, 16_000, 11, 1500
STREAM = forge.flac(forge.noise(random.Random(SEED), SAMPLES, 2), RATE_HZ)  # noqa: S311 - no secret
FRAME = AudioFrame(new_epoch(), 0, SAMPLES, 1_790_000_000_000_000, RATE_HZ, 2, Encoding.FLAC, STREAM)


def judged(frame: AudioFrame) -> Verdict:
    return _alone(b"hall", Codec().encode(frame))


def _alone(key: bytes | None, value: bytes | None) -> Verdict:
    return judge([Appended(0, 0, key, value, (), 0)], set())[0, 0]


def test_an_undamaged_stream_that_is_what_its_frame_says_is_a_frame() -> None:
    assert whole(STREAM) == Sound(SAMPLES, 2, RATE_HZ)
    assert judged(FRAME) is Verdict.FRAME


def test_a_worker_that_refuses_an_undamaged_stream_is_wrong() -> None:
    record = Appended(0, 0, b"hall", Codec().encode(FRAME), (), 0)
    assert judge([record], {(0, 0)}) == {(0, 0): Verdict.FRAME}


def test_an_undamaged_stream_that_is_something_else_is_a_dead_letter() -> None:
    assert judged(replace(FRAME, samples=SAMPLES - 1)) is Verdict.LETTER
    assert judged(replace(FRAME, sample_rate_hz=48_000)) is Verdict.LETTER
    assert judged(replace(FRAME, channels=1)) is Verdict.LETTER


def test_only_of_a_damaged_stream_either_is_right() -> None:
    for at in np.linspace(len(STREAM) // 2, len(STREAM) - 1, 20).astype(int):
        damaged = STREAM[:at] + bytes([STREAM[at] ^ 0x10]) + STREAM[at + 1 :]
        assert judged(replace(FRAME, data=damaged)) is Verdict.EITHER, at
    assert judged(replace(FRAME, data=STREAM[:-1])) is Verdict.EITHER
    assert judged(replace(FRAME, data=b"OggS" + STREAM[4:])) is Verdict.LETTER


def test_good_mutants_are_frames_whatever_their_encoding() -> None:
    mutator = Mutator(SEED)
    mutants = list(mutator.mutants(MUTANTS))
    good = [mutant for mutant in mutants if mutant.kind == "good"]
    assert sum(_is_flac(mutant) for mutant in good) > MUTANTS / 60
    for mutant in (*good, *mutator.burst(3)):
        assert _alone(mutant.key, mutant.value) is Verdict.FRAME
    long = {_alone(mutant.key, mutant.value) for mutant in mutants if mutant.kind == "long"}
    assert Verdict.FRAME in long
    assert Verdict.EITHER not in long  # longer than a frame may be, at a low rate: a dead letter


def _is_flac(mutant: Mutant) -> bool:
    return b"fLaC" in (mutant.value or b"")
