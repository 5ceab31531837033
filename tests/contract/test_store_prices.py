"""The contract of `Store` for what belongs to nobody, and of `read("prices")`: one row a session, whoever served it."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import Any

import polars as pl
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from polars.testing import assert_frame_equal

from fin_infra.datasets.accounts import Accounts
from fin_infra.datasets.activities import Activities
from fin_infra.datasets.base import Dataset
from fin_infra.datasets.holdings import Holdings
from fin_infra.datasets.instruments import Instruments
from fin_infra.datasets.intraday_prices import IntradayPrices
from fin_infra.datasets.prices import BASES, Prices
from fin_infra.errors import UsageError
from fin_infra.providers import PROVIDERS
from fin_infra.reader import read
from fin_infra.store import Applied, Batch, Change, Counts, Query, Stream
from tests.contract.conftest import START
from tests.contract.rows import MICROSECOND, Bench, everything, frame, held
from tests.guards import guarded

TUESDAY, WEDNESDAY = date(2026, 11, 24), date(2026, 11, 25)
_runs = itertools.count(1)

thorough = settings(
    max_examples=80, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow]
)


def bar(instrument: str = "us:SPY", session: date = TUESDAY, **more: Any) -> dict[str, Any]:
    return {
        "instrument": instrument, "session": session, "provider": "alpaca", "basis": "raw", "close": Decimal(1),
        "currency": "USD", "state": "final", **more,
    }  # fmt: skip


def listing(instrument: str = "us:SPY", **more: Any) -> dict[str, Any]:
    return {"instrument": instrument, "kind": "equity", "quote_unit": "major", "provider": "alpaca", **more}


def held_by(tenant: str, instrument: str, **more: Any) -> dict[str, Any]:
    return {
        "tenant_id": tenant, "account_id": "acc", "instrument": instrument, "as_of": START, "quantity": Decimal(1),
        "multiplier": Decimal(1), "provider": "alpaca", **more,
    }  # fmt: skip


def happened_to(tenant: str, activity_id: str, instrument: str | None, **more: Any) -> dict[str, Any]:
    return {
        "tenant_id": tenant, "account_id": "acc", "activity_id": activity_id, "kind": "buy", "instrument": instrument,
        "provider": "alpaca", **more,
    }  # fmt: skip


def commit(
    bench: Bench, schema: type[Dataset], rows: Sequence[Mapping[str, Any]], removed: Sequence[tuple[str, ...]] = ()
) -> Applied:
    """Commits rows of any dataset behind the bench's connection, as one run."""
    run_id = f"run_p{next(_runs)}"
    con = bench.connection.connection_id
    stamped = [{**row, "run_id": run_id, "fetched_at": bench.clock(), "connection_id": con} for row in rows]
    stream = Stream(con, schema.dataset_name())
    batch = Batch([Change(schema, frame(schema, stamped), list(removed))])
    return bench.store.apply(batch, stream=stream, run_id=run_id, expect=bench.cursor(stream), next="{}")


def prices(bench: Bench, **query: Any) -> pl.DataFrame:
    return read("prices", store=bench.store, **query).collect()


def served(bench: Bench, **query: Any) -> list[tuple[str, str, str]]:
    """(session, provider, basis) of every row."""
    return [
        (str(day), provider, str(basis))
        for day, provider, basis in prices(bench, **query).select("session", "provider", "basis").rows()
    ]


