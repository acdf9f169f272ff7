"""Usage: pull events, counted by the hour, and when what was pulled last."""

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None

_ID = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
_TIME = sa.BigInteger()  # microseconds since 1970, of the clocks of the nodes that answered
_TEXT = sa.Text().with_variant(sa.Text(collation="C"), "postgresql")  # names compare by bytes
_KEY = ("hour", "repository_id", "digest", "tag", "kind", "account_id", "credential_id", "address", "agent")


def upgrade() -> None:
    """Add the tables of usage. No references: counting must not wait for what else happens to these rows."""
    op.create_table(
        "usage_hours",
        sa.Column("id", _ID, primary_key=True, autoincrement=True),
        sa.Column("hour", _TIME, nullable=False),  # its beginning
        sa.Column("repository_id", sa.BigInteger(), nullable=False),
        sa.Column("digest", _TEXT, nullable=False),
        sa.Column("tag", _TEXT, nullable=False),  # empty: asked for by digest
        sa.Column("kind", _TEXT, nullable=False),  # image, index, referrer, attestation
        sa.Column("account_id", sa.BigInteger(), nullable=False),  # 0: nobody. NULL would conflict with nothing
        sa.Column("credential_id", sa.BigInteger(), nullable=False),  # 0: a password, or nobody
        sa.Column("address", _TEXT, nullable=False),
        sa.Column("agent", _TEXT, nullable=False),  # the client's name without its version
        sa.Column("subject", _TEXT, nullable=False),  # the address as pull limits have it: of IPv6 the /64
        sa.Column("requests", sa.BigInteger(), nullable=False),
        sa.Column("bytes", sa.BigInteger(), nullable=False),
        sa.Column("first_at", _TIME, nullable=False),
        sa.Column("last_at", _TIME, nullable=False),
        sa.UniqueConstraint(*_KEY, name="usage_hours_key"),
    )
    op.create_index("usage_hours_repository", "usage_hours", ["repository_id", "hour"])
    op.create_index("usage_hours_account", "usage_hours", ["account_id", "hour"])
    op.create_index("usage_hours_subject", "usage_hours", ["subject", "hour"])
    _totals()
    _progress()


def _totals() -> None:
    op.create_table(
        "usage_repositories",
        sa.Column("repository_id", _ID, primary_key=True, autoincrement=False),
        sa.Column("pull_count", sa.BigInteger(), nullable=False),  # of images, as pull limits count
        sa.Column("last_pulled_at", _TIME, nullable=False),  # of any kind of manifest
    )
    op.create_table(
        "usage_manifests",
        sa.Column("repository_id", sa.BigInteger(), primary_key=True),
        sa.Column("digest", _TEXT, primary_key=True),
        sa.Column("last_pulled_at", _TIME, nullable=False),
        sqlite_with_rowid=False,
    )
    op.create_index("usage_manifests_last", "usage_manifests", ["last_pulled_at"])


def _progress() -> None:
    op.create_table(  # how much of which segment file is counted
        "usage_segments",
        sa.Column("id", _TEXT, primary_key=True),
        sa.Column("position", sa.BigInteger(), nullable=False),
        sa.Column("counted_at", _TIME, nullable=False),
        sqlite_with_rowid=False,
    )
    op.create_table(  # until when everything that a node answered is counted
        "usage_nodes",
        sa.Column("id", _TEXT, primary_key=True),
        sa.Column("complete_until", _TIME, nullable=False),
        sqlite_with_rowid=False,
    )
