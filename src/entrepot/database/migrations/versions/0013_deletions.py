"""What went together is found without a look at every manifest."""

import sqlalchemy as sa
from alembic import op

revision = "0013"
down_revision = "0012"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add an index; nothing that is there changes."""
    gone = sa.text("deletion_id IS NOT NULL")
    op.create_index("manifests_deletion", "manifests", ["deletion_id"], sqlite_where=gone, postgresql_where=gone)
