"""Receipts that were not tried yet, the newest first: a flood of unknown ones delays no other."""

from __future__ import annotations

from alembic import op

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add the index."""
    op.execute("CREATE INDEX receipts_fresh ON receipts (id) WHERE apply_at IS NOT NULL AND tried = 0")
