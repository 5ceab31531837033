"""What a vendor is known not to have: one late beginning may be a bad day, two are not."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta

from fin_infra.engine.backfilling.known import Known, Told, learned, nothing, refusal, refused
from tests.guards import guarded

NOW = datetime(2026, 11, 24, 12, tzinfo=UTC)
LATER = NOW + timedelta(days=1)
BEGIN = date(2012, 5, 18)
LEAD = tuple(date(2012, 5, day) for day in (14, 15, 16, 17))
PARTIAL = Told(date(2012, 5, 14), date(2012, 12, 31), BEGIN, LEAD)
EMPTY = Told(date(2011, 1, 3), date(2012, 5, 11), None, (date(2011, 1, 3), date(2011, 1, 4)))


def test_a_late_beginning_counts_for_a_day_and_for_good_when_an_older_answer_is_empty() -> None:
    once = learned({}, PARTIAL, NOW)
    assert nothing(once, {}, None, NOW, once="never").begin is None, "the older chunk is still asked for"
    assert nothing(once, {}, None, NOW + timedelta(hours=1), once="lately").begin == BEGIN
    assert nothing(once, {}, None, LATER, once="lately").begin is None, "another day it is worth another call"
    assert nothing(learned(once, EMPTY, NOW), {}, None, LATER + timedelta(days=900), once="never").begin == BEGIN


@guarded("the same read of the same day confirms itself", "engine/backfilling/known.py",
         "        before = after.pop(\"heading\", None)\n", "        before = after.pop(\"heading\", [begin, \"2001-01-01T00:00:00+00:00\"])\n")  # fmt: skip
@guarded("one late beginning is taken for the end", "engine/backfilling/known.py",
         "(told.begins is None and told.last.isoformat() < before[0])", "True")  # fmt: skip
def test_the_same_on_another_day_is_enough_and_on_the_same_day_is_not() -> None:
    once = learned({}, PARTIAL, NOW)
    assert "head" not in learned(once, PARTIAL, NOW + timedelta(hours=1))
    assert learned(once, PARTIAL, LATER)["head"] == "2012-05-18"


def test_empty_answers_alone_say_that_there_is_nothing() -> None:
    newest = Told(date(2026, 1, 5), date(2026, 11, 20), None, (date(2026, 1, 5),))
    older = Told(date(2025, 1, 6), date(2026, 1, 2), None, (date(2025, 1, 6),))
    known = learned(learned({}, newest, NOW), older, NOW)
    assert known == {"head": "2026-11-21"}


def test_a_bar_before_it_disproves_what_was_known() -> None:
    known: Known = {"head": "2012-05-18"}
    older = Told(date(2010, 1, 4), date(2010, 6, 30), date(2010, 1, 4))
    assert learned(known, older, NOW) == {}
    assert nothing(known, {}, date(2010, 1, 4), NOW, once="never").begin == date(2010, 1, 4)


@guarded("the live stream's own head is not looked at", "engine/backfilling/known.py",
         'for day in (known.get("head"), live.get("head")) if day', 'for day in (known.get("head"), None) if day')  # fmt: skip
def test_what_the_live_stream_knows_counts_too() -> None:
    live = {"head": "2026-03-02", "absent": {"2026-04-01": "", "2026-04-02": "2026-11-24T11:00:00+00:00"}}
    found = nothing({}, live, None, NOW, once="always")
    assert found.begin == date(2026, 3, 2)
    assert found.absent == {date(2026, 4, 1)}, "what it missed once only it asks for itself"


def test_a_session_without_a_bar_is_asked_for_on_another_day_and_then_no_more() -> None:
    day = date(2020, 2, 14)
    told = Told(date(2020, 1, 2), date(2020, 6, 30), date(2020, 1, 2), (day,))
    once = learned({}, told, NOW)
    assert nothing(once, {}, None, NOW, once="lately").absent == {day}
    assert nothing(once, {}, None, LATER, once="lately").absent == frozenset()
    twice = learned(once, told, LATER)
    assert nothing(twice, {}, None, LATER + timedelta(days=900), once="never").absent == {day}
    came = Told(told.first, told.last, told.begins)
    assert learned(twice, came, LATER) == {}


def test_a_refused_symbol_is_left_alone_for_a_week() -> None:
    known = refused({}, "no such symbol", NOW)
    assert refusal(known, NOW + timedelta(days=6)) == "no such symbol"
    assert refusal(known, NOW + timedelta(days=8)) is None
    assert refusal({}, NOW) is None
