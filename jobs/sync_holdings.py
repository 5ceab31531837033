from fin_infra.datasets.holdings import Holdings
from fin_infra.engine import Context, Order, SyncReport, job


class HoldingsOrder(Order):
    """Which connection."""


@job("sync_holdings", HoldingsOrder, dataset=Holdings)
async def sync_holdings(order: HoldingsOrder, ctx: Context) -> SyncReport:
    """Switch the positions of all open accounts of a connection to what they are now."""
    return await ctx.sync(Holdings, order.connection)
