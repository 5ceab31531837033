"""T-29, T-32 and T-41 at Yahoo: it refuses an address as plain text, changes what a close means, and mixes units."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import date, timedelta
from pathlib import Path

import pytest

from fin_infra.engine import SyncReport
from fin_infra.errors import UsageError
from fin_infra.providers import resolve
from fin_infra.providers.simulating import Fault
from fin_infra.providers.yahoo.simulator import SimBar
from tests.guards import guarded
from tests.providers.yahoo.market import YahooWorld, yahoo_of

DAY, HOUR, WAIT = timedelta(days=1), timedelta(hours=1), timedelta(minutes=16)
SYMBOLS = ("AAPL", "MSFT", "NVDA", "TSLA")


@pytest.fixture
def market(tmp_path: Path) -> Iterator[YahooWorld]:
    with yahoo_of(tmp_path) as found:
        yield found


def many_trade(market: YahooWorld) -> list[str]:
    for symbol in SYMBOLS:
        market.trades(symbol, "2026-11-02", "2026-11-30")
    return [f"us:{symbol}" for symbol in SYMBOLS]


async def three_owners(market: YahooWorld) -> None:
    market.watch(*many_trade(market))
    async with market.runtime() as runtime:
        for owner in ("ada", "ben", "cyd"):
            runtime.connections.add(resolve("yahoo"), {}, tenant=owner, simulated=True)


async def one_by_one(market: YahooWorld, after: timedelta = timedelta()) -> list[SyncReport]:
    """Time passes, then a worker with one slot, a process of its own, works until nothing is due."""
    market.clock.advance(after)
    market.reports.clear()
    async with market.runtime() as runtime:
        await runtime.run_worker(slots=1, until_idle=True)
    return list(market.reports)


async def test_it_is_off_until_its_terms_were_read(market: YahooWorld, monkeypatch: pytest.MonkeyPatch) -> None:
    async with market.runtime() as runtime:
        with pytest.raises(UsageError, match=r"read its terms .* then set FIN_INFRA_YAHOO_ENABLED=1"):
            runtime.connections.add(resolve("yahoo"), {}, tenant="ada")
        monkeypatch.setenv("FIN_INFRA_YAHOO_ENABLED", "1")
        assert runtime.connections.add(resolve("yahoo"), {}, tenant="ada").state == "active"


@guarded("a plain 429 is waited out for a minute", "providers/yahoo/quota.py",
         'return Throttle(windows=("hour",), wait=timedelta(minutes=15).total_seconds(), everywhere=True)',
         "return Throttle(wait=60.0)")  # fmt: skip
async def test_t29_a_plain_text_429_stops_every_connection_at_once_and_is_asked_after_once_a_quarter_of_an_hour(
    market: YahooWorld,
) -> None:
    """Three owners, four symbols each: one refused call, not twelve, and not twelve again with every retry."""
    await three_owners(market)
    market.yahoo.throttled_until = market.clock() + timedelta(minutes=40)
    reports = await one_by_one(market)
    assert market.yahoo.refused == 1
    assert {report.outcome for report in reports} == {"later"}
    assert {report.error_code for report in reports} <= {"rate_limited", "quota_exhausted"}
    for refused in (2, 3):
        await one_by_one(market, timedelta(minutes=8))
        assert market.yahoo.refused == refused - 1, "nobody asks before the quarter is over"
        await one_by_one(market, timedelta(minutes=8))
        assert market.yahoo.refused == refused, "and then one does, for all"
    for _ in range(3):
        await one_by_one(market, WAIT)
    assert market.yahoo.refused == 3
    assert {name: len(market.held(name)) for name in (f"us:{symbol}" for symbol in SYMBOLS)} == dict.fromkeys(
        (f"us:{symbol}" for symbol in SYMBOLS), 17
    )
    with market.store() as store, store.reading() as sql:
        dead = sql.exec_driver_sql("SELECT count(*) FROM findings WHERE kind = 'contract_broken'").scalar()
    assert dead == 0, "a text is no broken JSON"


async def test_t29_the_same_text_with_status_200_is_throttling_too(market: YahooWorld) -> None:
    await market.link(*many_trade(market))
    market.yahoo.fail_next(Fault("refuse", status=200, body=b"Too Many Requests\r\n"))
    report = await market.sync()
    assert (report.error_code, report.follow_up.kind, report.follow_up.after) == ("rate_limited", "later", 900.0)
    assert (await market.sync(after=WAIT)).outcome == "ok"


async def test_a_run_that_is_throttled_in_the_middle_keeps_what_it_has_and_goes_on_from_there(
    market: YahooWorld,
) -> None:
    names = many_trade(market)
    await market.link(*names)
    asked: list[str] = []
    market.yahoo.on_request = asked.append

    def third(path: str) -> None:
        asked.append(path)
        if len(asked) == 3:
            market.yahoo.fail_next(Fault("refuse", status=429))

    market.yahoo.on_request = third
    report = await market.sync()
    assert (report.outcome, report.follow_up.kind, len(asked)) == ("partial", "later", 3)
    assert [len(market.held(name)) for name in names] == [17, 17, 0, 0]
    assert (await market.sync(after=WAIT)).outcome == "ok"
    assert [len(market.held(name)) for name in names] == [17, 17, 17, 17]


# -- the basis ---------------------------------------------------------------------------------------------------------


@guarded("a split-adjusted series is looked at as if it were raw", "engine/splits.py",
         '"split_adjusted": ["split"]', '"split_adjusted": []')  # fmt: skip
async def test_t32_a_split_that_yahoo_applies_late_leaves_no_step_in_the_series(market: YahooWorld) -> None:
    """On its day the older bars are as they were: the new one waits. The next day all are adjusted, and read anew."""
    split_on = date(2026, 11, 24)
    market.trades("AAPL", "2026-10-01", "2026-11-30", begin="400.00")
    for day, bar in market.yahoo.listings["AAPL"].bars.items():
        if day >= split_on:
            market.yahoo.set_bar("AAPL", day, "100.50", open="100.20", low="100.10", volume=bar.volume)
    await market.link("us:AAPL")
    market.clock.set(market.clock() - DAY)
    await market.sync()
    before = market.held("us:AAPL")
    assert max(before) == "2026-11-23"
    market.yahoo.split("AAPL", split_on, "4", applied=False)
    await market.sync(after=DAY)
    assert market.held("us:AAPL") == before
    assert (
        "from 2026-11-23 to 2026-11-24 its price moved as in a 4-for-1 split" in market.findings()["unexplained_jump"]
    )
    market.yahoo.listings["AAPL"].unapplied.clear()
    await market.sync(after=DAY)
    held = market.held("us:AAPL")
    assert (held["2026-10-01"], held["2026-11-24"], max(held)) == ("100", "100.5", "2026-11-25")
    assert max(map(float, held.values())) < 101
    await market.sync(after=DAY * 2)
    await market.sync(after=HOUR)
    assert "unexplained_jump" not in market.findings()


async def test_bad_prices_a_split_that_part_of_the_history_lacks_is_never_kept_in_silence(market: YahooWorld) -> None:
    """As Tokyo's 4063 was in 2023: five for one, and the bars before it as they were."""
    split_on = date(2026, 11, 10)
    market.yahoo.listed("AAPL")
    for n, day in enumerate(market.sessions("2026-10-01", "2026-11-30")):
        market.yahoo.set_bar("AAPL", day, f"{(20_000 if day < split_on else 4_000) + n}")
    market.yahoo.split("AAPL", split_on, "5", applied=False)
    await market.link("us:AAPL")
    report = await market.sync()
    assert report.outcome == "partial"
    assert max(market.held("us:AAPL")) == "2026-11-09", "what is behind the step waits"
    assert "5-for-1" in market.findings()["unexplained_jump"]
    await market.sync(after=DAY)
    assert max(market.held("us:AAPL")) == "2026-11-25", "two days say the same: prices of now are not withheld for ever"
    assert "a second read said the same" in market.findings()["unexplained_jump"]
    market.yahoo.listings["AAPL"].unapplied.clear()
    await market.sync(after=DAY * 2)
    assert max(map(float, market.held("us:AAPL").values())) < 4_100, "mended there, it is mended here"
    assert "unexplained_jump" not in market.findings()


