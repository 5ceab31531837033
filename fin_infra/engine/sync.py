"""One run of one stream: ask, check, reconcile, commit rows and cursor together, say what came of it.

Whatever goes wrong becomes an outcome of this run and a state of its stream; nothing is raised to the worker but
cancellation. An account that fails alone stops nobody else.
"""

from __future__ import annotations

import asyncio
import itertools
import json
import logging
import secrets as entropy
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any, NamedTuple, Protocol, TypeVar
from weakref import WeakValueDictionary

from fin_infra.connections import Connection, Connections
from fin_infra.datasets.accounts import Accounts
from fin_infra.datasets.operations import AccountStates, Streams
from fin_infra.engine import staging
from fin_infra.engine.books import books
from fin_infra.engine.changes import changes_of, since_of, wanted
from fin_infra.engine.delta import begin_of, halfway, taken_in
from fin_infra.engine.freshness import waits_until
from fin_infra.engine.identities import hold_against
from fin_infra.engine.listing import erasing, listing_ask
from fin_infra.engine.parts import Place
from fin_infra.engine.quarantine import sealed
from fin_infra.engine.report import SyncReport
from fin_infra.engine.run import Run
from fin_infra.errors import DefectError, FinInfraError, OwnerActionError, StoreError, UsageError
from fin_infra.outcomes import Outcome, decide, where
from fin_infra.providers import REGISTRY, declared
from fin_infra.providers.base import Account, Ask, Http, Provider, Source, Want
from fin_infra.providers.transport import Traffic
from fin_infra.store import Batch, Cursor, Sealed, StagedPage, Store, Stream
from fin_infra.store.base import Now

log = logging.getLogger("fin_infra.engine")

T = TypeVar("T")
IN_PLACE = 512 * 1024  # bytes of answers whose frames and commit do not hold up the other jobs noticeably
LEFT_BEHIND = ("rest", "listed_at", "answered")  # in a stream's place by a run that was cut short, for the next one
RESTARTS = 3  # so often pages that changed under us are read again from where they began, then from the very beginning
Offload = Callable[[Callable[[], T]], Awaitable[T]]


class CountingHttp(Http, Protocol):
    traffic: Traffic

    @property
    def calls(self) -> int: ...


Transports = Callable[[Provider, Connection, Mapping[str, str], str], CountingHttp]


class Opening(NamedTuple):
    """Where a run's stream stands, whose accounts are asked about, and the pages of an earlier attempt."""

    cursor: Cursor
    accounts: Sequence[Account]
    staged: Sequence[StagedPage]


