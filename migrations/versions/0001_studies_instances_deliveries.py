"""Studies, instances, readings, results and deliveries.

Revision 0001, after nothing.
"""

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None

MOMENT = sa.DateTime(timezone=True)
WORD = sa.String(32)


def upgrade() -> None:
    """Bring the ledger to this revision."""
    op.create_table(
        "refusal",
        sa.Column("number", sa.Integer(), autoincrement=True, nullable=False),
        sa.Column("at", MOMENT, nullable=False),
        sa.Column("calling_ae_title", sa.String(length=16), nullable=False),
        sa.Column("sop_instance_uid", sa.String(length=128), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("number", name=op.f("pk_refusal")),
    )
    op.create_table(
        "study",
        sa.Column("study_instance_uid", sa.String(length=64), nullable=False),
        sa.Column("state", WORD, nullable=False),
        sa.Column("state_since", MOMENT, nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("revision", sa.Integer(), nullable=False),
        sa.Column("accession_number", sa.String(length=64), nullable=False),
        sa.Column("study_date", sa.String(length=16), nullable=False),
        sa.Column("first_instance_at", MOMENT, nullable=False),
        sa.Column("last_instance_at", MOMENT, nullable=False),
        sa.Column("claims", sa.Integer(), nullable=False),
        sa.Column("lease_owner", sa.String(length=128), nullable=True),
        sa.Column("lease_until", MOMENT, nullable=True),
        sa.Column("rung_at", MOMENT, nullable=True),
        sa.PrimaryKeyConstraint("study_instance_uid", name=op.f("pk_study")),
    )
    op.create_index("ix_study_last_instance_at", "study", ["last_instance_at"])
    op.create_index("ix_study_state_last_instance_at", "study", ["state", "last_instance_at"])
    op.create_index("ix_study_state_since", "study", ["state", "state_since"])

    op.create_table(
        "history",
        sa.Column("number", sa.Integer(), autoincrement=True, nullable=False),
        sa.Column("study_instance_uid", sa.String(length=64), nullable=False),
        sa.Column("at", MOMENT, nullable=False),
        sa.Column("event", WORD, nullable=False),
        sa.Column("from_state", WORD, nullable=True),
        sa.Column("to_state", WORD, nullable=False),
        sa.Column("revision", sa.Integer(), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.ForeignKeyConstraint(
            ["study_instance_uid"],
            ["study.study_instance_uid"],
            name=op.f("fk_history_study_instance_uid_study"),
        ),
        sa.PrimaryKeyConstraint("number", name=op.f("pk_history")),
    )
    op.create_index(op.f("ix_history_study_instance_uid"), "history", ["study_instance_uid"])

    op.create_table(
        "instance",
        sa.Column("sop_instance_uid", sa.String(length=64), nullable=False),
        sa.Column("study_instance_uid", sa.String(length=64), nullable=False),
        sa.Column("series_instance_uid", sa.String(length=64), nullable=False),
        sa.Column("sop_class_uid", sa.String(length=64), nullable=False),
        sa.Column("transfer_syntax_uid", sa.String(length=64), nullable=False),
        sa.Column("modality", sa.String(length=16), nullable=False),
        sa.Column("laterality", sa.String(length=4), nullable=False),
        sa.Column("view_position", sa.String(length=16), nullable=False),
        sa.Column("view_modifiers", sa.String(length=128), nullable=False),
        sa.Column("presentation_intent", sa.String(length=16), nullable=False),
        sa.Column("path", sa.Text(), nullable=False),
        sa.Column("bytes", sa.BigInteger(), nullable=False),
        sa.Column("sha256", sa.String(length=64), nullable=False),
        sa.Column("calling_ae_title", sa.String(length=16), nullable=False),
        sa.Column("received_at", MOMENT, nullable=False),
        sa.ForeignKeyConstraint(
            ["study_instance_uid"],
            ["study.study_instance_uid"],
            name=op.f("fk_instance_study_instance_uid_study"),
        ),
        sa.PrimaryKeyConstraint("sop_instance_uid", name=op.f("pk_instance")),
    )
    op.create_index(op.f("ix_instance_study_instance_uid"), "instance", ["study_instance_uid"])

    op.create_table(
        "reading",
        sa.Column("study_instance_uid", sa.String(length=64), nullable=False),
        sa.Column("revision", sa.Integer(), nullable=False),
        sa.Column("read_at", MOMENT, nullable=False),
        sa.Column("assessment", sa.JSON(), nullable=False),
        sa.ForeignKeyConstraint(
            ["study_instance_uid"],
            ["study.study_instance_uid"],
            name=op.f("fk_reading_study_instance_uid_study"),
        ),
        sa.PrimaryKeyConstraint("study_instance_uid", "revision", name=op.f("pk_reading")),
    )
    op.create_table(
        "result",
        sa.Column("sop_instance_uid", sa.String(length=64), nullable=False),
        sa.Column("study_instance_uid", sa.String(length=64), nullable=False),
        sa.Column("revision", sa.Integer(), nullable=False),
        sa.Column("kind", sa.String(length=16), nullable=False),
        sa.Column("sop_class_uid", sa.String(length=64), nullable=False),
        sa.Column("path", sa.Text(), nullable=False),
        sa.Column("sha256", sa.String(length=64), nullable=False),
        sa.ForeignKeyConstraint(
            ["study_instance_uid"],
            ["study.study_instance_uid"],
            name=op.f("fk_result_study_instance_uid_study"),
        ),
        sa.PrimaryKeyConstraint("sop_instance_uid", name=op.f("pk_result")),
    )
    op.create_index(op.f("ix_result_study_instance_uid"), "result", ["study_instance_uid"])

    op.create_table(
        "delivery",
        sa.Column("number", sa.Integer(), autoincrement=True, nullable=False),
        sa.Column("sop_instance_uid", sa.String(length=64), nullable=False),
        sa.Column("study_instance_uid", sa.String(length=64), nullable=False),
        sa.Column("destination", sa.String(length=64), nullable=False),
        sa.Column("state", WORD, nullable=False),
        sa.Column("attempts", sa.Integer(), nullable=False),
        sa.Column("due_since", MOMENT, nullable=False),
        sa.Column("next_attempt_at", MOMENT, nullable=True),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("sent_at", MOMENT, nullable=True),
        sa.Column("transaction_uid", sa.String(length=64), nullable=True),
        sa.Column("committed_at", MOMENT, nullable=True),
        sa.ForeignKeyConstraint(
            ["sop_instance_uid"],
            ["result.sop_instance_uid"],
            name=op.f("fk_delivery_sop_instance_uid_result"),
        ),
        sa.ForeignKeyConstraint(
            ["study_instance_uid"],
            ["study.study_instance_uid"],
            name=op.f("fk_delivery_study_instance_uid_study"),
        ),
        sa.PrimaryKeyConstraint("number", name=op.f("pk_delivery")),
        sa.UniqueConstraint(
            "sop_instance_uid", "destination", name=op.f("uq_delivery_sop_instance_uid_destination")
        ),
    )
    op.create_index("ix_delivery_due", "delivery", ["destination", "state", "next_attempt_at"])
    op.create_index(op.f("ix_delivery_sop_instance_uid"), "delivery", ["sop_instance_uid"])
    op.create_index(op.f("ix_delivery_study_instance_uid"), "delivery", ["study_instance_uid"])
    op.create_index(op.f("ix_delivery_transaction_uid"), "delivery", ["transaction_uid"])


def downgrade() -> None:
    """Take the ledger back to the revision before."""
    op.drop_index(op.f("ix_delivery_transaction_uid"), table_name="delivery")
    op.drop_index(op.f("ix_delivery_study_instance_uid"), table_name="delivery")
    op.drop_index(op.f("ix_delivery_sop_instance_uid"), table_name="delivery")
    op.drop_index("ix_delivery_due", table_name="delivery")

    op.drop_table("delivery")
    op.drop_index(op.f("ix_result_study_instance_uid"), table_name="result")

    op.drop_table("result")
    op.drop_table("reading")
    op.drop_index(op.f("ix_instance_study_instance_uid"), table_name="instance")

    op.drop_table("instance")
    op.drop_index(op.f("ix_history_study_instance_uid"), table_name="history")

    op.drop_table("history")
    op.drop_index("ix_study_state_last_instance_at", table_name="study")
    op.drop_index("ix_study_state_since", table_name="study")
    op.drop_index("ix_study_last_instance_at", table_name="study")

    op.drop_table("study")
    op.drop_table("refusal")
