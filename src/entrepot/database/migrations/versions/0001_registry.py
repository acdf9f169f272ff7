"""The registry: repositories, blobs, links, uploads, manifests, tags, changes, trash."""

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None

_ID = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
_TIME = sa.BigInteger()  # microseconds since 1970, of the database's clock
_TEXT = sa.Text().with_variant(sa.Text(collation="C"), "postgresql")  # names, tags and digests compare by bytes


def upgrade() -> None:
    """Create everything."""
    if op.get_bind().dialect.name == "postgresql":
        op.execute(
            "CREATE OR REPLACE FUNCTION now_us() RETURNS bigint LANGUAGE sql VOLATILE AS"
            " $$ SELECT (EXTRACT(EPOCH FROM clock_timestamp()) * 1000000)::bigint $$"
        )
    _store_and_repositories()
    _blobs()
    _uploads()
    _manifests()
    _tags()
    _changes()


def _store_and_repositories() -> None:
    op.create_table(
        "store",
        sa.Column("name", _TEXT, primary_key=True),
        sa.Column("id", _TEXT, nullable=False),
        sa.Column("generation", sa.BigInteger(), nullable=False),
    )
    op.create_table(
        "repositories",
        sa.Column("id", _ID, primary_key=True, autoincrement=True),
        sa.Column("name", _TEXT, nullable=False, unique=True),
        sa.Column("created_at", _TIME, nullable=False),
        sqlite_autoincrement=True,
    )


def _blobs() -> None:
    op.create_table(
        "blobs",
        sa.Column("id", _ID, primary_key=True, autoincrement=True),
        sa.Column("digest", _TEXT, nullable=False, unique=True),
        sa.Column("size", sa.BigInteger(), nullable=False),
        sa.Column("store", _TEXT, nullable=False),
        sa.Column("key", _TEXT, nullable=False, unique=True),
        sa.Column("created_at", _TIME, nullable=False),
        sqlite_autoincrement=True,
    )
    op.create_table(
        "links",
        sa.Column("repository_id", _ID, sa.ForeignKey("repositories.id"), primary_key=True),
        sa.Column("blob_id", _ID, sa.ForeignKey("blobs.id"), primary_key=True),
        sa.Column("created_at", _TIME, nullable=False),
        sqlite_with_rowid=False,
    )
    op.create_index("links_blob", "links", ["blob_id"])


def _uploads() -> None:
    op.create_table(
        "uploads",
        sa.Column("id", _TEXT, primary_key=True),
        sa.Column("repository_id", _ID, sa.ForeignKey("repositories.id"), nullable=False),
        sa.Column("store", _TEXT, nullable=False),
        sa.Column("size", sa.BigInteger(), nullable=False),
        sa.Column("generation", sa.BigInteger(), nullable=False),
        sa.Column("algorithm", _TEXT),
        sa.Column("digest", _TEXT),
        sa.Column("expires_at", _TIME, nullable=False),
    )
    op.create_index("uploads_expiry", "uploads", ["expires_at"])
    op.create_index("uploads_repository", "uploads", ["repository_id"])
    op.create_table(
        "upload_bodies",
        sa.Column("upload_id", _TEXT, sa.ForeignKey("uploads.id"), primary_key=True),
        sa.Column("key", _TEXT, primary_key=True),
        sa.Column("position", sa.BigInteger()),  # the generation it joined at; NULL while it is being received
        sa.Column("size", sa.BigInteger()),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "trash",
        sa.Column("store", _TEXT, primary_key=True),
        sa.Column("key", _TEXT, primary_key=True),
        sqlite_with_rowid=False,
    )


def _manifests() -> None:
    op.create_table(
        "manifests",
        sa.Column("id", _ID, primary_key=True, autoincrement=True),
        sa.Column("repository_id", _ID, sa.ForeignKey("repositories.id"), nullable=False),
        sa.Column("digest", _TEXT, nullable=False),
        sa.Column("media_type", _TEXT, nullable=False),
        sa.Column("size", sa.BigInteger(), nullable=False),
        sa.Column("artifact_type", _TEXT),
        sa.Column("subject", _TEXT),
        sa.Column("pushed_at", _TIME, nullable=False),
        sa.Column("annotations", sa.Text()),
        sa.Column("content", sa.LargeBinary(), nullable=False),
        sa.UniqueConstraint("repository_id", "digest", name="manifests_digest"),
        sqlite_autoincrement=True,
    )
    op.create_index(
        "manifests_subject",
        "manifests",
        ["repository_id", "subject", "id"],
        sqlite_where=sa.text("subject IS NOT NULL"),
        postgresql_where=sa.text("subject IS NOT NULL"),
    )
    op.create_table(
        "manifest_references",
        sa.Column("manifest_id", _ID, sa.ForeignKey("manifests.id"), primary_key=True),
        sa.Column("digest", _TEXT, primary_key=True),
        sa.Column("kind", _TEXT, primary_key=True),
        sqlite_with_rowid=False,
    )
    op.create_index("manifest_references_digest", "manifest_references", ["digest"])


def _tags() -> None:
    op.create_table(
        "tags",
        sa.Column("repository_id", _ID, sa.ForeignKey("repositories.id"), primary_key=True),
        sa.Column("name", _TEXT, primary_key=True),
        sa.Column("manifest_id", _ID, sa.ForeignKey("manifests.id"), nullable=False),
        sa.Column("previous_id", _ID),  # the manifest before the last move
        sa.Column("moved_at", _TIME, nullable=False),
        sqlite_with_rowid=False,
    )
    op.create_index("tags_manifest", "tags", ["manifest_id"])


def _changes() -> None:
    op.create_table(
        "changes",
        sa.Column("id", _ID, primary_key=True, autoincrement=True),
        sa.Column("at", _TIME, nullable=False),
        sa.Column("account", _TEXT),
        sa.Column("address", _TEXT, nullable=False),
        sa.Column("kind", _TEXT, nullable=False),
        sa.Column("repository_id", _ID, sa.ForeignKey("repositories.id")),
        sa.Column("tag", _TEXT),
        sa.Column("old", _TEXT),
        sa.Column("new", _TEXT),
        sqlite_autoincrement=True,
    )
    op.create_index("changes_repository", "changes", ["repository_id", "tag", "id"])
