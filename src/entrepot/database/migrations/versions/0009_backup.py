"""Backups: until when no bytes are removed."""

import sqlalchemy as sa
from alembic import op

revision = "0009"
down_revision = "0008"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Nothing is held."""
    op.add_column("lifecycle", sa.Column("removals_held_until", sa.BigInteger(), nullable=False, server_default="0"))
