"""Breaks the code on purpose, one line at a time, and sees that a test notices: `make mutants`.

A test that still passes when its guard is gone protects nothing. Each mutant is applied to a copy of the tree.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parent.parent


@dataclass(frozen=True)
class Mutant:
    """`old` (one place in `file`) becomes `new`; then `tests` (pytest -k) must fail."""

    what: str
    file: str
    old: str
    new: str
    tests: str


MUTANTS = (
    Mutant("a mark under a running job is gone", "planning/planner.py", "if not (d.mark and d.unique_key in running)", "if True", "test_t01_news"),
    Mutant("a mark is deleted that nobody looked at", "planning/planner.py", 'DUE.c.dataset == bindparam("d"), DUE.c.rule == bindparam("m"),', 'DUE.c.dataset == bindparam("d"), bindparam("m") != "",', "test_t01_news"),
    Mutant("a replayed delivery counts again", "webhooks.py", "if not self._first_time(sql, provider, digest, now):", "if not self._first_time(sql, provider, digest, now) and False:", "test_t01_replayed"),
    Mutant("a login that ended stays green", "webhooks.py", '        .values(state="reauth", error_code="reauth_required", next_reason=reason)', '        .values(next_reason=reason)', "test_t24"),
    Mutant("every row counts as changed", "store/statements.py",
           "return all(new[i] == old[i] for i in self._compared)", "return False", "test_t02"),
    Mutant("a changed row is not written", "store/statements.py", "DO UPDATE SET {updates}", "DO NOTHING", "test_t02"),
    Mutant("no match of pending and posted", "engine/reconcile.py",
           "return dict(sure.rows()),", "return {},", "test_t03"),
    Mutant("an ambiguous posting is guessed", "engine/reconcile.py",
           '.filter(pl.col("transaction_id").is_unique() & ', ".filter(True | ", "test_t03"),
    Mutant("a blank id stays an id", "datasets/base.py",
           'return pl.when(column != "").then(column).alias(name)', "return column.alias(name)", "test_t10"),
    Mutant("removed rows stay", "store/sql.py", "statements.remove(sql, gone)", "pass", "test_t13"),
    Mutant("a full disk goes unnoticed", "store/sql.py", "        raise StoreError(f\"the database", "        return\n        raise StoreError(f\"the database", "test_t16"),
    Mutant("paid pages are forgotten", "engine/staging.py", "        resume[staged.subject] = staged.position\n", "", "test_t16"),
    Mutant("the second commit wins too", "store/sql.py", "if done != 1:", "if False:", "test_t22 or test_t01"),
    Mutant("one account stops all", "providers/teller/client.py",
           "if error.code not in ONE_ACCOUNT_ONLY or", "if True or", "test_t23"),
    Mutant("a dead login is asked again", "planning/planner.py", ', CONNECTIONS.c.state == "active"', "", "test_t24"),
    Mutant("a rate limit burns an attempt", "outcomes.py",
           'return Outcome("later", error.retry_after', 'return Outcome("retry", error.retry_after', "test_t25"),
    Mutant("a row we know better is taken for undisturbed", "engine/reconcile.py",
           'status != "review" and supersedes is None if row_id in came', 'True if row_id in came',
           "disturbs_nothing or review"),
    Mutant("an empty answer empties the table", "engine/reconcile.py",
           "confirmed = suspect if suspect <=", "confirmed = frozenset(vanished['transaction_id']) if suspect is not None or suspect <=", "test_t36"),
    Mutant("the window moves on under a guard", "engine/changes.py", "if settled and not done.suspect else", "if settled else", "test_t36 or test_t03"),
    Mutant("a pending row is judged at the edge", "engine/changes.py", 'first = min(newest, today, _day(spot.get("oldest_pending")) or newest)', "first = min(newest, today)", "test_t03"),
    Mutant("a row ahead of today moves the window", "engine/changes.py", "first = min(newest, today, ", "first = min(newest, ", "ahead_of_today"),
    Mutant("rows that moved over the edge are gone", "providers/teller/__init__.py", "margin=timedelta(days=4)", "margin=timedelta(days=0)", "windows_edge"),
    Mutant("a gone row ends the history", "providers/teller/client.py", "if position and not rows and page.error is None and", "if False and", "between_two_pages"),
    Mutant("the first accounts are always first", "engine/sync.py", "return at is not None, at, str(", "return False, 0, str(", "starves_no_account"),
    Mutant("an old refusal undoes a relink", "connections/__init__.py", "CONNECTIONS.c.generation == connection.generation,", "", "does_not_undo"),
    Mutant("a card's purchases count as income", "providers/teller/frames.py", "        return negated\n", "        return lambda text: text\n", "test_t46"),
    Mutant("a changed basis goes unseen", "engine/series.py", '& _differs(("close",)))', "& False)", "test_t32"),
    Mutant("bars older than a first read keep their basis", "engine/series.py",
           'days = [*held.filter(pl.col("instrument") == instrument)["session"], *expected]', "days = expected", "test_t32"),
    Mutant("half a series takes the place of a whole one", "engine/series.py",
           "if before is None or len(lost) < before:", "if False:", "test_t32"),
    Mutant("an old bar that changed is final at once", "engine/series.py",
           'late = pl.col("read_at").is_null() & (', "late = (", "test_t35 or test_t32"),
    Mutant("one read is enough", "engine/series.py", "pl.when(kept | again | late)", "pl.when(pl.lit(True))", "test_t35"),
    Mutant("one miss is enough", "engine/series.py",
           "return not seen or now - datetime.fromisoformat(seen) >= MISSED_APART", "return True", "test_t37"),
    Mutant("what was before the listing is asked for ever", "engine/series.py",
           '            spot["head"] = begin\n', "            pass\n", "test_t37"),
    Mutant("final bars are asked for again", "engine/series.py",
           "missing = [day for day in expected if day not in final.get(instrument, ())]", "missing = expected", "test_t38 or test_t35"),
    Mutant("a holiday has a bar", "engine/series.py", "    return inside, strays", "    return rows, strays", "test_t40"),
    Mutant("a page that leads back is followed", "providers/alpaca/client.py",
           "if token in been:", "if False:", "test_t43"),
    Mutant("a snapshot is written in parts", "engine/sync.py", 'atomic=run.source.kind == "snapshot"', "atomic=False", "test_t47"),
    Mutant("half the positions vanish at once", "engine/changes.py", 'if shrunk and suspect != spot["suspect"]:', "if False:", "test_t47"),
    Mutant("a guarded answer is half taken over", "engine/changes.py", "return Change(schema, built.good.clear())", "return Change(schema, built.good)", "test_t47"),
    Mutant("an unusable row keeps sold positions alive", "engine/changes.py", 'if account is None or "" in unusable:', "if account is None or built.rejects:", "test_t47"),
    Mutant("a date passes through a zone", "store/codec.py", 'return column.str.to_date("%Y-%m-%d")',
           'return column.str.to_datetime("%Y-%m-%d", time_zone="UTC").dt.convert_time_zone("America/New_York").dt.date()',
           "test_t49"),
    Mutant("no date is 1970", "datasets/base.py", 'given = given.replace("0", None)  # a vendor', 'cast = cast.fill_null(pl.date(1970, 1, 1))  # a vendor', "test_t49"),
    Mutant("a vanished worker keeps its job", "runtime/queue.py", "            self._reclaim(sql, now)\n", "", "test_t50"),
    Mutant("leases are not renewed", "runtime/worker.py", "if self._jobs.extend(job.id) == 0:", "if False:", "test_t50"),
    Mutant("a late ack counts", "runtime/queue.py", "{statement} WHERE id = ? AND fence = ? AND state = 'running'\", (*values, key, fence)", "{statement} WHERE id = ?\", (*values, key)", "test_t50 or test_t51"),
    Mutant("a changed schedule runs at once", "planning/planner.py",
           "wanted[key] = (schedule, micros(schedule.due_after(now, stream)))", "wanted[key] = (schedule, micros(now))", "test_t54"),
    Mutant("a stream may have two jobs", "planning/planner.py", '"unique_key": d.unique_key', '"unique_key": None', "test_t55"),
    Mutant("unknown jobs are taken", "runtime/queue.py", 'f"AND name IN (', 'f"AND id NOT IN (', "test_t56"),
)  # fmt: skip


def survives(mutant: Mutant, tree: Path) -> bool:
    """Whether the tests pass although the mutant is in."""
    path = tree / "fin_infra" / mutant.file
    text = path.read_text(encoding="utf-8")
    if text.count(mutant.old) != 1:
        raise SystemExit(f"{mutant.what}: {mutant.old!r} stands {text.count(mutant.old)} times in {mutant.file}")
    path.write_text(text.replace(mutant.old, mutant.new), encoding="utf-8")
    try:
        done = subprocess.run(
            [sys.executable, "-m", "pytest", "-x", "-q", "-p", "no:cacheprovider", "tests/failures",
             "tests/unit/test_reconcile.py", "-k", mutant.tests],
            cwd=tree, env={**os.environ, "PYTHONPATH": str(tree)}, capture_output=True, text=True, timeout=180,
        )  # fmt: skip
        if done.returncode not in (0, 1):
            raise SystemExit(f"{mutant.what}: pytest could not run: {done.stdout[-2000:]}{done.stderr[-2000:]}")
        return done.returncode == 0
    except subprocess.TimeoutExpired:
        return False
    finally:
        path.write_text(text, encoding="utf-8")


def main() -> None:
    wanted = sys.argv[1] if len(sys.argv) > 1 else ""
    alive = []
    with tempfile.TemporaryDirectory() as folder:
        tree = Path(folder) / "tree"
        ignored = shutil.ignore_patterns(".venv", ".git", "var", "dist", "__pycache__", ".*_cache", ".hypothesis")
        shutil.copytree(ROOT, tree, ignore=ignored)
        for mutant in MUTANTS:
            if wanted in mutant.tests:
                found = survives(mutant, tree)
                print(f"{'SURVIVES' if found else 'killed  '}  {mutant.tests:22} {mutant.what}", flush=True)
                alive += [mutant.what] if found else []
    if alive:
        raise SystemExit(f"{len(alive)} mutants survive: {'; '.join(alive)}")


if __name__ == "__main__":
    main()
