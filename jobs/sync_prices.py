from fin_infra.datasets.prices import Prices
from fin_infra.engine import Context, Order, SyncReport, job


class PricesOrder(Order):
    """Which connection, and which instruments; none named: the watchlist and all that were ever held."""

    instruments: list[str] | None = None


@job("sync_prices", PricesOrder, dataset=Prices)
async def sync_prices(order: PricesOrder, ctx: Context) -> SyncReport:
    """Bring daily bars up to the last session that has closed on each instrument's calendar."""
    return await ctx.sync(Prices, order.connection, instruments=order.instruments)
