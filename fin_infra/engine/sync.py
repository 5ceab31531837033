"""One run of one stream: ask, check, reconcile, commit rows and cursor together, say what came of it.

Whatever goes wrong becomes an outcome of this run and a state of its stream; nothing is raised to the worker but
cancellation. An account that fails alone stops nobody else.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import logging
import secrets as entropy
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import date, datetime, timedelta
from typing import Any, Protocol, TypeVar
from weakref import WeakValueDictionary

import polars as pl

from fin_infra.connections import Connection, Connections
from fin_infra.datasets.accounts import Accounts
from fin_infra.datasets.base import Built, Dataset
from fin_infra.datasets.operations import AccountStates, Findings, Runs, Streams
from fin_infra.engine.reconcile import Doubt, reconcile
from fin_infra.engine.report import SyncReport
from fin_infra.errors import DefectError, FinInfraError, OwnerActionError, StoreError, UsageError
from fin_infra.outcomes import OK, Outcome, decide, where, worst
from fin_infra.providers import resolve
from fin_infra.providers.base import Account, Ask, Http, Page, Provider, Source
from fin_infra.store import Applied, Batch, Change, Counts, Cursor, Records, Sealed, StagedPage, Store, Stream
from fin_infra.store.base import Now

log = logging.getLogger("fin_infra.engine")

T = TypeVar("T")
STAGED_FOR = timedelta(hours=6)  # a page older than this is asked for again rather than trusted
STAGE_EVERY = timedelta(seconds=2)
Offload = Callable[[Callable[[], T]], Awaitable[T]]


class CountingHttp(Http, Protocol):
    calls: int


Transports = Callable[[Provider, Connection, Mapping[str, str], str], CountingHttp]


@dataclass
class _Run:
    """What one attempt gathers on its way."""

    connection: Connection
    source: Source
    stream: Stream
    run_id: str
    lane: str
    attempt: int
    started_at: datetime
    staged_at: datetime
    pages: dict[tuple[str, str | None], list[Page]] = field(default_factory=dict)
    accounts: dict[str, Account] = field(default_factory=dict)
    complete: set[tuple[str, str | None]] = field(default_factory=set)
    failed: dict[str, FinInfraError] = field(default_factory=dict)
    stopped: FinInfraError | None = None
    doubts: list[tuple[str, Doubt]] = field(default_factory=list)
    evidence: list[tuple[str, str, bytes]] = field(default_factory=list)
    newest: dict[str, str] = field(default_factory=dict)
    rejects: int = 0
    unstaged: list[StagedPage] = field(default_factory=list)


class Engine:
    """Syncs streams of a store. Network, clock and threads are injected; see `fin_infra.runtime` for the real ones."""

    def __init__(
        self, store: Store, connections: Connections, transports: Transports, *, now: Now, offload: Offload[Any],
        on_page: Callable[[Stream, int], None] = lambda stream, pages: None,
    ) -> None:  # fmt: skip
        self._store = store
        self._connections = connections
        self._transports = transports
        self._now = now
        self._offload = offload
        self._on_page = on_page
        self._turns: WeakValueDictionary[Stream, asyncio.Lock] = WeakValueDictionary()

    async def sync(
        self, dataset: str, connection_id: str, *, lane: str = "interactive", attempt: int = 1, dry_run: bool = False
    ) -> SyncReport:
        """Syncs the stream that feeds `dataset` of the connection. Raises `UsageError` when there is none.

        Within one process the runs of a stream go one after the other; between processes the store's
        compare-and-set decides.
        """
        connection = self._connections.get(connection_id)
        provider = resolve(connection.provider)
        source = provider.source(dataset)
        if source is None:
            raise UsageError(f"{provider.name} has no {dataset}; it has: {', '.join(provider.datasets)}")
        stream = Stream(connection_id, source.lead)
        async with self._turns.setdefault(stream, asyncio.Lock()):
            return await self._sync(connection, provider, source, stream, lane, attempt, dry_run)

    async def _sync(
        self, connection: Connection, provider: Provider, source: Source, stream: Stream, lane: str, attempt: int,
        dry_run: bool,
    ) -> SyncReport:  # fmt: skip
        now = self._now()
        run = _Run(connection, source, stream, f"run_{entropy.token_hex(8)}", lane, attempt, now, now)
        http: CountingHttp | None = None
        try:
            if connection.state != "active":
                code = "reauth_required" if connection.state == "reauth" else "permission_denied"
                raise OwnerActionError(connection.reason or f"the connection is {connection.state}", code=code)
            http = self._transports(provider, connection, self._connections.secrets(connection), lane)
            return await self._attempt(run, provider, http, dry_run)
        except FinInfraError as error:
            return await self._failed(run, error, http.calls if http else 0, dry_run)
        except Exception as error:  # nothing of ours: the work is kept, the defect is logged
            log.error("%s failed with an unmapped %s", run.stream, where(error))
            return await self._failed(run, error, http.calls if http else 0, dry_run)

    async def _attempt(self, run: _Run, provider: Provider, http: CountingHttp, dry_run: bool) -> SyncReport:
        cursor = self._store.cursor(run.stream, run.connection.generation)
        position: dict[str, Any] = json.loads(cursor.body)
        accounts: Sequence[Account] = ()
        if run.source.needs_accounts:
            accounts = self._open_accounts(run)
            if not accounts and (failed := await self._learn_accounts(run, provider, dry_run)) is not None:
                return failed
            accounts = accounts or self._open_accounts(run)
        run.accounts = {account.vendor_id: account for account in accounts}
        ask = Ask(
            run.connection.provider, run.connection.tenant_id, run.connection.connection_id, run.run_id, run.started_at,
            accounts, self._since(run, position), self._restage(run, cursor),
        )  # fmt: skip
        await self._gather(run, http, ask, cursor, dry_run)
        if run.stopped is not None and not run.complete:
            raise run.stopped
        report: SyncReport = await self._offload(lambda: self._commit(run, ask, cursor, position, http.calls, dry_run))
        return report

    async def _learn_accounts(self, run: _Run, provider: Provider, dry_run: bool) -> SyncReport | None:
        """A connection whose accounts were never listed lists them first. The report, if that failed."""
        source = provider.source("accounts")
        if source is None:
            raise UsageError(f"{provider.name} has no accounts, which its {run.stream.dataset} need")
        stream = Stream(run.connection.connection_id, source.lead)
        async with self._turns.setdefault(stream, asyncio.Lock()):
            if self._knows_accounts(run):  # another job just listed them: that was a call to the bank saved
                return None
            if dry_run:
                raise UsageError(f"the accounts of {stream.connection_id} are not known yet: sync accounts first")
            report = await self._sync(run.connection, provider, source, stream, run.lane, run.attempt, False)
        return None if report.outcome in ("ok", "partial") or self._knows_accounts(run) else report

    # -- asking ----------------------------------------------------------------------------------------------------

    async def _gather(self, run: _Run, http: Http, ask: Ask, cursor: Cursor, dry_run: bool) -> None:
        """All pages; an error of one account is kept with it, an error of the connection ends the asking."""
        aliases = self._aliases(run, "account")
        try:
            async for page in run.source.fetch(http, ask):
                subject = page.account.vendor_id if page.account else None
                if page.account is not None and page.account.vendor_id not in run.accounts:
                    ours = aliases.get(page.account.vendor_id, page.account.account_id)
                    run.accounts[page.account.vendor_id] = replace(page.account, account_id=ours)
                if page.error is not None:
                    self._account_failed(run, page.dataset, str(subject), page.error)
                    continue
                key = (page.dataset, subject)
                run.pages.setdefault(key, []).append(page)
                if page.position is None:
                    run.complete.add(key)
                elif not dry_run:
                    await self._stage(run, cursor, page, len(run.pages[key]))
                self._on_page(run.stream, sum(map(len, run.pages.values())))
        except FinInfraError as error:
            run.stopped = error
            await self._keep_staged(run, cursor)

    def _account_failed(self, run: _Run, dataset: str, subject: str, error: FinInfraError) -> None:
        run.failed[subject] = error
        if isinstance(error, DefectError):
            self._defect(run, dataset, subject, error)

    def _defect(self, run: _Run, dataset: str, subject: str, error: DefectError) -> None:
        """Ours or the vendor's: a finding, and the evidence."""
        kind = "contract_broken" if error.code == "contract_broken" else "defect"
        run.doubts.append((dataset, Doubt(kind, subject, error.message)))
        run.evidence.append((dataset, error.message, error.evidence))

    async def _stage(self, run: _Run, cursor: Cursor, page: Page, n: int) -> None:
        """A page that is not the last waits to be staged: written when asking takes long, or ends before its end."""
        if page.account is None or page.reply is None or page.position is None:
            return
        sealed = self._connections.vault.seal(page.reply.body)
        run.unstaged.append(
            StagedPage(page.account.vendor_id, n, page.position, page.reply.status, sealed, page.reply.at)
        )
        if self._now() - run.staged_at >= STAGE_EVERY:
            await self._keep_staged(run, cursor)

    async def _keep_staged(self, run: _Run, cursor: Cursor) -> None:
        """Sealed pages to the store: a killed run pays again for the last seconds at most, a deferred one for none."""
        pages, run.unstaged = run.unstaged, []
        run.staged_at = self._now()
        if pages:
            await self._offload(lambda: self._store.stage_pages(run.stream, cursor.generation, pages))

    def _restage(self, run: _Run, cursor: Cursor) -> dict[str, str]:
        """Pages an earlier attempt left behind come first; where each account goes on."""
        resume: dict[str, str] = {}
        for staged in self._store.staged_pages(run.stream, cursor.generation):
            account = run.accounts.get(staged.subject)
            if account is None or run.started_at - staged.staged_at > STAGED_FOR:
                continue
            key = (run.source.lead, staged.subject)
            if staged.n != len(run.pages.get(key, [])) + 1:
                continue
            body = self._connections.vault.unseal(staged.body)
            value = run.source.feed(run.source.lead).parse(body)
            run.pages.setdefault(key, []).append(
                Page(run.source.lead, account=account, position=staged.position, value=(value, staged.staged_at))
            )
            resume[staged.subject] = staged.position
        return resume

    def _open_accounts(self, run: _Run) -> list[Account]:
        """Open accounts of the connection, each with the id the vendor knows it by now."""
        rows = self._store.records(Accounts, {"connection_id": run.connection.connection_id, "status": "open"})
        vendor_ids = {ours: vendor for vendor, ours in self._aliases(run, "account").items()}
        return [
            Account(
                vendor_ids.get(row["account_id"], row["account_id"]), row["account_id"], row["kind"], row["currency"]
            )
            for row in sorted(rows, key=lambda row: str(row["account_id"]))
        ]

    def _knows_accounts(self, run: _Run) -> bool:
        return bool(self._store.records(Accounts, {"connection_id": run.connection.connection_id}))

    def _aliases(self, run: _Run, kind: str) -> dict[str, str]:
        return self._store.aliases(run.connection.connection_id, kind)

    def _since(self, run: _Run, position: dict[str, Any]) -> dict[str, date]:
        """Window streams: each account from its newest row less the overlap, or from its oldest open pending row."""
        if run.source.kind != "window":
            return {}
        since = {}
        for vendor_id, place in position.get("accounts", {}).items():
            if newest := place.get("newest"):
                start = date.fromisoformat(newest) - run.source.overlap
                pending = place.get("oldest_pending")
                since[vendor_id] = min(start, date.fromisoformat(pending)) if pending else start
        return since

    # -- committing ------------------------------------------------------------------------------------------------

    def _commit(
        self, run: _Run, ask: Ask, cursor: Cursor, position: dict[str, Any], calls: int, dry_run: bool
    ) -> SyncReport:
        """Frames, reconciliation and the one transaction. Runs in a thread."""
        changes: list[Change] = []
        place = {"accounts": dict(position.get("accounts", {}))}
        for feed in run.source.feeds:
            name = feed.schema.dataset_name()
            for key, pages in run.pages.items():
                if key[0] != name or key not in run.complete:
                    continue
                built = self._build(run, ask, name, key[1], pages)
                if built is None:
                    continue
                change = self._change(run, feed.schema, key[1], built, ask, place)
                changes.append(change)
        changes = _joined(changes)
        outcome = self._outcome(run)
        batch = Batch(
            changes, quarantined=[Sealed(d, r, self._connections.vault.seal(b)) for d, r, b in run.evidence],
            atomic=run.source.kind == "snapshot",
            unfinished=[str(key[1]) for key in run.pages if key not in run.complete],
        )  # fmt: skip
        body = json.dumps(place, sort_keys=True, separators=(",", ":"))
        applied = self._store.apply(
            batch, stream=run.stream, run_id=run.run_id, expect=cursor, next=body, dry_run=dry_run,
            books=lambda applied: self._books(run, outcome, applied, calls),
        )  # fmt: skip
        self._connection_state(run, dry_run)
        return self._report(run, outcome, applied.counts, calls)

    def _build(self, run: _Run, ask: Ask, dataset: str, subject: str | None, pages: list[Page]) -> Built | None:
        """Rows of one account's pages. A page of the wrong shape fails its account alone."""
        feed = run.source.feed(dataset)
        account = run.accounts.get(subject) if subject else None
        try:
            built = feed.frames([_value(feed.parse, page) for page in pages], ask, account)
        except DefectError as error:
            if subject is None:
                raise
            self._account_failed(run, dataset, subject, error)
            return None
        for reject in built.rejects:
            run.rejects += 1
            row_id = str(reject.row.get("transaction_id") or reject.row.get("account_id") or "a row without an id")
            run.doubts.append((dataset, Doubt("row_invalid", row_id, f"not kept: {reject.reason}")))
            run.evidence.append((dataset, reject.reason, json.dumps(reject.row).encode()))
        for twin in built.differing:
            run.doubts.append((dataset, Doubt("differing_twins", twin[-1], "came twice with different contents")))
        return replace(built, good=self._renamed(run, built.good))

    def _renamed(self, run: _Run, frame: pl.DataFrame) -> pl.DataFrame:
        """Vendor ids that changed since first sight become ours."""
        for column, kind in (("account_id", "account"), ("transaction_id", "transaction")):
            if column in frame.columns and (aliases := self._aliases(run, kind)):
                frame = frame.with_columns(pl.col(column).replace(aliases))
        return frame

    def _change(
        self, run: _Run, schema: type[Dataset], subject: str | None, built: Built, ask: Ask, place: dict[str, Any]
    ) -> Change:
        if run.source.kind == "window" and subject is not None:
            return self._window(run, schema, run.accounts[subject], built, ask, place)
        if schema is Accounts:
            return self._whole_set(run, built, place)
        return self._snapshot(run, schema, run.accounts[subject] if subject else None, built)

    def _window(
        self, run: _Run, schema: type[Dataset], account: Account, built: Built, ask: Ask, place: dict[str, Any]
    ) -> Change:
        since = ask.since.get(account.vendor_id)
        tenant = run.connection.tenant_id
        where: dict[str, Any] = {"tenant_id": tenant, "account_id": account.account_id}
        if since is not None:
            where["booked_on"] = (">=", since)
        held = self._store.rows(schema, where)
        ids = [reject.row.get("transaction_id") for reject in built.rejects]
        keep = None if any(not (i or "").strip() for i in ids) else frozenset(str(i).strip() for i in ids)
        before = place["accounts"].get(account.vendor_id, {})
        done = reconcile(held, built.good, account=account.account_id, keep=keep, suspect=before.get("suspect"))
        run.doubts += [("transactions", doubt) for doubt in done.doubts]
        days = [day for day in (done.rows["booked_on"].max(), _day(before.get("newest"))) if isinstance(day, date)]
        newest = max(days, default=None)
        pending = done.rows.filter(pl.col("status") == "pending")["booked_on"].min()
        spot = {"newest": _iso(newest), "oldest_pending": _iso(pending), "suspect": done.suspect}
        place["accounts"][account.vendor_id] = {name: value for name, value in spot.items() if value is not None}
        if newest is not None:
            run.newest[account.vendor_id] = str(newest)
        return Change(schema, done.rows, [(tenant, account.account_id, gone) for gone in done.removed])

    def _whole_set(self, run: _Run, built: Built, place: dict[str, Any]) -> Change:
        """Accounts: one that is no longer listed is closed, not deleted; an empty list closes nothing at first."""
        held = self._store.rows(Accounts, {"connection_id": run.connection.connection_id})
        rejected = [str(reject.row.get("account_id") or "").strip() for reject in built.rejects]
        listed = [*built.good["account_id"].to_list(), *rejected]
        absent = held.filter(~pl.col("account_id").is_in(listed) & (pl.col("status") == "open"))
        if absent.is_empty() or "" in rejected:
            return Change(Accounts, built.good)
        digest = hashlib.sha256("\n".join(sorted(absent["account_id"])).encode()).hexdigest()[:16]
        if built.good.is_empty() and place.get("suspect") != digest:
            place["suspect"] = digest
            doubt = Doubt(
                "shrink_guard", run.connection.connection_id,
                f"none of {absent.height} accounts is listed any more; nothing is closed until a second read agrees",
            )  # fmt: skip
            run.doubts.append(("accounts", doubt))
            return Change(Accounts, built.good)
        closed = absent.with_columns(status=pl.lit("closed").cast(absent.schema["status"]), run_id=pl.lit(run.run_id))
        return Change(Accounts, pl.concat([built.good, closed]))

    def _snapshot(self, run: _Run, schema: type[Dataset], account: Account | None, built: Built) -> Change:
        """The whole set of one account: what it no longer holds leaves the table in the same commit."""
        if account is None:
            return Change(schema, built.good)
        where = {"tenant_id": run.connection.tenant_id, "account_id": account.account_id}
        key = schema.key()
        came = set(built.good.select(key).rows())
        gone = [] if built.rejects else [k for k in self._store.rows(schema, where).select(key).rows() if k not in came]
        return Change(schema, built.good, gone)

    # -- what is said of it ----------------------------------------------------------------------------------------

    def _outcome(self, run: _Run) -> Outcome:
        """What the run is recorded as, and what its job does next."""
        errors = [*run.failed.values(), *([run.stopped] if run.stopped else [])]
        if not errors:
            return Outcome("partial") if run.rejects or any(d.kind == "shrink_guard" for _, d in run.doubts) else OK
        return worst([decide(error) for error in errors])

    def _recorded(self, run: _Run, outcome: Outcome) -> str:
        """`partial` when something was committed beside what failed."""
        return "partial" if run.complete and outcome.kind != "ok" else outcome.kind

    def _report(self, run: _Run, outcome: Outcome, counts: Mapping[str, Counts], calls: int) -> SyncReport:
        return SyncReport(
            run.connection.connection_id, run.stream.dataset, run.run_id, self._recorded(run, outcome), counts, calls,
            outcome, outcome.code, outcome.message, {a: e.code for a, e in run.failed.items()}, len(run.doubts),
        )  # fmt: skip

    async def _failed(self, run: _Run, error: Exception, calls: int, dry_run: bool) -> SyncReport:
        """A run that committed no rows: recorded, with its stream's new state. The record itself may fail too."""
        outcome = decide(error)
        if isinstance(error, DefectError):
            self._defect(run, run.stream.dataset, str(run.stream), error)
        run.complete.clear()
        run.stopped = error if isinstance(error, FinInfraError) else None
        if not dry_run:
            try:
                await self._offload(lambda: self._record(run, outcome, calls))
            except StoreError as lost:
                log.error("%s: its run could not be recorded: %s", run.stream, lost.message)
        return self._report(run, outcome, {}, calls)

    def _record(self, run: _Run, outcome: Outcome, calls: int) -> None:
        sealed = [Sealed(d, r, self._connections.vault.seal(b)) for d, r, b in run.evidence]
        self._store.record(
            self._books(run, outcome, None, calls),
            sealed,
            connection_id=run.connection.connection_id,
            run_id=run.run_id,
        )
        self._connection_state(run, dry_run=False)

    def _connection_state(self, run: _Run, dry_run: bool) -> None:
        """A credential that is refused as a whole stops its connection until the owner has acted."""
        error = run.stopped
        everyone = run.failed and not run.complete and all(e.code == "reauth_required" for e in run.failed.values())
        if everyone:
            error = next(iter(run.failed.values()))
        if run.connection.state != "active" or dry_run:
            return
        if error is not None and error.code in ("auth_invalid", "reauth_required"):
            self._connections.set_state(run.connection.connection_id, "reauth", error.message)

    def _books(self, run: _Run, outcome: Outcome, applied: Applied | None, calls: int) -> list[Records]:
        now = self._now()
        total = applied.total() if applied else Counts()
        recorded = self._recorded(run, outcome)
        base = {
            "tenant_id": run.connection.tenant_id, "connection_id": run.connection.connection_id,
            "provider": run.connection.provider, "fetched_at": now, "run_id": run.run_id,
        }  # fmt: skip
        runs = {
            **base, "dataset": run.stream.dataset, "lane": run.lane, "started_at": run.started_at, "finished_at": now,
            "outcome": recorded, **total._asdict(), "calls": calls, "attempt": run.attempt,
            "error_code": outcome.code, "error": outcome.message,
        }  # fmt: skip
        return [
            Records(Runs, [runs]),
            Records(Streams, self._streams(run, outcome, recorded, base, now)),
            Records(AccountStates, self._account_states(run, base, now)),
            Records(Findings, self._findings(run, base, now, committed=applied is not None)),
        ]

    def _streams(
        self, run: _Run, outcome: Outcome, recorded: str, base: dict[str, Any], now: datetime
    ) -> list[dict[str, Any]]:
        known = {
            row["dataset"]: row for row in self._store.records(Streams, {"connection_id": run.connection.connection_id})
        }
        rows = []
        for name in run.source.datasets:
            before = known.get(name, {})
            committed = recorded in ("ok", "partial")
            state = _stream_state(recorded, outcome.code, before.get("state"))
            newest = max([*run.newest.values(), before.get("newest_row") or ""]) if run.newest else None
            rows.append(
                {
                    **base, "dataset": name, "state": state, "last_attempt_at": run.started_at,
                    "last_success_at": now if committed else before.get("last_success_at"),
                    "vendor_as_of": before.get("vendor_as_of"),
                    "newest_row": (newest if name == run.stream.dataset else None) or before.get("newest_row"),
                    "next_reason": self._next_reason(run, outcome, now), "error_code": outcome.code,
                }
            )  # fmt: skip
        return rows

    def _next_reason(self, run: _Run, outcome: Outcome, now: datetime) -> str | None:
        if outcome.kind == "later" and outcome.after is not None:
            at = (now + timedelta(seconds=outcome.after)).isoformat(timespec="seconds")
            return f"asked again at {at}: {outcome.message}"
        if outcome.message is None and any(d.kind == "shrink_guard" for _, d in run.doubts):
            return "a much shorter answer waits for a second read that confirms it"
        return outcome.message

    def _account_states(self, run: _Run, base: dict[str, Any], now: datetime) -> list[dict[str, Any]]:
        known = {
            (row["account_id"], row["dataset"]): row
            for row in self._store.records(AccountStates, {"connection_id": run.connection.connection_id})
        }
        rows = []
        for vendor_id, account in run.accounts.items():
            error = run.failed.get(vendor_id)
            for name in run.source.datasets:
                done = (name, vendor_id) in run.complete and error is None
                if name == "accounts" or not (done or error):
                    continue
                before = known.get((account.account_id, name), {})
                rows.append(
                    {
                        **base, "account_id": account.account_id, "dataset": name,
                        "state": "ok" if done else _stream_state("park", error.code if error else None, None),
                        "last_success_at": now if done else before.get("last_success_at"),
                        "newest_row": run.newest.get(vendor_id) or before.get("newest_row"),
                        "error_code": error.code if error else None,
                    }
                )  # fmt: skip
        return rows

    def _findings(self, run: _Run, base: dict[str, Any], now: datetime, *, committed: bool) -> list[dict[str, Any]]:
        """What was seen now, under the same id as before; a guard that no longer holds is resolved."""
        known = {
            row["finding_id"]: row
            for row in self._store.records(Findings, {"connection_id": run.connection.connection_id, "state": "open"})
            if row["dataset"] in run.source.datasets
        }
        rows = {}
        for name, doubt in run.doubts:
            finding_id = _finding_id(run.connection.connection_id, name, doubt)
            rows[finding_id] = {
                **base, "finding_id": finding_id, "dataset": name, "kind": doubt.kind, "subject": doubt.subject,
                "detail": doubt.detail, "state": "open",
                "first_seen_at": known.get(finding_id, {}).get("first_seen_at") or now,
            }  # fmt: skip
        if committed:
            for finding_id, row in known.items():
                if finding_id not in rows and row["kind"] in ("shrink_guard", "contract_broken", "defect"):
                    rows[finding_id] = {**row, **base, "state": "resolved"}
        return list(rows.values())