# -- units -------------------------------------------------------------------------------------------------------------


@guarded("a bar in pounds among pence is kept", "providers/yahoo/figures.py",
         "if run and stepped and base is not None", "if False and stepped and base is not None")  # fmt: skip
@guarded("pounds and pence in one bar are kept", "providers/yahoo/figures.py",
         "if known and max(known) >= WITHIN * min(known):", "if known and max(known) >= 10_000 * min(known):")  # fmt: skip
async def test_t41_bars_in_pounds_among_pence_are_set_aside_and_said(market: YahooWorld) -> None:
    market.yahoo.listed("VOD.L", currency="GBp", zone="Europe/London")
    market.trades("VOD.L", "2026-10-01", "2026-11-24", "XLON", begin="71.00")
    wrong = market.yahoo.listings["VOD.L"].verbatim
    for day in ("2026-10-14", "2026-10-15"):  # two in pounds
        wrong[date.fromisoformat(day)] = SimBar("0.71", "0.71", "0.71", "0.71")
    wrong[date(2026, 11, 3)] = SimBar("71.2", "71.3", "0.712", "0.712")  # one that is both
    wrong[date(2026, 11, 12)] = SimBar("7130", "7130", "7130", "7130")  # one in hundredths of a penny
    await market.link("xlon:VOD")
    report = await market.sync()
    assert report.outcome == "partial"
    sessions = {str(day) for day in market.sessions("2026-10-01", "2026-11-24", "XLON")}
    held = market.held("xlon:VOD")
    assert sessions - set(held) == {"2026-10-14", "2026-10-15", "2026-11-03", "2026-11-12"}
    assert {round(float(close), 1) for close in held.values()} == {0.7}
    reasons = market.evidence()
    assert len([reason for reason in reasons if "and back again: a hundred times" in reason]) == 3
    assert len([reason for reason in reasons if "two units are mixed" in reason]) == 1
    wrong.clear()
    await market.sync(after=DAY)
    assert sessions <= set(market.held("xlon:VOD")), "mended there, they are read"


