"""Where rows are kept: one transactional SQL store, opened by its URL."""

from __future__ import annotations

from fin_infra.store.base import (
    Alias,
    Applied,
    Batch,
    Change,
    Counts,
    Cursor,
    Forgotten,
    Kept,
    Learned,
    Query,
    Records,
    Sealed,
    StagedPage,
    Store,
    Stream,
)
from fin_infra.store.opening import open_store

__all__ = [
    "Alias",
    "Applied",
    "Batch",
    "Change",
    "Counts",
    "Cursor",
    "Forgotten",
    "Kept",
    "Learned",
    "Query",
    "Records",
    "Sealed",
    "StagedPage",
    "Store",
    "Stream",
    "open_store",
]
