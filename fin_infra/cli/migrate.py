from __future__ import annotations


def migrate() -> None:
    """Bring the tables of store, queue and quota ledger up to this version. PostgreSQL changes by this command alone.

    Example: fin-infra migrate
    """
    from fin_infra.cli.output import put
    from fin_infra.runtime.queue import migrate_queue
    from fin_infra.settings import Settings
    from fin_infra.store.ledger import migrate_ledger
    from fin_infra.store.opening import migrate
    from fin_infra.store.sql import shown

    settings = Settings.load()
    before, after = migrate(settings.store_url)
    done = "is up to date" if before == after else f"went from schema {before}" if before else "was made"
    put(f"store: {shown(settings.store_url)} {done}, schema {after}")
    queue_url = settings.effective_queue_url
    put(f"queue: {shown(queue_url)} {'was made' if migrate_queue(queue_url) else 'is up to date'}")
    quota_url = settings.effective_quota_url
    put(f"quotas: {shown(quota_url)} {'was made' if migrate_ledger(quota_url) else 'is up to date'}")
