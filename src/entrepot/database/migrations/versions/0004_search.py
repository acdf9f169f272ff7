"""Search: the words of names and descriptions; how many stars a repository has."""

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None

_TEXT = sa.Text().with_variant(sa.Text(collation="C"), "postgresql")  # words compare by bytes


def upgrade() -> None:
    """Add the index of words, empty: it is filled when the server starts. Nobody has given a star yet."""
    op.create_table(
        "search_words",
        sa.Column("place", sa.BigInteger(), primary_key=True, autoincrement=False),  # see database/search.py
        sa.Column("word", _TEXT, primary_key=True),
        sa.Column("repository_id", sa.BigInteger(), primary_key=True, autoincrement=False),
        sqlite_with_rowid=False,
    )
    op.create_index("search_words_repository", "search_words", ["repository_id", "word"])
    op.add_column("repositories", sa.Column("stars", sa.BigInteger(), nullable=False, server_default="0"))
    starred = sa.text("stars > 0")
    op.create_index("repositories_stars", "repositories", ["stars"], sqlite_where=starred, postgresql_where=starred)
    op.create_index("accounts_kind", "accounts", ["kind", "name"])
