"""Yahoo Finance: charts without a key, unofficial and undocumented: a fallback that is off unless it is asked for."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta

from fin_infra.calendars import calendar_names
from fin_infra.datasets.corporate_actions import CorporateActions
from fin_infra.datasets.instruments import Instruments
from fin_infra.datasets.intraday_prices import IntradayPrices
from fin_infra.datasets.prices import Prices
from fin_infra.datasets.quotes import Quotes
from fin_infra.providers.base import WHATEVER, Feed, Field, Provider, Reach, Refusal, Series, Source, nobody
from fin_infra.providers.yahoo import client, frames, symbols, wire
from fin_infra.providers.yahoo.quota import QUOTA

USER_AGENT = "Mozilla/5.0 (compatible; fin_infra)"
"""Who we are, in the form that Yahoo reads: a client that names itself otherwise is refused."""


def named(fields: Mapping[str, str]) -> Mapping[str, str]:
    """The application's own name, where it has set one."""
    return {"User-Agent": fields["user_agent"]} if fields.get("user_agent") else {}


WAIT = "nobody here asks it until then: it refuses an address, not a symbol"
EMPTY = "yahoo has nothing under this symbol: misspelled, delisted, or another one by now; the others go on"

PROVIDER = Provider(
    name="yahoo",
    title="Yahoo Finance",
    base_url="https://query1.finance.yahoo.com",
    domains={"market": ("prices", "intraday_prices", "quotes", "corporate_actions", "instruments")},
    auth=nobody,
    secrets=(),
    app_fields=(Field("user_agent", "the User-Agent header, instead of ours", required=False),),
    headers={"User-Agent": USER_AGENT},
    app_headers=named,
    refusal_word=wire.refusal_word,
    refusals=(
        Refusal(WHATEVER, wire.NO_SUCH, "unknown_symbol", EMPTY),
        Refusal(400, "", "bad_request", "our request was malformed; look at the evidence in quarantine"),
        Refusal(400, "Bad Request: Data doesn't exist", "not_found", "it has no bars of these days; those held stay"),
        Refusal(
            401, "", "auth_invalid", "it wants a cookie and a crumb here, which are not sent: charts need none",
            application=True,
        ),
        Refusal(403, "", "permission_denied", "it refuses this client: set FIN_INFRA_YAHOO_USER_AGENT, or do without"),
        Refusal(404, "", "unknown_symbol", EMPTY),
        Refusal(422, "", "bad_request", "a span or an interval that it does not serve; look at the evidence"),
        Refusal(429, "", "rate_limited", WAIT, wait=client.PAUSE),
        Refusal(999, "", "rate_limited", WAIT, wait=client.PAUSE),
    ),
    sources=(
        Source(
            kind="series",
            fetch=client.prices,
            feeds=(Feed(Prices, wire.daily, frames.prices),),
            series=Series(
                ticker=symbols.priced, basis="split_adjusted", reach=Reach(row_bytes=120),
                # quotes are up to 20 minutes late, and the last bar of a day is "now" until the day is over
                lags=dict.fromkeys(calendar_names(), timedelta(minutes=30)),
            ),
        ),
        Source(
            kind="series",
            fetch=client.intraday_prices,
            feeds=(Feed(IntradayPrices, wire.intraday, frames.intraday_prices),),
            series=Series(
                ticker=symbols.priced, basis="split_adjusted", intervals=("5m", "15m", "1h"),
                reach=Reach(older=False), lags=dict.fromkeys(calendar_names(), timedelta(minutes=30)),
            ),
        ),
        Source(
            kind="snapshot",
            fetch=client.quotes,
            feeds=(Feed(Quotes, wire.charts, frames.quotes),),
            series=Series(ticker=symbols.priced),
        ),
        Source(
            kind="snapshot",
            fetch=client.corporate_actions,
            feeds=(Feed(CorporateActions, wire.acted, frames.corporate_actions),),
            series=Series(ticker=symbols.acting),
        ),
        Source(
            kind="snapshot",
            fetch=client.instruments,
            feeds=(Feed(Instruments, wire.charts, frames.instruments),),
            series=Series(ticker=symbols.priced),
        ),
    ),
    quota=QUOTA,
    attribution="Data by Yahoo Finance (finance.yahoo.com).",
    facts=(
        "Unofficial: no contract, no key, no documentation; all that is known was observed (read 2026-11-24).",
        "Prices are adjusted for splits, not for dividends: basis split_adjusted; they are float32, and rounded back.",
        "Errors in the data are common: bars in the wrong unit are set aside, a split that is missing is a finding.",
        "A refusal is a plain text, holds for the whole address, and lasts minutes to hours.",
    ),
    terms=(
        "Yahoo's terms allow personal use only: no redistribution, and no automated access in bulk.",
        "Nothing is promised: it may change or end any day. Use it where no other vendor has a price.",
    ),
    opt_in=True,
)  # fmt: skip
