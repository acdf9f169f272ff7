"""Purges of what comes from an upstream."""

import sqlalchemy as sa
from alembic import op

revision = "0011"
down_revision = "0010"
branch_labels = None
depends_on = None

_TEXT = sa.Text().with_variant(sa.Text(collation="C"), "postgresql")  # names compare by bytes


def upgrade() -> None:
    """Add a column. Purges of the whole installation now hold for what comes from upstreams as well."""
    op.add_column("purges", sa.Column("upstream", _TEXT))  # the alias, of a purge of an upstream's repositories
