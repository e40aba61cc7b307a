"""Legs of a dealer's own failover, and the silence of receipts."""

from __future__ import annotations

from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None

STATEMENTS = """
ALTER TABLE receipts ADD COLUMN leg text;
COMMENT ON COLUMN receipts.leg IS 'over which channel the dealer followed the attempt by itself; null: of the attempt';

ALTER TABLE attempts ADD COLUMN leg_of int;
COMMENT ON COLUMN attempts.leg_of IS 'the attempt that the dealer followed by this one of its own accord';

ALTER TABLE receipt_pace ADD COLUMN silent_since timestamptz;
COMMENT ON COLUMN receipt_pace.silent_since IS 'when receipts were found to be missing, rule time; null while they come'
"""


def upgrade() -> None:
    """Add them."""
    for statement in STATEMENTS.split(";\n"):
        op.execute(statement)
