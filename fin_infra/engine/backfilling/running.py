"""Does one chunk: asks, judges and commits rows, run and the chunk's state in one transaction.

A chunk that is deferred or killed goes on with the first page that was not answered yet. The live stream's cursor is
read and never written.
"""

from __future__ import annotations

import json
import logging
import secrets as entropy
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import date, datetime
from functools import partial
from typing import Any, TypeVar

import polars as pl
from sqlalchemy import Connection as SqlConnection

from fin_infra.calendars import get_calendar
from fin_infra.connections import Connection, Connections
from fin_infra.datasets.operations import Findings, Runs
from fin_infra.engine.backfilling.asking import Remembering, restored, staged
from fin_infra.engine.backfilling.keeping import LANE, Backfill, Backfills, KeptChunk, State
from fin_infra.engine.backfilling.known import Told, learned, refused
from fin_infra.engine.backfilling.planning import coverage, held_rows, look, source_of, wanted
from fin_infra.engine.books import run_row
from fin_infra.engine.parts import value_of
from fin_infra.engine.quarantine import finding_id, sealed, set_aside
from fin_infra.engine.reconcile import Doubt
from fin_infra.engine.report import SyncReport
from fin_infra.engine.run import Run
from fin_infra.engine.series import Shape, judge, shape_of
from fin_infra.errors import DefectError, FinInfraError, StaleCursor, StoreError
from fin_infra.outcomes import OK, Outcome, decide, where
from fin_infra.providers import declared
from fin_infra.providers.base import Ask, Page, Provider, Source, Want
from fin_infra.quotas.windows import Lane
from fin_infra.store import Applied, Batch, Change, Cursor, Records, Store
from fin_infra.store.base import Book, Now

log = logging.getLogger("fin_infra.backfill")

T = TypeVar("T")
NEXT = Outcome("ok", code="next_chunk")
"""The chunk is done, and the same job does the next one."""
TRIES = 8  # failures that are a chunk's own: it is parked, the others go on
OUTAGE_TRIES = 24  # failures of the vendor as a whole, about a day of them: the backfill waits for somebody
FIRST_PAUSE, LONGEST_PAUSE = 30.0, 3600.0
CHUNKS_OWN = frozenset({"plan_limit", "bad_request", "not_found", "unknown_symbol"})
"""Refusals of one question: another one may be answered. All other acts of the owner are needed for any."""
OF_ALL = frozenset({"network_error", "vendor_timeout", "vendor_unavailable"})
OF_THE_PLACE = frozenset({"cursor_invalid", "mutation_during_pagination", "bad_request", "contract_broken"})
"""What a question may be answered with that goes on from kept pages which lead nowhere any more."""


@dataclass
class Work:
    """What is asked for a chunk: `wants`; `held`: whole rows that the store has of them."""

    wants: list[Want]
    held: pl.DataFrame
    refused: dict[str, str] = field(default_factory=dict)


@dataclass
class Answers:
    """What came of it: pages by the group of instruments, and those the vendor refused one by one."""

    pages: dict[str, list[Page]] = field(default_factory=dict)
    refused: dict[str, FinInfraError] = field(default_factory=dict)
    kept: list[str] = field(default_factory=list)


