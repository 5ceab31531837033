"""What one attempt gathers on its way, and what it comes to."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime

from fin_infra.connections import NOBODY, Connection, LeftOut
from fin_infra.engine.identity import Found
from fin_infra.engine.quarantine import Evidence
from fin_infra.engine.reconcile import Doubt
from fin_infra.engine.report import SyncReport
from fin_infra.errors import DefectError, FinInfraError, TransientError
from fin_infra.outcomes import OK, Outcome, decide, worst
from fin_infra.providers.base import Account, Page, Source
from fin_infra.providers.transport import Traffic
from fin_infra.store import Alias, Change, Counts, StagedPage, Stream

HISTORY_AGAIN = 900.0  # seconds until a history that is not whole yet is asked for again, should no webhook come
Part = tuple[str, str | None]
"""One part of an answer: the dataset, and the account (the vendor's id) it is about, if it is about one."""


@dataclass
class Run:
    """One attempt to sync one stream."""

    connection: Connection
    source: Source
    stream: Stream
    run_id: str
    lane: str
    attempt: int
    started_at: datetime
    staged_at: datetime
    accounts: dict[str, Account] = field(default_factory=dict)
    pages: dict[Part, list[Page]] = field(default_factory=dict)
    complete: set[Part] = field(default_factory=set)
    unstaged: list[StagedPage] = field(default_factory=list)  # not sealed until they are written
    failed: dict[str, FinInfraError] = field(default_factory=dict)  # accounts that failed alone
    stopped: FinInfraError | None = None  # what ended the asking before its end
    doubts: list[tuple[str, Doubt]] = field(default_factory=list)
    evidence: list[Evidence] = field(default_factory=list)
    changes: Sequence[Change] = ()  # what is committed
    as_of: dict[Part, datetime] = field(default_factory=dict)  # the vendor's own time of the data; the oldest it said
    newest: dict[str, str] = field(default_factory=dict)
    rejects: int = 0
    wished_at: datetime | None = None  # what was answered since is not asked for again; None: everything is
    left_out: LeftOut = NOBODY  # accounts that are listed and never asked for
    answered_before: Sequence[str] = ()  # accounts, by the vendor's ids, that were
    spared: bool = False  # accounts that need not be asked: they are left out, or were answered since
    follow: Sequence[str] = ()  # accounts, by the vendor's ids, that are asked about one by one
    ordered: Sequence[str] | None = None  # the instruments a job asks for; None: the universe
    instruments: Sequence[str] = ()  # what a series is about
    brought: frozenset[str] = frozenset()  # of those what a provider before this one brings: not asked for
    standing_in: Mapping[str, str] = field(default_factory=dict)  # of those what none before it brings, and why
    aliases: Mapping[str, Mapping[str, str]] = field(default_factory=dict)  # by kind: the vendor's id → ours
    answered: set[str] = field(default_factory=set)  # instruments that were asked about one by one, and answered
    redo: frozenset[str] = frozenset()  # series to be read anew
    stepped: frozenset[str] = frozenset()  # series with bars that wait for a corporate action
    held_back: set[str] = field(default_factory=set)  # accounts whose answer waits for a second read
    whole: bool = True  # of a cursor stream: read from its very beginning, so what is not in it is gone
    short_list: bool = False  # accounts are missing in the newest list, and are not closed before a second one agrees
    history: bool | None = None  # whether the vendor has delivered all it has; None: it does not say
    resolved: dict[str, str] = field(default_factory=dict)  # vendor's own ids → keys that aliases say they mean
    named: list[Alias] = field(default_factory=list)  # names that this run learned
    traffic: Traffic | None = None  # what became of its calls; None before it asks
    erased: frozenset[str] = frozenset()  # rows, by the vendor's ids, of which no version may stay

    def leaves_out(self, vendor_id: str) -> bool:
        """Whether an account's owner does not want it."""
        return self.aliases.get("account", {}).get(vendor_id, vendor_id) in self.left_out.accounts

    @property
    def rest(self) -> list[str]:
        """Of the accounts that are asked about one by one: those that were not asked, or may answer another time."""
        answered = {vendor_id for _, vendor_id in self.complete}
        again = [v for v in self.follow if v not in answered]
        return [v for v in again if v not in self.failed or isinstance(self.failed[v], TransientError)]

    @property
    def idle(self) -> bool:
        """There is nobody to ask."""
        return self.spared and not self.accounts

    def begin_anew(self) -> None:
        """Forgets all that was read: it does not fit together."""
        self.stopped = None
        for read in (
            self.pages,
            self.complete,
            self.unstaged,
            self.failed,
            self.doubts,
            self.evidence,
            self.answered,
            self.as_of,
        ):
            read.clear()

    def learn(self, kind: str, names: Mapping[str, Found]) -> None:
        """The vendor's new ids of what we know, to be committed with the rows."""
        self.named += [Alias(kind, vendor_id, known.ours, known.why) for vendor_id, known in names.items()]

    def dated(self, page: Page) -> None:
        """Remembers what the vendor says of how old its data is; of several times the oldest, to promise nothing."""
        if page.as_of is not None:
            part = (page.dataset, page.subject)
            self.as_of[part] = min(page.as_of, self.as_of.get(part, page.as_of))

    def instrument_failed(self, dataset: str, instrument: str, error: FinInfraError) -> None:
        """This instrument alone. One that the vendor no longer lists is not described, which is no failure."""
        if error.code == "not_found":
            self.answered.add(instrument)
            self.doubts.append((dataset, Doubt("unresolved_instrument", instrument, error.message)))
        else:
            self.account_failed(dataset, instrument, error)

    def row_failed(self, dataset: str, row: str, error: FinInfraError) -> None:
        """This row alone. One that the vendor does not know under this credential stays as it is, and is told."""
        if error.code == "not_found":
            self.doubts.append((dataset, Doubt("unknown_to_vendor", row, error.message)))
        else:
            self.account_failed(dataset, row, error)

    def account_failed(self, dataset: str, vendor_id: str, error: FinInfraError) -> None:
        """This account alone; the others go on."""
        self.failed[vendor_id] = error
        if isinstance(error, DefectError):
            self.defect(dataset, vendor_id, error)

    def defect(self, dataset: str, subject: str, error: DefectError) -> None:
        """Ours or the vendor's: a finding, and the evidence."""
        kind = "contract_broken" if error.code == "contract_broken" else "defect"
        doubt = Doubt(kind, subject, error.message)
        self.doubts.append((dataset, doubt))
        self.evidence.append(Evidence(dataset, error.message, error.evidence, doubt))

    @property
    def size(self) -> int:
        """Bytes of all answers that this attempt asked for."""
        return sum(len(page.reply.body) for pages in self.pages.values() for page in pages if page.reply is not None)

    @property
    def guarded(self) -> bool:
        """An answer shrank so much that it waits for a second read."""
        return any(doubt.kind == "shrink_guard" for _, doubt in self.doubts)

    def outcome(self) -> Outcome:
        """What its job does next."""
        errors = [*self.failed.values(), *([self.stopped] if self.stopped else [])]
        if errors:
            return self.moved(worst([decide(error) for error in errors]))
        if self.history is False:
            return Outcome("later", HISTORY_AGAIN, "not_ready", "the vendor is still fetching older history")
        return Outcome("partial") if self.rejects or self.guarded else OK

    def moved(self, outcome: Outcome) -> Outcome:
        """With whether this attempt brought its job nearer to its end."""
        return replace(outcome, moved=self.size > 0)

    def recorded(self, outcome: Outcome) -> str:
        """What it is recorded as: `partial` when something was committed beside what failed."""
        return "partial" if self.complete and outcome.kind != "ok" else outcome.kind

    def refusal(self) -> FinInfraError | None:
        """The error that refuses the credential as a whole, if one did: its owner must act."""
        if self.source.series is not None:  # market data may be refused where the account is open: see its own streams
            return None
        everyone = self.failed and not self.complete
        errors = [self.stopped] if self.stopped else list(self.failed.values()) if everyone else []
        refused = [e for e in errors if e is not None and _of_the_login(e)]
        return refused[0] if refused and len(refused) == len(errors) else None

    def report(self, outcome: Outcome, counts: Mapping[str, Counts], calls: int) -> SyncReport:
        return SyncReport(
            self.connection.connection_id, self.stream.dataset, self.run_id, self.recorded(outcome), counts, calls,
            outcome, outcome.code, outcome.message, {a: e.code for a, e in self.failed.items()}, len(self.doubts),
        )  # fmt: skip


def _of_the_login(error: FinInfraError) -> bool:
    """Whether the user's own credential is refused. Wrong keys of the application are nothing a relink would cure."""
    return error.code in ("auth_invalid", "reauth_required") and not error.context.get("application")
