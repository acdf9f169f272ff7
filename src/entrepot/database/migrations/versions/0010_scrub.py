"""Which blobs have lost their bytes, and how far the scrub has come."""

import sqlalchemy as sa
from alembic import op

revision = "0010"
down_revision = "0009"
branch_labels = None
depends_on = None

_TEXT = sa.Text().with_variant(sa.Text(collation="C"), "postgresql")  # names compare by bytes
_TIME = sa.BigInteger()  # microseconds since 1970, of the database's clock


def upgrade() -> None:
    """Add a column and a table; nothing that is there changes."""
    op.add_column("blobs", sa.Column("damage", _TEXT))  # damaged, missing; NULL: not known to be
    op.create_index(
        "blobs_damage",
        "blobs",
        ["id"],
        sqlite_where=sa.text("damage IS NOT NULL"),
        postgresql_where=sa.text("damage IS NOT NULL"),
    )
    scrub = op.create_table(  # one row
        "scrub",
        sa.Column("id", sa.BigInteger(), primary_key=True, autoincrement=False),
        sa.Column("owner", _TEXT, nullable=False),  # the worker whose turn it is
        sa.Column("lease_until", _TIME, nullable=False),
        sa.Column("position", sa.BigInteger(), nullable=False),  # the id of the last blob that was read
        sa.Column("credit", sa.BigInteger(), nullable=False),  # bytes that may be read, as of `at`; negative: a debt
        sa.Column("at", _TIME, nullable=False),
    )
    op.bulk_insert(scrub, [{"id": 1, "owner": "", "lease_until": 0, "position": 0, "credit": 0, "at": 0}])