class Backfiller:
    """Runs backfills of a store. Network, clock and threads are injected, as the engine's are."""

    def __init__(
        self, store: Store, connections: Connections,
        transports: Callable[[Provider, Connection, Mapping[str, str], Any], Any], *, now: Now,
        offload: Callable[[Callable[[], Any]], Awaitable[Any]],
    ) -> None:  # fmt: skip
        self.books = Backfills(store, now)
        self._store = store
        self._connections = connections
        self._transports = transports
        self._now = now
        self._offload = offload

    async def chunk(self, backfill_id: str, *, lane: Lane = LANE, attempt: int = 1) -> SyncReport:
        """The newest open chunk. The report's follow-up says whether there is another one.

        `lane`: that of its calls, which may be raised for the share that backfills have in any case.

        Raises `UsageError` when there is no such backfill.
        """
        backfill = self.books.get(backfill_id)
        if backfill.state != "running":
            return _said(backfill, "ok")
        connection = self._connections.get(backfill.connection_id)
        if connection.state != "active":
            return self._stop(backfill, "paused", connection.reason or f"the connection is {connection.state}")
        source = source_of(declared(connection.provider), backfill.dataset)
        while (chunk := self.books.next_chunk(backfill_id)) is not None:
            work: Work = await self._offload(partial(self._work, backfill, connection, source, chunk))
            if work.wants:
                return await self._done(backfill, connection, source, chunk, work, lane, attempt)
            with self._store.writing() as sql:
                self.books.close(sql, backfill_id, chunk, calls=0, rows=0, run_id=None, detail=_detail(work, {}, {}))
        report: SyncReport = await self._offload(lambda: self._finish(backfill, connection))
        return report

    # -- one chunk -----------------------------------------------------------------------------------------------------

    def _work(self, backfill: Backfill, connection: Connection, source: Source, chunk: KeptChunk) -> Work:
        """What is still missing of a chunk: live runs, or another backfill, may have brought some of it."""
        span = (chunk.first, chunk.last)
        looked, _ = look(self._store, connection, source, chunk.subjects, *span, self._now(), once="never")
        held = self._held(backfill, source, chunk)
        final = shape_of(source).keyed(held).filter(pl.col("state") == "final")
        days = {str(name): set(those) for name, those in final.group_by("instrument").agg("session").iter_rows()}
        wants = [wanted(one, name, days.get(name, set()), *span) for name, one in looked.items()]
        told = {name: one.refused for name, one in looked.items() if one.refused is not None}
        return Work([want for want in wants if want is not None], held, told)

    def _held(self, backfill: Backfill, source: Source, chunk: KeptChunk) -> pl.DataFrame:
        return held_rows(self._store, backfill.provider, source, chunk.subjects, chunk.first, chunk.last)

    async def _done(
        self, backfill: Backfill, connection: Connection, source: Source, chunk: KeptChunk, work: Work, lane: Lane,
        attempt: int,
    ) -> SyncReport:  # fmt: skip
        now = self._now()
        run = Run(
            connection, source, backfill.stream, f"run_{entropy.token_hex(8)}", LANE, attempt, now, now,
            ordered=[want.instrument for want in work.wants],
        )  # fmt: skip
        http: Any = None
        remembering: Remembering | None = None
        try:
            with self._store.reading():
                secrets = self._connections.secrets(connection)
                cursor = self._store.cursor(backfill.stream, connection.generation)
                kept = self._store.staged_pages(backfill.stream, connection.generation)
            http = self._transports(declared(connection.provider), connection, secrets, lane)
            run.traffic = http.traffic
            remembering = Remembering(http, restored(kept, self._connections.vault, now))
            ask = Ask(
                connection.provider, connection.tenant_id, connection.connection_id, run.run_id, now, wants=work.wants
            )  # fmt: skip
            answers = await self._ask(run, remembering, ask, cursor, [page.subject for page in kept])
            commit = partial(self._commit, backfill, run, chunk, work, ask, answers, cursor, http.calls)
            report: SyncReport = await self._offload(commit)
            return report
        except StoreError as error:  # nothing can be written down: the job comes again
            return _said(backfill, "retry", decide(error))
        except StaleCursor as error:
            return _said(backfill, "stale_cursor", decide(error))
        except FinInfraError as error:
            return await self._failed(backfill, run, chunk, error, http.calls if http else 0, remembering)
        except Exception as error:  # nothing of ours: the work is kept, the defect is logged
            log.error("%s failed with an unmapped %s", backfill.stream, where(error))
            return await self._failed(backfill, run, chunk, error, http.calls if http else 0, remembering)

    async def _ask(self, run: Run, http: Remembering, ask: Ask, cursor: Cursor, kept: list[str]) -> Answers:
        """All pages. Each that more follow is kept at once: it was paid for."""
        answers, whole = Answers(kept=kept), run.source.series is not None and run.source.series.reach.whole
        async for page in run.source.fetch(http, ask):
            if page.error is not None:
                answers.refused[page.wants[0].instrument] = page.error
                continue
            answers.pages.setdefault(str(page.subject), []).append(page)
            if http.asked is not None and (page.position is not None or whole):
                key, reply = http.asked
                one = staged(key, reply, self._connections.vault)
                await self._offload(partial(self._store.stage_pages, run.stream, cursor.generation, [one]))
                answers.kept.append(key)
        return answers

    def _commit(
        self, backfill: Backfill, run: Run, chunk: KeptChunk, work: Work, ask: Ask, answers: Answers, cursor: Cursor,
        calls: int,
    ) -> SyncReport:  # fmt: skip
        """Judges what came and writes all of it at once."""
        schema = run.source.feeds[0].schema
        work = replace(work, held=self._held(backfill, run.source, chunk))  # others went on while it was asked
        told: dict[str, Told] = {}
        frames, invalid = [schema.empty()], dict[str, int]()
        for pages in answers.pages.values():
            rows = self._judged(run, pages, work, ask, told, invalid)
            frames.append(rows)
        changes = [Change(schema, pl.concat(frames))]
        run.complete.add((run.source.lead, None))
        counts: list[Applied] = []

        def books(applied: Applied) -> list[Book]:
            counts.append(applied)
            base = _base(run, self._now())
            row = run_row(run, OK, applied, calls, base, self._now())
            return [Records(Runs, [{**row, "dataset": run.source.lead}]), Records(Findings, self._findings(run, base))]

        def within(sql: SqlConnection) -> None:
            known = self.books.known(backfill.provider, run.source.lead, chunk.subjects)
            now = self._now()
            after = {name: learned(known.get(name, {}), one, now) for name, one in told.items()}
            for name, error in answers.refused.items():
                after[name] = refused(after.get(name, known.get(name, {})), error.message, now)
            self.books.remember(sql, backfill.provider, run.source.lead, after)
            said = {**work.refused, **{name: error.message for name, error in answers.refused.items()}}
            detail = _detail(replace(work, refused=said), told, invalid)
            rows = sum(frame.height for frame in frames)
            self.books.close(
                sql, backfill.backfill_id, chunk, calls=calls, rows=rows, run_id=run.run_id, detail=detail
            )  # fmt: skip

        whole = run.source.series is not None and run.source.series.reach.whole
        batch = Batch(
            changes, quarantined=sealed(run, self._connections.vault), atomic=True,
            unfinished=answers.kept if whole else (), within=within,
        )  # fmt: skip
        applied = self._store.apply(
            batch, stream=run.stream, run_id=run.run_id, expect=cursor, next=json.dumps({"chunk": chunk.n}), books=books
        )
        follow = NEXT if self.books.next_chunk(backfill.backfill_id) is not None else None
        if follow is None:
            self._finish(backfill, run.connection)
        return SyncReport(
            backfill.connection_id, run.source.lead, run.run_id, "ok", applied.counts, calls, follow or OK,
            findings=len(run.doubts),
        )  # fmt: skip

    def _judged(
        self, run: Run, pages: Sequence[Page], work: Work, ask: Ask, told: dict[str, Told], invalid: dict[str, int]
    ) -> pl.DataFrame:
        """The rows of one group, as a first read long after publication; and what it said of each instrument."""
        feed, series, shape = run.source.feeds[0], run.source.series, shape_of(run.source)
        assert series is not None
        wants = pages[-1].wants
        read = [value_of(feed.parse, page) for page in pages]
        oldest = min(at for _, at in read)  # of several times the oldest, to promise nothing: see `Run.dated`
        built = feed.frames([(value, oldest) for value, _ in read], ask, None)
        set_aside(run, feed.schema, built.rejects)
        for twin in built.differing:
            run.doubts.append(
                (run.source.lead, Doubt("differing_twins", twin[-1], "came twice with different contents"))
            )
        names = [want.instrument for want in wants]
        held = shape.plain(shape.keyed(work.held).filter(pl.col("instrument").is_in(names)))
        built = replace(built, good=_not_older(built.good, held, run.started_at, shape))
        done = judge(built, wants, held, {}, series, run.started_at, shape)
        set_aside(run, feed.schema, done.strays)
        run.doubts += [(run.source.lead, doubt) for doubt in done.doubts if doubt.kind == "restated"]
        for reject in (*built.rejects, *done.strays):
            name = (reject.row.get("instrument") or "").strip() or "a row without an instrument"
            invalid[name] = invalid.get(name, 0) + 1
        both = [shape.keyed(done.rows), shape.keyed(held)]
        days = pl.concat([part.select("instrument", "session") for part in both])
        came = {str(name): set(those) for name, those in days.group_by("instrument").agg("session").iter_rows()}
        for want in wants:
            if want.instrument in done.redo:
                continue  # its rows wait: that says nothing of what the vendor has
            calendar = series.calendar(want.instrument)
            told[want.instrument] = _told(want, str(calendar), came.get(want.instrument, set()))
        return done.rows

    def _findings(self, run: Run, base: dict[str, Any]) -> list[dict[str, Any]]:
        """What was seen to be wrong, under the id it has since it was first seen."""
        if not run.doubts:
            return []
        mine = {"connection_id": run.connection.connection_id, "state": "open"}
        before = {row["finding_id"]: row["first_seen_at"] for row in self._store.records(Findings, mine)}
        rows = {}
        for name, doubt in run.doubts:
            own = finding_id(run.connection.connection_id, name, doubt.kind, doubt.subject)
            rows[own] = {
                **base, "finding_id": own, "dataset": name, "kind": doubt.kind, "subject": doubt.subject,
                "detail": doubt.detail, "state": "open", "first_seen_at": before.get(own) or base["fetched_at"],
            }  # fmt: skip
        return list(rows.values())

    # -- what goes wrong -----------------------------------------------------------------------------------------------

    async def _failed(
        self, backfill: Backfill, run: Run, chunk: KeptChunk, error: Exception, calls: int, http: Remembering | None
    ) -> SyncReport:  # fmt: skip
        try:
            report: SyncReport = await self._offload(lambda: self._note(backfill, run, chunk, error, calls, http))
            return report
        except StoreError as lost:
            log.error("%s: its run could not be recorded: %s", backfill.stream, lost.message)
            return _said(backfill, "retry", decide(lost))

    def _note(
        self, backfill: Backfill, run: Run, chunk: KeptChunk, error: Exception, calls: int, http: Remembering | None
    ) -> SyncReport:  # fmt: skip
        """What follows: the chunk waits, or is parked, or the whole backfill is."""
        outcome = decide(error)
        message = outcome.message or outcome.kind
        if isinstance(error, DefectError):
            run.defect(run.source.lead, f"{chunk.first} to {chunk.last}", error)
        base = _base(run, self._now())
        row = {**run_row(run, outcome, None, calls, base, self._now()), "dataset": run.source.lead}
        self._store.record(
            [Records(Runs, [row]), Records(Findings, self._findings(run, base))],
            sealed(run, self._connections.vault), connection_id=backfill.connection_id, run_id=run.run_id,
        )  # fmt: skip
        own = backfill.backfill_id
        if outcome.code in OF_THE_PLACE and http is not None and http.replayed and chunk.tries < TRIES:
            self._store.unstage(backfill.stream)  # what was kept leads nowhere: it is asked for from its beginning
            self.books.tried(own, chunk, message, calls=calls, failed=True)
            return _said(backfill, "retry", Outcome("later", 1.0, outcome.code, message), run.run_id)
        match outcome.kind:
            case "later":
                self.books.tried(own, chunk, message, calls=calls, failed=False)
                return _said(backfill, "later", outcome, run.run_id)
            case "retry":
                return self._try_again(backfill, chunk, outcome, calls, run.run_id)
            case "park" if outcome.code not in CHUNKS_OWN:
                self.books.tried(own, chunk, message, calls=calls, failed=True)
                return self._stop(backfill, "paused", message, run.run_id)
        self.books.park(own, chunk, message, calls=calls, run_id=run.run_id)
        self._store.unstage(backfill.stream)
        return _said(backfill, outcome.kind, replace(NEXT, message=message), run.run_id)

    def _try_again(
        self, backfill: Backfill, chunk: KeptChunk, outcome: Outcome, calls: int, run_id: str
    ) -> SyncReport:  # fmt: skip
        """Later; a question that fails again and again is parked, and a vendor that is away for a day stops it all."""
        message = outcome.message or outcome.kind
        tries = self.books.tried(backfill.backfill_id, chunk, message, calls=calls, failed=True)
        of_all = outcome.code in OF_ALL
        if of_all and tries >= OUTAGE_TRIES:
            return self._stop(backfill, "paused", message, run_id)
        if not of_all and tries >= TRIES:
            self.books.park(backfill.backfill_id, chunk, message, calls=0, run_id=run_id)
            return _said(backfill, "retry", replace(NEXT, message=message), run_id)
        pause = min(FIRST_PAUSE * 2.0 ** min(tries - 1, 20), LONGEST_PAUSE)
        later = Outcome("later", max(pause, outcome.after or 0.0), outcome.code, message)
        return _said(backfill, "retry", later, run_id)

    def _stop(self, backfill: Backfill, state: State, reason: str, run_id: str = "none") -> SyncReport:
        told = f"{reason}; then fin-infra backfill resume {backfill.backfill_id}"
        self.books.set_state(backfill.backfill_id, state, told, of=["running"])
        log.warning("backfill %s is %s: %s", backfill.backfill_id, state, told)
        return _said(backfill, "park", Outcome("park", None, None, told), run_id)

    # -- the end -------------------------------------------------------------------------------------------------------

    def _finish(self, backfill: Backfill, connection: Connection) -> SyncReport:
        """No chunk is open. It is done when every session is held, or known to be absent, or named as missing."""
        chunks = self.books.chunks(backfill.backfill_id)
        parked = [chunk for chunk in chunks if chunk.state == "parked"]
        state, reason = _verdict(backfill, parked, chunks, coverage(self._store, connection, backfill, self._now()))
        if self.books.set_state(backfill.backfill_id, state, reason, of=["running"]):
            self.books.clear(backfill)
        return _said(backfill, "ok")


