"""Backfills, cut into chunks, and what a vendor is known not to have."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from fin_infra.store.columns import TEXT

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "backfills",
        sa.Column("backfill_id", TEXT, nullable=False),
        sa.Column("connection_id", TEXT, nullable=False),
        sa.Column("tenant_id", TEXT, nullable=False),
        sa.Column("provider", TEXT, nullable=False),
        sa.Column("dataset", TEXT, nullable=False),
        sa.Column("first", TEXT, nullable=False),
        sa.Column("last", TEXT, nullable=False),
        sa.Column("subjects", TEXT, nullable=False),
        sa.Column("state", TEXT, nullable=False),
        sa.Column("reason", TEXT, nullable=True),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.Column("updated_at", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("backfill_id"),
        sqlite_with_rowid=False,
    )
    op.create_index("backfills_by_state", "backfills", ["state"])
    op.create_table(
        "backfill_chunks",
        sa.Column("backfill_id", TEXT, nullable=False),
        sa.Column("n", sa.Integer(), nullable=False),
        sa.Column("connection_id", TEXT, nullable=False),
        sa.Column("subjects", TEXT, nullable=False),
        sa.Column("first", TEXT, nullable=False),
        sa.Column("last", TEXT, nullable=False),
        sa.Column("expected", sa.Integer(), nullable=False),
        sa.Column("planned_calls", sa.Integer(), nullable=False),
        sa.Column("state", TEXT, nullable=False),
        sa.Column("calls", sa.Integer(), nullable=False),
        sa.Column("rows", sa.Integer(), nullable=False),
        sa.Column("run_id", TEXT, nullable=True),
        sa.Column("tries", sa.Integer(), nullable=False),
        sa.Column("detail", TEXT, nullable=True),
        sa.Column("updated_at", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("backfill_id", "n"),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "series_known",
        sa.Column("provider", TEXT, nullable=False),
        sa.Column("dataset", TEXT, nullable=False),
        sa.Column("subject", TEXT, nullable=False),
        sa.Column("body", TEXT, nullable=False),
        sa.Column("updated_at", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("provider", "dataset", "subject"),
        sqlite_with_rowid=False,
    )
