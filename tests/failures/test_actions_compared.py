"""Corporate actions of two vendors held against each other, and prices of one adjusted by the actions of another."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from fin_infra.engine import SyncReport
from fin_infra.errors import UsageError
from fin_infra.providers import resolve
from fin_infra.providers.alpaca.simulator import AlpacaSimulator
from fin_infra.providers.yahoo.simulator import YahooSimulator
from fin_infra.runtime import Runtime
from fin_infra.testing import VirtualClock, serve
from tests.broker import BrokerWorld
from tests.guards import guarded

AT = datetime(2026, 11, 24, 22, 0, tzinfo=UTC)  # an hour after New York closed
DAY = timedelta(days=1)
FIRST = "2026-10-01"
SPLIT, PAID = date(2026, 10, 20), date(2026, 11, 10)


class TwoVendors(BrokerWorld):
    """A broker that holds AAPL, and Yahoo, which watches it."""

    def __init__(
        self, folder: Path, broker: AlpacaSimulator, url: str, clock: VirtualClock, yahoo: YahooSimulator, charts: str
    ) -> None:
        super().__init__(folder, broker, url, clock)
        self.yahoo = yahoo
        self.charts = charts
        self.of: dict[str, str] = {}

    def runtime(self, **more: Any) -> Runtime:
        urls = {"alpaca": self.url, "yahoo": self.charts}
        return Runtime(self.settings, now=self.clock, base_urls=urls, on_report=self.reports.append, **more)

    async def link_both(self) -> None:
        self.settings = self.settings.model_copy(update={"watchlist": "us:AAPL"})
        self.of["alpaca"] = (await self.link("AAPL")).connection_id
        async with self.runtime() as runtime:
            linked = runtime.connections.add(resolve("yahoo"), {}, tenant="ada", simulated=True)
        self.of["yahoo"] = linked.connection_id

    async def read_from(
        self, vendor: str, dataset: str = "corporate_actions", after: timedelta = timedelta()
    ) -> SyncReport:
        self.clock.advance(after)
        async with self.runtime() as runtime:
            return await runtime.engine.sync(dataset, self.of[vendor])

    def bars_of_both(self, close: str = "100.00") -> None:
        """A close of each session, as traded; Yahoo's adjusts them when it is asked."""
        for day in self.sessions(FIRST, AT.date()):
            self.bar("AAPL", day, close)
            self.yahoo.set_bar("AAPL", day, close)

    def split_at_both(self, new: str = "4", old: str = "1") -> None:
        """Bars from its day on are counted in new shares at both."""
        self.broker.split("AAPL", SPLIT, new, old)
        for day, bar in self.broker.bars("AAPL", AT).items():
            self.yahoo.set_bar("AAPL", day, str(bar.close))
        self.yahoo.split("AAPL", SPLIT, new, old)

    def disagreements(self, state: str = "open") -> dict[str, str]:
        rows = [row for row in self.rows("findings") if row["kind"] == "actions_disagree" and row["state"] == state]
        return {row["subject"]: row["detail"] for row in rows}

    def closes(self, **how: Any) -> dict[str, str]:
        rows = self.rows("prices", instruments=["us:AAPL"], **how)
        return {str(row["session"]): f"{row['close'].quantize(Decimal('0.000001')).normalize():f}" for row in rows}


@pytest.fixture
def both(tmp_path: Path) -> Iterator[TwoVendors]:
    with two_of(tmp_path) as found:
        yield found


@contextmanager
def two_of(folder: Path) -> Iterator[TwoVendors]:
    clock = VirtualClock(AT)
    broker, yahoo = AlpacaSimulator(now=clock), YahooSimulator(now=clock)
    yahoo.listed("AAPL")
    with serve(broker) as served, serve(yahoo) as charts:
        yield TwoVendors(folder, broker, served.url, clock, yahoo, charts.url)


# -- who says what -----------------------------------------------------------------------------------------------------


async def test_vendors_that_agree_are_no_finding_though_one_tells_a_dividend_in_shares_of_today(
    both: TwoVendors,
) -> None:
    both.bars_of_both()
    both.split_at_both()
    for vendor in (both.broker, both.yahoo):
        vendor.dividend("AAPL", date(2026, 10, 5), "1.00")  # a quarter for a share of today
        vendor.dividend("AAPL", PAID, "0.27")
    await both.link_both()
    assert ((await both.read_from("alpaca")).outcome, (await both.read_from("yahoo")).outcome) == ("ok", "ok")
    rows = both.rows("corporate_actions", instruments=["us:AAPL"])
    assert {(str(r["ex_on"]), r["provider"], f"{(r['amount'] or r['ratio']).normalize():f}") for r in rows} == {
        (day, vendor, value)
        for day, value in (("2026-10-05", "1"), (str(SPLIT), "4"), (str(PAID), "0.27"))
        for vendor in ("alpaca", "yahoo")
    }
    assert both.disagreements() == {}


@guarded("a vendor that is read second is not compared", "engine/actions.py",
         "run.doubts += [(CorporateActions.dataset_name(), doubt) for doubt in _compared(run, change, wants, store)]",
         "_compared(run, change, wants, store)")  # fmt: skip
@guarded("a disagreement stays after it is mended", "engine/books.py",
         "return any(want.instrument == name for pages in parts for page in pages for want in page.wants)",
         "return False")  # fmt: skip
