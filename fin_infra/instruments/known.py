"""What only a table can know: tickers of coins, codes of indices, identifiers of well-known shares."""

from __future__ import annotations

import csv
from functools import cache
from importlib.resources import files
from typing import NamedTuple


class Coin(NamedTuple):
    """`id`: CoinGecko's. The others are spellings of it, "" where it has none, or none that we know."""

    id: str
    symbol: str
    name: str
    yahoo: str
    kraken: str
    caip19: str
    source: str


@cache
def coins() -> tuple[Coin, ...]:
    """The coins whose ticker is not in doubt: a ticker alone names several coins, so only this table decides."""
    return tuple(Coin(**row) for row in rows("coins.csv"))


def ticker_of(coin: str, column: str = "symbol") -> str | None:
    """The spelling of a coin by its id: its ticker, or another column of the table."""
    return _tickers(column)[0].get(coin)


def coin_of(ticker: str, column: str = "symbol") -> str | None:
    """The id of the coin that is spelled so; None for one that is not in the table."""
    return _tickers(column)[1].get(ticker)


def spelled(key: str, notation: str) -> str | None:
    """A spelling of `known.csv`."""
    return _known()[0].get((key, notation))


def meant(notation: str, symbol: str) -> str | None:
    """The key that a spelling of `known.csv` means."""
    return _known()[1].get((notation, symbol))


@cache
def _tickers(column: str) -> tuple[dict[str, str], dict[str, str]]:
    pairs = [(coin.id, ticker) for coin in coins() if (ticker := getattr(coin, column))]
    return dict(pairs), {ticker: coin for coin, ticker in pairs}


@cache
def _known() -> tuple[dict[tuple[str, str], str], dict[tuple[str, str], str]]:
    found = rows("known.csv")
    return (
        {(row["instrument"], row["notation"]): row["symbol"] for row in found},
        {(row["notation"], row["symbol"]): row["instrument"] for row in found},
    )


def rows(name: str) -> list[dict[str, str]]:
    """The rows of a table that is shipped, every cell as text."""
    text = files("fin_infra.instruments").joinpath(name).read_text(encoding="utf-8")
    return list(csv.DictReader(text.splitlines()))
