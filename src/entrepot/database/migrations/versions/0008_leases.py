"""What one node fetches from an upstream, and all others wait for or read from it."""

import sqlalchemy as sa
from alembic import op

revision = "0008"
down_revision = "0007"
branch_labels = None
depends_on = None

_TEXT = sa.Text().with_variant(sa.Text(collation="C"), "postgresql")  # names compare by bytes
_TIME = sa.BigInteger()  # microseconds since 1970, of the database's clock


def upgrade() -> None:
    """Add the table; nothing that is there changes."""
    op.create_table(
        "leases",
        sa.Column("key", _TEXT, primary_key=True),  # a blob's DIGEST; a manifest's NAME@DIGEST, of a tag only NAME
        sa.Column("node", _TEXT, nullable=False),  # its cluster.advertise
        sa.Column("token", _TEXT, nullable=False),  # this lease and no other
        sa.Column("until", _TIME, nullable=False),
        sa.Column("size", sa.BigInteger(), nullable=False),  # bytes, -1 while it is not known
        sa.Column("arrived", sa.BigInteger(), nullable=False),  # bytes
        sa.Column("wrong", _TEXT),  # what was wrong with the bytes, when it was given up for that
        sqlite_with_rowid=False,
    )
