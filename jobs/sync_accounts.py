from fin_infra.datasets.accounts import Accounts
from fin_infra.engine import Context, Order, SyncReport, job


class AccountsOrder(Order):
    """Which connection."""


@job("sync_accounts", AccountsOrder, dataset=Accounts)
async def sync_accounts(order: AccountsOrder, ctx: Context) -> SyncReport:
    """Bring a connection's accounts, and with them the balances, up to date."""
    return await ctx.sync(Accounts, order.connection)
