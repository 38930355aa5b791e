-- The CRM's own tables. All of them change in one transaction per batch, the offsets included.

-- Where each customer stands: the latest record of customer-segments. `pass`: the last reading of the table that met it.
create table if not exists standings (
    customer text primary key, sequence bigint not null, as_of timestamptz not null, body jsonb not null, pass int not null
);
-- Changes that were applied, each once. Another process reads this table and sends the mails.
create table if not exists effects (
    number bigserial primary key, customer text not null, sequence bigint not null, body jsonb not null
);
-- Per customer the sequence of the last change that was applied, or up to which they were erased.
create table if not exists applied (customer text primary key, sequence bigint not null);
-- Changes of customers who have no standing yet.
create table if not exists aside (customer text, sequence bigint, body jsonb not null, primary key (customer, sequence));
-- The next offset of each partition.
create table if not exists offsets (topic text, "partition" int, next bigint not null, primary key (topic, "partition"));
-- When the topics were last read (epoch seconds), which pass over the table this is, and whether it is under way.
create table if not exists facts (name text primary key, value bigint not null);
