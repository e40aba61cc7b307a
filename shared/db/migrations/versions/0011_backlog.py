"""The backlog: jobs that wait for tokens of a dealer's limit."""

from __future__ import annotations

from alembic import op

revision = "0011"
down_revision = "0010"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Make the table.

    Rows come and go by the thousand and are never updated, so that vacuum begins early, whatever the table's size, and
    does not pause: what is dead stands at the head of each line, where the next draw reads. The key is the order in
    which a draw reads; the deadlines are for what waits in vain (docs/adr/0014).
    """
    op.execute("""
        CREATE TABLE backlog (
            lane       text        NOT NULL,
            dealer     text        NOT NULL,
            channel    text        NOT NULL,
            profile    text        NOT NULL,
            n          bigint      GENERATED ALWAYS AS IDENTITY,
            message_id uuid        NOT NULL,
            seq        integer     NOT NULL,
            deadline   timestamptz NOT NULL,
            since      timestamptz NOT NULL DEFAULT now(),
            PRIMARY KEY (lane, dealer, channel, profile, n)
        ) WITH (
            fillfactor = 100,
            autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 5000,
            autovacuum_vacuum_insert_scale_factor = 0, autovacuum_vacuum_insert_threshold = 50000,
            autovacuum_analyze_scale_factor = 0, autovacuum_analyze_threshold = 20000,
            autovacuum_vacuum_cost_delay = 0
        )
    """)
    op.execute("CREATE INDEX backlog_deadline ON backlog (deadline)")
    op.execute("COMMENT ON TABLE backlog IS 'jobs that wait for tokens; deleted by whoever opens their attempts'")
    op.execute("COMMENT ON COLUMN backlog.seq IS 'of the transition that queued the message: else the job is void'")
    op.execute("COMMENT ON COLUMN backlog.since IS 'when it was put away; world time'")
