"""What destinations warned of when they stored an object.

Revision 0007, after 0006.
"""

import sqlalchemy as sa
from alembic import op

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Bring the ledger to this revision."""
    with op.batch_alter_table("delivery") as delivery:
        delivery.add_column(sa.Column("warning", sa.Text(), nullable=False, server_default=""))


def downgrade() -> None:
    """Take the ledger back to the revision before."""
    with op.batch_alter_table("delivery") as delivery:
        delivery.drop_column("warning")