# -- rows of nobody ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("schema", "row", "changed"),
    [(Prices, bar(), {"close": Decimal("1.000000000000000001")}), (Instruments, listing(), {"name": "SPDR"})],
)
def test_rows_of_nobody_are_upserted_with_their_history(
    bench: Bench, schema: type[Dataset], row: dict[str, Any], changed: dict[str, Any]
) -> None:
    name = schema.dataset_name()
    assert commit(bench, schema, [row]).counts == {name: Counts(inserted=1)}
    bench.clock.advance(timedelta(hours=1))
    assert commit(bench, schema, [row]).counts == {name: Counts(unchanged=1)}
    assert commit(bench, schema, [{**row, **changed}]).counts == {name: Counts(updated=1)}
    spans = held(bench.store, schema, history=True).select("known_from", "known_to").rows()
    assert spans == [(START, START + timedelta(hours=1)), (START + timedelta(hours=1), None)]
    [column] = changed
    assert held(bench.store, schema, as_of=START)[column].to_list() == [row.get(column)]
    assert held(bench.store, schema)[column].to_list() == [changed[column]]


def test_two_connections_and_two_tenants_keep_one_row(bench: Bench) -> None:
    other = Bench(bench.store, bench.clock)
    object.__setattr__(other, "connection", other.link("grace"))
    commit(bench, Prices, [bar()])
    assert commit(other, Prices, [bar()]).counts == {"prices": Counts(unchanged=1)}
    assert commit(other, Prices, [bar(close=Decimal(2))]).counts == {"prices": Counts(updated=1)}
    assert prices(bench)["close"].to_list() == [2]


def test_the_feed_names_prices_by_their_whole_key(bench: Bench) -> None:
    commit(bench, Prices, [bar(), bar(session=WEDNESDAY)])
    place = int(bench.store.changes()["seq"].max())  # type: ignore[arg-type]
    bench.clock.advance(timedelta(minutes=1))
    commit(bench, Prices, [bar(), bar(session=WEDNESDAY, state="provisional"), bar("us:VTI")])
    found = bench.store.changes(place)
    assert sorted(zip(found["op"], found["key"].to_list(), strict=True)) == [
        ("inserted", ["us:VTI", "2026-11-24", "alpaca", "raw"]),
        ("updated", ["us:SPY", "2026-11-25", "alpaca", "raw"]),
    ]
    assert set(found["dataset"]) == {"prices"}
    assert set(found["changed_at"]) == {START + timedelta(minutes=1)}
    assert bench.store.changes(connection=bench.connection.connection_id).height == 4
    assert bench.store.changes(connection="con_other").height == 0


def test_erasing_a_connection_leaves_prices_and_instruments_to_everyone(bench: Bench) -> None:
    con = bench.connection.connection_id
    for close in (1, 2):
        bench.clock.advance(timedelta(hours=1))
        commit(bench, Prices, [bar(close=Decimal(close)), bar("us:VTI")])
        commit(bench, Instruments, [listing(name=f"name {close}")])
    commit(bench, Holdings, [held_by("ada", "us:SPY")])
    commit(bench, Holdings, [held_by("ada", "us:SPY", quantity=Decimal(2))])
    commit(bench, Activities, [happened_to("ada", "a1", "us:SPY")])
    before, told = everything(bench.store), bench.store.changes()
    public = ("prices", "prices_history", "instruments", "instruments_history")
    assert [len(before[name]) for name in public] == [2, 1, 1, 1]
    bench.store.erase(con)
    after = everything(bench.store)
    assert {name: after[name] for name in public} == {name: before[name] for name in public}
    assert not [name for name, rows in after.items() if any(con in map(str, row) for row in rows)]
    assert not [rows for name in ("holdings", "holdings_history", "activities") for rows in after[name]]
    assert bench.store.changes().equals(told.filter(pl.col("dataset").is_in(["prices", "instruments"])))
    assert bench.store.instruments_held("ada") == []
    assert prices(bench)["instrument"].to_list() == ["us:SPY", "us:VTI"]


# -- what was ever held --------------------------------------------------------------------------------------------------


