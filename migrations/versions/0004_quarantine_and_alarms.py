"""Where refused bytes are kept, and what a person has to look at.

Revision 0004, after 0003.
"""

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None

MOMENT = sa.DateTime(timezone=True)


def upgrade() -> None:
    """Bring the ledger to this revision."""
    op.add_column("refusal", sa.Column("path", sa.Text(), nullable=False, server_default=""))
    op.create_table(
        "alarm",
        sa.Column("number", sa.Integer(), autoincrement=True, nullable=False),
        sa.Column("kind", sa.String(length=32), nullable=False),
        sa.Column("subject", sa.String(length=64), nullable=False),
        sa.Column("sentence", sa.Text(), nullable=False),
        sa.Column("raised_at", MOMENT, nullable=False),
        sa.Column("last_at", MOMENT, nullable=False),
        sa.Column("times", sa.Integer(), nullable=False),
        sa.Column("over_at", MOMENT, nullable=True),
        sa.Column("over_because", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("number", name=op.f("pk_alarm")),
    )
    op.create_index("ix_alarm_over_at", "alarm", ["over_at", "kind", "subject"])


def downgrade() -> None:
    """Take the ledger back to the revision before."""
    op.drop_table("alarm")
    with op.batch_alter_table("refusal") as refusal:
        refusal.drop_column("path")
