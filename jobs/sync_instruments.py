from fin_infra.datasets.instruments import Instruments
from fin_infra.engine import Context, Order, SyncReport, job


class InstrumentsOrder(Order):
    """Which connection, and which instruments; none named: the watchlist and all that were ever held."""

    instruments: list[str] | None = None


@job("sync_instruments", InstrumentsOrder, dataset=Instruments)
async def sync_instruments(order: InstrumentsOrder, ctx: Context) -> SyncReport:
    """Ask what the instruments are: name, kind, listing."""
    return await ctx.sync(Instruments, order.connection, instruments=order.instruments)
