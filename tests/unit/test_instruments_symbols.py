"""Keys ↔ spellings: every row of the reference collection, and what holds for all keys."""

from __future__ import annotations

import csv
from datetime import date
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fin_infra.errors import FinInfraError, OwnerActionError, UsageError
from fin_infra.instruments.aliases import Rename, renamed, resolve_key
from fin_infra.instruments.caip import caip19, checksummed
from fin_infra.instruments.identifiers import SCHEMES, fault_of, isin_of
from fin_infra.instruments.key import InstrumentKey, is_local
from fin_infra.instruments.known import coin_of, coins, rows
from fin_infra.instruments.symbols import from_vendor, kind_of, quote_at, spellings, to_vendor
from fin_infra.instruments.venues import CURRENCIES, EXCEPTIONS, quote_of, quoted_in
from fin_infra.providers import PROVIDERS
from fin_infra.providers.alpaca.symbols import COINS as ALPACA
from fin_infra.providers.plaid.symbols import COINS as PLAID
from tests.guards import guarded

PAIRED = ("ibkr", "plaid", "snaptrade")
"""Whose symbols mean something only with what is said beside them."""
TABLE = Path(__file__).parents[1] / "data/symbol_roundtrip.csv"
REFERENCE = list(csv.DictReader(TABLE.read_text(encoding="utf-8").splitlines()))


@pytest.mark.parametrize("row", REFERENCE, ids=lambda row: f"{row['instrument_key']} {row['vendor']}")
def test_a_row_of_the_reference(row: dict[str, str]) -> None:
    key, vendor, symbol = row["instrument_key"], row["vendor"], row["vendor_symbol"]
    if row["direction"] == "reject":
        with pytest.raises(FinInfraError):
            InstrumentKey.parse(key)
        with pytest.raises(FinInfraError):
            from_vendor(vendor, symbol)
        return
    if row["direction"] in ("both", "to_vendor"):
        assert to_vendor(key, vendor) == symbol
    if row["direction"] in ("both", "from_vendor"):
        assert str(from_vendor(vendor, symbol)) == key
    quote = quote_at(key, vendor)
    assert (row["quote_ccy"], row["quote_unit"]) == (("", "") if quote is None else (quote.currency, quote.unit))


def test_the_reference_is_whole() -> None:
    assert len(REFERENCE) == 165
    assert {row["direction"] for row in REFERENCE} <= {"both", "to_vendor", "from_vendor", "reject"}


# -- what holds for all keys ------------------------------------------------------------------------------------------

letters = st.text("ABCDEFGHIJKLMNOPQRSTUVWXYZ", min_size=1, max_size=5)
mics = st.sampled_from(sorted({*CURRENCIES, "xxxx"}))
listed = st.builds("{}:{}".format, mics, st.from_regex(r"[A-Z0-9]{1,6}(?:[.&-][A-Z0-9]{1,2})?", fullmatch=True))
lines = st.sampled_from(
    ["", ".A", ".B", ".U", ".P", ".W", ".R", ".WS", ".WS.A", ".RT", ".WI", ".PR", ".PRL", ".CL", ".PRA.X"]
)
any_key = st.one_of(
    st.builds("us:{}{}".format, letters, lines),
    listed,
    st.builds("xhkg:{:05d}".format, st.integers(1, 99_999)),
    st.builds("xtse:{}{}".format, letters, st.sampled_from(["", ".A", ".UN", ".U", ".PR.A", ".WT", ".WT.A", ".DB", ".DB.A", ".RT"])),
    st.builds("fx:{}{}".format, st.sampled_from(["USD", "EUR", "XAU"]), st.sampled_from(["JPY", "GBP", "CHF"])),
    st.sampled_from([f"crypto:{coin.id}" for coin in coins()]),
    st.sampled_from(sorted({row["instrument"] for row in rows("known.csv")})),
    st.builds("opt:{}:2026-01-16:{}:{}".format, letters, st.sampled_from("CP"), st.integers(1, 5000)),
    st.sampled_from(["fut:xcec:GC", "fut:xcme:ES:2026-12", "mf:VFIAX", "cash:USD", "isin:US0846707026", "figi:BBG000BLNNH6"]),
)  # fmt: skip
texts = st.one_of(
    st.text(max_size=16), st.text("ABC017.-=^/: _+#$%", max_size=12), letters,
    st.builds("{}{}".format, letters, st.sampled_from([".L", ".TO", "-P", "-U", "-UN", "-USD", "=X", "=F", ".HK", ".SS"])),
    st.builds("{:06d}{}".format, st.integers(0, 999_999), st.sampled_from([".SS", ".SZ", ".HK", "", ".KS"])),
)  # fmt: skip


