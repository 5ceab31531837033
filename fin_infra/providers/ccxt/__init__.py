"""Crypto exchanges: daily and intraday candles of Kraken, Coinbase Exchange and Binance, without a key.

They are spoken to directly: the library `ccxt` makes floats of their numbers and calls of its own. It is what tests
compare with; see docs/adr/0024-crypto-candles.md.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta

from fin_infra.datasets.intraday_prices import IntradayPrices
from fin_infra.datasets.prices import Prices
from fin_infra.providers.base import WHATEVER, Feed, Provider, Reach, Refusal, Series, Source, nobody
from fin_infra.providers.ccxt import client, frames, quota, symbols, wire
from fin_infra.quotas.declared import VendorQuota

LATE = timedelta(minutes=1)
"""After its end a candle is closed at once; a minute leaves room for clocks that differ and trades that come late."""
TERMS = ("Exchange market data is for your own use and may not be resold; read the exchange's market data terms.",)


def exchange(
    name: str, title: str, base_url: str, *, paging: client.Paging, ticker: Callable[[str], str | None],
    intervals: tuple[str, ...], reach: Reach, refusals: tuple[Refusal, ...], limits: VendorQuota,
    facts: tuple[str, ...],
) -> Provider:  # fmt: skip
    """The declaration of one exchange, `crypto:ccxt.<name>`: all of them have the same two series."""
    fetch, lags = client.candles(paging), {"24/7": LATE}
    return Provider(
        name=f"ccxt.{name}", title=title, base_url=base_url,
        domains={"crypto": ("prices", "intraday_prices")}, auth=nobody, secrets=(),
        refusal_word=wire.refusal_word, refusals=refusals,
        sources=(
            Source(
                kind="series", fetch=fetch, feeds=(Feed(Prices, wire.any_candles, frames.prices),),
                series=Series(ticker=ticker, lags=lags, reach=reach),
            ),
            Source(
                kind="series", fetch=fetch, feeds=(Feed(IntradayPrices, wire.any_candles, frames.intraday),),
                series=Series(ticker=ticker, lags=lags, reach=reach, intervals=intervals),
            ),
        ),
        quota=limits, attribution=f"Market data by {title}.", terms=TERMS, facts=facts,
    )  # fmt: skip


WAIT = "it is asked again after the wait"
OURS = "our request was malformed; look at the evidence in quarantine"
PAIR = "the exchange has no such pair; asked again in a week"
AGAIN = "it is tried again"

KRAKEN = exchange(
    "kraken", "Kraken", "https://api.kraken.com", paging=client.kraken, ticker=symbols.to_kraken,
    intervals=("1m", "5m", "15m", "1h", "4h"), limits=quota.KRAKEN,
    reach=Reach(rows=client.KRAKEN_ROWS, row_bytes=100, older=False),
    refusals=(
        Refusal(WHATEVER, "EAPI:Rate limit", "rate_limited", WAIT),
        Refusal(WHATEVER, "EGeneral:Too many requests", "rate_limited", WAIT),
        Refusal(WHATEVER, "EGeneral:Temporary lockout", "rate_limited", WAIT, wait=900.0),
        Refusal(WHATEVER, "EService:Throttled", "rate_limited", WAIT),
        Refusal(WHATEVER, "EQuery:Unknown asset pair", "unknown_symbol", PAIR),
        Refusal(WHATEVER, "EQuery:Invalid asset pair", "unknown_symbol", PAIR),
        Refusal(WHATEVER, "EService:", "vendor_unavailable", AGAIN, vendor_wide=True),
        Refusal(WHATEVER, "EGeneral:Internal error", "vendor_unavailable", AGAIN, vendor_wide=True),
        Refusal(WHATEVER, "EGeneral:Invalid arguments", "bad_request", OURS),
        Refusal(WHATEVER, "EGeneral:Permission denied", "permission_denied", "Kraken does not serve this place"),
    ),
    facts=(
        "Prices in US dollars. Only the newest 720 candles of an interval can be had: two years of days, half a day of "
        "minutes (read 2026-11-24).",
        "Every error is an answer with status 200.",
    ),
)  # fmt: skip
COINBASE = exchange(
    "coinbase", "Coinbase Exchange", "https://api.exchange.coinbase.com", paging=client.coinbase,
    ticker=symbols.to_coinbase, intervals=("1m", "5m", "15m", "1h", "6h"), limits=quota.COINBASE,
    reach=Reach(days=client.COINBASE_ROWS, row_bytes=60),
    refusals=(
        Refusal(429, "", "rate_limited", WAIT),
        Refusal(404, "", "unknown_symbol", PAIR),
        Refusal(400, "", "bad_request", OURS),
        Refusal(403, "", "permission_denied", "Coinbase does not serve this place"),
    ),
    facts=(
        "Prices in US dollars. Candles of 1, 5 and 15 minutes, 1 and 6 hours, and days; none of 4 hours "
        "(read 2026-11-24).",
        "A minute without a trade has no candle.",
    ),
)  # fmt: skip
BINANCE = exchange(
    "binance", "Binance", "https://api.binance.com", paging=client.binance, ticker=symbols.to_binance,
    intervals=("1m", "5m", "15m", "1h", "4h"), limits=quota.BINANCE,
    reach=Reach(days=client.BINANCE_ROWS, row_bytes=160),
    refusals=(
        Refusal(429, "", "rate_limited", WAIT),
        Refusal(418, "", "rate_limited", "the address is banned for a while; " + WAIT, wait=300.0),
        Refusal(403, "", "rate_limited", "a firewall refuses the address; " + WAIT, wait=300.0),
        Refusal(451, "", "permission_denied", "Binance does not serve this place; use another exchange"),
        Refusal(400, "-1121", "unknown_symbol", PAIR),
        Refusal(400, "", "bad_request", OURS),
    ),
    facts=(
        "Prices in USDT, a coin that is near to a dollar and is none (read 2026-11-24).",
        "Not served in some countries, the United States among them: status 451.",
    ),
)  # fmt: skip
