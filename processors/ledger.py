"""The latency ledger: where the time went between a window's last sample and its detection in the log.

    captured ─► appended ─► fed ─► batched ─► scored ─► sent ─► published
      sensor     broker     └────── this process, monotonic ──┘   broker

Between processes only the broker's append times are compared with the wall clock here; within the process,
readings of one monotonic clock. `captured` is the sensor's own clock: its offset is shown, not hidden.
"""

import json
from collections.abc import Iterator

from processors.run import Slot

LATENCY_HEADER, SCORER_HEADER = "earwitness-latency", "earwitness-scorer"


def latency_header(slot: Slot, now_s: float, wall_s: float) -> bytes:
    """Return the readings of the window that decided a detection, up to sending it, as JSON.

    Times of day are microseconds since 1970. A reader adds the detection's own append time.
    """
    sent_us = round(wall_s * 1_000_000)
    readings = {
        "captured_us": slot.window.end_us,
        "appended_us": slot.window.appended_ms * 1000,
        **{f"{name}_us": sent_us - round((now_s - at_s) * 1_000_000) for name, at_s in _readings(slot)},
        "sent_us": sent_us,
    }
    return json.dumps(readings, separators=(",", ":")).encode()


def stages(slot: Slot, now_s: float, wall_s: float) -> Iterator[tuple[str, float]]:
    """Yield the stages of a scored window and their lengths in seconds; they add up to the total."""
    appended_s = slot.window.appended_ms / 1000
    yield "captured_to_appended", appended_s - slot.window.end_us / 1_000_000
    before, before_s = "appended", now_s - (wall_s - appended_s)
    for name, at_s in _readings(slot):
        yield f"{before}_to_{name}", at_s - before_s
        before, before_s = name, at_s


def _readings(slot: Slot) -> Iterator[tuple[str, float]]:
    for name, at_s in (("fed", slot.feed.now_s), ("batched", slot.batched_s), ("scored", slot.scored_s)):
        if at_s is not None:
            yield name, at_s