def _verdict(
    backfill: Backfill, parked: Sequence[KeptChunk], chunks: Sequence[KeptChunk], stand: Sequence[Any]
) -> tuple[State, str | None]:
    """How it ends, and what is to be said of it."""
    if parked:
        why = parked[0].detail.get("reason", "no reason given")
        told = (
            f"{len(parked)} of {len(chunks)} chunks wait, the first ({parked[0].first} to {parked[0].last}) because: "
        )
        return "failed", f"{told}{why}; then fin-infra backfill resume {backfill.backfill_id}"
    invalid = {name for chunk in chunks for name in chunk.detail.get("invalid", {})}
    said = []
    if never := [one for one in stand if one.refused is not None]:
        said.append(f"{_names(never)} cannot be asked for: {never[0].refused}")
    short = [one for one in stand if one.missing and one.refused is None]
    if short:
        said.append(f"{sum(one.missing for one in short)} sessions of {_names(short)} are missing")
    if absent := sum(one.absent for one in stand):
        said.append(f"{backfill.provider} has none for {absent} sessions")
    unexplained = [one for one in short if one.subject not in invalid]
    return ("failed" if unexplained else "done"), "; ".join(said) or None


def _names(stand: Sequence[Any]) -> str:
    shown = ", ".join(one.subject for one in stand[:3])
    return shown if len(stand) <= 3 else f"{shown} and {len(stand) - 3} more"


