"""Stops, held messages, templates at dealers, images at dealers."""

from __future__ import annotations

from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None

STATEMENTS = """
CREATE TABLE stops (
    scope text NOT NULL,
    dealer text NOT NULL,
    name text NOT NULL,
    reason text NOT NULL,
    seen_in text NOT NULL,
    failures int NOT NULL,
    since timestamptz,
    probe_at timestamptz,
    probes int NOT NULL DEFAULT 0,
    CONSTRAINT stops_pkey PRIMARY KEY (scope, dealer, name)
) WITH (fillfactor = 50);
COMMENT ON COLUMN stops.since IS 'when it opened, by the clock of the world; null while failures are counted';

ALTER TABLE messages ADD COLUMN held_by text;
CREATE INDEX messages_held ON messages (held_by, id) WHERE held_by IS NOT NULL;
COMMENT ON COLUMN messages.held_by IS 'the stop that a scheduled message waits for; its due_at is its deadline then';

CREATE TABLE template_copies (
    dealer text NOT NULL,
    sender_key text NOT NULL,
    code text NOT NULL,
    template text NOT NULL,
    status text NOT NULL,
    comments text[] NOT NULL DEFAULT '{}',
    changed_at timestamptz,
    checked_at timestamptz NOT NULL,
    last_sent_at timestamptz,
    CONSTRAINT template_copies_pkey PRIMARY KEY (dealer, sender_key, code)
);
CREATE INDEX template_copies_template ON template_copies (template);
COMMENT ON COLUMN template_copies.template IS 'our code of it; code is what the dealer calls it';

CREATE TABLE dealer_images (
    dealer text NOT NULL,
    purpose text NOT NULL,
    hash bytea NOT NULL,
    name text NOT NULL,
    uploaded_at timestamptz NOT NULL,
    CONSTRAINT dealer_images_pkey PRIMARY KEY (dealer, purpose, hash)
);
COMMENT ON COLUMN dealer_images.name IS 'what the dealer calls the image whose SHA-256 is hash';

CREATE TABLE receipt_pace (
    dealer text NOT NULL,
    channel text NOT NULL,
    lag_seconds double precision NOT NULL,
    seen bigint NOT NULL,
    last_at timestamptz NOT NULL,
    CONSTRAINT receipt_pace_pkey PRIMARY KEY (dealer, channel)
) WITH (fillfactor = 50);
COMMENT ON COLUMN receipt_pace.lag_seconds IS 'how long after its attempt a receipt comes: a high percentile, rule time'
"""


def upgrade() -> None:
    """Add them."""
    for statement in STATEMENTS.split(";\n"):
        op.execute(statement)
