"""Names against `schemas/vectors.json`, each computed here a second time without the code under test."""

import hashlib
import json
import struct
from dataclasses import asdict
from importlib.resources import files
from itertools import pairwise
from typing import Any
from uuid import UUID, uuid5

import fastavro.schema
import pytest

from schemas.codec import Codec, Format, released_schemas
from schemas.coverage import Coverage
from schemas.detection import Detection
from schemas.frame import AudioFrame, Encoding
from schemas.identity import DETECTION_NAMESPACE, decision_digest, detection_id, epoch_text, new_epoch
from schemas.sensor import SensorState

VECTORS: dict[str, Any] = json.loads(files("schemas").joinpath("vectors.json").read_text("utf-8"))


def test_the_namespace_is_the_published_one() -> None:
    assert str(DETECTION_NAMESPACE) == VECTORS["detection_namespace"]


@pytest.mark.parametrize(
    "vector", VECTORS["detection_ids"], ids=lambda v: f"{v['sensor']} {v['start_sample']}"
)
def test_a_detections_id_is_a_uuid_of_version_5_over_five_fields_behind_their_lengths(
    vector: dict[str, Any],
) -> None:
    epoch = bytes.fromhex(vector["epoch"])
    fields = (
        vector["sensor"].encode(),
        epoch,
        vector["label"].encode(),
        struct.pack(">Q", vector["start_sample"]),
        bytes.fromhex(vector["decision_digest"]),
    )
    name = b"".join(struct.pack(">I", len(field)) + field for field in fields)
    digest = bytearray(hashlib.sha1(UUID(VECTORS["detection_namespace"]).bytes + name).digest()[:16])  # noqa: S324
    digest[6], digest[8] = digest[6] & 0x0F | 0x50, digest[8] & 0x3F | 0x80
    assert str(UUID(bytes=bytes(digest))) == vector["id"]
    assert (
        detection_id(
            vector["sensor"], epoch, vector["label"], vector["start_sample"], vector["decision_digest"]
        )
        == vector["id"]
    )


def test_no_two_vectors_have_the_same_id_though_their_fields_run_together_alike() -> None:
    ids = [vector["id"] for vector in VECTORS["detection_ids"]]
    assert len(set(ids)) == len(ids)


def test_the_id_is_what_any_uuid_library_makes_of_a_name_of_text() -> None:
    # Where all fields are text the name is text too, and the standard library can be asked.
    assert detection_id("a", b"b", "c", 0, "00") == str(
        uuid5(
            DETECTION_NAMESPACE,
            "\0\0\0\1a" + "\0\0\0\1b" + "\0\0\0\1c" + "\0\0\0\x08" + "\0" * 8 + "\0\0\0\1\0",
        )
    )


@pytest.mark.parametrize("vector", VECTORS["decision_digests"], ids=lambda vector: vector["text"])
def test_a_decision_digest_is_the_sha_256_of_canonical_json(vector: dict[str, Any]) -> None:
    assert hashlib.sha256(vector["text"].encode()).hexdigest() == vector["digest"]
    assert decision_digest(vector["decides"]) == vector["digest"]


def test_a_decision_digest_does_not_depend_on_the_order_of_keys() -> None:
    assert decision_digest({"a": 1, "b": 2}) == decision_digest({"b": 2, "a": 1})
    assert decision_digest({"a": 1, "b": 2}) != decision_digest({"a": 2, "b": 1})


def test_what_is_no_number_decides_nothing() -> None:
    with pytest.raises(ValueError, match="Out of range float values"):
        decision_digest({"threshold": float("nan")})


def crc_64_avro(text: str) -> int:
    """Compute the fingerprint as the Avro specification's Java code does."""
    empty = 0xC15D213AA4D7A795
    table = []
    for byte in range(256):
        entry = byte
        for _ in range(8):
            entry = entry >> 1 ^ (empty if entry & 1 else 0)
        table.append(entry)
    fingerprint = empty
    for byte in text.encode():
        fingerprint = fingerprint >> 8 ^ table[(fingerprint ^ byte) & 0xFF]
    return fingerprint


def test_crc_64_avro_of_int_is_the_published_one() -> None:
    assert crc_64_avro('"int"') == 0x7275D51A3F395C8F


@pytest.mark.parametrize(
    "vector", VECTORS["single_object_headers"], ids=lambda v: f"{v['record']} {v['version']}"
)
def test_a_released_schema_keeps_its_header_for_ever(vector: dict[str, Any]) -> None:
    schema = released_schemas()[vector["record"]][vector["version"] - 1]
    canonical = fastavro.schema.to_parsing_canonical_form(schema)
    header = "c301" + crc_64_avro(canonical).to_bytes(8, "little").hex()
    assert header == vector["header"]