@settings(deadline=None)
@given(any_key, st.sampled_from(spellings()))
def test_a_spelling_leads_back_to_its_key_or_there_is_none(key: str, vendor: str) -> None:
    try:
        symbol = to_vendor(key, vendor)
    except OwnerActionError:
        return
    if vendor in PAIRED:
        known = InstrumentKey.parse(key)
        said = {"kind": kind_of(known), "mic": known.namespace.upper() if known.is_mic else "XNYS"}
        if kind_of(known) not in ("equity", None):
            said.pop("mic")
        assert str(from_vendor(vendor, symbol, **said)) == key
    else:
        assert str(from_vendor(vendor, symbol)) == key


@settings(deadline=None)
@given(texts, st.sampled_from(spellings()))
def test_whatever_the_symbol_its_key_is_one_and_its_spelling_leads_back(symbol: str, vendor: str) -> None:
    try:
        key = from_vendor(vendor, symbol)
    except (OwnerActionError, UsageError):
        return
    assert InstrumentKey.parse(str(key)) == key
    try:
        again = to_vendor(key, vendor)
    except OwnerActionError:
        return
    if vendor not in PAIRED:
        assert from_vendor(vendor, again) == key


@given(any_key)
def test_a_key_is_written_as_it_was_read(key: str) -> None:
    assert str(InstrumentKey.parse(key)) == key


@pytest.mark.parametrize(
    "text",
    [
        "", "AAPL", ":AAPL", "us:", "us:aapl", "US:AAPL", "us:AA PL", "us:BRK-B", "us:BRK.", "us:AAPL\n", "uss:AAPL",
        "xlon:BP.", "xlon:vod", "xlon:", "xlondon:VOD", "fx:EUR", "fx:USDUSD", "fx:eurusd", "cash:usd", "cash:US",
        "opt:AAPL:2026-02-30:C:200", "opt:AAPL:2026-01-16:C:200.0", "opt:AAPL:2026-01-16:X:200", "fut:GC", "fut:xcec:gc",
        "isin:US0378331004", "isin:us0378331005", "isin: US0378331005", "cusip:37833100", "sedol:0263495",
        "figi:BBG000BLNNH7", "crypto:Bitcoin", "crypto:", "caip19:eip155:1", "caip19:eip155:1/erc20:0x123",
        "caip19:eip155:1/erc20:0xa0B86991c6218b36c1d19d4a2e9eb0ce3606eb48", "plaid:", "plaid: x", "plaid:a\nb", "idx:^GSPC",
    ],
)  # fmt: skip
def test_what_is_no_key_is_refused_in_one_sentence(text: str) -> None:
    with pytest.raises(UsageError, match="is no instrument"):
        InstrumentKey.parse(text)


@pytest.mark.parametrize("value", [True, 700, float("nan"), None])
def test_what_yaml_made_a_number_of_is_refused(value: object) -> None:
    with pytest.raises(UsageError, match="quote it"):
        InstrumentKey.parse(value)  # type: ignore[arg-type]
    with pytest.raises(UsageError, match="symbols are text"):
        from_vendor("yahoo", value)  # type: ignore[arg-type]


@guarded(
    "keys: mixed case of an address is a checksum",
    "instruments/caip.py",
    "and checksummed(asset) != asset",
    "and False",
)
def test_an_address_may_have_its_checksum_and_is_kept_in_lower_case() -> None:
    """The examples of EIP-55."""
    for address in (
        "0x5aAeb6053F3E94C9b9A09f33669435E7Ef1BeAed", "0xfB6916095ca1df60bB79Ce92cE3Ea74c37c5d359",
        "0xdbF03B407c01E7cD3CBea99509d93f8DDDC8C6FB", "0xD1220A0cf47c7B9Be7A2E6BA89F429762e7b9aDb",
        "0x52908400098527886E0F7030069857D2E4169EE7", "0xde709f2102306220921060314715629080e2fb77",
    ):  # fmt: skip
        assert checksummed(address.lower()) == address
        key = InstrumentKey.parse(f"caip19:eip155:1/erc20:{address}")
        assert str(key) == f"caip19:eip155:1/erc20:{address.lower()}"
    with pytest.raises(UsageError, match="EIP-55"):
        InstrumentKey.parse("caip19:eip155:1/erc20:0x5AAeb6053F3E94C9b9A09f33669435E7Ef1BeAed")
    usdc = "eip155:1/erc20:0xA0b86991c6218b36c1d19D4a2e9Eb0cE3606eB48"
    assert str(from_vendor("caip19", usdc)) == "crypto:usd-coin"


