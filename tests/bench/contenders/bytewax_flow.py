"""A bytewax dataflow over one frames topic: `flat_map_batch` with buffers of our own, the same windows.

Kinder to it than its stateful operators, which take a snapshot for each key: one step sees whole batches.

    uv run --script --frozen bytewax_flow.py SERVERS TOPIC FRAMES     (without arguments: import all, and end)
"""

# /// script
# requires-python = ">=3.11,<3.13"
# dependencies = ["bytewax[kafka]==0.21.1", "fastavro", "numpy"]
# ///

import sys
from typing import Any

import bytewax.operators as op  # type: ignore[import-not-found]
from bytewax.connectors.kafka import KafkaSource  # type: ignore[import-not-found]
from bytewax.dataflow import Dataflow  # type: ignore[import-not-found]
from bytewax.run import cli_main  # type: ignore[import-not-found]
from bytewax.testing import TestingSink  # type: ignore[import-not-found]
from confluent_kafka import OFFSET_BEGINNING

from tests.bench.contenders.plain import FETCH_MAX_WAIT_MS, FETCH_MIN_BYTES, PlainWindows


def _run(servers: str, topic: str, frames: int) -> None:
    windows = PlainWindows()

    def cut(messages: list[Any]) -> list[int]:
        for message in messages:
            windows.add(message.key, message.value)
        if windows.frames == frames:
            windows.flush()
        return []

    fetch = {"fetch.min.bytes": str(FETCH_MIN_BYTES), "fetch.wait.max.ms": str(FETCH_MAX_WAIT_MS)}
    source = KafkaSource([servers], [topic], tail=False, starting_offset=OFFSET_BEGINNING, add_config=fetch)
    flow = Dataflow("windows")
    stream = op.flat_map_batch("cut", op.input("frames", flow, source), cut)
    op.output("nothing", stream, TestingSink([]))
    cli_main(flow)
    windows.print()


if __name__ == "__main__" and len(sys.argv) > 1:
    _run(sys.argv[1], sys.argv[2], int(sys.argv[3]))
