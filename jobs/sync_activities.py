from fin_infra.datasets.activities import Activities
from fin_infra.engine import Context, Order, SyncReport, job


class ActivitiesOrder(Order):
    """Which connection."""


@job("sync_activities", ActivitiesOrder, dataset=Activities)
async def sync_activities(order: ActivitiesOrder, ctx: Context) -> SyncReport:
    """Bring trades, dividends, fees and transfers of all open investment accounts up to date."""
    return await ctx.sync(Activities, order.connection)
