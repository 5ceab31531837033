"""Whose quota a connection spends, and accounts their owner does not want."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from fin_infra.store.columns import TEXT

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("connections", sa.Column("quota_key", TEXT, nullable=True))
    op.create_table(
        "left_out",
        sa.Column("connection_id", TEXT, nullable=False),
        sa.Column("account_id", TEXT, nullable=False),
        sa.Column("since", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("connection_id", "account_id"),
        sqlite_with_rowid=False,
    )
