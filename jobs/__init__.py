"""What runs: one file per job, glue only. `JOBS` lists what the worker takes from the queue."""

from .backfill_chunk import backfill_chunk
from .sync_accounts import sync_accounts
from .sync_activities import sync_activities
from .sync_corporate_actions import sync_corporate_actions
from .sync_fx_rates import sync_fx_rates
from .sync_holdings import sync_holdings
from .sync_identity_sessions import sync_identity_sessions
from .sync_instruments import sync_instruments
from .sync_intraday_prices import sync_intraday_prices
from .sync_prices import sync_prices
from .sync_quotes import sync_quotes
from .sync_transactions import sync_transactions

JOBS = [
    sync_accounts, sync_transactions, sync_holdings, sync_activities, sync_instruments, sync_corporate_actions,
    sync_fx_rates, sync_prices, sync_intraday_prices, sync_quotes, sync_identity_sessions, backfill_chunk,
]  # fmt: skip
