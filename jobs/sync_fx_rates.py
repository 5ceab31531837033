from fin_infra.datasets.fx_rates import FxRates
from fin_infra.engine import Context, Order, SyncReport, job


class RatesOrder(Order):
    """Which connection, and which pairs, like fx:EURUSD; none named: those of FIN_INFRA_CURRENCIES."""

    instruments: list[str] | None = None


@job("sync_fx_rates", RatesOrder, dataset=FxRates)
async def sync_fx_rates(order: RatesOrder, ctx: Context) -> SyncReport:
    """Bring rates of currencies up to the last day that the provider has published."""
    return await ctx.sync(FxRates, order.connection, instruments=order.instruments)
