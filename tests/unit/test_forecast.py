"""What would run when: the line of a key, played in virtual time against a copy of the ledger."""

from __future__ import annotations

from collections import Counter
from datetime import UTC, datetime, timedelta

from hypothesis import given
from hypothesis import strategies as st

from fin_infra.planning.admission import LENT
from fin_infra.planning.forecast import Clock, Planned, Run, play
from fin_infra.quotas.ledger import Denied
from fin_infra.quotas.memory import MemoryLedger
from fin_infra.quotas.rehearsal import rehearsal
from fin_infra.quotas.windows import Lane, Rolling, Window, paced
from tests.guards import guarded

START = datetime(2026, 11, 24, 12, 0, tzinfo=UTC)
HOUR, DAY = timedelta(hours=1), timedelta(days=1)
MINUTE = Rolling("v/app#minute", 5, 60.0)
DAILY = Rolling("v/app#day", 25, 86400.0, arrive_within=None)


def run(
    stream: str, *, due: timedelta = timedelta(), calls: float = 1, tenant: str = "ada", lane: Lane = "scheduled",
    schedule: str = "all",
) -> Run:  # fmt: skip
    return Run(stream, schedule, "sync", tenant, lane, START + due, calls)


def played(*runs: Run, windows: tuple[Window, ...] = (MINUTE,), end: timedelta = DAY, **more: object) -> list[Planned]:
    clock = Clock(START)
    return play(runs, MemoryLedger(clock), clock, START + end, windows=windows, **more)  # type: ignore[arg-type]


def starts(found: list[Planned]) -> list[tuple[str, float | None]]:
    """Streams with the seconds from the beginning to their start."""
    return [(p.run.stream, None if p.starts_at is None else (p.starts_at - START).total_seconds()) for p in found]


def test_what_the_windows_carry_starts_when_it_is_due() -> None:
    found = played(run("b", due=HOUR), run("a"))
    assert starts(found) == [("a", 0.0), ("b", 3600.0)]
    assert [p.denied for p in found] == [None, None]


def test_without_windows_everything_starts_when_it_is_due() -> None:
    clock = Clock(START)
    assert starts(play([run("a", calls=900), run("b", calls=900)], None, clock, START + DAY)) == [("a", 0), ("b", 0)]


def test_a_scarce_window_makes_a_line_and_says_why() -> None:
    found = played(*(run(f"s{n}") for n in range(7)))
    assert [at for _, at in starts(found)] == [0, 0, 0, 0, 0, 60, 60]
    assert [p.denied.why for p in found[5:] if p.denied] == ["full", "full"]
    assert found[0].denied is None


def test_a_pace_spreads_the_line_evenly() -> None:
    found = played(*(run(f"s{n}") for n in range(5)), windows=paced((MINUTE,)))
    gaps = [b - a for (_, a), (_, b) in zip(starts(found), starts(found)[1:], strict=False) if a is not None and b]
    assert all(11 < gap < 13 for gap in gaps), "five a minute"


def test_a_more_urgent_lane_goes_first_and_the_greedy_tenant_waits_alone() -> None:
    greedy = [run(f"g{n}", tenant="bob") for n in range(30)]
    found = played(*greedy, run("one"), run("bulk", lane="backfill"), run("hook", lane="webhook"))
    order = [stream for stream, _ in starts(found)]
    assert order[0] == "hook"
    assert order.index("one") <= LENT + 2, "her turn comes when he is ten calls ahead"
    assert order[-1] == "bulk"


@guarded("a waiting stream runs once per row", "planning/forecast.py", "if run.stream in self._rows:", "if False:")
def test_a_stream_that_waits_runs_once_however_often_it_is_due() -> None:
    full = [run(f"s{n}") for n in range(5)]
    found = played(*full, run("z"), run("z", due=timedelta(seconds=30), schedule="other"))
    assert Counter(stream for stream, _ in starts(found))["z"] == 1


