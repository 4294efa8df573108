"""Callers who were turned away.

Revision 0002, after 0001.
"""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None

MOMENT = sa.DateTime(timezone=True)


def upgrade() -> None:
    """Bring the ledger to this revision."""
    op.create_table(
        "stranger",
        sa.Column("calling_ae_title", sa.String(length=16), nullable=False),
        sa.Column("address", sa.String(length=45), nullable=False),
        sa.Column("called_ae_title", sa.String(length=16), nullable=False),
        sa.Column("reason", sa.String(length=64), nullable=False),
        sa.Column("attempts", sa.Integer(), nullable=False),
        sa.Column("first_at", MOMENT, nullable=False),
        sa.Column("last_at", MOMENT, nullable=False),
        sa.PrimaryKeyConstraint("calling_ae_title", "address", "called_ae_title", name=op.f("pk_stranger")),
    )
    op.create_index(op.f("ix_stranger_last_at"), "stranger", ["last_at"])


def downgrade() -> None:
    """Take the ledger back to the revision before."""
    op.drop_index(op.f("ix_stranger_last_at"), table_name="stranger")
    op.drop_table("stranger")
