"""Currencies and rates: pence are not pounds, a missing rate is not 1, and a day is the one the provider states."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from pathlib import Path

import pytest

from fin_infra.cli.worth import in_one, net_worth
from fin_infra.conversion import convert
from fin_infra.providers import resolve
from fin_infra.providers.plaid.simulator import SimHolding, SimSecurity
from fin_infra.providers.simulating import Fault
from fin_infra.reader import read
from fin_infra.runtime import Runtime
from tests.guards import guarded
from tests.plaid_world import investment, plaid_of
from tests.rates import START, RatesWorld, rates_of
from tests.world import World, bought, checking, world_of

BOTH = ["ecb", "frankfurter"]


@pytest.fixture
def ecb(tmp_path: Path) -> Iterator[RatesWorld]:
    with rates_of(tmp_path, "ecb") as world:
        yield world


Make = Callable[..., RatesWorld]


@pytest.fixture
def make(tmp_path: Path) -> Iterator[Make]:
    """Worlds of any provider, each in a folder of its own."""
    from contextlib import ExitStack

    with ExitStack() as stack:
        yield lambda vendor, currencies="USD,GBP", **more: stack.enter_context(
            rates_of(_folder(tmp_path / vendor), vendor, currencies, **more)
        )


def _folder(path: Path) -> Path:
    path.mkdir(exist_ok=True)
    return path


# -- T-41 --------------------------------------------------------------------------------------------------------------


async def test_t41_positions_in_pence_agorot_and_cents_are_kept_in_pounds_shekels_and_rand(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with plaid_of(tmp_path, monkeypatch) as world:
        await world.link(investment())
        world.item.securities = [
            SimSecurity("s1", "VOD", mic="XLON", close="71.34", currency="GBX"),
            SimSecurity("s2", "TEVA", mic="XTAE", close="6150", currency="ILA"),
            SimSecurity("s3", "NPN", mic="XJSE", close="432150", currency="ZAc"),
        ]
        world.item.holdings = [
            SimHolding("acc_9", "s1", "1000", "71.34", "60000", currency="GBX"),
            SimHolding("acc_9", "s2", "10", "6150", currency="ILA"),
            SimHolding("acc_9", "s3", "1", "432150", currency="ZAc"),
        ]
        await world.work()
        held = {row["currency"]: row for row in world.rows("holdings")}
        assert {code: row["market_value"] for code, row in held.items()} == {
            "GBP": Decimal("713.4"), "ILS": Decimal(615), "ZAR": Decimal("4321.5"),
        }  # fmt: skip
        assert (held["GBP"]["price"], held["GBP"]["cost_basis"]) == (Decimal("0.7134"), Decimal(600))
        assert {row["quote_unit"] for row in world.rows("instruments")} == {"minor"}


# -- T-42 --------------------------------------------------------------------------------------------------------------


@contextmanager
def yen_and_dollars(tmp_path: Path) -> Iterator[tuple[World, RatesWorld]]:
    """A bank with an account of a million yen and one of a hundred dollars, and the ECB, in one store."""
    with rates_of(tmp_path, "ecb", "USD,JPY,GBP") as rates, world_of(tmp_path) as bank:
        yen = bought("t_yen", "-1000000", "2026-11-21", description="Rent")
        bank.bank.enroll("tok", checking("acc_usd"), checking("acc_yen", yen, currency="JPY"))
        for account in bank.bank.enrollments["tok"].accounts:
            account.ledger = account.available = "1000000" if account.currency == "JPY" else "100"
        bank.clock.set(START)
        yield bank, rates


async def work(bank: World, rates: RatesWorld) -> None:
    async with Runtime(
        rates.settings, now=bank.clock, base_urls={"teller": bank.url, "ecb": rates.url}, on_report=bank.reports.append
    ) as runtime:
        if not runtime.connections.all():
            runtime.connections.add(resolve("teller"), {"access_token": "tok"}, tenant="ada")
            runtime.connections.add(resolve("ecb"), {}, tenant="me")
        await runtime.run_worker(until_idle=True)


async def test_t42_a_million_yen_without_a_rate_are_never_a_million_dollars(tmp_path: Path) -> None:
    with yen_and_dollars(tmp_path) as (bank, rates):
        rates.has("USD", "2026-11-02", "2026-11-24", begin="1.1")  # no rate of the yen at all
        await work(bank, rates)
        mine = net_worth(*(bank.frame(name) for name in ("accounts", "balances", "holdings", "prices")))
        assert mine.total == {"JPY": 1000000, "USD": 100}
        worth = in_one(mine, "USD", date(2026, 11, 24), bank.frame("fx_rates"))
        total = worth.total()
        assert (total.amount, total.complete) == (Decimal(100), False)
        assert total.lacking == ("JPY: no rate is held: 1 row, 2026-11-24",)
        rows = convert(bank.frame("transactions"), to="USD", on="booked_on", rates=bank.frame("fx_rates"))
        assert rows.rows["amount_in"].to_list() == [None]
        assert rows.warnings == ["JPY: no rate is held: 1 row, 2026-11-21"]


async def test_t42_with_a_rate_it_says_of_which_day_and_how_old_it_is(tmp_path: Path) -> None:
    with yen_and_dollars(tmp_path) as (bank, rates):
        rates.has("USD", "2026-11-02", "2026-11-24", begin="1.1")
        rates.has("JPY", "2026-11-02", "2026-11-20", begin="180.5")
        await work(bank, rates)
        friday = {code: rates.held(code)["2026-11-20"] for code in ("USD", "JPY")}
        found = convert(bank.frame("transactions"), to="USD", on="booked_on", rates=bank.frame("fx_rates"))
        [row] = found.rows.to_dicts()
        expected = (Decimal(friday["USD"]) / Decimal(friday["JPY"])).quantize(Decimal(1).scaleb(-18))
        assert (row["rate"], row["amount_in"]) == (expected, -1000000 * expected)
        assert (row["rate_on"], row["rate_age"], row["rate_provider"]) == (date(2026, 11, 20), 1, "ecb")
        # a fortnight without a new rate of the yen: the account is not valued at an old one
        late = in_one(
            net_worth(*(bank.frame(name) for name in ("accounts", "balances", "holdings", "prices"))),
            "USD", date(2026, 12, 4), bank.frame("fx_rates"),
        )  # fmt: skip
        assert late.rows["total_in"].to_list() == [None, 100]
        assert "the newest is of 2026-11-20" in late.warnings[0]


# -- days --------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("vendor", BOTH)
async def test_t38_after_downtime_every_working_day_is_caught_up_and_a_weekend_asks_nobody(
    make: Make, vendor: str
) -> None:
    world = make(vendor)
    world.has("USD", "2025-10-01", "2026-12-31")
    world.has("GBP", "2025-10-01", "2026-12-31", begin="0.8")
    await world.link()
    await world.work()
    assert list(world.held())[-1] == "2026-11-24"
    await world.work(timedelta(hours=6))
    asked = len(world.sim.requests)
    await world.sync(at=datetime(2026, 12, 15, 17, 0, tzinfo=UTC))
    assert len(world.sim.requests) == asked + 1
    days = [str(date(2026, 11, 24) + timedelta(days=n)) for n in range(22)]
    assert [day for day in world.held() if day >= "2026-11-24"] == [
        day for day in days if date.fromisoformat(day).weekday() < 5
    ]
    await world.sync(at=datetime(2026, 12, 18, 17, 0, tzinfo=UTC))
    await world.sync(at=datetime(2026, 12, 18, 20, 0, tzinfo=UTC))
    asked = len(world.sim.requests)
    for hour in range(3, 60, 9):  # Saturday and Sunday
        await world.sync(at=datetime(2026, 12, 18, 20, 0, tzinfo=UTC) + timedelta(hours=hour))
    assert len(world.sim.requests) == asked
    assert world.findings() == {}
    # Christmas Day and Boxing Day are no gaps
    await world.sync(at=datetime(2026, 12, 28, 17, 0, tzinfo=UTC))
    assert [day for day in world.held() if day >= "2026-12-23"] == ["2026-12-23", "2026-12-24", "2026-12-28"]
    assert world.findings() == {}


async def test_t39_a_rate_has_the_day_that_the_answer_states(make: Make) -> None:
    """Asked on a holiday, Frankfurter answers with the working day before: no row is made of the day that was asked."""
    world = make("frankfurter", at=datetime(2026, 5, 1, 17, 0, tzinfo=UTC))
    world.has("USD", "2025-03-01", "2026-05-08")
    await world.link()
    await world.work()
    assert [day for day in world.held() if day >= "2026-04-29"] == ["2026-04-29", "2026-04-30"]
    await world.sync(at=datetime(2026, 5, 4, 17, 0, tzinfo=UTC))
    assert [day for day in world.held() if day >= "2026-04-29"] == ["2026-04-29", "2026-04-30", "2026-05-04"]
    assert world.evidence() == []


async def test_t40_a_rate_of_a_day_without_a_session_is_set_aside(ecb: RatesWorld) -> None:
    ecb.has("USD", "2025-10-01", "2026-11-24")
    ecb.sim.set_rate("2026-11-22", "USD", "9.9")
    await ecb.link()
    await ecb.work()
    assert "2026-11-22" not in ecb.held()
    assert any("2026-11-22 is no session of TARGET" in reason for reason in ecb.evidence())


async def test_t35_todays_rate_is_final_once_a_second_read_agrees_and_a_correction_is_taken_and_said(
    ecb: RatesWorld,
) -> None:
    ecb.has("USD", "2025-10-01", "2026-11-25")
    ecb.keep("USD")
    await ecb.link()
    await ecb.work()
    assert ecb.states()["2026-11-24"] == "provisional"
    ecb.sim.set_rate("2026-11-24", "USD", "1.5")
    await ecb.sync(timedelta(hours=1))
    assert (ecb.held()["2026-11-24"], ecb.states()["2026-11-24"]) == ("1.5", "provisional")
    await ecb.sync(timedelta(hours=1))
    assert ecb.states()["2026-11-24"] == "final"
    ecb.sim.set_rate("2026-11-20", "USD", "1.25")
    await ecb.sync(at=datetime(2026, 11, 25, 17, 0, tzinfo=UTC))
    assert ecb.held()["2026-11-20"] == "1.25"
    assert "the vendor changed final rates: 2026-11-20" in ecb.findings()["restated"]


# -- currencies come and go --------------------------------------------------------------------------------------------


async def test_a_currency_that_ends_is_no_endless_gap_and_its_rates_stay(ecb: RatesWorld) -> None:
    ecb.has("USD", "2025-10-01", "2026-12-31")
    ecb.has("GBP", "2025-10-01", "2026-11-24")
    await ecb.link()
    await ecb.work()
    before = ecb.held("GBP")
    for day in range(25, 29):
        await ecb.work(timedelta(days=1) if day > 25 else timedelta(hours=25))
    assert ecb.held("GBP") == before
    # each day that lacks it is asked about until a second day's read lacks it too, then no more
    await ecb.work(timedelta(hours=4))
    asked = len(ecb.sim.requests)
    await ecb.work(timedelta(hours=4))
    assert len(ecb.sim.requests) - asked <= 1
    assert ecb.stream("fx_rates")["state"] == "ok"
    assert "fx:EURGBP" not in str(ecb.findings().get("shrink_guard", ""))
    assert list(ecb.held("USD"))[-1] >= "2026-11-27"


async def test_what_the_ecb_no_longer_has_is_never_asked_for(make: Make) -> None:
    world = make("ecb", "USD,RUB,BGN")
    world.has("USD", "2025-10-01", "2026-11-24")
    await world.link()
    await world.work()
    assert {row["quote"] for row in world.rows("fx_rates")} == {"USD"}
    assert "missing_sessions" not in world.findings()
    assert "ecb has no rates of it" in world.findings()["unpriced"]


async def test_t37_open_access_has_no_days_before_the_first_and_they_are_not_asked_for_for_ever(make: Make) -> None:
    world = make("exchangerate_api")
    world.has("USD", "2026-10-01", "2026-12-31", weekends=True)
    world.has("GBP", "2026-10-01", "2026-12-31", weekends=True, begin="0.8")
    await world.link()
    await world.work()
    assert list(world.held()) == ["2026-11-24"]
    for _ in range(12):
        await world.work(timedelta(hours=6))
    assert list(world.held()) == ["2026-11-24", "2026-11-25", "2026-11-26", "2026-11-27"]
    asked = len(world.sim.requests)
    await world.work(timedelta(hours=3))  # 20:00: the day's rates are final
    assert len(world.sim.requests) == asked
    assert set(world.sim.seen) == {None}
    assert world.findings() == {}


# -- providers ---------------------------------------------------------------------------------------------------------


@guarded(
    "the body of a 200 is asked too",
    "providers/transport.py",
    "if reply.status in good and not refusing:",
    "if reply.status == 200:",
)
async def test_a_refusal_with_status_200_stops_the_connection_and_shows_no_key(
    make: Make, caplog: pytest.LogCaptureFixture
) -> None:
    world = make("exchangerate_api")
    world.has("USD", "2026-11-01", "2026-11-30", weekends=True)
    world.sim.with_status_200 = True
    caplog.set_level("DEBUG")
    await world.link(api_key="key-SECRET7731")
    [report] = await world.work()
    assert (report.outcome, report.error_code) == ("park", "auth_invalid")
    assert "the key is not accepted: fin-infra connections relink" in world.stream("fx_rates")["next_reason"]
    world.sim.keys.add("key-SECRET7731")
    async with world.runtime() as runtime:
        [connection] = runtime.connections.all()
        runtime.connections.relink(connection.connection_id, {"api_key": "key-SECRET7731"})
    assert [r.outcome for r in await world.work(timedelta(hours=1))] == ["ok"]
    assert world.sim.seen == ["key-SECRET7731"] * 2
    assert all("SECRET7731" not in request for request in world.sim.requests)
    said = caplog.text + str(report) + str(world.rows("streams")) + str(world.rows("runs")) + str(connection)
    assert "SECRET7731" not in said
    assert b"SECRET7731" not in b"".join(path.read_bytes() for path in world.folder.glob("fin.db*"))


async def test_a_spent_month_waits_a_day_and_costs_no_attempt(make: Make) -> None:
    world = make("exchangerate_api")
    world.has("USD", "2026-11-01", "2026-11-30", weekends=True)
    world.sim.keys.add("k")
    world.sim.left = 0
    await world.link(api_key="k")
    [report] = await world.work()
    assert (report.outcome, report.error_code, report.follow_up.after) == ("later", "quota_exhausted", 86400.0)


@pytest.mark.parametrize("vendor", [*BOTH, "exchangerate_api"])
async def test_a_second_sync_changes_nothing_and_a_broken_answer_removes_nothing(make: Make, vendor: str) -> None:
    world = make(vendor)
    weekends = vendor == "exchangerate_api"
    world.has("USD", "2025-10-01", "2026-12-31", weekends=weekends)
    world.has("GBP", "2025-10-01", "2026-12-31", weekends=weekends, begin="0.8")
    await world.link()
    await world.work()
    await world.sync(timedelta(hours=1))
    held = world.rows("fx_rates")
    report = await world.sync(timedelta(hours=1))
    assert not any(counts.inserted or counts.updated or counts.removed for counts in report.counts.values())
    assert world.rows("fx_rates") == held
    known = {(row["quote"], row["rate_on"]): row["rate"] for row in held}
    for fault in (
        Fault("truncate"), Fault("garbage"), Fault("garbage", body=b""), Fault("refuse", status=404, code="not_found"),
    ):  # fmt: skip
        world.sim.fail_next(fault)
        report = await world.sync(timedelta(days=1))
        assert report.error_code in ("contract_broken", "not_found", "bad_request")
        now = {(row["quote"], row["rate_on"]): row["rate"] for row in world.rows("fx_rates")}
        assert now.items() >= known.items()
        known = now
    await world.sync(timedelta(days=1))
    assert list(world.held())[-1] >= "2026-11-27"


async def test_rates_belong_to_no_tenant_and_are_filtered_by_pair(ecb: RatesWorld) -> None:
    ecb.has("USD", "2025-10-01", "2026-11-24")
    ecb.has("GBP", "2025-10-01", "2026-11-24", begin="0.8")
    await ecb.link()
    await ecb.work()
    with ecb.store() as store:
        some = read("fx_rates", instruments=["fx:EURGBP"], since=date(2026, 11, 23), store=store).collect()
        assert some.select("base", "quote", "rate_on").rows() == [
            ("EUR", "GBP", date(2026, 11, 23)), ("EUR", "GBP", date(2026, 11, 24)),
        ]  # fmt: skip
        with pytest.raises(Exception, match="belong to no tenant"):
            read("fx_rates", tenant="ada", store=store).collect()
