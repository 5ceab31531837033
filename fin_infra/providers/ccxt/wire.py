"""Candles of three exchanges in one form, numbers as the text that came. Facts: their public REST descriptions.

Kraken: https://docs.kraken.com/api/docs/rest-api/get-ohlc-data, Coinbase Exchange:
https://docs.cdp.coinbase.com/exchange/reference/exchangerestapi_getproductcandles, Binance:
https://developers.binance.com/docs/binance-spot-api-docs/rest-api/market-data-endpoints. Read in November 2026.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple, NoReturn

from fin_infra.errors import WireError
from fin_infra.providers.base import exact_json


class Candle(NamedTuple):
    """One candle. `start`: when it opens, in seconds since 1970; all else is text as it came."""

    start: int
    open: str | None
    high: str | None
    low: str | None
    close: str | None
    volume: str | None


@dataclass(frozen=True)
class Candles:
    """Candles of one answer, oldest first. `pair`: as the answer, or who asked for it, spells it; None: nobody says.

    `at`: of a ticker, which is no candle, the vendor's own time of its price, None where it states none.
    """

    pair: str | None
    rows: Sequence[Candle] = ()
    ticker: bool = False
    at: str | None = None
    stamps: tuple[int, ...] = field(default=(), repr=False)
    """Of all rows of the answer, also those that were left out since."""


MILLISECONDS = 10**11  # a stamp above it is in milliseconds: in seconds it would be of the year 5138
_STAMP = re.compile(r"[0-9]{9,13}")


def kraken(body: bytes) -> Candles:
    """`{"error": [], "result": {PAIR: [[sec, "o", "h", "l", "c", "vwap", "volume", count], …], "last": "sec"}}`.

    `last` is the newest candle that is closed: an answer that ends before it is not whole.
    """
    value = exact_json(body)
    if not isinstance(value, dict) or value.get("error") != [] or not isinstance(value.get("result"), dict):
        _broken(body, "no `result`, or an error that is not documented")
    pairs = [name for name in value["result"] if name != "last"]
    if len(pairs) != 1:
        _broken(body, "not one pair in `result`")
    rows, last = value["result"][pairs[0]], value["result"].get("last")
    if isinstance(rows, dict):
        return _kraken_ticker(pairs[0], rows, body)
    found = _rows(rows, 8, (1, 2, 3, 4, 6), body)
    if not isinstance(last, str) or not _STAMP.fullmatch(last):
        _broken(body, "no `last`")
    if int(last) > (found[-1].start if found else 0) and found:
        _broken(body, "candles that end before the answer says they do: it is cut off")
    return _ordered(pairs[0], found, body)


def coinbase(body: bytes) -> Candles:
    """`[[sec, LOW, HIGH, OPEN, CLOSE, volume], …]`, newest first."""
    value = exact_json(body)
    if isinstance(value, dict) and {"price", "time"} <= value.keys():
        row = Candle(0, None, None, None, _text(value["price"]), None)
        return Candles(None, [row], ticker=True, at=_text(value["time"]))
    return _ordered(None, _rows(value, 6, (3, 2, 1, 4, 5), body)[::-1], body)


def binance(body: bytes) -> Candles:
    """`[[ms, "o", "h", "l", "c", "volume", close ms, …six more], …]`, oldest first."""
    return _ordered(None, _rows(exact_json(body), 12, (1, 2, 3, 4, 5), body), body)


def any_candles(body: bytes) -> Candles:
    """A recorded answer of any of the three, or what the library made of one: `[[ms, o, h, l, c, volume], …]`."""
    value = exact_json(body)
    if isinstance(value, list) and value and isinstance(value[0], list):
        if len(value[0]) == 12:
            return binance(body)
        if len(value[0]) == 6 and _STAMP.fullmatch(str(value[0][0])) and int(value[0][0]) > MILLISECONDS:
            return _ordered(None, _rows(value, 6, (1, 2, 3, 4, 5), body), body)
    return kraken(body) if isinstance(value, dict) and "result" in value else coinbase(body)


def refusal_word(body: bytes) -> str | None:
    """Kraken's first error, Coinbase's message, Binance's code; None of a good answer."""
    try:
        value = exact_json(body)
    except WireError:
        return None
    if not isinstance(value, dict):
        return None
    errors = value.get("error")
    if isinstance(errors, list) and errors:
        return str(errors[0])
    found = value.get("code", value.get("message"))
    return found if isinstance(found, str) and found else None


def _kraken_ticker(pair: str, value: dict[str, Any], body: bytes) -> Candles:
    """Of the running UTC day: first, highest, lowest and last price. Which day that is it does not say."""
    try:
        row = Candle(0, _text(value["o"]), _text(value["h"][0]), _text(value["l"][0]), _text(value["c"][0]),
                     _text(value["v"][0]))  # fmt: skip
    except (KeyError, IndexError, TypeError):
        _broken(body, "a ticker without its fields")
    return Candles(pair, [row], ticker=True)


def _rows(value: Any, width: int, places: tuple[int, ...], body: bytes) -> list[Candle]:
    if not isinstance(value, list):
        _broken(body, "no list of candles")
    rows = []
    for row in value:
        if not isinstance(row, list) or len(row) != width or not _STAMP.fullmatch(str(row[0])):
            _broken(body, f"a candle that has no {width} columns, or no stamp")
        stamp = int(row[0])
        start, rest = divmod(stamp, 1000) if stamp > MILLISECONDS else (stamp, 0)
        if rest:
            _broken(body, "a candle that begins between two seconds")
        rows.append(Candle(start, *(_text(row[place]) for place in places)))
    return rows


def _ordered(pair: str | None, rows: list[Candle], body: bytes) -> Candles:
    """Held to one candle per stamp, in order: what is not cannot be paged through."""
    stamps = tuple(row.start for row in rows)
    if any(later <= earlier for earlier, later in itertools.pairwise(stamps)):
        _broken(body, "candles that are not in order, or twice the same")
    return Candles(pair, rows, stamps=stamps)


def _text(value: Any) -> str | None:
    return value if isinstance(value, str) else None


def _broken(body: bytes, what: str) -> NoReturn:
    raise WireError(f"an answer without its documented shape: {what}", evidence=body)
