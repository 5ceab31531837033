"""The gaps group: 25 million bars of 5,000 instruments, of which 20,000 are missing, in one sweep; wall seconds.

Beside it what one would write first: all expected sessions, anti-joined with the bars held, in Polars and in pandas.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from datetime import date
from statistics import median
from time import perf_counter
from typing import Any

import polars as pl

from bench.figures import ROOT, Figure

INSTRUMENTS, SESSIONS, MISSING = 5_000, 5_000, 20_000
ROUNDS = {"ours": 5, "enum": 5, "polars": 1, "pandas": 1}


def measure() -> list[Figure]:
    """Instruments as text, as the store gives them; `as_enum` is ours too. Making the bars is not counted."""
    times = {who: _run(who) for who in ROUNDS}
    return [
        Figure("gaps_25m", times["ours"],
               {"as_enum": times["enum"], "polars_anti_join": times["polars"], "pandas_merge": times["pandas"]})
    ]  # fmt: skip


def _run(who: str) -> float:
    command = [sys.executable, "-m", "bench.gaps", who]
    found: float = json.loads(subprocess.run(command, cwd=ROOT, capture_output=True, check=True).stdout)
    return found


def bars() -> tuple[pl.DataFrame, pl.DataFrame]:
    """Final bars of one calendar, sorted, without one in 1,250; and the spans that expect all."""
    from fin_infra.calendars import get_calendar

    days = pl.Series(get_calendar("XNYS").dates(date(2000, 1, 1), date(2026, 11, 23))[-SESSIONS:], dtype=pl.Date)
    names = pl.Series([f"us:S{n:04}" for n in range(INSTRUMENTS)])
    places = pl.int_range(0, INSTRUMENTS * SESSIONS, eager=True)
    held = pl.DataFrame({"instrument": names.gather(places // SESSIONS), "session": days.gather(places % SESSIONS)})
    each = places.len() // MISSING
    held = held.filter(places % each != places // SESSIONS % each)
    state = pl.repeat("final", held.height, dtype=pl.Enum(["provisional", "final"]), eager=True).rechunk()
    spans = pl.DataFrame({"instrument": names}).with_columns(
        calendar=pl.lit("XNYS"), first=pl.lit(days[0]), last=pl.lit(days[-1])
    )
    return held.with_columns(state=state), spans


def ours(held: pl.DataFrame, spans: pl.DataFrame) -> Callable[[], int]:
    from fin_infra.engine.gaps import gaps

    return lambda: int(gaps(held, spans)["sessions"].sum())


def enum(held: pl.DataFrame, spans: pl.DataFrame) -> Callable[[], int]:
    return ours(held.with_columns(pl.col("instrument").cast(pl.Enum(spans["instrument"]))), spans)


def polars(held: pl.DataFrame, spans: pl.DataFrame) -> Callable[[], int]:
    sessions = held.select(pl.col("session").unique())

    def missing() -> int:
        expected = spans.select("instrument").join(sessions, how="cross")
        return expected.join(held, on=["instrument", "session"], how="anti").height

    return missing


def pandas(held: pl.DataFrame, spans: pl.DataFrame) -> Callable[[], int]:
    """With instruments as categories, or it takes ten times as long."""
    import pandas as pd

    kind = pd.CategoricalDtype(spans["instrument"].to_list())
    names = pd.Categorical.from_codes(
        held["instrument"].cast(pl.Enum(spans["instrument"])).to_physical().cast(pl.Int32).to_numpy(), dtype=kind
    )
    frame = pd.DataFrame({"instrument": names, "session": held["session"].to_numpy()})
    sessions = pd.DataFrame({"session": frame["session"].unique()})

    def missing() -> int:
        subjects = pd.DataFrame({"instrument": pd.Categorical(spans["instrument"].to_list(), dtype=kind)})
        expected = subjects.merge(sessions, how="cross")
        merged = expected.merge(frame, on=["instrument", "session"], how="left", indicator=True)
        return int((merged["_merge"] == "left_only").sum())

    return missing


def main(who: str) -> Any:
    work = {"ours": ours, "enum": enum, "polars": polars, "pandas": pandas}[who](*bars())
    found = []
    for _ in range(ROUNDS[who]):
        begin = perf_counter()
        assert work() == MISSING
        found.append(perf_counter() - begin)
    return median(found)


if __name__ == "__main__":
    print(json.dumps(main(sys.argv[1])))
