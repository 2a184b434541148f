import hashlib
import json
from dataclasses import replace
from importlib.resources import files
from typing import Any

import pytest

from schemas.codec import Codec
from schemas.errors import MalformedRecordError
from schemas.rollout import Mode, Rollout, bucket_of, standing
from tests.schemas.records import ROLLOUT, SPEC

VECTORS = json.loads(files("schemas").joinpath("vectors.json").read_text("utf-8"))


def test_a_rollout_comes_back_with_its_specs() -> None:
    read = Codec().decode(Rollout, Codec().encode(ROLLOUT))
    assert read == ROLLOUT
    assert read.spec == SPEC
    assert read.candidate_spec is not None
    assert (read.candidate_spec.version, read.mode) == ("3", Mode.SPLIT)


def test_it_begins_with_the_first_whole_millisecond() -> None:
    assert ROLLOUT.at_ms == 1_750_000_000_124
    assert replace(ROLLOUT, at_us=1_750_000_000_123_000).at_ms == 1_750_000_000_123


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"candidate": None}, "SPLIT with candidate None"),
        ({"mode": Mode.SWITCH, "share": None}, "SWITCH with candidate"),
        ({"share": None}, "share None in a SPLIT"),
        ({"share": 0.0}, "share 0.0 in a SPLIT"),
        ({"share": 1.0}, "share 1.0 in a SPLIT"),
        ({"share": float("nan")}, "share nan in a SPLIT"),
        ({"mode": Mode.SHADOW}, "share 0.25 in a SHADOW"),
        ({"model": None}, "SPLIT with model None"),
        ({"mode": Mode.CANCEL, "candidate": None, "share": None}, "CANCEL with model"),
        ({"model": "{}"}, "not a model's spec"),
        ({"candidate": "quick/2"}, "not a model's spec"),
    ],
)
def test_fields_that_contradict_one_another_are_refused(wrong: dict[str, Any], said: str) -> None:
    with pytest.raises(MalformedRecordError, match=said):
        replace(ROLLOUT, **wrong)


def test_of_rollouts_with_the_same_time_the_one_written_last_counts_and_a_cancel_leaves_none() -> None:
    later = replace(ROLLOUT, at_us=ROLLOUT.at_us + 1_000_000)
    again = replace(ROLLOUT, share=0.5)
    nothing = Rollout(later.at_us, Mode.CANCEL, None, None, None)
    assert standing([later, ROLLOUT]) == [ROLLOUT, later]
    assert standing([ROLLOUT, later, again]) == [again, later]
    assert standing([ROLLOUT, later, nothing]) == [ROLLOUT]
    assert standing([ROLLOUT, nothing, later]) == [ROLLOUT, later]
    assert Codec().decode(Rollout, Codec().encode(nothing)) == nothing


@pytest.mark.parametrize("vector", VECTORS["shares"], ids=lambda vector: vector["sensor"])
def test_a_sensors_place_is_the_first_52_bits_of_the_sha_256_of_its_id(vector: dict[str, Any]) -> None:
    digest = hashlib.sha256(vector["sensor"].encode()).hexdigest()
    assert int(digest[:13], 16) / 16**13 == vector["place"]
    assert bucket_of(vector["sensor"].encode()) == vector["place"]
