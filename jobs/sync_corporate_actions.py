from fin_infra.datasets.corporate_actions import CorporateActions
from fin_infra.engine import Context, Order, SyncReport, job


class CorporateActionsOrder(Order):
    """Which connection, and which instruments; none named: the watchlist and all that were ever held."""

    instruments: list[str] | None = None


@job("sync_corporate_actions", CorporateActionsOrder, dataset=CorporateActions)
async def sync_corporate_actions(order: CorporateActionsOrder, ctx: Context) -> SyncReport:
    """Read splits, dividends, symbol changes and delistings of each instrument, past and announced."""
    return await ctx.sync(CorporateActions, order.connection, instruments=order.instruments)