class Engine:
    """Syncs streams of a store. Network, clock and threads are injected; see `fin_infra.runtime` for the real ones."""

    def __init__(
        self, store: Store, connections: Connections, transports: Transports, *, now: Now, offload: Offload[Any],
        on_page: Callable[[Stream, int], None] = lambda stream, pages: None, listed: Sequence[str] = (),
        fresh_within: Mapping[str, timedelta] | None = None,
    ) -> None:  # fmt: skip
        self._listed = listed
        self._fresh_within = fresh_within or {}
        self._store = store
        self._connections = connections
        self._transports = transports
        self._now = now
        self._offload = offload
        self._on_page = on_page
        self._turns: WeakValueDictionary[Stream, asyncio.Lock] = WeakValueDictionary()

    async def sync(
        self, dataset: str, connection_id: str, *, lane: str = "interactive", attempt: int = 1, dry_run: bool = False,
        instruments: Sequence[str] | None = None, wished_at: datetime | None = None,
    ) -> SyncReport:  # fmt: skip
        """Syncs the stream that feeds `dataset` of the connection. Raises `UsageError` when there is none.

        `instruments`: of prices, only these; default the watchlist and all that the tenant ever held. `wished_at`: of a
        job that may have been put off in the middle: accounts and instruments that were answered since then are not
        asked again.

        Within one process the runs of a stream go one after the other; between processes the store's
        compare-and-set decides. `dry_run` asks and compares, and writes nothing.
        """
        connection = self._connections.get(connection_id)
        provider = declared(connection.provider)
        source = provider.source(dataset)
        if source is None:
            raise UsageError(f"{provider.name} has no {dataset}; it has: {', '.join(provider.datasets)}")
        async with self._turn(Stream(connection_id, source.lead)):
            run = self._new(connection, source, lane, attempt, instruments)
            run.wished_at = wished_at
            report = await self._run(run, provider, dry_run)
            # a series that changed its basis is read anew at once, it alone, and not at the next due time
            if run.redo and not dry_run:
                run = self._new(connection, source, lane, attempt, sorted(run.redo))
                report = await self._run(run, provider, dry_run)
            if run.stepped and not dry_run and (actions := provider.source("corporate_actions")) is not None:
                named = sorted(run.stepped)
                async with self._turn(Stream(connection_id, actions.lead)):
                    await self._run(self._new(connection, actions, lane, attempt, named), provider, dry_run)
                report = await self._run(self._new(connection, source, lane, attempt, named), provider, dry_run)
            return report

    def _turn(self, stream: Stream) -> asyncio.Lock:
        return self._turns.setdefault(stream, asyncio.Lock())

    def _new(
        self, connection: Connection, source: Source, lane: str, attempt: int, instruments: Sequence[str] | None = None
    ) -> Run:
        stream, now = Stream(connection.connection_id, source.lead), self._now()
        run_id = f"run_{entropy.token_hex(8)}"
        return Run(connection, source, stream, run_id, lane, attempt, now, now, ordered=instruments)

    async def _run(self, run: Run, provider: Provider, dry_run: bool) -> SyncReport:
        connection = run.connection
        http: CountingHttp | None = None
        try:
            if (why := REGISTRY.off(provider.name)) is not None:
                raise OwnerActionError(f"{provider.name} is off: {why}", code="permission_denied")
            if connection.state != "active":
                code = "reauth_required" if connection.state == "reauth" else "permission_denied"
                raise OwnerActionError(connection.reason or f"the connection is {connection.state}", code=code)
            with self._store.reading():
                secrets, opening = self._connections.secrets(connection), self._open(run, provider)
            http = self._transports(provider, connection, secrets, run.lane)
            run.traffic = http.traffic
            return await self._attempt(run, opening, provider, http, dry_run)
        except FinInfraError as error:
            return await self._failed(run, error, http.calls if http else 0, dry_run)
        except Exception as error:  # nothing of ours: the work is kept, the defect is logged
            log.error("%s failed with an unmapped %s", run.stream, where(error))
            return await self._failed(run, error, http.calls if http else 0, dry_run)

    def _open(self, run: Run, provider: Provider) -> Opening:
        """What a run begins with, of one moment."""
        cursor = self._store.cursor(run.stream, run.connection.generation)
        run.aliases = self._store.aliases(run.connection.connection_id)
        run.left_out = self._connections.left_out(run.connection.connection_id)
        known = run.source.needs_accounts and self._accounts_known(run, provider)
        accounts = self._to_ask(run) if known else self._rest(run, json.loads(cursor.body))
        return Opening(cursor, accounts, self._store.staged_pages(run.stream, cursor.generation))

    async def _attempt(
        self, run: Run, opening: Opening, provider: Provider, http: CountingHttp, dry_run: bool
    ) -> SyncReport:
        cursor, accounts = opening.cursor, opening.accounts
        place: Place = json.loads(cursor.body)
        if run.source.needs_accounts and not accounts and not run.spared:
            if (failed := await self._learn_accounts(run, provider, dry_run)) is not None:
                return failed
            run.aliases = self._store.aliases(run.connection.connection_id)
            run.left_out = self._connections.left_out(run.connection.connection_id)
            accounts = self._to_ask(run)
        run.accounts = {account.vendor_id: account for account in accounts}
        wants: Sequence[Want] = ()
        if run.source.series is not None:
            if (failed := await self._learn_holdings(run, provider, dry_run)) is not None:
                return failed
            tenants = partial(self._connections.all, tenant=run.connection.tenant_id)
            wants = await self._offload(lambda: wanted(run, place, self._store, self._listed, tenants))
            wants = rest_first(wants, place.get("answered", {}), run.wished_at)
        staged, left_out = opening.staged, run.left_out.accounts
        if taken_in(place, left_out):  # what was read on from there lacks what was passed over before
            staged = [page for page in staged if page.subject == staging.ANEW]
        resume = staging.restore(run, staged, self._connections.vault, self._waited_until(run) if staged else None)
        begin = begin_of(run.source, place, left_out)
        if staging.ANEW in resume:
            resume, begin = {staging.WHOLE: resume[staging.ANEW]}, ""
        ask = Ask(
            provider.name, run.connection.tenant_id, run.connection.connection_id, run.run_id, run.started_at,
            accounts, since_of(run.source, place, run.started_at.date()),
            resume, wants, begin, left_out=self._vendor_ids(run, left_out), known=self._known(run),
        )  # fmt: skip
        if run.source.listing is not None:
            ask = listing_ask(run, ask, place, self._store)
        if not run.idle:
            await self._gather(run, http, ask, cursor, dry_run)
        if run.stopped is not None and not run.complete:
            raise run.stopped
        if run.size <= IN_PLACE:  # a few milliseconds: a thread for it costs more than it spares
            return self._commit(run, ask, cursor, place, http.calls, dry_run)
        report: SyncReport = await self._offload(lambda: self._commit(run, ask, cursor, place, http.calls, dry_run))
        return report

    async def _learn_accounts(self, run: Run, provider: Provider, dry_run: bool) -> SyncReport | None:
        """A credential whose accounts were never listed lists them first. The report, if that failed."""
        source = provider.source("accounts")
        if source is None:
            raise UsageError(f"{provider.name} has no accounts, which its {run.stream.dataset} need")
        async with self._turn(Stream(run.connection.connection_id, source.lead)):
            if self._accounts_known(run, provider):  # another job just listed them: that was a call to the bank saved
                return None
            if dry_run:
                raise UsageError(f"the accounts of {run.connection.connection_id} are not known: sync accounts first")
            report = await self._run(self._new(run.connection, source, run.lane, run.attempt), provider, False)
        return None if report.outcome in ("ok", "partial") or self._accounts_known(run, provider) else report

    async def _learn_holdings(self, run: Run, provider: Provider, dry_run: bool) -> SyncReport | None:
        """Whose holdings were never read has no instruments yet: they are read first.

        The report, if that failed and left nothing to ask for: what is watched or was traded is priced all the same.
        """
        source = provider.source("holdings")
        if source is None or run.ordered is not None:
            return None
        stream = Stream(run.connection.connection_id, source.lead)
        async with self._turn(stream):
            if self._store.cursor(stream, run.connection.generation).body != "{}":
                return None
            if dry_run:
                raise UsageError(f"the holdings of {run.connection.connection_id} are not known: sync holdings first")
            report = await self._run(self._new(run.connection, source, run.lane, run.attempt), provider, False)
        if report.outcome in ("ok", "partial"):
            return None
        refused = report.error_code in ("auth_invalid", "reauth_required")
        known = self._listed or self._store.instruments_held(run.connection.tenant_id)
        return None if known and not refused else report

    async def _gather(self, run: Run, http: Http, ask: Ask, cursor: Cursor, dry_run: bool) -> None:
        """All pages; an error of one account is kept with it, an error of the connection ends the asking.

        Pages that changed under us fit together no more: they are dropped and asked for again, a bounded number of
        times from where the loop began. A cursor stream is then read from its very beginning, as it is at once when
        the vendor no longer knows the cursor; that pass sees what was deleted too.
        """
        asks = itertools.chain([ask], itertools.repeat(replace(ask, resume={}), RESTARTS))
        if run.source.kind == "cursor":
            asks = itertools.chain(asks, itertools.repeat(replace(ask, resume={}, cursor=""), RESTARTS))
        for ask in asks:
            if run.stopped is not None:
                if run.stopped.code == "cursor_invalid" and ask.cursor:
                    continue
                if not dry_run:
                    await self._offload(lambda: self._store.unstage(run.stream))
                run.begin_anew()
            run.whole = not ask.cursor
            await self._pages(run, http, ask, cursor, dry_run)
            if run.stopped is None or not _may_begin_anew(run, ask, run.stopped):
                break
        if isinstance(run.stopped, DefectError):
            run.defect(run.stream.dataset, str(run.stream), run.stopped)
        if run.stopped is not None or run.failed:
            await self._offload(lambda: self._keep(run, cursor))

    async def _pages(self, run: Run, http: Http, ask: Ask, cursor: Cursor, dry_run: bool) -> None:
        aliases = run.aliases.get("account", {})
        try:
            async for page in run.source.fetch(http, ask):
                vendor_id = page.subject
                if page.account is not None and run.leaves_out(page.account.vendor_id):
                    continue  # one answer is about all accounts: of this one it is not wanted
                run.follow = page.follow or run.follow
                if page.account is not None and page.account.vendor_id not in run.accounts:
                    ours = aliases.get(page.account.vendor_id, page.account.account_id)
                    run.accounts[page.account.vendor_id] = replace(page.account, account_id=ours)
                if page.error is not None:
                    if page.wants:
                        run.instrument_failed(page.dataset, page.wants[0].instrument, page.error)
                    elif page.row is not None:
                        run.row_failed(page.dataset, page.row, page.error)
                    else:
                        run.account_failed(page.dataset, str(vendor_id), page.error)
                    continue
                run.dated(page)
                run.pages.setdefault((page.dataset, vendor_id), []).append(page)
                if page.position is None:
                    run.complete.add((page.dataset, vendor_id))
                    run.answered |= {want.subject for want in page.wants}
                elif not dry_run:
                    staging.stage(run, page)
                    if staging.due(run, self._now()):
                        await self._offload(lambda: self._keep(run, cursor))
                self._on_page(run.stream, sum(map(len, run.pages.values())))
        except FinInfraError as error:
            run.stopped = error

    def _keep(self, run: Run, cursor: Cursor) -> None:
        staging.keep(run, cursor, self._store, self._connections.vault, self._now())

    def _commit(self, run: Run, ask: Ask, cursor: Cursor, place: Place, calls: int, dry_run: bool) -> SyncReport:
        """Frames, reconciliation and the one transaction. In a thread where there is much of it."""
        kept = {*run.accounts, *ask.left_out, *run.answered_before}
        spots = {k: v for k, v in place.get("accounts", {}).items() if k in kept}
        place = unfinished({**place, "accounts": spots}, run)
        changes = run.changes = changes_of(run, ask, place, self._store)
        if run.left_out.new_ones and not dry_run:
            self._leave_out(run)
        hold_against(run, place, self._store)
        outcome = run.outcome()
        batch = Batch(
            changes, quarantined=self._sealed(run), atomic=run.source.kind == "snapshot",
            unfinished=[str(vendor_id) for name, vendor_id in run.pages if (name, vendor_id) not in run.complete],
            aliases=run.named, halfway=halfway(cursor.body) if run.source.kind == "cursor" else None,
            within=erasing(run),
        )  # fmt: skip
        applied = self._store.apply(
            batch, stream=run.stream, run_id=run.run_id, expect=cursor, dry_run=dry_run,
            next=json.dumps(place, sort_keys=True, separators=(",", ":")),
            books=lambda applied: books(run, outcome, applied, calls, self._store, self._now(), self._fresh_within),
        )  # fmt: skip
        if not dry_run:
            self._stop_refused(run)
        return run.report(outcome, applied.counts, calls)

    async def _failed(self, run: Run, error: Exception, calls: int, dry_run: bool) -> SyncReport:
        """A run that committed no rows: recorded, with its stream's new state. The record itself may fail too."""
        outcome = run.moved(decide(error))
        if isinstance(error, DefectError) and error is not run.stopped:
            run.defect(run.stream.dataset, str(run.stream), error)
        run.complete.clear()
        run.stopped = error if isinstance(error, FinInfraError) else None
        if not dry_run:
            try:
                self._record(run, outcome, calls)
            except StoreError as lost:
                log.error("%s: its run could not be recorded: %s", run.stream, lost.message)
        return run.report(outcome, {}, calls)

    def _record(self, run: Run, outcome: Outcome, calls: int) -> None:
        self._store.record(
            books(run, outcome, None, calls, self._store, self._now(), self._fresh_within), self._sealed(run),
            connection_id=run.connection.connection_id, run_id=run.run_id,
        )  # fmt: skip
        self._stop_refused(run)

    def _stop_refused(self, run: Run) -> None:
        """A credential that is refused as a whole stops its connection until the owner has acted."""
        refused = run.refusal()
        if refused is not None and run.connection.state == "active":
            self._connections.refused(run.connection, refused.message)

    def _sealed(self, run: Run) -> list[Sealed]:
        return sealed(run, self._connections.vault)

    def _leave_out(self, run: Run) -> None:
        """Accounts that were never listed before wait for their owner's choice. Before the commit that lists them: a
        kill in between leaves nothing that would be asked for unchosen."""
        mine = {"tenant_id": run.connection.tenant_id, "connection_id": run.connection.connection_id}
        known = {account for (account,) in self._store.values(Accounts, ("account_id",), mine)}
        listed = {account for c in run.changes if c.schema is Accounts for account in c.rows["account_id"]}
        self._connections.leave_out(run.connection.connection_id, listed - known)

    def _known(self, run: Run) -> Sequence[str] | None:
        """Accounts, by the vendor's ids, beside which none may be asked for: where new ones are left out, and after a
        re-link, when one that is left out may have another id by now."""
        cursor = self._store.cursor(run.stream, run.connection.generation)
        if run.source.needs_accounts or not (run.left_out.new_ones or (run.left_out.accounts and cursor.body == "{}")):
            return None
        mine = {"tenant_id": run.connection.tenant_id, "connection_id": run.connection.connection_id}
        return self._vendor_ids(run, (a for (a,) in self._store.values(Accounts, ("account_id",), mine)))

    def _vendor_ids(self, run: Run, accounts: Iterable[str]) -> list[str]:
        """By which the vendor knows these accounts of ours now."""
        vendor_ids = {ours: vendor for vendor, ours in run.aliases.get("account", {}).items()}
        return [vendor_ids.get(account, account) for account in accounts]

    def _waited_until(self, run: Run) -> datetime | None:
        """Until when the last run put the stream off."""
        mine = {"connection_id": run.connection.connection_id, "dataset": run.stream.dataset}
        rows = self._store.records(Streams, mine)
        return waits_until(rows[0]["next_reason"]) if rows else None

    def _rest(self, run: Run, place: Place) -> list[Account]:
        """Of a list that was answered since the wish: the accounts that were still to be asked about behind it."""
        rest, listed_at = place.get("rest", ()), place.get("listed_at", "")
        if not rest or run.wished_at is None or datetime.fromisoformat(listed_at) < run.wished_at:
            return []
        run.follow = rest
        wanted = [account for account in self._open_accounts(run) if account.vendor_id in rest]
        return [account for account in wanted if account.account_id not in run.left_out.accounts]

    def _to_ask(self, run: Run) -> list[Account]:
        """Open accounts whose owner wants them, without those that were answered since the wish.

        Of a cursor stream none was answered: its pages are about them all, and it goes on behind the last one anyway.
        """
        opened = self._open_accounts(run)
        found = [account for account in opened if account.account_id not in run.left_out.accounts]
        asked = found
        if run.wished_at is not None and run.source.kind != "cursor":
            mine = {"tenant_id": run.connection.tenant_id, "connection_id": run.connection.connection_id}
            states = self._store.records(AccountStates, {**mine, "dataset": run.stream.dataset})
            fresh = {
                row["account_id"] for row in states
                if row["last_success_at"] is not None and row["last_success_at"] >= run.wished_at
            }  # fmt: skip
            asked = [account for account in found if account.account_id not in fresh]
        run.answered_before = [account.vendor_id for account in found if account not in asked]
        run.spared = len(asked) < len(opened)
        return asked

    def _open_accounts(self, run: Run) -> list[Account]:
        """Open accounts of the connection, each with the id the vendor knows it by now."""
        mine = {"tenant_id": run.connection.tenant_id, "connection_id": run.connection.connection_id}
        vendor_ids = {ours: vendor for vendor, ours in run.aliases.get("account", {}).items()}
        if (source := declared(run.connection.provider).source("accounts")) is not None:
            listed = self._store.cursor(Stream(run.connection.connection_id, source.lead), run.connection.generation)
            run.short_list = bool(json.loads(listed.body).get("suspect"))
        rows = self._store.values(Accounts, ("account_id", "kind", "currency"), {**mine, "status": "open"})
        last = dict(
            self._store.values(
                AccountStates, ("account_id", "last_success_at"), {**mine, "dataset": run.stream.dataset}
            )
        )

        def longest_waiting(row: tuple[Any, ...]) -> tuple[bool, Any, str]:
            """Who waited longest comes first: a limit that ends every run early must not always end it on the same."""
            at = last.get(row[0])
            return at is not None, at, str(row[0])

        return [
            Account(vendor_ids.get(account_id, account_id), account_id, kind, currency)
            for account_id, kind, currency in sorted(rows, key=longest_waiting)
        ]

    def _accounts_known(self, run: Run, provider: Provider) -> bool:
        """Whether the accounts were listed under this very credential: a re-link may give them other ids."""
        source = provider.source("accounts")
        if source is None:
            return False
        stream = Stream(run.connection.connection_id, source.lead)
        return self._store.cursor(stream, run.connection.generation).body != "{}"


