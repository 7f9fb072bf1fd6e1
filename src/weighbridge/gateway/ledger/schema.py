"""The tables of the ledger, for SQLite and PostgreSQL alike. One number says which form they have.

Rows of ``APPEND_ONLY`` are never changed or deleted: triggers deny it. ``seq`` orders all events of a ledger; it is
given under the ledger's lock, so an event with a smaller number was committed earlier, and a reader that has seen
number n will never see a smaller new one. Amounts are nano-units, times milliseconds since 1970, months ``2026-11``.

``holds`` has a row for each intent that is neither sealed nor recovered. ``counters`` says nothing that the rows do
not say; it exists because summing them for each request would be slow.
"""

from __future__ import annotations

VERSION = 1

TABLES: dict[str, tuple[str, ...]] = {
    "meta": ("name",),
    "projects": ("id",),
    "keys": ("id",),
    "prices": ("version",),
    "instances": ("id",),
    "intents": ("seq",),
    "seals": ("seq",),
    "recoveries": ("seq",),
    "corrections": ("seq",),
    "holds": ("intent",),
    "counters": ("scope", "id", "month"),
    "buckets": ("key_id",),
    "idempotency": ("key_id", "route", "header"),
    "copies": ("intent",),
    "invoices": ("number",),
    "invoice_rows": ("invoice", "line"),
    "engine_starts": ("id",),
}
"""Every table but ``head``, in an order that foreign keys allow, with its primary key, which is its first columns."""

APPEND_ONLY = ("prices", "intents", "seals", "recoveries", "corrections", "invoices", "invoice_rows")

