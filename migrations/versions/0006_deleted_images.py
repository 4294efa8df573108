"""Which images retention has deleted.

Revision 0006, after 0005.
"""

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Bring the ledger to this revision."""
    with op.batch_alter_table("instance") as instance:
        instance.add_column(sa.Column("deleted_at", sa.DateTime(timezone=True), nullable=True))
    op.create_index("ix_instance_deleted_at_received_at", "instance", ["deleted_at", "received_at"])


def downgrade() -> None:
    """Take the ledger back to the revision before."""
    op.drop_index("ix_instance_deleted_at_received_at", "instance")
    with op.batch_alter_table("instance") as instance:
        instance.drop_column("deleted_at")
