"""The ledger, the catalog, API keys, the embedded bus, limits and statistics.

Tables that grow with traffic are partitioned by the time in their UUIDv7 (``message_id`` for what belongs to a
message), so that a message, its attempts and its transitions are dropped together, whole. Keys that must be unique
for good are partitioned by hash of the key instead (docs/adr/0003).
"""

from __future__ import annotations

from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None

STATEMENTS = """
CREATE TABLE events (
    id uuid NOT NULL,
    source text NOT NULL,
    source_id text NOT NULL,
    type text NOT NULL,
    profile text,
    received_at timestamptz NOT NULL,
    personal bytea NOT NULL,
    CONSTRAINT events_pkey PRIMARY KEY (id)
) PARTITION BY RANGE (id);

-- sha256(source, id) cut to 16 bytes -> the event it was first seen in
CREATE TABLE event_keys (
    key bytea NOT NULL,
    event_id uuid NOT NULL,
    CONSTRAINT event_keys_pkey PRIMARY KEY (key)
) PARTITION BY HASH (key);

-- sha256(api key id, Idempotency-Key) cut to 16 bytes -> what was asked and what was answered
CREATE TABLE idempotency_keys (
    key bytea NOT NULL,
    request bytea NOT NULL,
    response bytea NOT NULL,
    created_at timestamptz NOT NULL,
    CONSTRAINT idempotency_keys_pkey PRIMARY KEY (key)
) PARTITION BY HASH (key);

CREATE TABLE messages (
    id uuid NOT NULL,
    event_id uuid NOT NULL,
    person_id uuid NOT NULL,
    profile text NOT NULL,
    rule text NOT NULL,
    rule_revision int NOT NULL,
    template text NOT NULL,
    template_revision int NOT NULL,
    lane text NOT NULL,
    category text NOT NULL,
    fallback text NOT NULL,
    state text NOT NULL,
    final boolean NOT NULL DEFAULT false,
    reason text,
    seq int NOT NULL,
    attempt int NOT NULL DEFAULT 0,
    channel text NOT NULL,
    dealer text NOT NULL,
    tries int NOT NULL DEFAULT 0,
    due_at timestamptz,
    deadline timestamptz NOT NULL,
    cost_krw int NOT NULL DEFAULT 0,
    personal bytea NOT NULL,
    CONSTRAINT messages_pkey PRIMARY KEY (id)
) PARTITION BY RANGE (id);
CREATE INDEX messages_event ON messages (event_id);
CREATE INDEX messages_person ON messages (person_id, id);
CREATE INDEX messages_due ON messages (due_at, id) WHERE due_at IS NOT NULL;
COMMENT ON COLUMN messages.due_at IS 'set exactly while scheduled';
COMMENT ON COLUMN messages.attempt IS 'number of the latest attempt; 0 before the first';
COMMENT ON COLUMN messages.tries IS 'attempts over the present channel';
COMMENT ON COLUMN messages.personal IS 'phone, name, variables: AES-256-GCM, bound to the id';

CREATE TABLE attempts (
    message_id uuid NOT NULL,
    n int NOT NULL,
    channel text NOT NULL,
    dealer text NOT NULL,
    state text NOT NULL,
    request_key text NOT NULL,
    handle text,
    dealer_message_id text,
    opened_at timestamptz NOT NULL,
    check_at timestamptz,
    checks int NOT NULL DEFAULT 0,
    missing int NOT NULL DEFAULT 0,
    code text,
    reason text,
    cost_krw int NOT NULL DEFAULT 0,
    CONSTRAINT attempts_pkey PRIMARY KEY (message_id, n)
) PARTITION BY RANGE (message_id);
-- The last word on P2: while one attempt may still reach the person, no second one over the same channel.
CREATE UNIQUE INDEX attempts_one_open ON attempts (message_id, channel) WHERE state IN ('sending', 'uncertain', 'sent');
CREATE INDEX attempts_check ON attempts (check_at) WHERE check_at IS NOT NULL;
CREATE INDEX attempts_dealer_message ON attempts (dealer_message_id) WHERE dealer_message_id IS NOT NULL;
COMMENT ON COLUMN attempts.handle IS 'what a two-phase dealer sends under; committed before anything goes out by it';
COMMENT ON COLUMN attempts.check_at IS 'when to ask the dealer, should nothing be heard before';
COMMENT ON COLUMN attempts.checks IS 'how often it was asked';
COMMENT ON COLUMN attempts.missing IS 'how often it knew nothing, after its index had time';

CREATE SEQUENCE transitions_position AS bigint CACHE 1;
CREATE TABLE transitions (
    message_id uuid NOT NULL,
    seq int NOT NULL,
    xid xid8 NOT NULL DEFAULT pg_current_xact_id(),
    position bigint NOT NULL DEFAULT nextval('transitions_position'),
    at timestamptz NOT NULL,
    bucket smallint NOT NULL,
    lane text NOT NULL,
    was text,
    state text NOT NULL,
    final boolean NOT NULL DEFAULT false,
    reason text,
    attempt int,
    channel text,
    dealer text,
    attempt_was text,
    attempt_state text,
    reason_was text,
    code text,
    cost_krw int NOT NULL DEFAULT 0,
    sent_at timestamptz,
    detail jsonb,
    CONSTRAINT transitions_pkey PRIMARY KEY (message_id, seq)
) PARTITION BY RANGE (message_id);
CREATE INDEX transitions_log ON transitions (xid, position);
COMMENT ON COLUMN transitions.xid IS 'readers stop at the oldest running transaction (ADR 0004)';
COMMENT ON COLUMN transitions.sent_at IS 'opened_at of the attempt this is about: decides its slot';
COMMENT ON COLUMN transitions.detail IS 'facts for the explanation; no personal data';

CREATE TABLE receipts (
    id uuid NOT NULL,
    dealer text NOT NULL,
    via text NOT NULL,
    request_key text,
    dealer_message_id text,
    delivered boolean,
    code text NOT NULL,
    reason text,
    happened_at timestamptz,
    received_at timestamptz NOT NULL,
    tried int NOT NULL DEFAULT 0,
    apply_at timestamptz,
    message_id uuid,
    attempt int,
    personal bytea NOT NULL,
    CONSTRAINT receipts_pkey PRIMARY KEY (id)
) PARTITION BY RANGE (id);
CREATE INDEX receipts_waiting ON receipts (apply_at, id) WHERE apply_at IS NOT NULL;
CREATE INDEX receipts_message ON receipts (message_id) WHERE message_id IS NOT NULL;
COMMENT ON COLUMN receipts.apply_at IS 'when to try to apply it; null once applied or given up';
COMMENT ON COLUMN receipts.personal IS 'the raw report: AES-256-GCM, bound to the id';

CREATE TABLE rules (
    name text NOT NULL,
    revision int NOT NULL,
    active boolean NOT NULL,
    body jsonb NOT NULL,
    created_at timestamptz NOT NULL,
    CONSTRAINT rules_pkey PRIMARY KEY (name, revision)
);
CREATE UNIQUE INDEX rules_one_active ON rules (name) WHERE active;

CREATE TABLE templates (
    code text NOT NULL,
    revision int NOT NULL,
    active boolean NOT NULL,
    body jsonb NOT NULL,
    created_at timestamptz NOT NULL,
    CONSTRAINT templates_pkey PRIMARY KEY (code, revision)
);
CREATE UNIQUE INDEX templates_one_active ON templates (code) WHERE active;

CREATE TABLE api_keys (
    id uuid NOT NULL,
    name text NOT NULL,
    hash bytea NOT NULL,
    created_at timestamptz NOT NULL,
    revoked_at timestamptz,
    CONSTRAINT api_keys_pkey PRIMARY KEY (id),
    CONSTRAINT api_keys_hash UNIQUE (hash)
);

-- Where each reader of the ledger is: the relay to Kafka, and the groups of the embedded bus.
CREATE TABLE bus_cursors (
    consumer_group text NOT NULL,
    topic text NOT NULL,
    partition int NOT NULL,
    xid xid8 NOT NULL DEFAULT '0',
    position bigint NOT NULL DEFAULT 0,
    owner uuid,
    lease_until timestamptz,
    CONSTRAINT bus_cursors_pkey PRIMARY KEY (consumer_group, topic, partition)
) WITH (fillfactor = 50);

CREATE TABLE bus_members (
    consumer_group text NOT NULL,
    member uuid NOT NULL,
    seen_at timestamptz NOT NULL,
    CONSTRAINT bus_members_pkey PRIMARY KEY (consumer_group, member)
);

CREATE TABLE dead_letters (
    id uuid NOT NULL,
    topic text NOT NULL,
    partition int NOT NULL,
    record_offset bigint NOT NULL,
    consumer_group text NOT NULL,
    reason text NOT NULL,
    detail text NOT NULL,
    key bytea,
    value bytea NOT NULL,
    buried_at timestamptz NOT NULL DEFAULT now(),
    CONSTRAINT dead_letters_pkey PRIMARY KEY (id)
);

CREATE TABLE dealer_limits (
    dealer text NOT NULL,
    grants jsonb NOT NULL DEFAULT '[]',
    paused_until timestamptz,
    CONSTRAINT dealer_limits_pkey PRIMARY KEY (dealer)
) WITH (fillfactor = 20);

-- Counts by the hour in which the attempt was sent (UTC hours are Seoul's hours too: the offset is whole).
CREATE TABLE stats_attempts (
    hour timestamptz NOT NULL,
    profile text NOT NULL,
    template text NOT NULL,
    channel text NOT NULL,
    dealer text NOT NULL,
    state text NOT NULL,
    reason text NOT NULL,
    n bigint NOT NULL,
    cost_krw bigint NOT NULL,
    CONSTRAINT stats_attempts_pkey PRIMARY KEY (hour, profile, template, channel, dealer, state, reason)
) WITH (fillfactor = 70);

-- Counts by the hour in which the message was born.
CREATE TABLE stats_messages (
    hour timestamptz NOT NULL,
    profile text NOT NULL,
    rule text NOT NULL,
    template text NOT NULL,
    lane text NOT NULL,
    state text NOT NULL,
    reason text NOT NULL,
    channel text NOT NULL,
    n bigint NOT NULL,
    CONSTRAINT stats_messages_pkey PRIMARY KEY (hour, profile, rule, template, lane, state, reason, channel)
) WITH (fillfactor = 70);
COMMENT ON COLUMN stats_messages.reason IS 'why it ended without being delivered; empty for all others';
COMMENT ON COLUMN stats_messages.channel IS 'over which it was delivered or fell back; empty for all others';

-- How far a partition of the delivery topic is counted, -1 for all of them; moved in the transaction of the counts.
CREATE TABLE stats_offsets (
    topic text NOT NULL,
    partition int NOT NULL,
    xid xid8 NOT NULL,
    position bigint NOT NULL,
    CONSTRAINT stats_offsets_pkey PRIMARY KEY (topic, partition)
) WITH (fillfactor = 50)
"""


def upgrade() -> None:
    """Create everything."""
    for statement in STATEMENTS.split(";\n"):
        op.execute(statement)
    for table in ("event_keys", "idempotency_keys"):
        for n in range(16):
            op.execute(f"CREATE TABLE {table}_{n:02} PARTITION OF {table} FOR VALUES WITH (MODULUS 16, REMAINDER {n})")
