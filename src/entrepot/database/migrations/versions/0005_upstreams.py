"""Upstreams: whose repositories are read through, what is known of their tags, when their blobs were last used."""

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None

_TEXT = sa.Text().with_variant(sa.Text(collation="C"), "postgresql")  # names compare by bytes
_TIME = sa.BigInteger()  # microseconds since 1970


def upgrade() -> None:
    """Add what the cache remembers. Every repository that is there is hosted."""
    op.add_column("repositories", sa.Column("upstream", _TEXT))
    named = sa.text("upstream IS NOT NULL")
    op.create_index("repositories_upstream", "repositories", ["upstream"], sqlite_where=named, postgresql_where=named)
    op.add_column("links", sa.Column("used_at", _TIME))  # to the hour; of upstreams' repositories only
    op.create_table(
        "upstream_tags",
        sa.Column("repository_id", sa.BigInteger(), sa.ForeignKey("repositories.id"), primary_key=True),
        sa.Column("tag", _TEXT, primary_key=True),
        sa.Column("checked_at", _TIME),
        sa.Column("gone_since", _TIME),  # refused or absent upstream
        sqlite_with_rowid=False,
    )
    op.create_table(
        "upstream_sightings",
        sa.Column("repository_id", sa.BigInteger(), sa.ForeignKey("repositories.id"), primary_key=True),
        sa.Column("tag", _TEXT, primary_key=True),
        sa.Column("digest", _TEXT, primary_key=True),
        sa.Column("first_at", _TIME, nullable=False),
        sqlite_with_rowid=False,
    )
