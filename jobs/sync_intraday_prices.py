from fin_infra.datasets.intraday_prices import IntradayPrices
from fin_infra.engine import Context, Order, SyncReport, job


class IntradayPricesOrder(Order):
    """Which connection, and which instruments; none named: the watchlist and all that were ever held."""

    instruments: list[str] | None = None


@job("sync_intraday_prices", IntradayPricesOrder, dataset=IntradayPrices)
async def sync_intraday_prices(order: IntradayPricesOrder, ctx: Context) -> SyncReport:
    """Bring bars shorter than a day up to the last one that is closed."""
    return await ctx.sync(IntradayPrices, order.connection, instruments=order.instruments)