def _not_older(rows: pl.DataFrame, held: pl.DataFrame, asked_at: datetime, shape: Shape) -> pl.DataFrame:
    """Without rows that a newer answer has contradicted: a page is kept for days, and live runs go on meanwhile.

    Raises `StaleCursor` where another answer came while this one was on its way and it is not known which is newer.
    """
    key = [*shape.parts, shape.day]
    before = held.select(*key, *shape.values, read_at="fetched_at")
    both = rows.join(before, on=key, how="inner", suffix="_held")
    differs = pl.any_horizontal(pl.col(name).ne_missing(pl.col(f"{name}_held")) for name in shape.values)
    other = both.filter(differs & (pl.col("read_at") > pl.min_horizontal("fetched_at", pl.lit(asked_at))))
    if not other.filter(pl.col("fetched_at") >= pl.max_horizontal("read_at", pl.lit(asked_at))).is_empty():
        raise StaleCursor("live work brought other rows while these were asked for: nothing was written")
    return rows.join(other, on=key, how="anti", maintain_order="left")


def _told(want: Want, calendar: str, came: set[date]) -> Told:
    expected = get_calendar(calendar).dates(want.first, want.last)
    missing = tuple(day for day in expected if day not in came)
    return Told(want.first, want.last, min(came, default=None), missing)


