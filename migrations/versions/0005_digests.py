"""Instances are told apart by XXH3-128, which costs a tenth of SHA-256.

Revision 0005, after 0004. What was received before keeps no digest: the same UID again is taken for the same.
"""

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Bring the ledger to this revision."""
    with op.batch_alter_table("instance") as instance:
        instance.add_column(sa.Column("digest", sa.String(length=32), nullable=False, server_default=""))
        instance.drop_column("sha256")
    with op.batch_alter_table("instance") as instance:
        instance.alter_column("digest", server_default=None)


def downgrade() -> None:
    """Take the ledger back to the revision before."""
    with op.batch_alter_table("instance") as instance:
        instance.add_column(sa.Column("sha256", sa.String(length=64), nullable=False, server_default=""))
        instance.drop_column("digest")
    with op.batch_alter_table("instance") as instance:
        instance.alter_column("sha256", server_default=None)