@pytest.mark.parametrize(
    ("vendor", "symbol", "context", "key"),
    [
        ("yahoo", "BTC-EUR", {}, "crypto:bitcoin"), ("yahoo", "UNI7083-USD", {}, "crypto:uniswap"),
        ("yahoo", "UNI-USD", {}, None), ("yahoo", "USDJPY=X", {}, "fx:USDJPY"), ("yahoo", "000002.SS", {}, None),
        ("yahoo", "VFIAX", {"kind": "equity"}, "us:VFIAX"), ("yahoo", "ESZ26.CME", {}, "fut:xcme:ES:2026-12"),
        ("yahoo", "CRH.L", {"mic": "XLON"}, "xlon:CRH"), ("yahoo", "CRH.L", {"mic": "XNYS"}, None),
        ("yahoo", "BF-B", {}, "us:BF.B"), ("yahoo", "GOOG", {"mic": "XNAS"}, "us:GOOG"),
        ("ibkr", "7203", {}, None), ("ibkr", "7203", {"mic": "XTKS"}, "xtks:7203"),
        ("ibkr", "2007", {"mic": "XHKG"}, "xhkg:02007"), ("ibkr", "SPX", {"kind": "equity"}, "us:SPX"),
        ("ibkr", "BRK B", {}, "us:BRK.B"), ("snaptrade", "BTC", {"kind": "crypto"}, "crypto:bitcoin"),
        ("snaptrade", "BTC", {}, "us:BTC"), ("snaptrade", "AAPL  260116C00200000", {}, "opt:AAPL:2026-01-16:C:200"),
        ("kraken", "XBT", {}, "crypto:bitcoin"), ("kraken", "XXBTZUSD", {}, "crypto:bitcoin"),
        ("kraken", "XBT/EUR", {}, "crypto:bitcoin"), ("kraken", "ETH2.S", {}, "crypto:ethereum"),
        ("kraken", "DOT.S", {}, "crypto:polkadot"), ("kraken", "USD", {}, "cash:USD"), ("kraken", "NOPE", {}, None),
        ("binance", "ETHBTC", {}, "crypto:ethereum"), ("ccxt", "BTC/USD", {}, "crypto:bitcoin"),
        ("ccxt", "BTC/USDT:USDT", {}, None), ("alphavantage", "6190.HKG", {}, "xhkg:06190"),
        ("alphavantage", "BTC", {"kind": "crypto"}, "crypto:bitcoin"), ("plaid", "AAPL", {}, None),
        ("plaid", "AAPL", {"mic": "XNAS"}, "us:AAPL"), ("plaid", "VOD", {"mic": "XLON"}, "xlon:VOD"),
        ("symbol", "BTCB", {}, "caip19:eip155:56/erc20:0x7130d2a12b9bcbfae4f2634d864a1ee1ce3ead9c"),
        ("symbol", "BTC-B", {}, None), ("coingecko", "BTC", {}, None), ("lse", "BP", {}, None), ("lse", "VOD.", {}, None),
        ("cusip", "037833100", {}, "us:AAPL"), ("occ", "AAPL", {}, None), ("stooq", "AAPL.US", {}, None),
    ],
)  # fmt: skip
def test_a_symbol_with_what_is_said_beside_it(
    vendor: str, symbol: str, context: dict[str, str], key: str | None
) -> None:
    if key is None:
        with pytest.raises(OwnerActionError):
            from_vendor(vendor, symbol, **context)
    else:
        assert str(from_vendor(vendor, symbol, **context)) == key


@pytest.mark.parametrize(
    ("key", "currency", "quote"),
    [
        ("xlon:VOD", None, ("GBP", "minor", "GBX")), ("xlon:VOD", "USD", ("USD", "major", "USD")),
        ("xlon:VUSA", "GBp", ("GBP", "minor", "GBp")), ("xlon:SWDA", None, ("GBP", "minor", "GBX")),
        ("xkuw:NBK", None, ("KWD", "minor", "KWF")), ("xjse:NPN", "ZAc", ("ZAR", "minor", "ZAc")),
        ("xhkg:09834", None, ("USD", "major", "USD")), ("crypto:bitcoin", None, None), ("xxxx:A", None, None),
        ("us:AAPL", "", ("USD", "major", "USD")),
    ],
)  # fmt: skip
def test_what_the_vendor_says_of_its_currency_outranks_every_table(
    key: str, currency: str | None, quote: tuple[str, str, str] | None
) -> None:
    found = quote_of(key, currency=currency)
    assert (found and (found.currency, found.unit, found.code)) == quote


