"""What runs: one file per job, glue only. `JOBS` lists what the worker takes from the queue."""

from .sync_accounts import sync_accounts
from .sync_transactions import sync_transactions

JOBS = [sync_accounts, sync_transactions]
