"""Quotas as planned money: what a vendor permits (`windows`, `declared`), and the ledger that spends it (`ledger`).

Pure but for the ledger's clock; the ledgers on disk are in `fin_infra.store.ledger`.
"""
