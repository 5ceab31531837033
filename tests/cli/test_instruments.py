"""Symbols are text end to end, and misuse is one sentence."""

from __future__ import annotations

import json

import pytest

from tests.cli.conftest import Cli


@pytest.mark.parametrize(
    ("key", "vendor", "symbol"),
    [
        ("us:BRK.B", "yahoo", "BRK-B"), ("us:TRUE", "alpaca", "TRUE"), ("us:NAN", "yahoo", "NAN"),
        ("us:ON", "snaptrade", "ON"), ("us:MAR", "plaid", "MAR"), ("xhkg:00005", "yahoo", "0005.HK"),
        ("xlon:TSCO", "alphavantage", "TSCO.LON"), ("crypto:bitcoin", "kraken", "XXBT"), ("fx:USDJPY", "yahoo", "JPY=X"),
    ],
)  # fmt: skip
def test_there_and_back(cli: Cli, key: str, vendor: str, symbol: str) -> None:
    assert cli("instruments", "convert", key, "--to", vendor).out == f"{symbol}\n"
    context = ("--context", "mic=XNAS") if vendor == "plaid" else ()
    assert cli("instruments", "parse", vendor, symbol, *context).out == f"{key}\n"


def test_for_machines_numbers_that_are_text_stay_text(cli: Cli) -> None:
    told = json.loads(cli("instruments", "convert", "xhkg:00700", "--to", "ibkr", "--json").out)
    assert told == {
        "instrument": "xhkg:00700", "vendor": "ibkr", "symbol": "700", "currency": "HKD", "quote_unit": "major",
    }  # fmt: skip
    told = json.loads(cli("instruments", "parse", "yahoo", "VOD.L", "--context", "currency=USD", "--json").out)
    assert (told["instrument"], told["currency"], told["quote_unit"]) == ("xlon:VOD", "USD", "major")


@pytest.mark.parametrize(
    ("arguments", "code", "sentence"),
    [
        (("convert", "AAPL", "--to", "yahoo"), 2, "'AAPL' is no instrument; write namespace:symbol"),
        (("convert", "us:AAPL", "--to", "yaho"), 2, "no spelling of instruments is known for 'yaho' (did you mean yahoo?)"),
        (("convert", "isin:US0378331004", "--to", "isin"), 2, "has a wrong check digit"),
        (("convert", "crypto:no-such-coin", "--to", "yahoo"), 1, "yahoo has no spelling of crypto:no-such-coin"),
        (("parse", "yahoo", "000002.SS"), 1, "is no instrument that we know"),
        (("parse", "yahoo", "CRH.L", "--context", "mic=XNYS"), 1, "is xlon:CRH by its spelling but its venue is said to be"),
        (("parse", "yahoo", "BTC-USD", "--context", "kind=equity"), 1, "said to be of kind equity"),
        (("parse", "yahoo", "X", "--context", "venue=XNYS"), 2, "no context venue; there are: mic, kind, currency"),
        (("parse", "yahoo", "X", "--context", "XNYS"), 2, "--context 'XNYS' is no pair"),
        (("alias", "plaid", "a", "plaid:b", "--reason", "x"), 2, "is plaid's own id and says nothing more"),
        (("alias", "plaid", "a", "us:AAPL", "--reason", " "), 2, "must not be blank"),
        (("alias", "nobody", "a", "us:AAPL", "--reason", "x"), 2, "no vendor 'nobody'"),
        (("alias", "plaid", "a", "us:AAPL", "--reason", "x", "--from", "2026-02-01", "--to", "2026-02-01"), 2, "is not after"),
    ],
)  # fmt: skip
def test_misuse_is_one_sentence(cli: Cli, arguments: tuple[str, ...], code: int, sentence: str) -> None:
    said = cli("instruments", *arguments)
    assert (said.code, sentence in said.error) == (code, True), said.err


def test_an_alias_is_said_listed_and_used(cli: Cli) -> None:
    alias = (
        "instruments",
        "alias",
        "plaid",
        "plaid:0005",
        "xhkg:00005",
        "--reason",
        "its name",
        "--from",
        "2026-01-01",
    )
    assert cli(*alias).code == 0
    assert json.loads(cli("instruments", "aliases", "--json").out) == [
        {"provider": "plaid", "symbol": "0005", "instrument": "xhkg:00005", "reason": "its name",
         "valid_from": "2026-01-01", "valid_to": None}
    ]  # fmt: skip
    assert cli("instruments", "parse", "plaid", "0005", "--at", "2026-02-01").out == "xhkg:00005\n"
    assert cli("instruments", "parse", "plaid", "0005", "--at", "2025-12-31").code == 1


@pytest.mark.parametrize("key", ["us:TRUE", "us:NAN", "us:ON", "us:MAR", "xhkg:00005"])
def test_a_watchlist_and_what_is_read_keep_symbols_as_text(
    cli: Cli, linked: str, key: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    from datetime import UTC, datetime

    import polars as pl

    from fin_infra.datasets.instruments import Instruments
    from fin_infra.settings import Settings
    from fin_infra.store import Change, open_store
    from fin_infra.store.base import Batch, Cursor, Stream

    monkeypatch.setenv("FIN_INFRA_WATCHLIST", f"us:SPY,{key}")
    assert Settings.load().watched == ["us:SPY", key]
    at = datetime(2026, 11, 24, tzinfo=UTC)
    built = Instruments.build(
        {"instrument": [key]}, {"provider": "x", "fetched_at": at, "run_id": "r", "quote_unit": "major"}
    )
    assert not built.rejects
    store = open_store(Settings.load().store_url)
    batch = Batch([Change(Instruments, built.good)])
    store.apply(batch, stream=Stream(linked, "instruments"), run_id="r", expect=Cursor(), next="{}")
    store.close()
    csv = cli("read", "instruments", "--format", "csv").out.splitlines()
    assert csv[1].startswith(f"{key},")
    assert json.loads(cli("read", "instruments", "--format", "ndjson").out)["instrument"] == key
    [row] = pl.read_csv("\n".join(csv).encode(), columns=["instrument"]).to_dicts()
    assert row["instrument"] == key
