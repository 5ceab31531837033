"""The ECB's files: what is read of them, and what is refused before it is read."""

from __future__ import annotations

from datetime import UTC, date, datetime
from decimal import Decimal
from pathlib import Path

import pytest

from fin_infra.engine.replaying import Recorded, replay
from fin_infra.errors import WireError
from fin_infra.providers import resolve
from fin_infra.providers.base import Ask, Want
from fin_infra.providers.ecb import frames, wire
from fin_infra.providers.ecb.client import DAILY, HISTORY, NINETY_DAYS, file_since
from fin_infra.providers.ecb.symbols import CURRENCIES, ENDED, to_ecb
from fin_infra.settings import CURRENCIES as KEPT
from tests.guards import guarded

AT = datetime(2026, 11, 24, 17, tzinfo=UTC)


def envelope(*cubes: str) -> bytes:
    inner = "".join(cubes)
    return (
        "<?xml version='1.0' encoding='UTF-8'?><gesmes:Envelope xmlns:gesmes='http://www.gesmes.org/xml/2002-08-01' "
        f"xmlns='http://www.ecb.int/vocabulary/2002-08-01/eurofxref'><Cube>{inner}</Cube></gesmes:Envelope>"
    ).encode()


def day(at: str, **rates: str) -> str:
    inner = "".join(f"<Cube currency='{code}' rate='{rate}'/>" for code, rate in rates.items())
    return f"<Cube time='{at}'>{inner}</Cube>"


def test_rates_keep_their_day_and_every_digit() -> None:
    found = wire.rates(envelope(day("2026-11-24", USD="1.1367", ISK="138.00"), day("2026-11-23", USD="1.1300")))
    assert found.cubes == [
        ("2026-11-24", "USD", "1.1367"), ("2026-11-24", "ISK", "138.00"), ("2026-11-23", "USD", "1.1300"),
    ]  # fmt: skip
    double = envelope(day("2026-11-24", USD="1.1367")).replace(b"'", b'"')
    assert wire.rates(double).cubes == [("2026-11-24", "USD", "1.1367")]


@guarded("no value is no rate", "providers/ecb/wire.py", 'ABSENT = frozenset({"", "N/A", "-"})', "ABSENT = frozenset()")
def test_a_currency_without_a_value_is_left_out() -> None:
    found = wire.rates(envelope(day("2022-03-02", USD="1.1106", RUB="N/A", BGN="", ISK=" ")))
    assert [cube.currency for cube in found.cubes] == ["USD"]


BOMB = b"""<?xml version="1.0"?>
<!DOCTYPE lolz [<!ENTITY a "aaaaaaaaaa"><!ENTITY b "&a;&a;&a;&a;&a;&a;&a;&a;&a;&a;"><!ENTITY c "&b;&b;&b;&b;&b;&b;&b;">]>
<Envelope><Cube><Cube time="2026-11-24"><Cube currency="USD" rate="&c;"/></Cube></Cube></Envelope>"""
OUTSIDE = b"""<!DOCTYPE x SYSTEM "file:///etc/passwd"><Cube time="2026-11-24"><Cube currency="USD" rate="1"/></Cube>"""


@guarded(
    "no entity is expanded",
    "providers/ecb/wire.py",
    "parser.StartDoctypeDeclHandler = parser.EntityDeclHandler = declared",
    "pass",
)
@pytest.mark.parametrize("body", [BOMB, OUTSIDE])
def test_a_document_type_is_refused_so_nothing_is_expanded_or_fetched(body: bytes) -> None:
    with pytest.raises(WireError, match="it declares a document type"):
        wire.rates(body)


