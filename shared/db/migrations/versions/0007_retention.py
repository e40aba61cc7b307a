"""Weeks that are dropped: their figures stay. Figures without templates. How tables are stored (docs/adr/0013)."""

from __future__ import annotations

from alembic import op

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None

STATEMENTS = """
CREATE TABLE dropped_weeks (
    week date NOT NULL,
    counted_at timestamptz NOT NULL,
    CONSTRAINT dropped_weeks_pkey PRIMARY KEY (week)
);
COMMENT ON TABLE dropped_weeks IS 'weeks (their Monday, UTC) whose figures stand in stats_…_dropped';

CREATE TABLE stats_messages_dropped (
    LIKE stats_messages,
    CONSTRAINT stats_messages_dropped_pkey PRIMARY KEY (hour, profile, rule, template, lane, state, reason, channel)
);
CREATE TABLE stats_attempts_dropped (
    LIKE stats_attempts,
    CONSTRAINT stats_attempts_dropped_pkey PRIMARY KEY (hour, profile, template, channel, dealer, state, reason)
);
-- stats_attempts without its templates, which are many: what a heatmap or a gauge reads.
CREATE TABLE stats_hours (
    hour timestamptz NOT NULL,
    profile text NOT NULL,
    channel text NOT NULL,
    dealer text NOT NULL,
    state text NOT NULL,
    reason text NOT NULL,
    n bigint NOT NULL,
    cost_krw bigint NOT NULL,
    CONSTRAINT stats_hours_pkey PRIMARY KEY (hour, profile, channel, dealer, state, reason)
) WITH (fillfactor = 70);
LOCK TABLE stats_attempts IN SHARE MODE;
INSERT INTO stats_hours
SELECT hour, profile, channel, dealer, state, reason, sum(n), sum(cost_krw)
FROM stats_attempts GROUP BY 1, 2, 3, 4, 5, 6;
COMMENT ON TABLE stats_messages_dropped IS 'the part of stats_messages that the ledger holds no more';
COMMENT ON TABLE stats_attempts_dropped IS 'the part of stats_attempts that the ledger holds no more'
"""

# For the partitions that exist; shared/db/partitions.py gives the same to each new one.
STORAGE = {
    "events": "autovacuum_freeze_min_age = 0",
    "messages": "autovacuum_vacuum_scale_factor = 0.05, autovacuum_analyze_scale_factor = 0.05",
    "attempts": "fillfactor = 90, autovacuum_vacuum_scale_factor = 0.05, autovacuum_analyze_scale_factor = 0.05",
    "transitions": "autovacuum_freeze_min_age = 0",
    "receipts": "fillfactor = 100, autovacuum_vacuum_scale_factor = 0.05, autovacuum_analyze_scale_factor = 0.05",
    "event_keys": "autovacuum_vacuum_scale_factor = 0.05",
    "idempotency_keys": "autovacuum_vacuum_scale_factor = 0.05",
}


def upgrade() -> None:
    """Add the tables, and set what is stored how. No lock that a reader or writer waits for."""
    for statement in STATEMENTS.split(";\n"):
        op.execute(statement)
    for parent, storage in STORAGE.items():
        rows = op.get_bind().exec_driver_sql(
            f"SELECT inhrelid::regclass::text FROM pg_inherits WHERE inhparent = '{parent}'::regclass"  # noqa: S608 - a constant
        )
        for (table,) in rows.all():
            op.execute(f"ALTER TABLE {table} SET ({storage})")