# {integer}, {bytes}, {table}: the words in which the dialects differ
_TABLES = """
CREATE TABLE meta (name TEXT PRIMARY KEY, value TEXT NOT NULL){table};
CREATE TABLE head (one {integer} PRIMARY KEY CHECK (one = 1), seq {integer} NOT NULL, newest {integer} NOT NULL){table};

CREATE TABLE projects (
  id TEXT PRIMARY KEY, currency TEXT NOT NULL, budget {integer} CHECK (budget >= 0),
  period TEXT NOT NULL CHECK (period IN ('month', 'lifetime')), created {integer} NOT NULL
){table};
CREATE TABLE keys (
  id TEXT PRIMARY KEY, project TEXT NOT NULL REFERENCES projects (id), digest {bytes} NOT NULL, label TEXT,
  models TEXT, budget {integer} CHECK (budget >= 0), period TEXT NOT NULL CHECK (period IN ('month', 'lifetime')),
  rpm {integer} CHECK (rpm > 0), tpm {integer} CHECK (tpm > 0), concurrency {integer} CHECK (concurrency > 0),
  max_output_tokens {integer} NOT NULL CHECK (max_output_tokens > 0),
  created {integer} NOT NULL, expires {integer}, revoked {integer}, successor TEXT
){table};
CREATE INDEX keys_project ON keys (project);

CREATE TABLE prices (version TEXT PRIMARY KEY, body TEXT NOT NULL, seen {integer} NOT NULL){table};
CREATE TABLE instances (
  id TEXT PRIMARY KEY, name TEXT NOT NULL, started {integer} NOT NULL, lease {integer} NOT NULL
){table};

CREATE TABLE intents (
  seq {integer} PRIMARY KEY, id TEXT NOT NULL UNIQUE, key_id TEXT NOT NULL, project TEXT NOT NULL,
  month TEXT NOT NULL, at {integer} NOT NULL, route TEXT NOT NULL, model TEXT NOT NULL, model_digest TEXT NOT NULL,
  decision TEXT NOT NULL, flags_digest TEXT NOT NULL, binding TEXT NOT NULL, engine_start TEXT NOT NULL,
  price TEXT NOT NULL REFERENCES prices (version), currency TEXT NOT NULL, hold {integer} NOT NULL,
  input_bound {integer} NOT NULL, choices {integer} NOT NULL, max_output {integer} NOT NULL, instance TEXT NOT NULL
);
CREATE INDEX intents_month ON intents (project, month);

CREATE TABLE seals (
  seq {integer} PRIMARY KEY, intent TEXT NOT NULL UNIQUE REFERENCES intents (id), at {integer} NOT NULL,
  outcome TEXT NOT NULL
    CHECK (outcome IN ('completed', 'upstream_error', 'client_gone', 'interrupted', 'unknown')),
  input {integer}, cached {integer}, output {integer}, cost {integer} NOT NULL, overshoot {integer} NOT NULL,
  CHECK (cost >= 0 AND overshoot >= 0), CHECK (outcome <> 'unknown' OR (input IS NULL AND cost = 0))
);
CREATE TABLE recoveries (
  seq {integer} PRIMARY KEY, intent TEXT NOT NULL UNIQUE REFERENCES intents (id), at {integer} NOT NULL,
  instance TEXT NOT NULL
);
CREATE TABLE corrections (
  seq {integer} PRIMARY KEY, intent TEXT NOT NULL REFERENCES intents (id), n {integer} NOT NULL, at {integer} NOT NULL,
  input {integer} NOT NULL, cached {integer} NOT NULL, output {integer} NOT NULL, cost {integer} NOT NULL,
  change {integer} NOT NULL, actor TEXT NOT NULL, reason TEXT NOT NULL, UNIQUE (intent, n)
);

CREATE TABLE holds (
  intent TEXT PRIMARY KEY REFERENCES intents (id), key_id TEXT NOT NULL, project TEXT NOT NULL, month TEXT NOT NULL,
  model TEXT NOT NULL, price TEXT NOT NULL, amount {integer} NOT NULL, tokens {integer} NOT NULL,
  instance TEXT NOT NULL
){table};
CREATE TABLE counters (
  scope TEXT NOT NULL, id TEXT NOT NULL, month TEXT NOT NULL, billed {integer} NOT NULL, unknown {integer} NOT NULL,
  held {integer} NOT NULL, in_flight {integer} NOT NULL, requests {integer} NOT NULL, input {integer} NOT NULL,
  cached {integer} NOT NULL, output {integer} NOT NULL, PRIMARY KEY (scope, id, month)
){table};
CREATE TABLE buckets (
  key_id TEXT PRIMARY KEY, requests {integer} NOT NULL, tokens {integer} NOT NULL, at {integer} NOT NULL
){table};

CREATE TABLE idempotency (
  key_id TEXT NOT NULL, route TEXT NOT NULL, header {bytes} NOT NULL, body {bytes} NOT NULL,
  intent TEXT NOT NULL UNIQUE REFERENCES intents (id), PRIMARY KEY (key_id, route, header)
);
CREATE TABLE copies (
  intent TEXT PRIMARY KEY, expires {integer} NOT NULL, status {integer} NOT NULL, content_type TEXT NOT NULL,
  nonce {bytes} NOT NULL, sealed {bytes} NOT NULL
);
CREATE INDEX copies_expires ON copies (expires);

CREATE TABLE invoices (
  number TEXT PRIMARY KEY, project TEXT NOT NULL, month TEXT NOT NULL, currency TEXT NOT NULL,
  through {integer} NOT NULL, issued {integer} NOT NULL,
  nano {integer} NOT NULL, minor {integer} NOT NULL, difference {integer} NOT NULL,
  body TEXT NOT NULL, UNIQUE (project, month, through)
);
CREATE TABLE invoice_rows (
  invoice TEXT NOT NULL REFERENCES invoices (number), line {integer} NOT NULL, month TEXT NOT NULL,
  key_id TEXT NOT NULL, model TEXT NOT NULL, binding TEXT NOT NULL, price TEXT NOT NULL,
  kind TEXT NOT NULL, requests {integer} NOT NULL,
  input {integer} NOT NULL, cached {integer} NOT NULL, output {integer} NOT NULL, nano {integer} NOT NULL,
  PRIMARY KEY (invoice, line)
);
CREATE TABLE engine_starts (
  id TEXT PRIMARY KEY, model TEXT NOT NULL, model_digest TEXT NOT NULL, flags_digest TEXT NOT NULL,
  started {integer} NOT NULL, counted {integer}, input {integer}, output {integer}, last {integer} NOT NULL
){table};

CREATE VIEW charges AS
  SELECT i.seq, i.id AS intent, i.key_id, i.project, i.month, i.at, i.route, i.model, i.model_digest, i.decision,
    i.flags_digest, i.binding, i.engine_start, i.price, i.currency, i.hold,
    CASE WHEN c.intent IS NOT NULL THEN 'corrected' WHEN s.intent IS NOT NULL THEN s.outcome
      WHEN r.intent IS NOT NULL THEN 'unknown' ELSE 'open' END AS outcome,
    COALESCE(c.input, s.input, 0) AS input, COALESCE(c.cached, s.cached, 0) AS cached,
    COALESCE(c.output, s.output, 0) AS output, COALESCE(c.cost, s.cost, 0) AS cost,
    CASE WHEN c.intent IS NULL AND (s.outcome = 'unknown' OR (s.intent IS NULL AND r.intent IS NOT NULL))
      THEN i.hold ELSE 0 END AS unknown,
    s.seq AS seal_seq, s.at AS sealed_at, COALESCE(s.overshoot, 0) AS overshoot, r.seq AS recovery_seq
  FROM intents i
  LEFT JOIN seals s ON s.intent = i.id
  LEFT JOIN recoveries r ON r.intent = i.id
  LEFT JOIN corrections c ON c.intent = i.id AND c.n = (SELECT MAX(n) FROM corrections WHERE intent = i.id);
"""

