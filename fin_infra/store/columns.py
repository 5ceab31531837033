"""Column types that are exact on every engine, for the tables and for the revisions that make them."""

from __future__ import annotations

from sqlalchemy import BigInteger, Integer, Numeric, Text

TEXT = Text().with_variant(Text(collation="C"), "postgresql")
"""Text sorts by its bytes, whatever the database's own collation: keys come in the same order everywhere."""

AMOUNT = Text().with_variant(Numeric(38, 18), "postgresql")
"""38 digits, 18 of them behind the point; SQLite's own NUMERIC would be a float."""

PLACE = Integer().with_variant(BigInteger(), "postgresql")
"""A number the database gives: SQLite's INTEGER has 64 bits."""
