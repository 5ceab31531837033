"""What a vendor's own id was said to mean takes its place; what nobody said so far is a finding."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import date

import polars as pl

from fin_infra.datasets.activities import Activities
from fin_infra.datasets.base import Dataset
from fin_infra.datasets.holdings import Holdings
from fin_infra.datasets.instruments import Instruments
from fin_infra.engine.reconcile import Doubt
from fin_infra.engine.run import Run
from fin_infra.instruments.aliases import SymbolAlias, alias_of
from fin_infra.instruments.identifiers import fault_of
from fin_infra.store import Store

WHEN = {Activities: "traded_on"}
"""The column by whose day an alias is looked up; of everything else it is the day of the run."""
SUMS = ("quantity", "market_value", "cost_basis")


def named(frame: pl.DataFrame, schema: type[Dataset], run: Run, store: Store) -> pl.DataFrame:
    """The rows under the keys that are known by now.

    A vendor's own id (`plaid:…`) for which there is an alias becomes its key; of holdings that are then of one
    instrument the sum is kept, of descriptions the first. Identifiers with a wrong check digit become null.
    """
    if schema is Instruments:
        frame = _checked(frame, run)
    if schema not in (Holdings, Activities, Instruments) or frame.is_empty():
        return frame
    own = f"{run.connection.provider}:"
    today = run.started_at.date()
    if not frame["instrument"].str.starts_with(own).any():
        return frame
    aliases = store.symbol_aliases(run.connection.provider)
    days = frame[WHEN[schema]] if schema in WHEN else pl.repeat(today, frame.height, eager=True)
    keys = [
        _key(name, day or today, own, aliases) for name, day in zip(frame["instrument"], days, strict=True)
    ]  # fmt: skip
    pairs = zip(frame["instrument"], keys, strict=True)
    run.resolved.update({name: key for name, key in pairs if name is not None and key is not None and name != key})
    if schema is not Instruments:
        _doubt(frame, schema, keys, own, run)
    frame = frame.with_columns(instrument=pl.Series(keys, dtype=pl.String))
    if frame.select(schema.key()).is_duplicated().any():
        frame = _summed(frame) if schema is Holdings else frame.unique(schema.key(), keep="first", maintain_order=True)
    return frame


def own_ids(run: Run, store: Store) -> dict[str, str]:
    """The vendor's own ids, as keys, for which there is an alias today."""
    aliases, today = store.symbol_aliases(run.connection.provider), run.started_at.date()
    return {f"{alias.provider}:{alias.symbol}": alias.instrument for alias in aliases if alias.holds(today)}


def own_ids_resolved(names: Iterable[str], run: Run, store: Store) -> list[str]:
    """What is held or was ever held, under the newest key: what an alias says of any vendor's own id."""
    names, today = list(names), run.started_at.date()
    said = {f"{a.provider}:{a.symbol}": a.instrument for a in store.symbol_aliases() if a.holds(today)}
    return [said.get(name, name) for name in names]


def _key(name: str | None, day: date, own: str, aliases: list[SymbolAlias]) -> str | None:
    if name is None or not name.startswith(own):
        return name
    return alias_of(aliases, name.removeprefix(own), day) or name


def _doubt(frame: pl.DataFrame, schema: type[Dataset], keys: list[str | None], own: str, run: Run) -> None:
    dataset, provider = schema.dataset_name(), run.connection.provider
    open_ones = {
        (account, key) for account, key in zip(frame["account_id"], keys, strict=True) if key and key.startswith(own)
    }
    for account, key in sorted(open_ones):
        symbol = key.removeprefix(own)
        detail = (
            f"{key} is no instrument that we know, and is kept under the vendor's own id; "
            f"say what it is: fin-infra instruments alias {provider} {symbol} KEY --reason TEXT"
        )
        run.doubts.append((dataset, Doubt("unresolved_instrument", f"{account} {key}", detail)))


def _summed(frame: pl.DataFrame) -> pl.DataFrame:
    """Positions of one account in one instrument as one: sums, null where a part is; a price where all agree."""
    key = Holdings.key()
    whole = [pl.when(pl.col(name).null_count() == 0).then(pl.col(name).sum()).alias(name) for name in SUMS]
    price = pl.when(pl.col("price").n_unique() == 1).then(pl.col("price").first()).alias("price")
    rest = [pl.col(name).first() for name in frame.columns if name not in (*key, *SUMS, "price")]
    one = frame.group_by(key, maintain_order=True).agg(*whole, price, *rest)
    return one.select(pl.col(name).cast(dtype) for name, dtype in frame.schema.items())


def _checked(frame: pl.DataFrame, run: Run) -> pl.DataFrame:
    """Identifiers that are none become null, each with a finding: a wrong digit is never put right."""
    for scheme in ("isin", "cusip", "figi"):
        wrong = {
            (key, text): fault
            for key, text in frame.select("instrument", scheme).drop_nulls().iter_rows()
            if (fault := fault_of(scheme, text)) is not None
        }
        if wrong:
            texts = sorted({text for _, text in wrong})
            frame = frame.with_columns(pl.when(~pl.col(scheme).is_in(texts)).then(pl.col(scheme)).alias(scheme))
            for (key, text), fault in sorted(wrong.items()):
                detail = f"the vendor's {scheme} {text!r} {fault}; it is not stored"
                run.doubts.append(("instruments", Doubt("wrong_identifier", key, detail)))
    return frame
