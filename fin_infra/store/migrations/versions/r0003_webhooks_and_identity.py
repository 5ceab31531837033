"""Webhooks that were received, the keys they are signed with, and aliases found by the vendor's id."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from fin_infra.store.columns import TEXT

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "webhook_receipts",
        sa.Column("provider", TEXT, nullable=False),
        sa.Column("digest", TEXT, nullable=False),
        sa.Column("received_at", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("provider", "digest"),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "webhook_keys",
        sa.Column("provider", TEXT, nullable=False),
        sa.Column("key_id", TEXT, nullable=False),
        sa.Column("body", TEXT, nullable=False),
        sa.Column("fetched_at", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("provider", "key_id"),
        sqlite_with_rowid=False,
    )
    op.create_index("aliases_by_vendor_id", "aliases", ["kind", "vendor_id"], unique=False)
    with op.batch_alter_table("quarantine") as quarantine:
        quarantine.add_column(sa.Column("kind", TEXT, nullable=False, server_default="page"))
    with op.batch_alter_table("quarantine") as quarantine:
        quarantine.alter_column("kind", server_default=None)
    op.create_index("quarantine_by_connection", "quarantine", ["connection_id"], unique=False)
