from fin_infra.datasets.identity_sessions import IdentitySessions
from fin_infra.engine import Context, Order, SyncReport, job


@job("sync_identity_sessions", Order, dataset=IdentitySessions)
async def sync_identity_sessions(order: Order, ctx: Context) -> SyncReport:
    """List new sessions, and read those that are open again: a list does not show what changed."""
    return await ctx.sync(IdentitySessions, order.connection)
