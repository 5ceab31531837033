from fin_infra.datasets.transactions import Transactions
from fin_infra.engine import Context, Order, SyncReport, job


class TransactionsOrder(Order):
    """Which connection."""


@job("sync_transactions", TransactionsOrder, dataset=Transactions)
async def sync_transactions(order: TransactionsOrder, ctx: Context) -> SyncReport:
    """Bring the transactions of all open accounts of a connection up to date."""
    return await ctx.sync(Transactions, order.connection)
