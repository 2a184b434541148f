"""Names that never clash: epochs (UUIDv7), detection ids (UUIDv5), the decision digest (SHA-256).

Other languages check theirs against `schemas/vectors.json`.
"""

import hashlib
import json
from collections.abc import Mapping
from uuid import UUID

import uuid_utils

DETECTION_NAMESPACE = UUID("5f3b0c7e-6c1d-5e2a-9a44-0d1e8f6b2c90")
"""Drawn once at random for Earwitness; only ever used for detection ids."""


def new_epoch(after: bytes | None = None) -> bytes:
    """Return the 16 bytes of a new UUIDv7 (RFC 9562) that sorts after the epoch `after`.

    A clock that was set back must not give a new epoch an older name: readers would take it for a second,
    late producer. In that case the name counts on from `after`, one millisecond later.
    """
    epoch = uuid_utils.uuid7().bytes
    if after is None or epoch > after:
        return epoch
    return (int.from_bytes(after[:6]) + 1).to_bytes(6) + epoch[6:]


def epoch_text(epoch: bytes) -> str:
    """Return an epoch in the usual text form of a UUID."""
    return str(UUID(bytes=epoch))


def detection_id(sensor: str, epoch: bytes, label: str, start_sample: int, digest: str) -> str:
    """Return the id of a detection: the same sound, decided the same way, has the same id.

    UUIDv5 (RFC 9562) over five fields, each behind its length as four bytes, big-endian: sensor and label in
    UTF-8, the epoch's 16 bytes, start_sample as eight bytes big-endian, the decision digest's 32 bytes.
    """
    fields = (
        sensor.encode(),
        epoch,
        label.encode(),
        start_sample.to_bytes(8),
        bytes.fromhex(digest),
    )
    name = b"".join(len(field).to_bytes(4) + field for field in fields)
    sha1 = hashlib.sha1(DETECTION_NAMESPACE.bytes + name, usedforsecurity=False).digest()
    return str(UUID(bytes=sha1[:16], version=5))


def decision_digest(decides: Mapping[str, object]) -> str:
    """Return the SHA-256, in hex, of everything that decides a detection.

    Taken over canonical JSON: keys sorted, no white space, UTF-8, numbers as Python writes them (1e-06).
    """
    text = json.dumps(decides, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)
    return hashlib.sha256(text.encode()).hexdigest()
