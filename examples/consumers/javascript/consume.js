// Detections -> each once when it begins and once when it ends, as JSON lines, whatever comes twice.
//
// Uses nothing of Earwitness but its schema files, and those only where values are Avro. Against the broker that
// `make kafka` runs:
//
//     npm ci
//     node consume.js --broker localhost:9092 --schemas ../../../schemas/avro
//
// --until-idle 5 ends it when nothing has come for so many seconds. In a service of your own the map is a table
// with the id as its primary key, and offsets are committed when it is written; here they never are, and every
// start reads the topic from its beginning, which is allowed: it is what `upsert` is for.

import { randomUUID } from "node:crypto";
import { readFileSync, readdirSync } from "node:fs";
import { join } from "node:path";
import { parseArgs } from "node:util";
import avro from "avsc";
import { Kafka, logLevel } from "kafkajs";

const { values: given } = parseArgs({
  options: {
    broker: { type: "string", default: "localhost:9092" },
    topic: { type: "string", default: "audio.detections" },
    schemas: { type: "string" },
    "until-idle": { type: "string" },
  },
});

// -- values ---------------------------------------------------------------------------------------------------

// CRC-64-AVRO, as the Avro specification's section "Schema Fingerprints" has it.
const EMPTY = 0xc15d213aa4d7a795n;
const TABLE = Array.from({ length: 256 }, (_, byte) => {
  let entry = BigInt(byte);
  for (let bit = 0; bit < 8; bit++) entry = (entry >> 1n) ^ (entry & 1n ? EMPTY : 0n);
  return entry;
});

function fingerprint(type) {
  let found = EMPTY;
  for (const byte of Buffer.from(JSON.stringify(type.schema()))) {
    found = (found >> 8n) ^ TABLE[Number((found ^ BigInt(byte)) & 0xffn)];
  }
  const bytes = Buffer.alloc(8);
  bytes.writeBigUInt64LE(found);
  return bytes.toString("hex");
}

/** Reads every detection.VERSION.avsc in a folder; `earwitness schemas write FOLDER` makes one. */
function readTypes(folder) {
  const files = readdirSync(folder).filter((file) => /^detection\.\d+\.avsc$/.test(file));
  const types = files.map((file) => avro.Type.forSchema(JSON.parse(readFileSync(join(folder, file), "utf8"))));
  return new Map(types.map((type) => [fingerprint(type), type]));
}

const types = given.schemas ? readTypes(given.schemas) : new Map();

/** Returns the detection that a value holds: JSON begins with `{`, Avro's single-object encoding with C3 01. */
function read(value) {
  if (value[0] === 0x7b) return JSON.parse(value.toString("utf8"));
  if (value[0] !== 0xc3 || value[1] !== 0x01) throw new Error(`begins with ${value.toString("hex", 0, 5)}`);
  const writer = types.get(value.toString("hex", 2, 10));
  // Written by a newer release: going on would lose detections.
  if (!writer) throw new NewerSchema(`no schema ${value.toString("hex", 2, 10)} in --schemas ${given.schemas}`);
  return writer.fromBuffer(value.subarray(10));
}

class NewerSchema extends Error {}

// -- the table ------------------------------------------------------------------------------------------------

const detections = new Map();

/** Returns whether this says anything new. The same may be said any number of times, and ACTIVE again after
 *  ENDED: a worker that took over says again what it cannot know to have been said. */
function upsert(detection) {
  const known = detections.get(detection.id);
  const line = JSON.stringify(detection);
  if (known && (detection.state !== "ENDED" || known === line)) return false;
  detections.set(detection.id, line);
  return true;
}

// -- Kafka ----------------------------------------------------------------------------------------------------

const kafka = new Kafka({ clientId: "consume-js", brokers: given.broker.split(","), logLevel: logLevel.WARN });
const consumer = kafka.consumer({ groupId: `consume-js-${randomUUID()}` });
let since = Infinity; // nothing is idle before the group has its partitions
let ending = false;

function take({ topic, partition, message }) {
  if (ending) return;
  since = Date.now();
  if (message.value === null) return; // nothing that deletes is ever written here; a tombstone says nothing
  try {
    const detection = read(message.value);
    if (upsert(detection)) console.log(JSON.stringify(detection));
  } catch (error) {
    const place = `${topic}[${partition}]@${message.offset}`;
    if (error instanceof NewerSchema) end(`${place}: ${error.message}`);
    else console.error(`${place} is no detection: ${error.message}`);
  }
}

async function end(reason) {
  if (ending) return;
  ending = true;
  if (reason) console.error(reason);
  process.exitCode = reason ? 1 : 0;
  await consumer.disconnect();
  process.exit();
}

consumer.on(consumer.events.GROUP_JOIN, () => (since = Date.now()));
consumer.on(consumer.events.CRASH, ({ payload }) => payload.restart || end(payload.error.message));
for (const signal of ["SIGINT", "SIGTERM"]) process.once(signal, () => end());

await consumer.connect();
await consumer.subscribe({ topic: given.topic, fromBeginning: true });
await consumer.run({ autoCommit: false, eachMessage: async (record) => take(record) });
if (given["until-idle"]) {
  setInterval(() => Date.now() - since > 1000 * Number(given["until-idle"]) && end(), 200);
}
