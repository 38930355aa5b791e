// Sends a purchase with kafkajs: `npm install kafkajs && node producer.mjs localhost:9092`.
import { Kafka, Partitioners } from 'kafkajs';

const [servers, topic = 'purchases'] = process.argv.slice(2);
const event = {
  event_id: 'web-000123', // begin it with the producer's name; a retry repeats it
  customer_id: 'c-17850',
  event_time: new Date('2026-03-01T09:30:00Z').toISOString(),
  type: 'purchase',
  order_id: 'o-1002',
  amount_minor: Math.round(180.0 * 100), // pence
  currency: 'GBP',
};

const kafka = new Kafka({ clientId: 'web-shop', brokers: servers.split(',') });
const producer = kafka.producer({
  createPartitioner: Partitioners.DefaultPartitioner, // Kafka's own; LegacyPartitioner sends most keys elsewhere
  idempotent: true,
});
await producer.connect();
await producer.send({
  topic,
  acks: -1,
  messages: [
    {
      key: event.customer_id,
      value: JSON.stringify(event),
      headers: { 'regulars-producer': 'web-shop' }, // dead letters are grouped by it
    },
  ],
});
await producer.disconnect();
