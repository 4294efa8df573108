"""What senders ask to be committed to, their performed procedure steps, and what they say of a study.

Revision 0003, after 0002.
"""

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None

MOMENT = sa.DateTime(timezone=True)


def upgrade() -> None:
    """Bring the ledger to this revision."""
    op.create_table(
        "commitment_request",
        sa.Column("transaction_uid", sa.String(length=64), nullable=False),
        sa.Column("calling_ae_title", sa.String(length=16), nullable=False),
        sa.Column("address", sa.String(length=45), nullable=False),
        sa.Column("requested_at", MOMENT, nullable=False),
        sa.Column("references", sa.JSON(), nullable=False),
        sa.Column("attempts", sa.Integer(), nullable=False),
        sa.Column("next_attempt_at", MOMENT, nullable=True),
        sa.Column("reported_at", MOMENT, nullable=True),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("transaction_uid", "calling_ae_title", name=op.f("pk_commitment_request")),
    )
    op.create_index("ix_commitment_request_due", "commitment_request", ["calling_ae_title", "next_attempt_at"])
    op.create_table(
        "procedure_step",
        sa.Column("sop_instance_uid", sa.String(length=64), nullable=False),
        sa.Column("calling_ae_title", sa.String(length=16), nullable=False),
        sa.Column("status", sa.String(length=16), nullable=False),
        sa.Column("begun_at", MOMENT, nullable=False),
        sa.Column("changed_at", MOMENT, nullable=False),
        sa.PrimaryKeyConstraint("sop_instance_uid", name=op.f("pk_procedure_step")),
    )
    op.create_table(
        "completion_signal",
        sa.Column("source", sa.String(length=32), nullable=False),
        sa.Column("source_uid", sa.String(length=64), nullable=False),
        sa.Column("study_instance_uid", sa.String(length=64), nullable=False),
        sa.Column("said_at", MOMENT, nullable=False),
        sa.Column("finished", sa.Boolean(), nullable=False),
        sa.Column("instances", sa.JSON(), nullable=False),
        sa.PrimaryKeyConstraint(
            "source", "source_uid", "study_instance_uid", name=op.f("pk_completion_signal")
        ),
    )
    op.create_index(op.f("ix_completion_signal_study_instance_uid"), "completion_signal", ["study_instance_uid"])


def downgrade() -> None:
    """Take the ledger back to the revision before."""
    op.drop_table("completion_signal")
    op.drop_table("procedure_step")
    op.drop_table("commitment_request")
