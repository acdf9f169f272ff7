"""Rules of tags, expiring tags, retention, purges, and bytes that no row names."""

import sqlalchemy as sa
from alembic import op

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None

_ID = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
_TEXT = sa.Text().with_variant(sa.Text(collation="C"), "postgresql")  # names compare by bytes
_TIME = sa.BigInteger()  # microseconds since 1970, of the database's clock
_ELAPSED = sa.BigInteger()  # microseconds that collectors have run, see `lifecycle`


def upgrade() -> None:
    """Add the tables; nothing that is there changes."""
    _rules()
    _purges()
    op.create_table(  # bytes that no row names, as `entrepot verify` has seen them
        "orphans",
        sa.Column("store", _TEXT, primary_key=True),
        sa.Column("key", _TEXT, primary_key=True),
        sa.Column("since", _TIME, nullable=False),
        sa.Column("quarantined_at", _TIME),
        sqlite_with_rowid=False,
    )


def _place() -> list[sa.Column[int]]:
    """Of a repository, of a namespace, or, with neither, of the installation."""
    return [
        sa.Column("namespace_id", _ID, sa.ForeignKey("accounts.id")),
        sa.Column("repository_id", _ID, sa.ForeignKey("repositories.id")),
    ]


def _rules() -> None:
    op.create_table(
        "tag_rules",
        sa.Column("id", _ID, primary_key=True, autoincrement=True),
        *_place(),
        sa.Column("kind", _TEXT, nullable=False),  # immutable, protected
        sa.Column("syntax", _TEXT, nullable=False),  # glob, re2
        sa.Column("pattern", _TEXT, nullable=False),
        sa.Column("exceptions", _TEXT, nullable=False),  # a JSON array of patterns
        sa.Column("role", _TEXT, nullable=False),  # that may move a protected tag
        sa.Column("created_at", _TIME, nullable=False),
        sa.Column("created_by", _ID),
        sqlite_autoincrement=True,
    )
    op.create_index("tag_rules_repository", "tag_rules", ["repository_id"])
    op.create_index("tag_rules_namespace", "tag_rules", ["namespace_id"])
    op.create_table(
        "retention",
        sa.Column("id", _ID, primary_key=True, autoincrement=True),
        *_place(),
        sa.Column("policy", _TEXT, nullable=False),  # a JSON array of rules
        sa.Column("changed_at", _TIME, nullable=False),
        sa.Column("changed_by", _ID),
        sa.Column("ran_at", _TIME),
        sqlite_autoincrement=True,
    )
    op.create_index("retention_repository", "retention", ["repository_id"], unique=True)
    op.create_index("retention_namespace", "retention", ["namespace_id"], unique=True)
    op.add_column("tags", sa.Column("expires_at", _TIME))
    expiring = sa.text("expires_at IS NOT NULL")
    op.create_index("tags_expiring", "tags", ["expires_at"], sqlite_where=expiring, postgresql_where=expiring)


def _purges() -> None:
    op.create_table(  # a digest that must not come back to a namespace until it is lifted
        "purges",
        sa.Column("id", _ID, primary_key=True, autoincrement=True),
        sa.Column("namespace_id", _ID, sa.ForeignKey("accounts.id")),  # NULL: of the whole installation
        sa.Column("repository_id", _ID, sa.ForeignKey("repositories.id"), nullable=False),  # where it was asked for
        sa.Column("digest", _TEXT, nullable=False),
        sa.Column("reason", _TEXT, nullable=False),
        sa.Column("at", _TIME, nullable=False),
        sa.Column("account_id", _ID),
        sa.Column("lifted_at", _TIME),
        sqlite_autoincrement=True,
    )
    barred = sa.text("lifted_at IS NULL")
    op.create_index("purges_digest", "purges", ["digest"], sqlite_where=barred, postgresql_where=barred)
    op.create_index("purges_namespace", "purges", ["namespace_id", "id"])
    op.create_table(  # what went: manifests, blobs that left a repository, and blobs that others there still name
        "purged",
        sa.Column("id", _ID, primary_key=True, autoincrement=True),
        sa.Column("purge_id", _ID, sa.ForeignKey("purges.id"), nullable=False),
        sa.Column("repository_id", _ID, sa.ForeignKey("repositories.id"), nullable=False),
        sa.Column("digest", _TEXT, nullable=False),
        sa.Column("kind", _TEXT, nullable=False),  # manifest, blob, kept
        sqlite_autoincrement=True,
    )
    op.create_index("purged_purge", "purged", ["purge_id"])
    op.create_table(  # downloads that a purge has cut
        "purge_cuts",
        sa.Column("id", _ID, primary_key=True, autoincrement=True),
        sa.Column("purge_id", _ID, sa.ForeignKey("purges.id"), nullable=False),
        sa.Column("at", _TIME, nullable=False),
        sa.Column("address", _TEXT, nullable=False),
        sa.Column("target", _TEXT, nullable=False),
        sqlite_autoincrement=True,
    )
    op.create_index("purge_cuts_purge", "purge_cuts", ["purge_id"])
    op.create_index("usage_hours_digest", "usage_hours", ["repository_id", "digest"])
