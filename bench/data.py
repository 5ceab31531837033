"""The bank behind the sync figures: 200 logins with one account each, 500 transactions per account.

Each state of the bank is a prefix of its address: `/first`, then `/changed`, where 1 % of all rows are different.
"""

from __future__ import annotations

import random
from datetime import UTC, date, datetime, timedelta

LOGINS = 200
ROWS = 500
PAGE = 100
TODAY = date(2026, 11, 24)
START = datetime(2026, 11, 24, 12, tzinfo=UTC)
SINCE = TODAY - timedelta(days=14)
"""Where a second sync begins to ask: what our window for this vendor comes to, given to the peers as well."""

MERCHANTS = (
    ("Corner Grocery", "groceries"), ("City Transit", "transportation"), ("Blue Door Coffee", "dining"),
    ("Northside Pharmacy", "health"), ("Hardware & Sons", "home"), ("Lamplight Books", "shopping"),
    ("Riverside Fuel", "fuel"), ("Union Telephone", "phone"),
)  # fmt: skip


def token(login: int) -> str:
    return f"tok{login:04d}"


def account_id(login: int) -> str:
    return f"acc{login:04d}"


def account(login: int) -> dict[str, object]:
    """One account as the bank lists it."""
    base = f"https://api.teller.io/accounts/{account_id(login)}"
    return {
        "id": account_id(login), "enrollment_id": f"enr_{login:04d}", "name": "Everyday Checking",
        "type": "depository", "subtype": "checking", "status": "open", "currency": "USD", "last_four": "7346",
        "institution": {"id": "sim", "name": "Simulated Bank"},
        "links": {"self": base, "balances": f"{base}/balances", "transactions": f"{base}/transactions"},
    }  # fmt: skip


def balance(login: int) -> dict[str, object]:
    base = f"https://api.teller.io/accounts/{account_id(login)}"
    return {
        "account_id": account_id(login), "ledger": f"{1000 + login}.37", "available": f"{990 + login}.10",
        "links": {"self": f"{base}/balances", "account": base},
    }  # fmt: skip


def transactions(login: int, state: str) -> list[dict[str, object]]:
    """Rows of one account, newest first, over a year. In the state `changed` five of the newest differ."""
    draw = random.Random(login)
    base = f"https://api.teller.io/accounts/{account_id(login)}"
    rows: list[dict[str, object]] = []
    for n in range(ROWS):
        merchant, category = draw.choice(MERCHANTS)
        cents = draw.randint(100, 25_000)
        day = TODAY - timedelta(days=n * 365 // ROWS)
        changed = state == "changed" and n < ROWS // 100
        row_id = f"txn_{login:04d}{n:05d}{draw.randrange(16**8):08x}"
        rows.append(
            {
                "id": row_id, "account_id": account_id(login), "amount": f"-{cents // 100}.{cents % 100:02d}",
                "date": day.isoformat(),
                "description": f"{merchant} #{draw.randint(1, 9999)}" + (" (corrected)" if changed else ""),
                "status": "posted", "type": "card_payment", "running_balance": None,
                "details": {
                    "processing_status": "complete", "category": category,
                    "counterparty": {"name": merchant, "type": "organization"},
                },
                "links": {"self": f"{base}/transactions/{row_id}", "account": base},
            }
        )  # fmt: skip
    return rows
