"""Nodes are asked to count their pull events, and answer when they have."""

import sqlalchemy as sa
from alembic import op

revision = "0012"
down_revision = "0011"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Nobody has asked yet."""
    for name in ("asked", "answered"):  # how often, and which of these times was answered last
        op.add_column("usage_nodes", sa.Column(name, sa.BigInteger(), nullable=False, server_default="0"))
