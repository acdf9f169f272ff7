"""Backups that are running, so that one that removes older ones is alone."""

import sqlalchemy as sa
from alembic import op

revision = "0014"
down_revision = "0013"
branch_labels = None
depends_on = None

_TEXT = sa.Text().with_variant(sa.Text(collation="C"), "postgresql")  # names compare by bytes


def upgrade() -> None:
    """None runs."""
    op.create_table(
        "backups",
        sa.Column("name", _TEXT, primary_key=True),
        sa.Column("until", sa.BigInteger(), nullable=False),  # microseconds since 1970, of the database's clock
        sa.Column("alone", sa.BigInteger(), nullable=False),  # 1: no other may run
        sqlite_with_rowid=False,
    )
