"""One line from nothing to rows: `await fin_infra.easy_market().get("prices", instruments=["us:AAPL"])`.

Built on `resolve`, a store and the engine, with all that a worker has: quotas, checks, history. What it links is a
connection like any other, of the tenant `easy`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import date
from typing import TYPE_CHECKING, Any

from fin_infra.connections import Connection
from fin_infra.errors import UsageError, error_of
from fin_infra.providers import resolve
from fin_infra.reader import read
from fin_infra.runtime import Runtime
from fin_infra.settings import Settings

if TYPE_CHECKING:
    import polars as pl

    from fin_infra.providers.base import Provider

TENANT = "easy"


class Easy:
    """One vendor with one credential. `get` syncs a dataset and gives its rows."""

    def __init__(self, provider: Provider, secrets: Mapping[str, str], settings: Settings) -> None:
        self.provider = provider
        self._secrets = dict(secrets)
        self._settings = settings

    def __repr__(self) -> str:
        return f"Easy({self.provider.name})"

    async def get(
        self, dataset: str, *, instruments: Sequence[str] | None = None, since: date | None = None,
        until: date | None = None,
    ) -> pl.DataFrame:  # fmt: skip
        """Brings the dataset up to date and gives the rows of it that are this vendor's, in key order.

        `instruments`: InstrumentKeys, for prices and what else is asked for by instrument. Raises `UsageError` for a
        dataset that the vendor does not have, and where not all of it came the error of its code: never a short list.
        """
        if self.provider.source(dataset) is None:
            raise UsageError(f"{self.provider.name} has no {dataset}; it has: {', '.join(self.provider.datasets)}")
        async with Runtime(self._settings) as runtime:
            connection = self._linked(runtime)
            report = await runtime.engine.sync(dataset, connection.connection_id, instruments=instruments)
            if report.outcome != "ok":
                raise error_of(
                    report.error_code or "not_ready",
                    f"{dataset} of {self.provider.name} did not come whole: {report.sentence()}",
                    retry_after=report.follow_up.after,
                )
            whose: dict[str, Any] = (
                {"tenant": TENANT, "connection": connection.connection_id} if _of_a_tenant(dataset) else {}
            )
            asked: dict[str, Any] = {"instruments": instruments} if instruments is not None else {}
            if dataset == "prices":
                asked["all_providers"] = True
            rows = read(dataset, since=since, until=until, store=runtime.store, **whose, **asked)
            return _only(rows, self.provider.name).collect()

    def _linked(self, runtime: Runtime) -> Connection:
        """The connection of this credential, linked on first use."""
        key = self.provider.quota_key(self._secrets)
        for one in runtime.connections.all(provider=self.provider.name, tenant=TENANT):
            if one.state != "disabled" and one.quota_key == key and runtime.connections.secrets(one) == self._secrets:
                return one
        return runtime.connections.add(self.provider, self._secrets, tenant=TENANT)


def _of_a_tenant(dataset: str) -> bool:
    from fin_infra.datasets import dataset as schema_of

    return "tenant_id" in schema_of(dataset).dtypes()


def _only(rows: pl.LazyFrame, provider: str) -> pl.LazyFrame:
    import polars as pl

    return rows.filter(pl.col("provider") == provider)


def easy(domain: str, provider: str | None = None, **secrets: str) -> Easy:
    """See `easy_banking` and the others: `domain` is which of them."""
    found = resolve(f"{domain}:{provider}" if provider else domain)
    settings = Settings.load()
    names = [field.name for field in found.secrets]
    given = {**settings.vendor(found.name).secrets(names), **secrets}
    missing = [field.name for field in found.secrets if field.required and field.name not in given]
    if missing:
        variables = " and ".join(map(settings.vendor(found.name).variable, missing))
        raise UsageError(f"{found.name} needs {', '.join(missing)}: give it here, or set {variables}")
    return Easy(found, given, settings)


def easy_banking(provider: str | None = None, **secrets: str) -> Easy:
    """A bank: accounts, balances, transactions. Default: the first banking vendor that is on.

    `secrets`: fields of the credential, else `FIN_INFRA_<VENDOR>_<FIELD>`. Raises `UsageError` that names what is
    missing.
    """
    return easy("banking", provider, **secrets)


def easy_market(provider: str | None = None, **secrets: str) -> Easy:
    """Market data: prices, quotes, corporate actions. As `easy_banking`."""
    return easy("market", provider, **secrets)


def easy_crypto(provider: str | None = None, **secrets: str) -> Easy:
    """Coins: prices and quotes. As `easy_banking`."""
    return easy("crypto", provider, **secrets)


def easy_brokerage(provider: str | None = None, **secrets: str) -> Easy:
    """A broker: accounts, holdings, activities. As `easy_banking`."""
    return easy("brokerage", provider, **secrets)
