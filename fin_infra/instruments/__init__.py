"""Names of what is traded: keys, and which calendar they follow."""

from __future__ import annotations

from fin_infra.instruments.keys import calendar_of, occ_of, option_of

__all__ = ["calendar_of", "occ_of", "option_of"]
