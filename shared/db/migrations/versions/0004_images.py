"""Images that templates name."""

from __future__ import annotations

from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None

STATEMENTS = """
CREATE TABLE images (
    hash bytea NOT NULL,
    image bytea NOT NULL,
    created_at timestamptz NOT NULL,
    CONSTRAINT images_pkey PRIMARY KEY (hash),
    CONSTRAINT images_hash CHECK (hash = sha256(image))
);
COMMENT ON TABLE images IS 'what templates name by its SHA-256; what a dealer calls it stands in dealer_images'
"""


def upgrade() -> None:
    """Add them."""
    for statement in STATEMENTS.split(";\n"):
        op.execute(statement)
