"""Pairs and candles as the exchanges write them, and what is none."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import pytest

from fin_infra.engine.replaying import Recorded, replay
from fin_infra.errors import FinInfraError, WireError
from fin_infra.instruments.known import coins
from fin_infra.providers import declared, resolve
from fin_infra.providers.ccxt import symbols, wire
from fin_infra.providers.ccxt.frames import _plain
from tests.guards import guarded

AT = {"at": "2026-11-24T12:00:00Z", "instrument": "crypto:bitcoin", "interval": "1h"}


@pytest.mark.parametrize("to", [symbols.to_kraken, symbols.to_coinbase, symbols.to_binance])
def test_every_pair_leads_back_to_its_coin(to: Any) -> None:
    pairs = {f"crypto:{coin.id}": to(f"crypto:{coin.id}") for coin in coins()}
    wrong = {k: pair for k, pair in pairs.items() if pair and (symbols.pair_of(pair) or ("",))[0] != k}
    assert wrong == {}
    assert len([pair for pair in pairs.values() if pair]) > 70
    assert {to(key) for key in ("us:AAPL", "cash:USD", "crypto:no-such-coin", "")} == {None}


@pytest.mark.parametrize(
    ("pair", "meant"),
    [
        ("XXBTZUSD", ("crypto:bitcoin", "USD")), ("XBTUSD", ("crypto:bitcoin", "USD")),
        ("XBTUSDT", ("crypto:bitcoin", "USDT")), ("BTC-USDT", ("crypto:bitcoin", "USDT")),
        ("BTC/EUR", ("crypto:bitcoin", "EUR")), ("XDGUSD", ("crypto:dogecoin", "USD")),
        ("XETHXXBT", ("crypto:ethereum", "BTC")), ("USDTZUSD", ("crypto:tether", "USD")), ("NOSUCH", None),
    ],
)  # fmt: skip
def test_a_dollar_coin_is_no_dollar(pair: str, meant: tuple[str, str] | None) -> None:
    assert symbols.pair_of(pair) == meant


@guarded("Coinbase's low is taken for its open", "providers/ccxt/wire.py",
         "_rows(value, 6, (3, 2, 1, 4, 5), body)", "_rows(value, 6, (1, 2, 3, 4, 5), body)")  # fmt: skip
def test_coinbase_says_low_first_and_the_newest_first() -> None:
    found = wire.coinbase(b"[[1710331200,1,4,2,3,5.5],[1710327600,10,40,20,30,1.2e-7]]")
    assert [row.start for row in found.rows] == [1710327600, 1710331200]
    assert found.rows[1][1:] == ("2", "4", "1", "3", "5.5")
    assert _plain(found.rows[0].volume) == "0.00000012"


def test_noise_of_floats_is_kept_as_it_came() -> None:
    body = b"[[1710327600000,0.1,0.30000000000000004,0.1,0.2,2697616.0709080002]]"
    found = replay(resolve("crypto:ccxt"), "intraday_prices", [Recorded(body)], AT)
    assert found.good.select("high", "volume").row(0) == (
        Decimal("0.30000000000000004"), Decimal("2697616.0709080002"),
    )  # fmt: skip


@pytest.mark.parametrize(
    "body",
    [
        b"", b"<html>", b"{}", b'{"error":[],"result":{"last":"1706796000"}}', b"[[1710327600,1,2]]",
        b'{"error":[],"result":{"XXBTZUSD":[[1706796000,"1","1","1","1","1","1",1]]}}',  # no last
        b'{"error":[],"result":{"XXBTZUSD":[[1706792400,"1","1","1","1","1","1",1]],"last":"1706796000"}}',  # cut off
        b'{"error":["EWhat:Is this"],"result":{}}', b"[[1710327600,1,1,1,1,1],[1710327600,2,2,2,2,2]]",
        b"[[1710327600,1,1,1,1,1],[1710331200,2,2,2,2,2]]",  # oldest first
    ],
)  # fmt: skip
@pytest.mark.parametrize("name", ["ccxt.kraken", "ccxt.coinbase", "ccxt.binance"])
def test_what_is_no_list_of_candles_in_order_is_a_broken_contract(name: str, body: bytes) -> None:
    with pytest.raises(WireError):
        replay(declared(name), "intraday_prices", [Recorded(body)], AT)


@pytest.mark.parametrize(
    ("name", "status", "body", "code"),
    [
        ("kraken", 200, b'{"error":["EAPI:Rate limit exceeded"]}', "rate_limited"),
        ("kraken", 200, b'{"error":["EService:Unavailable"]}', "vendor_unavailable"),
        ("kraken", 200, b'{"error":["EGeneral:Temporary lockout"]}', "rate_limited"),
        ("kraken", 200, b'{"error":["EWhat:Is this"]}', "contract_broken"),
        ("coinbase", 404, b'{"message":"NotFound"}', "unknown_symbol"),
        ("coinbase", 429, b'{"message":"Public rate limit exceeded"}', "rate_limited"),
        ("binance", 400, b'{"code":-1121,"msg":"Invalid symbol."}', "unknown_symbol"),
        ("binance", 400, b'{"code":-1100,"msg":"Illegal characters"}', "bad_request"),
        ("binance", 451, b'{"code":0,"msg":"Service unavailable from a restricted location"}', "permission_denied"),
        ("binance", 418, b'{"code":-1003,"msg":"banned"}', "rate_limited"),
    ],
)
def test_refusals_have_their_codes(name: str, status: int, body: bytes, code: str) -> None:
    with pytest.raises(FinInfraError) as caught:
        replay(declared(f"ccxt.{name}"), "prices", [Recorded(body, status)], AT)
    assert caught.value.code == code


def test_an_interval_that_is_not_synced_is_said() -> None:
    with pytest.raises(FinInfraError, match="6h"):
        replay(declared("ccxt.kraken"), "intraday_prices", [Recorded(b"[]")], {**AT, "interval": "6h"})
