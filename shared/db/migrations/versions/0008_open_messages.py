"""Messages that have not ended, by person: what goes before what, and what nobody has in hand any more."""

from __future__ import annotations

from alembic import op

revision = "0008"
down_revision = "0007"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add the index. It holds what is open alone, so that it stays small however the ledger grows."""
    op.execute("CREATE INDEX messages_open ON messages (person_id, id) INCLUDE (deadline) WHERE NOT final")
