"""Start-time fair queueing: shares by weight, nothing idle, nobody starved, the earliest deadline inside a tenant."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from fin_infra.planning.costs import likely
from fin_infra.planning.fairness import FairQueue
from tests.guards import guarded

Job = tuple[str, int, int]  # tenant, deadline, cost

tenants = st.sampled_from("abcde")
jobs = st.lists(st.tuples(tenants, st.integers(0, 50), st.integers(1, 9)), max_size=60)
weights = st.fixed_dictionaries({tenant: st.integers(1, 20) for tenant in "abcde"})


def filled(waiting: list[Job], weight: dict[str, int] | None = None) -> FairQueue[Job]:
    queue = FairQueue[Job](lambda tenant: (weight or {}).get(tenant, 1), lambda job: job[1])
    queue.refill((job[0], job) for job in waiting)
    return queue


def drained(queue: FairQueue[Job]) -> list[Job]:
    found = []
    while (job := queue.take(lambda job: job[2])) is not None:
        found.append(job)
    return found


@given(jobs, weights)
def test_everything_is_served_once_and_each_tenant_by_deadline(waiting: list[Job], weight: dict[str, int]) -> None:
    served = drained(filled(waiting, weight))
    assert sorted(served) == sorted(waiting)
    for tenant in "abcde":
        deadlines = [job[1] for job in served if job[0] == tenant]
        assert deadlines == sorted(deadlines)


@guarded("a heavy tenant pays as a light one", "planning/fairness.py", "start) + cost / self._weight(tenant)",
         "start) + cost")  # fmt: skip
@given(weights, st.lists(st.integers(1, 9), min_size=1, max_size=5), st.integers(20, 200))
def test_while_all_wait_shares_are_as_the_weights(weight: dict[str, int], costs: list[int], served: int) -> None:
    queue, got = filled([], weight), dict.fromkeys("abcde", 0)
    for tenant in "abcde":
        for n in range(2):
            queue.push(tenant, (tenant, n, costs[n % len(costs)]))
    for n in range(served):
        job = queue.take(lambda job: job[2])
        assert job is not None
        got[job[0]] += job[2]
        queue.push(job[0], (job[0], n, costs[n % len(costs)]))
    shares = [got[tenant] / weight[tenant] for tenant in "abcde"]
    most = [max(costs) / weight[tenant] for tenant in "abcde"]
    for one, mine in zip(shares, most, strict=True):  # the bound of start-time fair queueing
        for other, its in zip(shares, most, strict=True):
            assert abs(one - other) <= mine + its + 1e-9


@guarded("who was idle has saved up", "planning/fairness.py", "self._lent / self._weight(tenant), self._now)",
         "self._lent / self._weight(tenant), 0.0)")  # fmt: skip
def test_who_was_idle_has_saved_nothing_up() -> None:
    queue = filled([("a", n, 1) for n in range(1_000)])
    for _ in range(900):
        queue.take(lambda job: job[2])
    for n in range(100):
        queue.push("b", ("b", n, 1))
    turns = [job[0] for job in drained(queue)]
    assert turns[:20].count("a") in (9, 10)


@given(jobs, st.sets(st.integers(0, 50)))
def test_what_cannot_be_served_costs_nothing_and_hides_nobody(waiting: list[Job], closed: set[int]) -> None:
    queue, aside = filled(waiting), list[Job]()

    def cost(job: Job) -> float | None:
        if job[1] in closed:
            aside.append(job)
            return None
        return job[2]

    served = []
    while (job := queue.take(cost)) is not None:
        served.append(job)
    assert served == drained(filled([job for job in waiting if job[1] not in closed]))
    assert sorted(served + aside) == sorted(waiting)


@guarded("an item costs nothing", "planning/fairness.py", "max(self._ends.get(tenant, 0.0), start) +", "start + 0 *")
@guarded("nothing is lent", "planning/fairness.py", "- self._lent / self._weight(tenant),", "- 0,")
def test_a_little_is_lent_so_that_one_costly_run_makes_the_next_not_late() -> None:
    queue = FairQueue[Job](lambda tenant: {"a": 100}.get(tenant, 1), lambda job: job[1], lent=10)
    queue.refill(("a", ("a", n, 1)) for n in range(2_000))
    late = []
    for _ in range(4):
        queue.push("b", ("b", -1, 6))
        turns = 0
        while (job := queue.take(lambda job: job[2])) is not None and job[0] != "b":
            turns += 1
        late.append(turns)
    assert late[:2] == [0, 0], "two runs are within what is lent"
    assert sum(late) >= 800, "and no more than that: 24 calls are worth 1,400 of the other's"


@guarded("a new reading forgets who had how much", "planning/fairness.py", "        self._waiting.clear()\n",
         "        self._waiting.clear()\n        self._ends.clear()\n        self._now = 0.0\n")  # fmt: skip
def test_a_new_reading_of_what_waits_forgets_nobodys_share() -> None:
    waiting = [(tenant, n, 1) for tenant in "ab" for n in range(40)]
    queue = filled([job for job in waiting if job[0] == "a"])
    taken = [queue.take(lambda job: 30)]
    queue.push("b", ("b", 0, 1))
    taken.append(queue.take(lambda job: job[2]))
    assert [job[0] for job in taken if job] == ["a", "b"]
    queue.refill((job[0], job) for job in waiting if job not in taken)
    assert [job[0] for job in drained(queue)[:29]] == ["b"] * 29


@given(st.lists(st.integers(1, 1_000), min_size=1, max_size=8))
def test_an_estimate_lies_between_the_runs_and_follows_the_newest(calls: list[int]) -> None:
    assert min(calls) - 1e-9 <= likely(calls) <= max(calls) + 1e-9
    assert likely([max(calls), *calls]) >= likely(calls) - 1e-9


@guarded("the oldest run counts most", "planning/costs.py", "for count in reversed(newer):", "for count in newer:")
def test_an_estimate_weighs_the_newest_run_with_three_tenths() -> None:
    assert likely([10]) == 10
    assert likely([20, 10]) == 13
    assert abs(likely([0, 20, 10]) - 9.1) < 1e-9
