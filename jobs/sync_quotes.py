from fin_infra.datasets.quotes import Quotes
from fin_infra.engine import Context, Order, SyncReport, job


class QuotesOrder(Order):
    """Which connection, and which instruments; none named: the watchlist and all that were ever held."""

    instruments: list[str] | None = None


@job("sync_quotes", QuotesOrder, dataset=Quotes)
async def sync_quotes(order: QuotesOrder, ctx: Context) -> SyncReport:
    """Ask for the newest price of each instrument."""
    return await ctx.sync(Quotes, order.connection, instruments=order.instruments)
