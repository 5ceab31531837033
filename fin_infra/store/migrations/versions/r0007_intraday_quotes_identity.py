"""Intraday bars, quotes and sessions of identity verification, each with its history."""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa
from alembic import op

from fin_infra.store.columns import AMOUNT, TEXT

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None


def upgrade() -> None:
    _with_history(
        "intraday_prices",
        ("instrument", "interval", "start_at", "provider"),
        sa.Column("instrument", TEXT, nullable=False),
        sa.Column("interval", TEXT, nullable=False),
        sa.Column("start_at", sa.BigInteger(), nullable=False),
        sa.Column("provider", TEXT, nullable=False),
        sa.Column("basis", TEXT, nullable=False),
        sa.Column("open", AMOUNT, nullable=True),
        sa.Column("high", AMOUNT, nullable=True),
        sa.Column("low", AMOUNT, nullable=True),
        sa.Column("close", AMOUNT, nullable=False),
        sa.Column("volume", AMOUNT, nullable=True),
        sa.Column("currency", TEXT, nullable=True),
        sa.Column("state", TEXT, nullable=False),
    )
    _with_history(
        "quotes",
        ("instrument", "provider"),
        sa.Column("instrument", TEXT, nullable=False),
        sa.Column("provider", TEXT, nullable=False),
        sa.Column("price", AMOUNT, nullable=False),
        sa.Column("currency", TEXT, nullable=True),
        sa.Column("quoted_at", sa.BigInteger(), nullable=True),
        sa.Column("session", TEXT, nullable=True),
        sa.Column("open", AMOUNT, nullable=True),
        sa.Column("high", AMOUNT, nullable=True),
        sa.Column("low", AMOUNT, nullable=True),
        sa.Column("previous_close", AMOUNT, nullable=True),
        sa.Column("volume", AMOUNT, nullable=True),
    )
    _with_history(
        "identity_sessions",
        ("tenant_id", "session_id"),
        sa.Column("tenant_id", TEXT, nullable=False),
        sa.Column("session_id", TEXT, nullable=False),
        sa.Column("status", TEXT, nullable=False),
        sa.Column("type", TEXT, nullable=True),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.Column("last_error_code", TEXT, nullable=True),
        sa.Column("provider", TEXT, nullable=False),
        sa.Column("connection_id", TEXT, nullable=False),
    )


def _with_history(name: str, key: tuple[str, ...], *columns: sa.Column[Any]) -> None:
    """The table of what holds now, and that of all versions."""
    told = [
        *columns,
        sa.Column("fetched_at", sa.BigInteger(), nullable=False),
        sa.Column("run_id", TEXT, nullable=False),
        sa.Column("known_from", sa.BigInteger(), nullable=False),
    ]
    op.create_table(name, *told, sa.PrimaryKeyConstraint(*key), sqlite_with_rowid=False)
    op.create_table(
        f"{name}_history",
        *(sa.Column(column.name, column.type, nullable=column.nullable) for column in told),
        sa.Column("known_to", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint(*key, "known_from"),
        sqlite_with_rowid=False,
    )