async def test_t41_a_newest_bar_that_the_price_beside_it_contradicts_is_set_aside(market: YahooWorld) -> None:
    """The last bar has nothing behind it; the answer's own price of that day says what it is counted in."""
    market.yahoo.listed("VOD.L", currency="GBp", zone="Europe/London")
    market.trades("VOD.L", "2026-11-02", "2026-11-24", "XLON", begin="71.00")
    last = date(2026, 11, 24)
    market.yahoo.listings["VOD.L"].price = "71.2"
    market.yahoo.listings["VOD.L"].verbatim[last] = SimBar("0.712", "0.712", "0.712", "0.712")
    await market.link("xlon:VOD")
    await market.sync()
    assert max(market.held("xlon:VOD")) == "2026-11-23"
    assert "where the price of now is 71.2" in market.evidence()[0]


async def test_t41_a_step_of_a_hundred_that_stays_waits_for_another_day_and_is_said(market: YahooWorld) -> None:
    market.yahoo.listed("VOD.L", currency="GBp", zone="Europe/London")
    market.trades("VOD.L", "2026-11-02", "2026-11-20", "XLON", begin="71.00")
    for day in market.sessions("2026-11-23", "2026-11-30", "XLON"):
        market.yahoo.set_bar("VOD.L", day, "0.71")
    await market.link("xlon:VOD")
    await market.sync()
    assert max(market.held("xlon:VOD")) == "2026-11-20"
    assert "100-for-1" in market.findings()["unexplained_jump"]