def test_every_table_of_coins_says_the_same() -> None:
    assert len({coin.id for coin in coins()}) == len({coin.symbol for coin in coins()}) == len(coins())
    for name, table in (("alpaca", ALPACA), ("plaid", PLAID)):
        assert {t: c for t, c in table.items() if coin_of(t) != c} == {}, name
    assert {(s, key) for key, s in EXCEPTIONS.items() if quoted_in(s).currency not in ("GBP", "USD", "EUR")} == set()


def test_every_provider_may_name_what_it_cannot_resolve() -> None:
    assert [name for name in PROVIDERS if not is_local(name)] == []


# -- renames ----------------------------------------------------------------------------------------------------------

FB = renamed([("us:META", "us:METV", date(2022, 1, 31)), ("us:FB", "us:META", date(2022, 6, 9))])


@guarded(
    "aliases: a name that somebody else bears by then inherits nothing",
    "instruments/aliases.py",
    "if any(since <= day for since in taken):",
    "if False:",
)
@pytest.mark.parametrize(
    ("key", "on", "newest"),
    [
        ("us:FB", "2021-01-04", "us:META"), ("us:FB", "2022-06-08", "us:META"), ("us:FB", "2024-01-02", "us:META"),
        ("us:META", "2021-12-01", "us:METV"), ("us:META", "2022-03-01", "us:METV"), ("us:META", "2022-06-09", "us:META"),
        ("us:META", "2026-01-02", "us:META"), ("us:METV", "2026-01-02", "us:METV"), ("us:AAPL", "2026-01-02", "us:AAPL"),
    ],
)  # fmt: skip
def test_what_a_name_meant_on_a_day(key: str, on: str, newest: str) -> None:
    assert str(resolve_key(key, date.fromisoformat(on), FB)) == newest
    assert str(resolve_key(key, date.fromisoformat(on))) == newest  # the shipped ones know it too


def test_a_symbol_that_another_company_lists_later_does_not_inherit_the_first_ones_history() -> None:
    changes = [Rename("us:OLD", "us:NEW", date(2020, 1, 1), until=date(2023, 1, 1))]
    told = {day: str(resolve_key("us:OLD", date(day, 6, 1), changes)) for day in (2019, 2020, 2022, 2023, 2024)}
    assert told == {2019: "us:NEW", 2020: "us:NEW", 2022: "us:NEW", 2023: "us:OLD", 2024: "us:OLD"}


def test_names_that_lead_round_in_a_circle_end() -> None:
    day = date(2020, 1, 1)
    there_and_back = renamed([("us:A", "us:B", day), ("us:B", "us:A", date(2021, 1, 1))])
    assert str(resolve_key("us:A", date(2019, 1, 1), there_and_back)) == "us:A"
    swapped = renamed([("us:A", "us:B", day), ("us:B", "us:A", day)])
    assert str(resolve_key("us:A", date(2019, 1, 1), swapped)) in ("us:A", "us:B")


def test_every_shipped_rename_and_spelling_names_keys_and_its_source() -> None:
    for row in rows("aliases.csv"):
        assert row["source"]
        assert str(InstrumentKey.parse(row["old"])) != str(InstrumentKey.parse(row["new"]))
    for row in [*rows("known.csv"), *({"instrument": f"crypto:{coin.id}", "source": coin.source} for coin in coins())]:
        assert row["source"]
        InstrumentKey.parse(row["instrument"])
    for coin in coins():
        assert not coin.caip19 or caip19(coin.caip19) == coin.caip19


def test_known_identifiers_have_good_check_digits() -> None:
    for row in rows("known.csv"):
        scheme = {"openfigi_composite": "figi"}.get(row["notation"], row["notation"])
        if scheme in SCHEMES:
            assert fault_of(scheme, row["symbol"]) is None, row
    assert isin_of("sedol", "0263494") == "GB0002634946"
    assert isin_of("cusip", "037833100") == "US0378331005"
    assert isin_of("cusip", "037833101") is None


@guarded(
    "symbols: no spelling that the vendor would take for something else",
    "instruments/symbols.py",
    "if not _leads_back(notation, vendor, symbol, key):",
    "if False:",
)
@pytest.mark.parametrize(
    ("key", "vendor"),
    [("us:VFIAX", "yahoo"), ("us:X.P", "yahoo"), ("us:X.W", "nasdaq_act"), ("xshg:000001", "yahoo")],
)
def test_a_key_that_a_vendor_would_take_for_another_has_no_spelling(key: str, vendor: str) -> None:
    with pytest.raises(OwnerActionError, match=r"something else; no symbol is safe"):
        to_vendor(key, vendor)