def test_t31_instruments_that_were_ever_held_are_known(bench: Bench) -> None:
    assert bench.store.instruments_held("ada") == []
    commit(bench, Holdings, [held_by("ada", "us:SOLD"), held_by("ada", "us:KEPT")])
    bench.clock.advance(timedelta(days=1))
    commit(bench, Holdings, [held_by("ada", "us:KEPT")], [("ada", "acc", "us:SOLD")])
    rows = [("a1", "us:TRADED"), ("a2", None), ("a3", "us:KEPT"), ("a4", "us:TRADED")]
    commit(bench, Activities, [happened_to("ada", *row) for row in rows])
    assert bench.store.instruments_held("ada") == ["us:KEPT", "us:SOLD", "us:TRADED"]


def test_what_another_tenant_holds_is_not_known(bench: Bench) -> None:
    commit(bench, Holdings, [held_by("ada", "us:MINE")])
    commit(bench, Activities, [happened_to("ada", "a1", "us:MINE")])
    grace = Bench(bench.store, bench.clock)
    commit(grace, Holdings, [held_by("grace", "us:HERS"), held_by("grace", "us:GONE")])
    commit(grace, Holdings, [held_by("grace", "us:HERS")], [("grace", "acc", "us:GONE")])
    commit(grace, Activities, [happened_to("grace", "a1", "us:TRADED")])
    assert bench.store.instruments_held("ada") == ["us:MINE"]
    assert bench.store.instruments_held("grace") == ["us:GONE", "us:HERS", "us:TRADED"]


# -- one row a session ---------------------------------------------------------------------------------------------------


def test_the_registrys_order_decides_whose_price_it_is(bench: Bench) -> None:
    commit(bench, Prices, [bar(provider=name, close=Decimal(n)) for n, name in enumerate(["zz", *PROVIDERS, "aa"], 1)])
    assert served(bench) == [("2026-11-24", next(iter(PROVIDERS)), "raw")]
    assert len(served(bench, all_providers=True)) == len(PROVIDERS) + 2


