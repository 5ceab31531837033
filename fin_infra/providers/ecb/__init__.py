"""The European Central Bank: reference rates of the euro, once a working day. No key."""

from __future__ import annotations

from datetime import timedelta

from fin_infra.datasets.fx_rates import FxRates
from fin_infra.providers.base import Feed, Provider, Reach, Refusal, Series, Source, nobody
from fin_infra.providers.ecb import client, frames, symbols, wire
from fin_infra.providers.ecb.quota import QUOTA

PROVIDER = Provider(
    name="ecb",
    title="European Central Bank",
    base_url="https://www.ecb.europa.eu",
    domains={"fx": ("fx_rates",)},
    auth=nobody,
    secrets=(),
    refusal_word=wire.refusal_word,
    refusals=(
        Refusal(404, "", "not_found", "the file is not where it was; its rates are kept"),
        Refusal(429, "", "rate_limited", "it is asked again after the wait"),
    ),
    sources=(
        Source(
            kind="series",
            fetch=client.rates,
            feeds=(Feed(FxRates, wire.rates, frames.rates),),
            # published at about 16:00 in Frankfurt, before TARGET closes at 18:00
            series=Series(
                ticker=symbols.to_ecb,
                calendar=symbols.calendar,
                lags={"TARGET": timedelta(hours=-1, minutes=-45)},
                reach=Reach(at_once=None, row_bytes=40),
            ),
        ),
    ),
    quota=QUOTA,
    attribution="Source: European Central Bank (ecb.europa.eu).",
    terms=("Reference rates are for information, not for transactions.",),
    facts=(
        "One rate per TARGET working day, published at about 16:00 in Frankfurt; not meant for transactions.",
        "Units of a currency per euro, 4 to 6 significant digits, which cross rates inherit.",
        "Currencies come and go: no rouble since 2022-03-01, no kuna since 2023, no lev since 2026.",
    ),
)