async def test_another_ratio_and_another_amount_are_told_until_they_are_mended(both: TwoVendors) -> None:
    both.bars_of_both()
    both.split_at_both("4")
    both.yahoo.split("AAPL", SPLIT, "5")
    both.broker.dividend("AAPL", PAID, "0.27")
    both.yahoo.dividend("AAPL", PAID, "0.24")
    await both.link_both()
    await both.read_from("alpaca")
    assert both.disagreements() == {}, "the other was not asked yet"
    report = await both.read_from("yahoo")
    wanted = {
        f"us:AAPL {SPLIT} split": f"the split of {SPLIT}: alpaca says 4-for-1, yahoo says 5-for-1",
        f"us:AAPL {PAID} dividend": f"the dividend of {PAID}: alpaca says 0.27, yahoo says 0.24 USD",
    }
    assert (report.outcome, both.disagreements()) == ("ok", wanted), "rows of both are kept as they came"
    await both.read_from("alpaca", after=DAY)
    assert both.disagreements() == wanted, "it is said by the run of either"
    both.yahoo.split("AAPL", SPLIT, "4")
    both.yahoo.dividend("AAPL", PAID, "0.27")
    await both.read_from("yahoo", after=DAY)
    await both.read_from("alpaca")
    assert (both.disagreements(), set(both.disagreements("resolved"))) == ({}, set(wanted))


async def test_what_only_one_knows_is_told_once_the_other_was_asked_later_than_its_day(both: TwoVendors) -> None:
    both.bars_of_both()
    both.broker.dividend("AAPL", PAID, "0.27")
    both.broker.dividend("AAPL", date(2026, 11, 24), "0.30")  # today: Yahoo may have it tomorrow
    both.broker.split("AAPL", date(2026, 12, 7), "2", "1")  # announced: Yahoo tells none of those
    both.broker.dividend("AAPL", date(2020, 1, 6), "0.19")  # before all bars: it changes no price
    await both.link_both()
    await both.read_from("alpaca", "prices")
    await both.read_from("alpaca")
    await both.read_from("yahoo")
    assert both.disagreements() == {
        f"us:AAPL {PAID} dividend": f"the dividend of {PAID}: alpaca says 0.27, yahoo knows of none"
    }
    await both.read_from("yahoo", after=DAY)
    assert set(both.disagreements()) == {f"us:AAPL {day} dividend" for day in (PAID, "2026-11-24")}
    both.yahoo.dividend("AAPL", PAID, "0.27")
    both.yahoo.dividend("AAPL", "2026-11-24", "0.30")
    await both.read_from("yahoo")
    assert both.disagreements() == {}


async def test_what_one_vendor_is_not_asked_about_it_does_not_disagree_on(both: TwoVendors) -> None:
    both.bars_of_both()
    both.yahoo.dividend("AAPL", PAID, "0.27")
    await both.link_both()
    await both.read_from("yahoo")
    assert both.disagreements() == {}


async def test_a_run_about_others_settles_nothing(both: TwoVendors) -> None:
    both.bars_of_both()
    both.yahoo.set_bar("MSFT", AT.date(), "400")
    both.broker.dividend("AAPL", PAID, "0.27")
    await both.link_both()
    await both.read_from("alpaca")
    await both.read_from("yahoo")
    found = both.disagreements()
    assert len(found) == 1
    async with both.runtime() as runtime:
        await runtime.engine.sync("corporate_actions", both.of["yahoo"], instruments=["us:MSFT"])
    assert both.disagreements() == found


# -- prices of one by actions of the other -----------------------------------------------------------------------------


async def test_raw_bars_of_one_vendor_are_adjusted_by_the_actions_of_another(both: TwoVendors) -> None:
    """The broker knows of neither split nor dividend; Yahoo does."""
    both.bars_of_both("100.00")
    both.split_at_both("4")
    both.broker.actions.clear()
    both.yahoo.dividend("AAPL", PAID, "2.50")
    await both.link_both()
    await both.read_from("yahoo")
    await both.read_from("alpaca", "prices")
    assert both.findings() == {}, "Yahoo's split explains the step between the broker's bars"
    raw = both.closes()
    assert (raw["2026-10-19"], raw[str(SPLIT)]) == ("100", "25")
    assert set(both.closes(adjust="split").values()) == {"25"}
    total = both.closes(adjust="total")
    assert (total["2026-11-09"], total[str(PAID)]) == ("22.5", "25"), "a tenth of the price was paid out"
    assert total["2026-10-19"] == "22.5"


@guarded(
    "split-adjusted bars have no total",
    "engine/adjusting.py",
    '"total": ("raw", "split_adjusted")}',
    '"total": ("raw",)}',
)
async def test_split_adjusted_bars_are_made_total_by_dividends_alone(both: TwoVendors) -> None:
    both.bars_of_both("100.00")
    both.split_at_both("4")
    both.yahoo.dividend("AAPL", date(2026, 10, 9), "10.00")  # of a share that is four today
    both.yahoo.dividend("AAPL", PAID, "2.50")
    await both.link_both()
    await both.read_from("yahoo", "prices")
    assert set(both.closes().values()) == {"25"}
    with pytest.raises(UsageError, match="corporate actions of us:AAPL were never read"):
        both.closes(adjust="total")
    assert both.closes(adjust="split") == both.closes(), "there is nothing to do, and nothing to know"
    await both.read_from("yahoo")
    total = both.closes(adjust="total")
    assert (total["2026-11-09"], total[str(PAID)]) == ("22.5", "25")
    assert (total["2026-10-08"], total["2026-10-09"]) == ("20.25", "22.5")
    assert {row["basis"] for row in both.rows("prices", adjust="total")} == {"adjusted"}
    await both.read_from("alpaca", "prices")
    await both.read_from("alpaca")
    assert both.closes()["2026-10-19"] == "100", "raw bars come first"
    assert both.closes(adjust="split")["2026-10-19"] == "25"
