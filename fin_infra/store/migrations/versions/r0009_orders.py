"""Orders, by the caller's key, and each step of theirs."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from fin_infra.store.columns import TEXT

revision = "0009"
down_revision = "0008"
branch_labels = None
depends_on = None

KEY = ("tenant_id", "connection_id", "key")


def upgrade() -> None:
    op.create_table(
        "orders",
        *(sa.Column(name, TEXT, nullable=False) for name in (*KEY, "client_order_id", "instrument", "symbol", "side")),
        *(sa.Column(name, TEXT, nullable=False) for name in ("type", "time_in_force")),
        *(sa.Column(name, TEXT, nullable=True) for name in ("qty", "notional", "limit_price", "stop_price")),
        sa.Column("extended_hours", sa.BigInteger(), nullable=False),
        sa.Column("live", sa.BigInteger(), nullable=False),
        sa.Column("state", TEXT, nullable=False),
        sa.Column("version", sa.Integer(), nullable=False),
        sa.Column("attempts", sa.Integer(), nullable=False),
        sa.Column("sent_at", sa.BigInteger(), nullable=True),
        *(sa.Column(name, TEXT, nullable=True) for name in ("vendor_id", "vendor_status", "filled_qty")),
        *(sa.Column(name, TEXT, nullable=True) for name in ("filled_avg_price", "reason")),
        sa.Column("submitted_at", sa.BigInteger(), nullable=True),
        sa.Column("vendor_updated_at", sa.BigInteger(), nullable=True),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.Column("updated_at", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint(*KEY),
        sqlite_with_rowid=False,
    )
    op.create_index("orders_by_client_order_id", "orders", ["client_order_id"], unique=True)
    op.create_index("orders_by_state", "orders", ["state"])
    op.create_table(
        "order_events",
        *(sa.Column(name, TEXT, nullable=False) for name in KEY),
        sa.Column("version", sa.Integer(), nullable=False),
        sa.Column("at", sa.BigInteger(), nullable=False),
        sa.Column("state", TEXT, nullable=False),
        sa.Column("vendor_status", TEXT, nullable=True),
        sa.Column("reason", TEXT, nullable=True),
        sa.PrimaryKeyConstraint(*KEY, "version"),
        sqlite_with_rowid=False,
    )
