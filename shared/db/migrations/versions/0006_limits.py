"""Limits as one small log a row, changed by whoever read it last; what an operator changed, and by whom.

``grants`` stays for the processes of the version before.
"""

from __future__ import annotations

from alembic import op

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add the columns."""
    # Uncompressed in the row: it is written many times a second, and read as often.
    op.execute("""
        ALTER TABLE dealer_limits
            ADD COLUMN log bytea NOT NULL DEFAULT '',
            ADD COLUMN version bigint NOT NULL DEFAULT 0,
            ADD COLUMN first_at timestamptz,
            ADD COLUMN changed jsonb,
            ADD COLUMN changed_by text,
            ADD COLUMN changed_at timestamptz
    """)
    op.execute("ALTER TABLE dealer_limits ALTER COLUMN log SET STORAGE MAIN")
    op.execute("ALTER TABLE dealer_limits SET (toast_tuple_target = 8160)")