def test_an_order_of_ones_own_comes_first_and_the_registrys_after(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, second = list(PROVIDERS)[-1], list(PROVIDERS)[-2]
    monkeypatch.setenv("FIN_INFRA_PRICE_PROVIDERS", f" {first} , {second}")
    commit(bench, Prices, [bar(provider=name) for name in ("aa", second)])
    assert served(bench) == [("2026-11-24", second, "raw")]
    commit(bench, Prices, [bar(provider=first)])
    assert served(bench) == [("2026-11-24", first, "raw")]


def test_an_order_with_a_name_that_does_not_exist_is_refused(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FIN_INFRA_PRICE_PROVIDERS", "alpaca,alpcaa")
    with pytest.raises(UsageError, match="FIN_INFRA_PRICE_PROVIDERS names alpcaa; there are: teller, alpaca"):
        prices(bench)


def test_providers_nobody_ranked_come_last_by_name(bench: Bench) -> None:
    commit(bench, Prices, [bar(provider=name) for name in ("zz", "aa", "mm")])
    assert served(bench) == [("2026-11-24", "aa", "raw")]
    commit(bench, Prices, [bar(provider="alpaca")])
    assert served(bench) == [("2026-11-24", "alpaca", "raw")]


def test_a_session_the_best_provider_lacks_comes_from_the_next(bench: Bench) -> None:
    commit(bench, Prices, [bar(), bar(provider="zz"), bar(session=WEDNESDAY, provider="zz")])
    assert served(bench) == [("2026-11-24", "alpaca", "raw"), ("2026-11-25", "zz", "raw")]


def test_t30_an_instrument_has_bars_of_one_basis_even_where_another_has_more(bench: Bench) -> None:
    """Joined, raw and adjusted bars would make a step that never was."""
    commit(bench, Prices, [
        bar(provider="zz"), bar(basis="adjusted"), bar(session=WEDNESDAY, basis="split_adjusted"),
        bar("us:VTI", basis="adjusted"), bar("us:VTI", WEDNESDAY, basis="split_adjusted"), bar("us:KO", basis="adjusted"),
    ])  # fmt: skip
    found = prices(bench).select("instrument", "session", "provider", pl.col("basis").cast(pl.String)).rows()
    assert found == [
        ("us:KO", TUESDAY, "alpaca", "adjusted"), ("us:SPY", TUESDAY, "zz", "raw"),
        ("us:VTI", WEDNESDAY, "alpaca", "split_adjusted"),
    ]  # fmt: skip


@guarded("a stale raw series hides a fresh one", "reader.py",
         'up_to_date = pl.when(behind <= UP_TO_DATE).then(basis)', "up_to_date = basis")  # fmt: skip
def test_a_series_that_stands_in_takes_the_place_of_one_that_ended_whole(bench: Bench) -> None:
    """At most three days behind it is only late: a weekend. Further behind, nothing of it is joined to the other."""
    friday, later = date(2026, 11, 20), [date(2026, 11, day) for day in (20, 23, 24)]
    commit(bench, Prices, [bar(session=date(2026, 11, 19)), bar(session=friday)])
    other = [bar(session=day, provider="yahoo", basis="split_adjusted") for day in later]
    commit(bench, Prices, other[:2])
    assert served(bench) == [("2026-11-19", "alpaca", "raw"), ("2026-11-20", "alpaca", "raw")]
    commit(bench, Prices, other)
    assert served(bench) == [(str(day), "yahoo", "split_adjusted") for day in later]
    assert served(bench, until=friday)[-1] == ("2026-11-20", "alpaca", "raw"), "of what is asked for it is up to date"
    commit(bench, Prices, [bar(session=TUESDAY, provider="zz")])
    assert {basis for *_, basis in served(bench)} == {"raw"}
    assert len(served(bench)) == 3, "of one basis the sessions of all its series"


def test_all_providers_and_history_give_every_row_there_is(bench: Bench) -> None:
    commit(bench, Prices, [bar(), bar(provider="zz"), bar(basis="adjusted")])
    bench.clock.advance(timedelta(hours=1))
    commit(bench, Prices, [bar(close=Decimal(2))])
    assert (prices(bench).height, prices(bench, all_providers=True).height) == (1, 3)
    past = prices(bench, history=True)
    assert past.height == 4
    assert {"known_from", "known_to"} <= set(past.columns)


def test_as_of_prefers_among_what_was_known_then(bench: Bench) -> None:
    commit(bench, Prices, [bar(provider="zz", basis="adjusted", close=Decimal(5))])
    bench.clock.advance(timedelta(hours=1))
    commit(bench, Prices, [bar(close=Decimal(6))])
    bench.clock.advance(timedelta(hours=1))
    commit(bench, Prices, [bar(close=Decimal(7))])
    known = {hours: prices(bench, as_of=START + timedelta(hours=hours))["close"].to_list() for hours in (0, 1, 2)}
    assert known == {0: [5], 1: [6], 2: [7]}
    assert prices(bench, as_of=START - MICROSECOND).is_empty()
    assert prices(bench, as_of=START + timedelta(hours=1), all_providers=True)["close"].to_list() == [6, 5]


def test_instruments_and_days_narrow_what_is_read(bench: Bench) -> None:
    commit(bench, Prices, [bar(name, TUESDAY + timedelta(days=n)) for name in ("us:A", "us:B") for n in range(4)])
    found = prices(bench, instruments=["us:B", "us:NONE"], since=WEDNESDAY, until=WEDNESDAY + timedelta(days=1))
    assert found.select("instrument", "session").rows() == [
        ("us:B", WEDNESDAY), ("us:B", WEDNESDAY + timedelta(days=1)),
    ]  # fmt: skip
    assert prices(bench, instruments=[]).is_empty()


@pytest.mark.parametrize("dataset", ["prices", "instruments"])
@pytest.mark.parametrize("whose", [{"tenant": "ada"}, {"connection": "con_1"}, {"accounts": ["acc"]}])
def test_what_belongs_to_nobody_cannot_be_read_for_somebody(bench: Bench, dataset: str, whose: dict[str, Any]) -> None:
    with pytest.raises(UsageError):
        read(dataset, store=bench.store, **whose)


def test_instruments_are_filtered_where_a_row_has_one(bench: Bench) -> None:
    commit(bench, Holdings, [held_by("ada", "us:A"), held_by("ada", "us:B")])
    commit(bench, Activities, [happened_to("ada", "a1", "us:A"), happened_to("ada", "a2", None)])
    commit(bench, Instruments, [listing("us:A"), listing("us:B")])
    for dataset in ("holdings", "activities", "instruments"):
        found = read(dataset, store=bench.store, instruments=["us:A"]).collect()
        assert found["instrument"].to_list() == ["us:A"]
    with pytest.raises(UsageError, match="instruments"):
        bench.store.check(Accounts, Query(instruments=["us:A"]))
    with pytest.raises(UsageError, match="list"):
        read("prices", store=bench.store, instruments="us:A")


def test_a_universe_of_many_instruments_can_be_read(bench: Bench) -> None:
    commit(bench, Prices, [bar("us:A"), bar("us:B")])
    universe = [f"us:X{n}" for n in range(40_000)]
    assert prices(bench, instruments=[*universe, "us:B"])["instrument"].to_list() == ["us:B"]


def test_an_empty_table_of_prices_is_an_empty_frame_of_the_schema(bench: Bench) -> None:
    assert prices(bench).schema == pl.Schema(Prices.dtypes())
    assert read("prices", store=bench.store).select("close").head(1).collect().height == 0


# -- any rows, any question ----------------------------------------------------------------------------------------------

INSTRUMENTS = ("us:A", "us:B", "crypto:c")
VENDORS = ("aa", "alpaca", "teller", "zz")
DAYS = tuple(date(2026, 11, 23) + timedelta(days=n) for n in (0, 1, 2, 3, 4, 7, 12))

keys = st.tuples(st.sampled_from(INSTRUMENTS), st.sampled_from(DAYS), st.sampled_from(VENDORS), st.sampled_from(BASES))
tables = st.dictionaries(keys, st.integers(0, 5), max_size=24)
"""Which bars there are, by key: the close of each."""
orders = st.lists(st.sampled_from(list(PROVIDERS)), unique=True)


@pytest.fixture
def fresh(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> Bench:
    """A bench whose reads come in small parts."""
    monkeypatch.setattr("fin_infra.store.sql.READ_BATCH", 5)
    return bench


def only_these(bench: Bench, table: dict[tuple[str, date, str, str], int]) -> None:
    """Makes the store's prices these and no others."""
    current = held(bench.store, Prices).select(Prices.key()).rows()
    rows = [
        bar(key[0], key[1], provider=key[2], basis=key[3], close=Decimal(n), volume=Decimal(n) if n % 2 else None,
            state="final" if n % 3 else "provisional")
        for key, n in table.items()
    ]  # fmt: skip
    gone = [(key[0], key[1].isoformat(), *key[2:]) for key in current if key not in table]
    commit(bench, Prices, rows, gone)


def chosen(table: dict[tuple[str, date, str, str], int], order: list[str]) -> set[tuple[str, date, str, str]]:
    """The rows that are to be read, worked out key by key."""
    ranked = [*dict.fromkeys([*order, *PROVIDERS])]

    def rank(key: tuple[str, date, str, str]) -> tuple[int, str]:
        return (ranked.index(key[2]) if key[2] in ranked else len(ranked), key[2])

    newest: dict[tuple[str, ...], date] = {}
    for name, day, provider, basis in table:
        for whose in ((name,), (name, provider, basis)):
            newest[whose] = max(day, newest.get(whose, day))
    best = {
        name: min(
            BASES.index(key[3]) for key in table
            if key[0] == name and (newest[(name,)] - newest[(name, *key[2:])]).days <= 3
        )
        for name, *_ in table
    }  # fmt: skip
    alike = [key for key in table if BASES.index(key[3]) == best[key[0]]]
    days = {key[:2] for key in alike}
    return {min((key for key in alike if key[:2] == day), key=rank) for day in days}


@thorough
@given(table=tables, order=orders)
def test_the_preferred_rows_are_those_worked_out_one_by_one(
    fresh: Bench, table: dict[tuple[str, date, str, str], int], order: list[str]
) -> None:
    only_these(fresh, table)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("FIN_INFRA_PRICE_PROVIDERS", ",".join(order))
        found = prices(fresh)
    picked = found.with_columns(pl.col("basis").cast(pl.String)).select(Prices.key()).rows()
    assert set(picked) == chosen(table, order)
    assert len(picked) == len(set(picked))
    assert [row[:2] for row in picked] == sorted(row[:2] for row in picked)
    assert dict(zip(picked, found["close"].to_list(), strict=True)) == {key: table[key] for key in picked}


predicates = st.sampled_from(
    [
        pl.col("instrument") == "us:A", pl.col("instrument").is_in(["us:B", "crypto:c"]), pl.col("session") >= DAYS[1],
        pl.col("session") == DAYS[2], pl.col("provider") == "zz", pl.col("provider") != "alpaca",
        pl.col("basis") == "adjusted", pl.col("basis") == "raw", pl.col("close") > Decimal(2), pl.col("volume").is_null(),
        pl.col("state") == "final", (pl.col("instrument") == "us:A") & (pl.col("provider") == "aa"),
        (pl.col("session") < DAYS[2]) | (pl.col("basis") == "split_adjusted"), ~(pl.col("close") < Decimal("2.5")),
    ]
)  # fmt: skip
steps = st.lists(
    st.one_of(
        st.tuples(st.just("filter"), predicates),
        st.tuples(st.just("head"), st.integers(0, 6)),
        st.tuples(st.just("slice"), st.tuples(st.integers(0, 3), st.integers(0, 4))),
    ),
    max_size=3,
)
picks = st.none() | st.lists(st.sampled_from(list(Prices.dtypes())), min_size=1, max_size=3, unique=True)


@settings(thorough, max_examples=200)
@given(table=tables, walk=steps, picked=picks, every=st.booleans(), past=st.booleans())
def test_lazy_steps_equal_the_same_steps_on_the_whole_frame(
    fresh: Bench, table: dict[tuple[str, date, str, str], int], walk: list[tuple[str, Any]], picked: list[str] | None,
    every: bool, past: bool,
) -> None:  # fmt: skip
    def walked(frame: Any) -> Any:
        for kind, what in walk:
            frame = frame.slice(*what) if kind == "slice" else getattr(frame, kind)(what)
        return frame if picked is None else frame.select(picked)

    only_these(fresh, table)
    query: dict[str, datetime] = {"as_of": fresh.clock()} if past else {}
    source = read("prices", store=fresh.store, all_providers=every, **query)  # type: ignore[arg-type]
    assert_frame_equal(walked(source).collect(), walked(source.collect()))
    assert walked(source).select(pl.len()).collect().item() == walked(source.collect()).height


def test_the_change_feed_tells_an_instant_in_a_key_as_text(bench: Bench) -> None:
    row = {
        "instrument": "us:AAPL", "interval": "5m", "start_at": datetime(2026, 11, 24, 14, 30, tzinfo=UTC),
        "provider": "yahoo", "basis": "raw", "open": None, "high": None, "low": None, "close": Decimal(1),
        "volume": None, "currency": "USD", "state": "final", "fetched_at": datetime(2026, 11, 24, 15, tzinfo=UTC),
        "run_id": "r",
    }  # fmt: skip
    commit(bench, IntradayPrices, [row])
    changes = bench.store.changes()
    assert changes["key"].to_list() == [["us:AAPL", "5m", "2026-11-24T14:30:00+00:00", "yahoo"]]