@pytest.mark.parametrize("body", [
    b"", b"   ", b"<", b"<html><body>Sorry</body></html>", b"oops", b"\xff\xfe\x00", b"{}", b"a,b\n1,2\n",
    envelope(day("2026-11-24", USD="1"))[:-20], envelope(), envelope("<Cube currency='USD' rate='1'/>"),
    envelope("<Cube time='2026-11-24'><Cube currency='USD'/></Cube>"), envelope("<Cube time='2026-11-24'><Cube rate='1'/></Cube>"),
    b"<?xml version='1.0' encoding='klingon'?><Cube/>", envelope(day("2026-11-24", USD="1")) + b"<more/>",
    b"CURRENCY,TIME_PERIOD,OBS_VALUE\n", b"<a>" * 200_000,
])  # fmt: skip
def test_anything_else_is_a_broken_contract(body: bytes) -> None:
    with pytest.raises(WireError) as caught:
        wire.rates(body)
    assert (caught.value.code, caught.value.evidence) == ("contract_broken", body)


def test_the_data_portals_csv_is_read_too_and_rows_without_a_value_are_not() -> None:
    body = "KEY,FREQ,CURRENCY,CURRENCY_DENOM,TIME_PERIOD,OBS_VALUE\nx,D,AUD,EUR,2026-02-17,1.6776\nx,D,RUB,EUR,2026-02-17,\n,,,,,\n"
    assert wire.rates(body.encode()).cubes == [("2026-02-17", "AUD", "1.6776")]


def want(code: str, first: str, last: str) -> Want:
    return Want(f"fx:EUR{code}", code, date.fromisoformat(first), date.fromisoformat(last))


def test_of_a_file_only_what_was_asked_for_becomes_rows() -> None:
    file = wire.rates(envelope(*(day(f"2026-11-{n}", USD=f"1.{n}", GBP=f"0.{n}", JPY="9") for n in (24, 23, 20, 19))))
    ask = Ask(
        "ecb",
        "ada",
        "con",
        "run",
        AT,
        wants=[want("USD", "2026-11-20", "2026-11-23"), want("GBP", "2026-11-24", "2026-11-24")],
    )
    rows = frames.rates([(file, AT)], ask).good.sort("quote", "rate_on")
    assert rows.select("base", "quote", "rate_on", "rate", "provider", "state").rows() == [
        ("EUR", "GBP", date(2026, 11, 24), Decimal("0.24"), "ecb", "provisional"),
        ("EUR", "USD", date(2026, 11, 20), Decimal("1.20"), "ecb", "provisional"),
        ("EUR", "USD", date(2026, 11, 23), Decimal("1.23"), "ecb", "provisional"),
    ]


def test_a_rate_that_is_none_is_a_reject_and_the_others_stay() -> None:
    file = wire.rates(
        envelope(day("2026-11-24", USD="0", GBP="-1", JPY="1e999", CHF="0.94", SEK="eleven", EUR="1", XX="2"))
    )
    built = frames.rates([(file, AT)], Ask("ecb", "ada", "con", "run", AT))
    assert built.good["quote"].to_list() == ["CHF"]
    assert len(built.rejects) == 6


@pytest.mark.parametrize(("first", "path"), [
    (date(2026, 11, 24), DAILY), (date(2026, 11, 23), NINETY_DAYS), (date(2026, 9, 5), NINETY_DAYS), (date(2026, 9, 4), HISTORY),
    (date(1999, 1, 4), HISTORY),
])  # fmt: skip
def test_the_smallest_file_that_reaches_back_far_enough_is_asked_for(first: date, path: str) -> None:
    assert file_since(first, date(2026, 11, 24)) == path


def test_what_ended_or_never_was_is_not_asked_for() -> None:
    assert to_ecb("fx:EURUSD") == "USD"
    assert [to_ecb(f"fx:EUR{code}") for code in (*ENDED, "TWD", "EUR", "")] == [None] * (len(ENDED) + 3)
    assert to_ecb("fx:USDEUR") is None
    assert set(CURRENCIES) == set(KEPT)
    assert not set(CURRENCIES) & set(ENDED)


def test_a_recorded_file_is_replayed_without_a_network(tmp_path: Path) -> None:
    answer = Recorded(envelope(day("2026-11-24", USD="1.1367")))
    found = replay(resolve("fx:ecb"), "fx_rates", [answer], {"at": "2026-11-30T00:00:00Z"})
    assert found.good.select("rate", "state").rows() == [(Decimal("1.1367"), "final")]
