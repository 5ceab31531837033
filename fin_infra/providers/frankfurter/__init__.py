"""Frankfurter: the ECB's reference rates as JSON, hosted by volunteers or by yourself. API version 1, no key."""

from __future__ import annotations

from datetime import timedelta

from fin_infra.datasets.fx_rates import FxRates
from fin_infra.providers.base import Feed, Provider, Reach, Refusal, Series, Source, nobody
from fin_infra.providers.frankfurter import client, frames, symbols, wire
from fin_infra.providers.frankfurter.quota import QUOTA

PROVIDER = Provider(
    name="frankfurter",
    title="Frankfurter",
    base_url="https://api.frankfurter.dev",
    domains={"fx": ("fx_rates",)},
    auth=nobody,
    secrets=(),
    refusal_word=wire.refusal_word,
    refusals=(
        Refusal(404, "", "not_found", "frankfurter has nothing for these days; the rates held are kept"),
        Refusal(422, "", "bad_request", "our request was malformed; look at the evidence in quarantine"),
        Refusal(429, "", "rate_limited", "it is asked again after the wait"),
    ),
    sources=(
        Source(
            kind="series",
            fetch=client.rates,
            feeds=(Feed(FxRates, wire.rates, frames.rates),),
            # the ECB publishes at about 16:00 in Frankfurt, TARGET closes at 18:00
            series=Series(
                ticker=symbols.to_frankfurter, calendar=symbols.calendar,
                lags={"TARGET": timedelta(hours=-1, minutes=-30)},
                reach=Reach(at_once=None, days=client.AT_ONCE.days + 1, row_bytes=14),
            ),
        ),
    ),
    quota=QUOTA,
    attribution="Data by Frankfurter (frankfurter.dev), from the European Central Bank.",
    terms=("Fair use of the public host; it can be hosted by oneself (MIT).",),
    facts=(
        "The ECB's rates, a few minutes later than there; of another provider, so another series (read 2026-11-24).",
        "No quota is published; fair use. It can be hosted by yourself: set FIN_INFRA_FRANKFURTER_BASE_URL.",
        "Version 2 blends several central banks and is not used.",
    ),
)  # fmt: skip