def _detail(work: Work, told: Mapping[str, Told], invalid: Mapping[str, int]) -> dict[str, Any]:
    """What is to be said of a chunk beside its numbers; nothing where all is well."""
    missing = {
        name: [day.isoformat() for day in one.missing if one.begins is not None and day > one.begins]
        for name, one in sorted(told.items())
    }
    begins = {
        name: None if one.begins is None else one.begins.isoformat()
        for name, one in sorted(told.items())
        if one.begins is None or any(day < one.begins for day in one.missing)
    }
    parts = {
        "missing": {name: days for name, days in missing.items() if days}, "begins": begins,
        "refused": dict(sorted(work.refused.items())), "invalid": dict(sorted(invalid.items())),
    }  # fmt: skip
    return {name: part for name, part in parts.items() if part}


def _base(run: Run, now: datetime) -> dict[str, Any]:
    connection = run.connection
    return {
        "connection_id": connection.connection_id, "tenant_id": connection.tenant_id, "provider": connection.provider,
        "fetched_at": now, "run_id": run.run_id,
    }  # fmt: skip


def _said(backfill: Backfill, outcome: str, follow_up: Outcome = OK, run_id: str = "none") -> SyncReport:
    return SyncReport(
        backfill.connection_id, backfill.dataset, run_id, outcome, {}, 0, follow_up, follow_up.code, follow_up.message
    )  # fmt: skip