def test_every_released_schema_has_a_vector() -> None:
    released = {(name, n + 1) for name, versions in released_schemas().items() for n in range(len(versions))}
    assert {(v["record"], v["version"]) for v in VECTORS["single_object_headers"]} == released


@pytest.mark.parametrize("vector", VECTORS["frames"], ids=lambda v: v["fields"]["encoding"])
def test_a_frame_is_written_and_read_as_published(vector: dict[str, Any]) -> None:
    fields, value = vector["fields"], bytes.fromhex(vector["value"])
    frame = AudioFrame(
        epoch=bytes.fromhex(fields["epoch"]),
        first_sample=fields["first_sample"],
        samples=fields["samples"],
        captured_at_us=fields["captured_at_us"],
        sample_rate_hz=fields["sample_rate_hz"],
        channels=fields["channels"],
        encoding=Encoding(fields["encoding"]),
        data=bytes.fromhex(fields["data"]),
    )
    assert Codec().encode(frame) == value
    assert Codec().decode(AudioFrame, value) == frame


@pytest.mark.parametrize("vector", VECTORS["records"], ids=lambda v: v["record"])
def test_a_record_is_written_and_read_as_published(vector: dict[str, Any]) -> None:
    kinds: list[type[Any]] = [Detection, Coverage, SensorState]
    kind = {kind.NAME: kind for kind in kinds}[vector["record"]]
    avro, text = bytes.fromhex(vector["avro"]), vector["json"].encode()
    record = Codec().decode(kind, avro)
    assert asdict(record) == vector["fields"] == json.loads(text)
    assert Codec().decode(kind, text) == record
    assert (Codec().encode(record), Codec(output=Format.JSON).encode(record)) == (avro, text)


def murmur2(data: bytes) -> int:
    """Compute Java's `org.apache.kafka.common.utils.Utils.murmur2`, unsigned."""
    mask, mix = 0xFFFFFFFF, 0x5BD1E995
    hashed = (0x9747B28C ^ len(data)) & mask
    whole = len(data) // 4 * 4
    for (word,) in struct.iter_unpack("<I", data[:whole]):
        word = word * mix & mask
        word = (word ^ word >> 24) * mix & mask
        hashed = hashed * mix & mask ^ word
    if data[whole:]:
        hashed = (hashed ^ int.from_bytes(data[whole:], "little")) * mix & mask
    hashed = (hashed ^ hashed >> 13) * mix & mask
    return hashed ^ hashed >> 15


@pytest.mark.parametrize(
    ("key", "published"),
    [
        (b"21", -973932308),
        (b"foobar", -790332482),
        (b"a-little-bit-long-string", -985981536),
        (b"a-little-bit-longer-string", -1486304829),
        (b"abc", 479470107),
    ],
)
def test_murmur2_gives_the_values_of_kafkas_own_tests(key: bytes, published: int) -> None:
    assert murmur2(key) == published & 0xFFFFFFFF


@pytest.mark.parametrize("vector", VECTORS["partitions"], ids=lambda vector: vector["key"][:20])
def test_a_sensors_partition_is_javas_murmur2_without_its_sign(vector: dict[str, Any]) -> None:
    hashed = murmur2(vector["key"].encode())
    assert hashed == vector["murmur2"]
    assert (hashed & 0x7FFFFFFF) % 8 == vector["partition_of_8"]
    assert (hashed & 0x7FFFFFFF) % 12 == vector["partition_of_12"]


def test_a_new_epoch_is_a_uuid_of_version_7_and_sorts_after_the_one_before() -> None:
    epochs = [new_epoch()]
    for _ in range(100):
        epochs.append(new_epoch(after=epochs[-1]))
    assert all(UUID(bytes=epoch).version == 7 for epoch in epochs)
    assert all(a < b for a, b in pairwise(epochs))


@pytest.mark.parametrize("after", ["ffffffffff00", "7fffffffffff"])
def test_a_new_epoch_sorts_after_one_of_a_clock_that_ran_ahead(after: str) -> None:
    ahead = bytes.fromhex(after) + new_epoch()[6:]
    epoch = new_epoch(after=ahead)
    assert epoch > ahead
    assert UUID(bytes=epoch).version == 7
    assert int.from_bytes(epoch[:6]) == int(after, 16) + 1
    assert new_epoch(after=epoch) > epoch


def test_an_epoch_in_text_is_a_uuid() -> None:
    epoch = bytes.fromhex("019a0b1c2d3e7f4a8b5c6d7e8f901234")
    assert epoch_text(epoch) == "019a0b1c-2d3e-7f4a-8b5c-6d7e8f901234"
