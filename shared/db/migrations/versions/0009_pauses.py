"""Pauses: stops that somebody ordered, with who and why."""

from __future__ import annotations

from alembic import op

revision = "0009"
down_revision = "0008"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add the columns."""
    op.execute("ALTER TABLE stops ADD COLUMN ordered_by text, ADD COLUMN why text")
    op.execute("COMMENT ON COLUMN stops.ordered_by IS 'of a pause: whose API key, or the operator'")