_SQLITE_DENIAL = """CREATE TRIGGER {table}_no_{verb} BEFORE {verb} ON {table}
BEGIN SELECT RAISE(ABORT, 'rows of {table} are never changed'); END"""

_POSTGRES_FUNCTION = """CREATE FUNCTION weighbridge_denied() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN RAISE EXCEPTION 'rows of % are never changed', TG_TABLE_NAME; END $$"""

_POSTGRES_DENIAL = """CREATE TRIGGER {table}_denied BEFORE UPDATE OR DELETE OR TRUNCATE ON {table}
FOR EACH STATEMENT EXECUTE FUNCTION weighbridge_denied()"""


_MIGRATIONS: dict[int, dict[str, list[str]]] = {}
"""For each former version the statements that lead to the next, for each dialect."""


def migration(version: int, dialect: str) -> list[str]:
    """What leads a ledger from ``version`` to the next."""
    return _MIGRATIONS[version][dialect]


def statements(dialect: str) -> list[str]:
    """Everything that makes an empty database a ledger, one statement each. ``dialect``: ``sqlite``, ``postgresql``."""
    sqlite = dialect == "sqlite"
    words = {
        "integer": "INTEGER" if sqlite else "BIGINT",
        "bytes": "BLOB" if sqlite else "BYTEA",
        "table": " STRICT, WITHOUT ROWID" if sqlite else "",
    }
    tables = _TABLES.format(**words)
    if sqlite:
        tables = tables.replace("\n);", "\n) STRICT;")
    made = [one.strip() for one in tables.split(";\n") if one.strip()]
    if sqlite:
        made += [_SQLITE_DENIAL.format(table=t, verb=verb) for t in APPEND_ONLY for verb in ("UPDATE", "DELETE")]
    else:
        made.append(_POSTGRES_FUNCTION)
        made += [_POSTGRES_DENIAL.format(table=table) for table in APPEND_ONLY]
    return [*made, f"INSERT INTO meta VALUES ('schema', '{VERSION}')", "INSERT INTO head VALUES (1, 0, 0)"]
