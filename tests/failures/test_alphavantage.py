"""T-29 at Alpha Vantage: every refusal is a 200 with a text, and one of them repeats the key."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator
from datetime import date, timedelta
from decimal import Decimal
from itertools import pairwise
from pathlib import Path

import pytest

from fin_infra.engine.backfilling import plan
from fin_infra.errors import FinInfraError
from fin_infra.providers import resolve
from fin_infra.providers.alphavantage.simulator import TEXTS
from fin_infra.providers.simulating import Fault
from tests.guards import guarded
from tests.providers.alphavantage.market import KEY, AlphaWorld, alpha_of, short

DAY, HOUR, MINUTE = timedelta(days=1), timedelta(hours=1), timedelta(minutes=1)
TODAY = date(2026, 11, 24)
FOUR = ("us:IBM", "us:AAPL", "us:MSFT", "us:TSLA")


@pytest.fixture
def market(tmp_path: Path) -> Iterator[AlphaWorld]:
    with alpha_of(tmp_path) as found:
        yield found


@pytest.fixture
def limited(tmp_path: Path) -> Iterator[AlphaWorld]:
    with alpha_of(tmp_path, limited=True) as found:
        yield found


async def four(market: AlphaWorld) -> None:
    for name in FOUR:
        market.trades(name.removeprefix("us:"))
    await market.link(*FOUR)


def refuse(market: AlphaWorld, text: str, times: int = 1, name: str = "Information") -> None:
    body = json.dumps({name: text.format(key=KEY)}).encode()
    market.alpha.fail_next(Fault("refuse", status=200, body=body, times=times))


def names(count: int) -> list[str]:
    return [f"us:A{chr(65 + n // 26)}{chr(65 + n % 26)}" for n in range(count)]


def files(folder: Path) -> bytes:
    """All that lies on disk: the store, its journal, the ledger, evidence."""
    return b"".join(path.read_bytes() for path in folder.rglob("*") if path.is_file())


# -- T-29: one answer, one stop ----------------------------------------------------------------------------------------


@guarded("a used-up day is waited out for a minute", "providers/alphavantage/quota.py",
         'return Throttle(windows=("day",), everywhere=True)', 'return Throttle(windows=("minute",), wait=60.0)')  # fmt: skip
async def test_t29_a_used_up_day_as_text_costs_one_call_and_stops_everybody_for_the_day(market: AlphaWorld) -> None:
    await four(market)
    refuse(market, TEXTS["daily"][1], times=100)
    for _ in range(2):
        await market.work()
    assert len(market.alpha.requests) == 1, "the other three wait"
    assert market.stream("prices")["error_code"] == "rate_limited"
    assert await hours(market, 22) == 1, "nobody asks before the day is over"
    market.alpha.faults.clear()
    await hours(market, 6)
    assert [len(market.held(name)) for name in FOUR] == [100] * 4


async def hours(market: AlphaWorld, count: int) -> int:
    """As many hours pass, and a worker works at each. How many calls there were so far."""
    for _ in range(count):
        await market.work(HOUR)
    return len(market.alpha.requests)


@guarded("a text that nobody knows is asked again at once", "providers/alphavantage/quota.py",
         "COOL_DOWN = 3600.0", "COOL_DOWN = 2.0")  # fmt: skip
@guarded("a text that nobody knows is an answer", "providers/alphavantage/wire.py",
         'and "rate limit" not in text else "throttled"', 'and "rate limit" not in text else "premium"')  # fmt: skip
async def test_t29_a_text_that_nobody_knows_is_left_alone_for_an_hour(market: AlphaWorld) -> None:
    await four(market)
    refuse(market, TEXTS["unknown text"][1])
    report = await market.sync()
    assert (report.error_code, report.follow_up.kind, report.calls) == ("rate_limited", "later", 1)
    assert report.follow_up.after == 3600.0
    again = await market.sync(after=MINUTE * 50)
    assert (again.outcome, again.calls) == ("later", 0)
    assert (await market.sync(after=MINUTE * 11)).outcome == "ok"


async def test_t29_a_burst_is_waited_out_within_the_run(market: AlphaWorld) -> None:
    await four(market)
    refuse(market, TEXTS["burst"][1])
    assert (await market.sync()).outcome == "ok"
    assert [len(market.held(name)) for name in FOUR] == [100] * 4
    assert len(market.alpha.requests) == 5


@pytest.mark.parametrize("status", [500, 503])
async def test_a_page_of_a_proxy_is_a_vendor_that_is_down(market: AlphaWorld, status: int) -> None:
    await four(market)
    market.alpha.fail_next(Fault("refuse", status=status, code="", times=20))
    report = await market.sync()
    assert (report.error_code, report.follow_up.kind) == ("vendor_unavailable", "retry")
    market.alpha.faults.clear()
    assert (await market.sync(after=HOUR)).outcome == "ok"
    assert market.findings() == {}


@guarded("the key that an answer repeats is kept as evidence", "providers/alphavantage/__init__.py",
         'response._content = response.content.replace(told, b"[the key]")', "pass")  # fmt: skip
@pytest.mark.parametrize("name", ["Information", "Note", "Error Message", "Surprise"])
async def test_the_key_is_nowhere(market: AlphaWorld, caplog: pytest.LogCaptureFixture, name: str) -> None:
    """Not in what is said, what is logged, what is kept, nor in evidence once it is opened."""
    caplog.set_level(logging.DEBUG)
    await four(market)
    body = f'{{"{name}": "We have detected your API key as {KEY} and are puzzled."}}'
    market.alpha.fail_next(Fault("refuse", status=200, body=body.encode(), times=9))
    report = await market.sync()
    assert report.error_code is not None
    async with market.runtime() as runtime:
        [connection] = runtime.connections.all()
        secrets = runtime.connections.secrets(connection)
        http = runtime.http.transport(resolve("alphavantage"), connection, secrets, "interactive")
        try:
            answered = (await http.get("/query", {"function": "GLOBAL_QUOTE", "symbol": "IBM"})).body
        except FinInfraError as error:
            answered = repr(error).encode() + getattr(error, "evidence", b"")
        assert KEY.encode() not in answered
        assert KEY not in repr(connection) + str(connection)
    assert KEY not in repr(report) + caplog.text + repr(market.rows("findings")) + repr(market.rows("runs"))
    assert KEY not in repr(market.asked())
    assert KEY.encode() not in files(market.folder)


# -- 25 a day ----------------------------------------------------------------------------------------------------------


async def test_with_25_a_day_sixty_instruments_come_in_three_days_and_none_is_asked_twice(
    limited: AlphaWorld,
) -> None:
    """The vendor counts too, and has nothing to refuse. What waits is said, with the way out."""
    for name in (wanted := names(60)):
        limited.trades(name.removeprefix("us:"))
    await limited.link(*wanted)
    seen: list[str] = []
    for day, held in enumerate((25, 50, 60)):
        reports = await limited.work(HOUR * 12 if day == 0 else DAY)
        asked = limited.asked()
        seen += asked
        assert len(asked) <= 25
        assert len([name for name in wanted if limited.held(name)]) == held
        if held < 60:
            assert reports[0].error_code == "quota_exhausted"
            assert "all 25 units in 24 h (day) are used" in (reports[0].error or "")
    assert sorted(seen[:60]) == sorted(f"TIME_SERIES_DAILY {name.removeprefix('us:')}" for name in wanted)


# -- one instrument alone ----------------------------------------------------------------------------------------------


@guarded("an unknown symbol stops the others", "providers/alphavantage/client.py",
         'frozenset({"unknown_symbol", "not_found",', 'frozenset({"not_found",')  # fmt: skip
@pytest.mark.parametrize("dataset", ["prices", "quotes", "corporate_actions", "instruments"])
async def test_a_symbol_it_does_not_know_is_said_of_it_alone(market: AlphaWorld, dataset: str) -> None:
    market.trades("IBM")
    market.trades("TSLA")
    await market.link("us:IBM", "us:NOPE", "us:TSLA")
    report = await market.sync(dataset)
    assert report.accounts == {"us:NOPE": "unknown_symbol"}
    if dataset != "corporate_actions":
        assert {row["instrument"] for row in market.rows(dataset)} == {"us:IBM", "us:TSLA"}
    assert [one.split(" ")[1] for one in market.asked()].count("NOPE") == 1


async def test_what_a_free_key_has_not_is_said_as_a_limit_of_the_plan(market: AlphaWorld) -> None:
    await four(market)
    report = await market.sync("intraday_prices")
    assert (report.error_code, len(market.asked())) == ("plan_limit", 1), "it is not asked for by each"
    assert "a paid one does" in (report.error or report.follow_up.message or "")
    stream = market.stream("intraday_prices")
    assert stream["error_code"] == "plan_limit"
    assert market.rows("intraday_prices") == []


# -- bars --------------------------------------------------------------------------------------------------------------


async def test_a_bar_of_the_running_session_is_never_final(market: AlphaWorld) -> None:
    market.trades("IBM", last="2026-11-24")
    listing = market.alpha.listings["IBM"]
    closed = listing.bars[date(2026, 11, 24)]
    market.clock.set(market.clock() - timedelta(hours=3))
    listing.bars[date(2026, 11, 24)] = ("1", "1", "1", "1", "1")
    await market.link("us:IBM")
    for _ in range(4):
        await market.sync(after=MINUTE * 20)
        held = {str(row["session"]): row["state"] for row in market.rows("prices")}
        assert held.get("2026-11-24") in (None, "provisional")
    listing.bars[date(2026, 11, 24)] = closed
    for _ in range(3):
        await market.sync(after=HOUR)
    assert market.held("us:IBM")["2026-11-24"] == short(Decimal(closed[3]))
    assert market.held("us:IBM", "state")["2026-11-24"] == "final"


async def test_pence_become_pounds(market: AlphaWorld) -> None:
    market.trades("TSCO.LON", mic="XLON", begin="410.2550")
    market.alpha.listings["TSCO.LON"].dividends[date(2026, 10, 8)] = "4.80"
    await market.link("xlon:TSCO")
    for dataset in ("prices", "quotes", "corporate_actions"):
        await market.sync(dataset)
    assert market.held("xlon:TSCO")["2026-11-24"] == short(
        Decimal(market.alpha.listings["TSCO.LON"].bars[TODAY][3]) / 100
    )
    assert {row["currency"] for row in market.rows("prices")} == {"GBP"}
    [quote] = market.rows("quotes")
    assert quote["price"] < 5
    assert quote["currency"] == "GBP"
    [dividend] = market.rows("corporate_actions")
    assert (f"{dividend['amount'].normalize()}", dividend["currency"]) == ("0.048", "GBP")


async def test_splits_and_dividends_are_two_calls_and_one_answer_and_prices_are_continuous(market: AlphaWorld) -> None:
    split_on = date(2026, 9, 15)
    market.trades("IBM", begin="400.00")
    listing = market.alpha.listings["IBM"]
    for day, (*_, volume) in list(listing.bars.items()):
        if day >= split_on:
            listing.bars[day] = ("100.20", "100.60", "100.10", "100.50", volume)
    listing.splits[split_on] = "4.0000"
    listing.dividends[date(2026, 8, 10)] = "1.6800"
    await market.link("us:IBM")
    report = await market.sync("corporate_actions")
    assert (report.outcome, report.calls, market.asked()) == ("ok", 2, ["SPLITS IBM", "DIVIDENDS IBM"])
    await market.sync("prices")
    raw = [row["close"] for row in market.rows("prices")]
    adjusted = [row["close"] for row in market.rows("prices", adjust="split")]
    assert max(raw) > 390
    assert max(adjusted) < 101.5
    steps = [abs(b / a - 1) for a, b in pairwise(adjusted)]
    assert max(steps) < 0.01
    kinds = {row["kind"]: row for row in market.rows("corporate_actions")}
    assert {"split", "dividend"} == set(kinds)


# -- further back than the 100 newest bars -----------------------------------------------------------------------------


async def test_older_rows_than_a_free_key_has_are_said_as_a_limit_of_the_plan_and_the_newest_come_all_the_same(
    market: AlphaWorld,
) -> None:
    market.trades("IBM", first="2025-06-02")
    await market.link("us:IBM")
    await market.sync()
    held = market.held("us:IBM")
    async with market.runtime() as runtime:
        [connection] = runtime.connections.all()
        made = plan(
            runtime.store, connection, "prices", ["us:IBM"], date(2026, 1, 2), date(2026, 5, 29), market.clock()
        )
        assert made.nothing is None, made.nothing
        books = runtime.backfiller.books
        wish = books.create(made.connection, "prices", made.subjects, made.first, made.last, made.chunks)
        runtime.queue.enqueue_many([wish.order])
    for _ in range(4):
        await market.work(MINUTE)
    async with market.runtime() as runtime:
        done = runtime.backfiller.books.get(wish.backfill_id)
    assert done.reason is not None
    assert "us:IBM cannot be asked for" in done.reason
    assert "the plan does not cover this: a paid one does" in done.reason
    assert (done.state, done.calls, done.rows) == ("done", 1, 0)
    assert market.held("us:IBM").items() >= held.items()


@guarded(
    "an answer about one instrument that nobody understands is kept", "engine/run.py",
    "            self.account_failed(dataset, instrument, error)", "            self.failed[instrument] = error",
)  # fmt: skip
async def test_an_answer_of_another_shape_is_kept_as_evidence_and_stops_no_other(market: AlphaWorld) -> None:
    await four(market)
    market.alpha.fail_next(Fault("refuse", status=200, body=b'{"Meta Data": {}, "Time Series (Dusk)": {}}'))
    report = await market.sync()
    assert (report.outcome, report.error_code) == ("partial", "contract_broken")
    assert sum(bool(market.held(name)) for name in FOUR) == 3
    assert "contract_broken" in market.findings()
    with market.store() as store:
        assert len(store.quarantined()) == 1
    assert (await market.sync(after=HOUR)).outcome == "ok"
    assert "contract_broken" not in market.findings()
