from fin_infra.datasets.prices import Prices
from fin_infra.engine import Context, Order, SyncReport, job


class BackfillOrder(Order):
    """Which backfill, and the connection it asks through."""

    backfill: str


@job("backfill_chunk", BackfillOrder, dataset=Prices)
async def backfill_chunk(order: BackfillOrder, ctx: Context) -> SyncReport:
    """Bring one chunk of older rows; `fin-infra backfill` queues it, no schedule does."""
    return await ctx.backfill(order.backfill)