def rest_first(wants: Sequence[Want], answered: Mapping[str, str], wished_at: datetime | None) -> list[Want]:
    """Instruments that a run which was cut short had no answer for, then the others, longest ago first; without those
    that were answered since the wish. `answered`: when each was, as a text."""
    since = _text(wished_at) if wished_at is not None else "~"
    left = [want for want in wants if answered.get(want.subject, "") < since]
    return sorted(left, key=lambda want: answered.get(want.subject, ""))


def unfinished(place: Place, run: Run) -> Place:
    """The place with what a run that was cut short leaves for the next one: see `rest_first` and `_rest`."""
    place, before = {name: value for name, value in place.items() if name not in LEFT_BEHIND}, place
    at = _text(run.started_at)
    if run.rest:
        listed_at = at if ("accounts", None) in run.complete else before.get("listed_at", at)
        place |= {"rest": run.rest, "listed_at": listed_at}
    if run.source.series is not None and run.stopped is not None:
        answered = {**before.get("answered", {}), **dict.fromkeys(run.answered, at)}
        place["answered"] = {k: answered[k] for k in sorted(answered) if k.partition(" ")[0] in run.instruments}
    return place


def _text(moment: datetime) -> str:
    return moment.astimezone(UTC).isoformat(timespec="microseconds")


def _may_begin_anew(run: Run, ask: Ask, error: FinInfraError) -> bool:
    """Whether reading from an earlier place can cure it."""
    if error.code == "cursor_invalid":
        return run.source.kind == "cursor" and (not run.whole or bool(ask.resume))
    return error.code == "mutation_during_pagination" and run.source.kind != "series"
