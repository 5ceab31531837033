"""What each run saw of its vendor: failed calls, how long answers took, and what they said of the limit."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0008"
down_revision = "0007"
branch_labels = None
depends_on = None

COLUMNS = ("failed_calls", "waited_ms", "slowest_ms", "vendor_limit", "vendor_remaining", "vendor_reset_at")


def upgrade() -> None:
    for name in COLUMNS:
        op.add_column("runs", sa.Column(name, sa.BigInteger(), nullable=True))
