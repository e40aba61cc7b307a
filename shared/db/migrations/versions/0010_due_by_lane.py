"""What is due, by lane: a campaign that is due holds up no code that is."""

from __future__ import annotations

from alembic import op

revision = "0010"
down_revision = "0009"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Put the new index in the place of the one over all lanes."""
    op.execute("CREATE INDEX messages_due_by_lane ON messages (lane, due_at, id) WHERE due_at IS NOT NULL")
    op.execute("DROP INDEX messages_due")
