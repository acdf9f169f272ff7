"""Life and death: deleted manifests that can come back, loose blobs and links, the collector's clock and lease."""

from typing import Any

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None

_ID = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
_TEXT = sa.Text().with_variant(sa.Text(collation="C"), "postgresql")  # names compare by bytes
_TIME = sa.BigInteger()  # microseconds since 1970, of the database's clock
_ELAPSED = sa.BigInteger()  # microseconds that collectors have run, see `lifecycle`
_HOSTED = "SELECT r.id FROM repositories r WHERE r.upstream IS NULL"
_CACHED = "SELECT r.id FROM repositories r WHERE r.upstream IS NOT NULL"


def upgrade() -> None:
    """Add the states, and say of what is there which state it is in."""
    _columns()
    _tables()
    _states()


def _columns() -> None:
    new: dict[str, list[sa.Column[Any]]] = {
        "repositories": [sa.Column("sighted", _ELAPSED), sa.Column("emptied_at", _TIME)],
        "manifests": [
            sa.Column("deleted_at", _TIME),
            sa.Column("deletion_id", sa.BigInteger()),
            sa.Column("sighted", _ELAPSED),
            sa.Column("tagged", sa.SmallInteger(), nullable=False, server_default="0"),  # 1: a tag has named it
        ],
        "blobs": [
            sa.Column("state", _TEXT, nullable=False, server_default="held"),  # held, loose, quarantined, removing
            sa.Column("since", _TIME),  # of this state; NULL while held
            sa.Column("sighted", _ELAPSED),
        ],
        "links": [
            sa.Column("loose_since", _TIME),  # NULL while a manifest of the repository names the blob
            sa.Column("sighted", _ELAPSED),
        ],
    }
    for table, columns in new.items():
        for column in columns:
            op.add_column(table, column)
    for name, table, key, where in (
        ("repositories_deleted", "repositories", "deleted_at", "deleted_at IS NOT NULL AND emptied_at IS NULL"),
        ("manifests_deleted", "manifests", "deleted_at", "deleted_at IS NOT NULL"),
        ("blobs_state", "blobs", "since", "state <> 'held'"),
        ("links_loose", "links", "loose_since", "loose_since IS NOT NULL"),
    ):
        op.create_index(name, table, [key], sqlite_where=sa.text(where), postgresql_where=sa.text(where))
    tagged = sa.text("tag IS NOT NULL")
    op.create_index(
        "changes_tag", "changes", ["repository_id", "tag", "at"], sqlite_where=tagged, postgresql_where=tagged
    )
    op.create_index("manifests_by_digest", "manifests", ["digest"])
    renamed = sa.text("new IS NOT NULL")
    op.create_index("changes_new", "changes", ["new"], sqlite_where=renamed, postgresql_where=renamed)


def _tables() -> None:
    op.create_table(  # what went together and comes back together
        "deletions",
        sa.Column("id", _ID, primary_key=True, autoincrement=True),
        sa.Column("repository_id", _ID, sa.ForeignKey("repositories.id"), nullable=False),
        sa.Column("at", _TIME, nullable=False),
        sa.Column("digest", _TEXT, nullable=False),  # what was asked for
        sqlite_autoincrement=True,
    )
    op.create_table(
        "deleted_tags",
        sa.Column("deletion_id", _ID, sa.ForeignKey("deletions.id"), primary_key=True),
        sa.Column("name", _TEXT, primary_key=True),
        sa.Column("manifest_id", _ID, nullable=False),
        sqlite_with_rowid=False,
    )
    op.create_index("deleted_tags_manifest", "deleted_tags", ["manifest_id"])
    op.create_table(  # links that a blob's DELETE ended while a deleted manifest named it: undo brings them back
        "unlinked",
        sa.Column("repository_id", _ID, sa.ForeignKey("repositories.id"), primary_key=True),
        sa.Column("digest", _TEXT, primary_key=True),
        sqlite_with_rowid=False,
    )
    lifecycle = op.create_table(  # one row
        "lifecycle",
        sa.Column("id", sa.Integer(), primary_key=True, autoincrement=False),
        sa.Column("elapsed", _ELAPSED, nullable=False),  # never faster than any clock of whoever collected
        sa.Column("seen_at", _TIME, nullable=False),
        sa.Column("owner", _TEXT, nullable=False),
        sa.Column("lease_until", _TIME, nullable=False),
        sa.Column("paused_at", _TIME),
    )
    op.bulk_insert(lifecycle, [{"id": 1, "elapsed": 0, "seen_at": 0, "owner": "", "lease_until": 0}])


def _states() -> None:
    op.execute("UPDATE repositories SET emptied_at = deleted_at WHERE deleted_at IS NOT NULL")
    op.execute(
        "UPDATE manifests SET tagged = 1 WHERE EXISTS (SELECT 1 FROM changes c WHERE"
        " c.repository_id = manifests.repository_id AND c.kind = 'tag.move' AND c.new = manifests.digest)"
    )
    op.execute(
        "UPDATE blobs SET state = 'loose', since = now_us() WHERE NOT EXISTS (SELECT 1 FROM manifest_references f"  # noqa: S608
        f" JOIN manifests m ON m.id = f.manifest_id WHERE f.digest = blobs.digest AND m.repository_id IN ({_HOSTED}))"
        f" AND NOT EXISTS (SELECT 1 FROM links l WHERE l.blob_id = blobs.id AND l.repository_id IN ({_CACHED}))"
    )
    op.execute(
        f"UPDATE links SET loose_since = now_us() WHERE repository_id IN ({_HOSTED}) AND NOT EXISTS"  # noqa: S608
        " (SELECT 1 FROM manifest_references f JOIN manifests m ON m.id = f.manifest_id JOIN blobs b"
        " ON b.digest = f.digest WHERE b.id = links.blob_id AND m.repository_id = links.repository_id)"
    )
