"""Corporate actions and FX rates, each with its history, and symbols that mean another instrument than they say."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from fin_infra.store.columns import AMOUNT, TEXT

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "corporate_actions",
        sa.Column("instrument", TEXT, nullable=False),
        sa.Column("ex_on", TEXT, nullable=False),
        sa.Column("kind", TEXT, nullable=False),
        sa.Column("provider", TEXT, nullable=False),
        sa.Column("ratio", AMOUNT, nullable=True),
        sa.Column("new_shares", AMOUNT, nullable=True),
        sa.Column("old_shares", AMOUNT, nullable=True),
        sa.Column("amount", AMOUNT, nullable=True),
        sa.Column("currency", TEXT, nullable=True),
        sa.Column("new_instrument", TEXT, nullable=True),
        sa.Column("paid_on", TEXT, nullable=True),
        sa.Column("fetched_at", sa.BigInteger(), nullable=False),
        sa.Column("run_id", TEXT, nullable=False),
        sa.Column("known_from", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("instrument", "ex_on", "kind", "provider"),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "corporate_actions_history",
        sa.Column("instrument", TEXT, nullable=False),
        sa.Column("ex_on", TEXT, nullable=False),
        sa.Column("kind", TEXT, nullable=False),
        sa.Column("provider", TEXT, nullable=False),
        sa.Column("ratio", AMOUNT, nullable=True),
        sa.Column("new_shares", AMOUNT, nullable=True),
        sa.Column("old_shares", AMOUNT, nullable=True),
        sa.Column("amount", AMOUNT, nullable=True),
        sa.Column("currency", TEXT, nullable=True),
        sa.Column("new_instrument", TEXT, nullable=True),
        sa.Column("paid_on", TEXT, nullable=True),
        sa.Column("fetched_at", sa.BigInteger(), nullable=False),
        sa.Column("run_id", TEXT, nullable=False),
        sa.Column("known_from", sa.BigInteger(), nullable=False),
        sa.Column("known_to", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("instrument", "ex_on", "kind", "provider", "known_from"),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "fx_rates",
        sa.Column("base", TEXT, nullable=False),
        sa.Column("quote", TEXT, nullable=False),
        sa.Column("rate_on", TEXT, nullable=False),
        sa.Column("provider", TEXT, nullable=False),
        sa.Column("rate", AMOUNT, nullable=False),
        sa.Column("state", TEXT, nullable=False),
        sa.Column("fetched_at", sa.BigInteger(), nullable=False),
        sa.Column("run_id", TEXT, nullable=False),
        sa.Column("known_from", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("base", "quote", "rate_on", "provider"),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "fx_rates_history",
        sa.Column("base", TEXT, nullable=False),
        sa.Column("quote", TEXT, nullable=False),
        sa.Column("rate_on", TEXT, nullable=False),
        sa.Column("provider", TEXT, nullable=False),
        sa.Column("rate", AMOUNT, nullable=False),
        sa.Column("state", TEXT, nullable=False),
        sa.Column("fetched_at", sa.BigInteger(), nullable=False),
        sa.Column("run_id", TEXT, nullable=False),
        sa.Column("known_from", sa.BigInteger(), nullable=False),
        sa.Column("known_to", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("base", "quote", "rate_on", "provider", "known_from"),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "symbol_aliases",
        sa.Column("provider", TEXT, nullable=False),
        sa.Column("symbol", TEXT, nullable=False),
        sa.Column("valid_from", TEXT, nullable=False),
        sa.Column("valid_to", TEXT, nullable=True),
        sa.Column("instrument", TEXT, nullable=False),
        sa.Column("reason", TEXT, nullable=False),
        sa.Column("recorded_at", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("provider", "symbol", "valid_from"),
        sqlite_with_rowid=False,
    )