def test_what_comes_after_a_run_follows_from_its_start() -> None:
    asked: list[tuple[str, datetime]] = []

    def following(one: Run, at: datetime) -> datetime:
        asked.append((one.schedule, at))
        return at + 6 * HOUR

    found = played(run("a"), run("a", due=-HOUR, schedule="other"), run("queued", schedule=""), following=following)
    assert [at for stream, at in starts(found) if stream == "a"] == [0, 6 * 3600, 12 * 3600, 18 * 3600]
    assert set(asked[:2]) == {("all", START), ("other", START)}, "both are moved on by the one run"
    assert all(schedule for schedule, _ in asked)


def test_a_run_larger_than_its_window_begins_with_what_there_is_and_goes_on() -> None:
    found = played(run("big", calls=60), run("small", due=HOUR), windows=(DAILY,), end=timedelta(days=4))
    assert starts(found)[0] == ("big", 0.0)
    [small] = [at for stream, at in starts(found) if stream == "small"]
    assert small is not None
    assert small >= 86400, "the day is spent"


def test_what_does_not_come_within_the_horizon_is_said() -> None:
    found = played(*(run(f"s{n:02}") for n in range(30)), windows=(DAILY,), end=HOUR)
    assert [at for _, at in starts(found)].count(None) == 5
    assert {p.denied.why for p in found if p.starts_at is None and p.denied} == {"full"}
    assert all(p.starts_at is not None for p in found[:25])


def test_a_window_of_one_connection_stops_nobody_else() -> None:
    own = {"a": (Rolling("v/app/a#item", 1, 60.0),)}
    found = played(
        run("a", due=-HOUR), run("a", due=timedelta(seconds=1), schedule="other"), run("b", due=timedelta(seconds=2)),
        own=lambda stream: own.get(stream, ()), following=lambda one, at: None,
    )  # fmt: skip
    assert starts(found) == [("a", 0), ("b", 2), ("a", 60)]


def test_the_play_ends_when_the_stream_has_started_that_is_asked_about() -> None:
    found = played(*(run(f"s{n}", due=timedelta(seconds=n)) for n in range(9)), until="s5")
    assert starts(found)[-1] == ("s5", 60.0)


def test_a_rehearsal_knows_what_is_spent_and_leaves_no_trace() -> None:
    clock = Clock(START)
    real = MemoryLedger(clock)
    for _ in range(3):
        real.acquire((MINUTE,))
    real.penalize((DAILY,), START + HOUR)
    before = real.frame()
    copy = rehearsal(real, (MINUTE, DAILY), Clock(START))
    denied = copy.acquire((MINUTE, DAILY))
    assert isinstance(denied, Denied)
    assert (denied.why, denied.at) == ("blocked", START + HOUR)
    assert copy.capacity((MINUTE,), 0.0) == 2
    while not isinstance(copy.acquire((MINUTE,)), Denied):
        pass
    assert real.frame().equals(before)
    assert real.capacity((MINUTE,), 0.0) == 2


@given(
    st.lists(
        st.tuples(st.integers(0, 400), st.integers(1, 9), st.sampled_from("abc"), st.sampled_from(["webhook", "scheduled"])),
        max_size=40,
    )
)  # fmt: skip
def test_no_window_is_ever_overspent_and_nobody_is_forgotten(orders: list[tuple[int, int, str, Lane]]) -> None:
    runs = [
        run(f"s{n}", due=timedelta(seconds=due), calls=calls, tenant=tenant, lane=lane)
        for n, (due, calls, tenant, lane) in enumerate(orders)
    ]
    found = played(*runs, windows=(Rolling("v/app#minute", 10, 60.0),))
    assert sorted(p.run.stream for p in found) == sorted(one.stream for one in runs)
    assert all(p.starts_at is None or p.starts_at >= p.run.due_at for p in found)
    begun = [p.starts_at for p in found if p.starts_at is not None]
    assert all(sum(at <= other < at + timedelta(seconds=60) for other in begun) <= 10 for at in begun), "a unit each"
    if sum(one.calls for one in runs) <= 10:
        assert all(p.starts_at == p.run.due_at for p in found)
    assert len(begun) == len(runs), "a day has room for all"
