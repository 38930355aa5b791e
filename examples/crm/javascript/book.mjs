// The rules of docs/guarantees.md, "How the CRM starts", on PostgreSQL. This file knows nothing of Kafka.

// A change is missing: the reader was away for longer than the log is kept. Begin a new database.
export class Hole extends Error {}

export class Book {
  #last = Promise.resolve();

  // db: a connected client of pg. table, log: full names of customer-segments and segment-changes.
  constructor(db, table, log) {
    Object.assign(this, { db, table, log });
  }

  // Applies records of one partition, in order, and their offsets in one transaction.
  async take(records) {
    await this.#inTransaction(async () => {
      for (const record of records) {
        const { topic, partition, offset } = record;
        if (offset < ((await this.offsets(topic)).get(partition) ?? 0n)) continue; // read before
        if (topic === this.table) await this.#takeStanding(record);
        else await this.#takeChange(record.customer, JSON.parse(record.value));
        await this.goOnFrom(topic, partition, offset + 1n);
      }
      await this.#setFact('read_at', Math.floor(Date.now() / 1000));
    });
  }

  async #takeStanding({ customer, value, erased }) {
    const [kept] = await this.#rows('select sequence, as_of from standings where customer = $1', [customer]);
    if (value === null) return this.#erase(customer, erased, kept);
    const standing = JSON.parse(value);
    const sequence = BigInt(standing.sequence);
    const pass = await this.fact('pass');
    if (!kept && sequence <= (await this.#applied(customer))) return undefined; // erased; this is from before that
    // An older one that came again changes nothing. PostgreSQL compares the times, to the microsecond.
    await this.#rows(
      `insert into standings values ($1, $2, $3, $4, $5) on conflict (customer) do update set
         sequence = excluded.sequence, as_of = excluded.as_of, body = excluded.body
         where (excluded.sequence, excluded.as_of) >= (standings.sequence, standings.as_of)`,
      [customer, sequence, standing.as_of, value, pass],
    );
    await this.#rows('update standings set pass = $2 where customer = $1', [customer, pass]);
    const waiting = await this.#rows('delete from aside where customer = $1 returning sequence, body', [customer]);
    const bodies = waiting.sort((a, b) => Number(a.sequence - b.sequence)).map((row) => row.body);
    for (const change of ofTheLatestLife(bodies)) await this.#apply(customer, change);
    return undefined;
  }

  async #erase(customer, sequence, kept) {
    if (kept && sequence > 0n && kept.sequence > sequence) return; // an older null; the customer came back since
    const before = [sequence, kept?.sequence ?? 0n, await this.#applied(customer)];
    const reached = before.reduce((a, b) => (a > b ? a : b));
    await this.#rows('delete from standings where customer = $1', [customer]);
    await this.#rows('delete from aside where customer = $1 and sequence <= $2', [customer, reached]);
    await this.#rows('delete from effects where customer = $1', [customer]);
    await this.#setApplied(customer, reached);
  }

  async #takeChange(customer, change) {
    const [known] = await this.#rows('select 1 from standings where customer = $1', [customer]);
    if (known) return this.#apply(customer, change);
    if (BigInt(change.sequence) <= (await this.#applied(customer))) return undefined; // it came again
    return this.#rows('insert into aside values ($1, $2, $3) on conflict do nothing', [
      customer,
      change.sequence,
      JSON.stringify(change),
    ]);
  }

  async #apply(customer, change) {
    const applied = await this.#applied(customer);
    const sequence = BigInt(change.sequence);
    if (sequence <= applied) return; // it came again
    if (applied > 0n && sequence > applied + 1n && change.previous !== null) {
      throw new Hole(`after change ${applied} comes change ${sequence}: begin a new database`);
    }
    await this.#rows('insert into effects (customer, sequence, body) values ($1, $2, $3)', [
      customer,
      sequence,
      JSON.stringify(change),
    ]);
    await this.#setApplied(customer, sequence);
  }

  async #applied(customer) {
    const [row] = await this.#rows('select sequence from applied where customer = $1', [customer]);
    return row?.sequence ?? 0n;
  }

  async #setApplied(customer, sequence) {
    await this.#rows(
      'insert into applied values ($1, $2) on conflict (customer) do update set sequence = excluded.sequence',
      [customer, sequence],
    );
  }

  // The next offset of each partition; empty at the first start.
  async offsets(topic) {
    const rows = await this.#rows('select "partition", next from offsets where topic = $1', [topic]);
    return new Map(rows.map((row) => [row.partition, row.next]));
  }

  async goOnFrom(topic, partition, offset) {
    await this.#rows(
      'insert into offsets values ($1, $2, $3) on conflict (topic, "partition") do update set next = excluded.next',
      [topic, partition, offset],
    );
  }

  // The table is read from its beginning again; rows that it does not have any more go at `endPass`.
  async beginPass() {
    await this.#inTransaction(async () => {
      await this.#rows('delete from offsets where topic = $1', [this.table]);
      await this.#setFact('pass', (await this.fact('pass')) + 1n);
      await this.#setFact('in_pass', 1);
    });
  }

  async endPass() {
    await this.#inTransaction(async () => {
      const pass = await this.fact('pass');
      const gone = await this.#rows('select customer, sequence, as_of from standings where pass < $1', [pass]);
      for (const row of gone) await this.#erase(row.customer, 0n, row);
      await this.#setFact('in_pass', 0);
    });
  }

  // A number that was kept; 0 where there is none.
  async fact(name) {
    const [row] = await this.#rows('select value from facts where name = $1', [name]);
    return row?.value ?? 0n;
  }

  async #setFact(name, value) {
    await this.#rows('insert into facts values ($1, $2) on conflict (name) do update set value = excluded.value', [
      name,
      value,
    ]);
  }

  async #rows(text, values) {
    return (await this.db.query(text, values)).rows;
  }

  async #inTransaction(work) {
    await this.exclusively(async () => {
      await this.db.query('begin');
      try {
        await work();
        await this.db.query('commit');
      } catch (error) {
        await this.db.query('rollback');
        throw error;
      }
    });
  }

  // Does `work` between transactions: there is one connection, and nobody may look into an open one.
  exclusively(work) {
    const done = this.#last.then(work);
    this.#last = done.catch(() => undefined);
    return done;
  }
}

// Changes since the customer was erased last: `previous` is null again in a dimension that had a segment before.
function ofTheLatestLife(changes) {
  let life = [];
  for (const change of changes) {
    if (change.previous === null && life.some((earlier) => earlier.dimension === change.dimension)) life = [];
    life.push(change);
  }
  return life;
}
