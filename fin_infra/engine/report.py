"""What a sync came to: a value that a job hands back, a person reads and the worker acts on."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from fin_infra.outcomes import OK, Outcome
from fin_infra.quotas.telling import units
from fin_infra.store import Counts


@dataclass(frozen=True)
class SyncReport:
    """One run of one stream.

    `outcome` is what is recorded; `follow_up` what the queue does next (a partial run whose rest may succeed later
    is tried again). `accounts` holds the error code of each account that failed alone.
    """

    connection_id: str
    dataset: str
    run_id: str
    outcome: str
    counts: Mapping[str, Counts] = field(default_factory=dict)
    calls: int = 0
    follow_up: Outcome = OK
    error_code: str | None = None
    error: str | None = None
    accounts: Mapping[str, str] = field(default_factory=dict)
    findings: int = 0

    @property
    def total(self) -> Counts:
        return Counts(*(sum(parts) for parts in zip(*self.counts.values(), strict=True))) if self.counts else Counts()

    def as_dict(self) -> dict[str, Any]:
        """For `--json`."""
        return {
            "connection_id": self.connection_id,
            "dataset": self.dataset,
            "run_id": self.run_id,
            "outcome": self.outcome,
            **self.total._asdict(),
            "datasets": {name: counts._asdict() for name, counts in self.counts.items()},
            "calls": self.calls,
            "error_code": self.error_code,
            "error": self.error,
            "retry_after": self.follow_up.after,
            "accounts": dict(self.accounts),
            "findings": self.findings,
        }

    def sentence(self) -> str:
        """One line for people."""
        total = self.total
        what = ", ".join(f"{n} {word}" for word, n in total._asdict().items() if n) or "no rows"
        line = f"{self.connection_id}/{self.dataset}: {self.outcome}, {what}, {units(self.calls)}"
        if self.accounts:
            line += "; " + ", ".join(f"{account}: {code}" for account, code in self.accounts.items())
        return f"{line}; {self.error}" if self.error else line
