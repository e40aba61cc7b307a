"""Cancellations of many messages at once, and the campaign that a message belongs to."""

from __future__ import annotations

from alembic import op

revision = "0012"
down_revision = "0011"
branch_labels = None
depends_on = None

STATEMENTS = """
ALTER TABLE messages ADD COLUMN campaign text;

CREATE TABLE cancellations (
    id uuid NOT NULL,
    campaign text,
    rule text,
    template text,
    profile text,
    lane text,
    events uuid[],
    before uuid NOT NULL,
    ordered_by text NOT NULL,
    why text NOT NULL,
    made_at timestamptz NOT NULL,
    cancelled bigint NOT NULL DEFAULT 0,
    gone bigint NOT NULL DEFAULT 0,
    walks int NOT NULL DEFAULT 0,
    walk_at timestamptz NOT NULL,
    after_person uuid NOT NULL DEFAULT '00000000-0000-0000-0000-000000000000',
    after_id uuid NOT NULL DEFAULT '00000000-0000-0000-0000-000000000000',
    last_deadline timestamptz,
    ended_at timestamptz,
    CONSTRAINT cancellations_pkey PRIMARY KEY (id)
) WITH (fillfactor = 50);
COMMENT ON TABLE cancellations IS 'each bars messages until it has ended; a chore walks through what is open';
COMMENT ON COLUMN cancellations.before IS 'messages with a smaller id are meant: those made before it';
COMMENT ON COLUMN cancellations.gone IS 'those that a dealer had, and had not ended, when the first walk came by';
COMMENT ON COLUMN cancellations.walks IS 'walks that are over; after_person and after_id are where the present one is';
COMMENT ON COLUMN cancellations.last_deadline IS 'of those that had gone: until then one may come back'
"""


def upgrade() -> None:
    """Add them."""
    for statement in STATEMENTS.split(";\n"):
        op.execute(statement)