def _stream_state(recorded: str, code: str | None, before: str | None) -> str:
    """A stream that only waits is as fresh as it was; one that failed says so."""
    if recorded in ("later", "stale_cursor"):
        return before or "stale"
    if code in ("reauth_required", "auth_invalid"):
        return "reauth" if recorded != "partial" else "partial"
    return recorded if recorded in ("ok", "partial") else "error"


def _value(parse: Callable[[bytes], Any], page: Page) -> tuple[Any, datetime]:
    if page.reply is None:  # staged by an earlier attempt
        value: tuple[Any, datetime] = page.value
        return value
    return (parse(page.reply.body) if page.value is None else page.value), page.reply.at


def _joined(changes: Sequence[Change]) -> list[Change]:
    """One change per dataset: one diff instead of one per account."""
    by_schema: dict[type[Dataset], list[Change]] = {}
    for change in changes:
        by_schema.setdefault(change.schema, []).append(change)
    return [
        Change(schema, pl.concat([c.rows for c in group]), [key for c in group for key in c.removed])
        for schema, group in by_schema.items()
    ]


def _finding_id(connection_id: str, dataset: str, doubt: Doubt) -> str:
    parts = "\n".join((connection_id, dataset, doubt.kind, doubt.subject))
    return "fnd_" + hashlib.sha256(parts.encode()).hexdigest()[:16]


def _day(value: str | None) -> date | None:
    return date.fromisoformat(value) if value else None


def _iso(value: Any) -> str | None:
    return value.isoformat() if value is not None else None
