"""Detections -> a table of them, and each once when it begins and once when it ends, as JSON lines.

Uses nothing of Earwitness but its schema files, and those only where values are Avro. Against the broker that
`make kafka` runs:

    pip install -r requirements.txt
    python consume.py --broker localhost:9092 --schemas ../../../schemas/avro --database detections.db

Without --database the table is in memory, and every start reads the topic from its beginning. With it, what
was read is committed once it is in the table, and the next start goes on there. --until-idle 5 ends it when
nothing has come for so many seconds.
"""

import argparse
import json
import signal
import sqlite3
import sys
import threading
import time
import uuid
from io import BytesIO
from pathlib import Path
from typing import Any

import fastavro
from confluent_kafka import Consumer, KafkaException, Message
from fastavro.schema import fingerprint, to_parsing_canonical_form

TABLE = "CREATE TABLE IF NOT EXISTS detections (id TEXT PRIMARY KEY, state TEXT, detection TEXT)"
# The same may be said any number of times, and ACTIVE again after ENDED: a worker that took over says again
# what it cannot know to have been said.
UPSERT = """
    INSERT INTO detections VALUES (:id, :state, :detection)
    ON CONFLICT (id) DO UPDATE SET state = excluded.state, detection = excluded.detection
    WHERE excluded.state = 'ENDED' AND detection <> excluded.detection
"""


Schemas = dict[bytes, Any]
"""By fingerprint, as a value bears it."""


def main() -> None:
    """Keep the table until told to stop."""
    given = arguments()
    database = sqlite3.connect(given.database)
    database.execute(TABLE)
    kept = given.database != ":memory:"
    consumer = Consumer(
        {
            "bootstrap.servers": given.broker,
            "group.id": given.group if kept else f"{given.group}-{uuid.uuid4()}",
            "auto.offset.reset": "earliest",
            "enable.auto.commit": False,
        }
    )
    consumer.subscribe([given.topic])
    schemas = read_schemas(given.schemas) if given.schemas else {}
    try:
        follow(consumer, database, schemas, given.until_idle, commit=kept)
    finally:
        consumer.close()


def follow(
    consumer: Consumer,
    database: sqlite3.Connection,
    schemas: Schemas,
    until_idle_s: float | None,
    *,
    commit: bool,
) -> None:
    """Bring the table up to date, batch by batch, until told to stop."""
    stop = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: stop.set())
    since_s = None  # nothing is idle before the group has its partitions
    while not stop.is_set():
        messages = consumer.consume(500, timeout=0.2)
        if messages or (since_s is None and consumer.assignment()):
            since_s = time.monotonic()
        with database:  # a transaction
            for message in messages:
                take(message, database, schemas)
        if messages and commit:
            consumer.commit(asynchronous=False)  # after the table, never before
        if until_idle_s and since_s and time.monotonic() - since_s > until_idle_s:
            return


def take(message: Message, database: sqlite3.Connection, schemas: Schemas) -> None:
    """Upsert what a message says, and print it if it is news."""
    if message.error():
        raise KafkaException(message.error())
    value = message.value()
    if value is None:
        return  # nothing that deletes is ever written here; a tombstone says nothing
    place = f"{message.topic()}[{message.partition()}]@{message.offset()}"
    try:
        detection = read(value, schemas)
        row = {"id": detection["id"], "state": detection["state"], "detection": json.dumps(detection)}
    except (ValueError, KeyError, TypeError, EOFError, IndexError) as exc:
        print(f"{place} is no detection: {exc!r}", file=sys.stderr)  # noqa: T201
        return
    if database.execute(UPSERT, row).rowcount:
        print(row["detection"], flush=True)  # noqa: T201


def read(value: bytes, schemas: Schemas) -> dict[str, Any]:
    """Return the detection in a value: JSON begins with `{`, Avro's single-object encoding with C3 01."""
    if value[:1] == b"{":
        return dict(json.loads(value))
    if value[:2] != b"\xc3\x01":
        raise ValueError(f"it begins with {value[:5].hex()}")  # 00: use your schema registry's client
    if value[2:10] not in schemas:
        # Written by a newer release. To go on would lose detections.
        sys.exit(f"no schema {value[2:10].hex()} among those of --schemas")
    fields: Any = fastavro.schemaless_reader(BytesIO(value[10:]), schemas[value[2:10]], None)
    return dict(fields)


def read_schemas(folder: Path) -> Schemas:
    """Read every detection.VERSION.avsc in a folder; `earwitness schemas write FOLDER` makes one."""
    found: Schemas = {}
    for file in folder.glob("detection.*.avsc"):
        schema = json.loads(file.read_text("utf-8"))
        crc = fingerprint(to_parsing_canonical_form(schema), "CRC-64-AVRO")
        found[bytes.fromhex(crc)] = fastavro.parse_schema(schema)
    return found


def arguments() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description="Keep a table of detections.")
    parser.add_argument("--broker", default="localhost:9092")
    parser.add_argument("--topic", default="audio.detections")
    parser.add_argument("--group", default="detections-table")
    parser.add_argument("--schemas", type=Path, help="folder with detection.1.avsc, where values are Avro")
    parser.add_argument("--database", default=":memory:", help="file of SQLite; else in memory")
    parser.add_argument("--until-idle", type=float, metavar="S", help="end after S seconds without a message")
    return parser.parse_args()


if __name__ == "__main__":
    main()
