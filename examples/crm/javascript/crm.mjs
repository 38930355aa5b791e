// A CRM's consumer: keeps PostgreSQL tables current from `customer-segments` and `segment-changes`.
//
//     node crm.mjs --bootstrap-servers 127.0.0.1:9092 --database postgres://crm@127.0.0.1/crm --effects-from now
//
// The steps are those of docs/guarantees.md, "How the CRM starts". Whatever fails ends the process: start it again.
import { readFile } from 'node:fs/promises';
import { parseArgs } from 'node:util';
import { Kafka, logLevel } from 'kafkajs';
import pg from 'pg';
import { Book } from './book.mjs';

pg.types.setTypeParser(20, BigInt); // bigint: a sequence or an offset may be larger than a JavaScript number
pg.types.setTypeParser(1184, (text) => text); // timestamptz

// Kafka keeps the null of an erased customer for a day after compaction (delete.retention.ms). Half of it leaves room.
const NULLS_KEPT_S = 12n * 3600n;

const { values: options } = parseArgs({
  options: {
    'bootstrap-servers': { type: 'string', default: '127.0.0.1:9092' },
    'topic-prefix': { type: 'string', default: '' }, // as in REGULARS_TOPIC_PREFIX
    database: { type: 'string', default: 'postgres://crm@127.0.0.1/crm' },
    'effects-from': { type: 'string', default: 'now' }, // or: earliest. At the first start only
    'until-end': { type: 'boolean', default: false }, // stop at the ends that the topics have now
  },
});
const table = `${options['topic-prefix']}customer-segments`;
const log = `${options['topic-prefix']}segment-changes`;

const db = new pg.Client(options.database);
await db.connect();
// One process at a time writes these tables: a second one waits here until the first one ends.
await db.query('select pg_advisory_lock(7305)');
await db.query(await readFile(new URL('tables.sql', import.meta.url), 'utf8'));
const book = new Book(db, table, log);
const kafka = new Kafka({ brokers: options['bootstrap-servers'].split(','), logLevel: logLevel.ERROR });
const admin = kafka.admin();
await admin.connect();

// Step 1. The log's position comes first: what is emitted while the table is read is then behind it, not before.
if ((await book.offsets(log)).size === 0) {
  for (const { partition, low, high } of await admin.fetchTopicOffsets(log)) {
    await book.goOnFrom(log, partition, BigInt(options['effects-from'] === 'now' ? high : low));
  }
}
const now = BigInt(Math.floor(Date.now() / 1000));
const isNew = (await book.offsets(table)).size === 0;
if (isNew || now - (await book.fact('read_at')) > NULLS_KEPT_S || (await book.fact('in_pass'))) await book.beginPass();

// Ends that must be reached: of the table before the log is read, and of both with --until-end.
const ends = { [table]: await endsOf(table), [log]: await endsOf(log) };
const consumer = kafka.consumer({ groupId: `${options['topic-prefix']}crm-${process.pid}-${Date.now()}` });
await consumer.connect();
await consumer.subscribe({ topics: [table, log], fromBeginning: true });
await consumer.run({ autoCommit: false, eachBatch: (batch) => take(batch).catch(fail) });
// Step 2. The table, to the end that it has now; the log waits.
consumer.pause([{ topic: log }]);
for (const topic of [table, log]) {
  for (const [partition, offset] of await book.offsets(topic)) consumer.seek({ topic, partition, offset: `${offset}` });
}
let isCurrent = false;
const look = () => reached().then(() => setTimeout(look, 200)).catch(fail);
look();

// Applies a batch; what was read before is left out by its offset.
async function take({ batch }) {
  await book.take(
    batch.messages.map((message) => ({
      topic: batch.topic,
      partition: batch.partition,
      offset: BigInt(message.offset),
      customer: message.key.toString(),
      value: message.value === null ? null : message.value.toString(),
      erased: BigInt(message.headers['regulars-sequence']?.toString() ?? 0),
    })),
  );
}

async function endsOf(topic) {
  const kept = await book.offsets(topic);
  const open = new Map();
  for (const { partition, low, high } of await admin.fetchTopicOffsets(topic)) {
    const start = kept.get(partition) ?? 0n;
    if (topic === log && start < BigInt(low)) fail(new Error(`${log}[${partition}]: changes were deleted before they were read`));
    if (BigInt(low) < BigInt(high) && start < BigInt(high)) open.set(partition, BigInt(high));
  }
  return open;
}

async function isRead(topic) {
  const kept = await book.exclusively(() => book.offsets(topic));
  return [...ends[topic]].every(([partition, end]) => (kept.get(partition) ?? 0n) >= end);
}

// Step 3. Both topics, side by side, once the table was read.
async function reached() {
  if (!isCurrent && (await isRead(table))) {
    isCurrent = true;
    if (await book.fact('in_pass')) await book.endPass();
    consumer.resume([{ topic: log }]);
  }
  if (isCurrent && options['until-end'] && (await isRead(log))) process.exit(0);
}

function fail(error) {
  console.error(error.message);
  process.exit(1);
}
