"""What could not be used: rows and whole answers, sealed as evidence, one entry for one thing however often it comes.

An entry belongs to a finding and leaves with it: see `books`. A row is kept with all that it takes to build it again.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from datetime import date, datetime
from typing import TYPE_CHECKING, Any, NamedTuple

from fin_infra.connections.vault import Vault
from fin_infra.datasets.base import Dataset, Reject
from fin_infra.engine.reconcile import Doubt
from fin_infra.store import Sealed

if TYPE_CHECKING:
    from fin_infra.engine.run import Run

NAMED = (
    500  # rows of one run that get a finding each, and evidence; a vendor that sends a million bad ones gets no more
)
ANY_OTHER = ("tenant_id", "provider", "basis")  # parts of a key that tell a reader nothing
NO_ID = "a row without an id"
FURTHER = "further rows"


class Evidence(NamedTuple):
    """What could not be used, before it is sealed. `same`: equal for what is the same thing seen again."""

    dataset: str
    reason: str
    body: bytes
    doubt: Doubt
    same: str = ""


def set_aside(run: Run, schema: type[Dataset], rejects: Sequence[Reject]) -> None:
    """Rows that cannot be used: a finding each, and the evidence."""
    name = schema.dataset_name()
    for reject in rejects:
        run.rejects += 1
        if run.rejects > NAMED:
            told = f"more than {NAMED} rows of one answer were not kept; they are not all listed"
            run.doubts.append((name, Doubt("row_invalid", FURTHER, told)))
            return
        subject = subject_of(schema, {**reject.constants, **reject.row})
        doubt = Doubt("row_invalid", subject, f"not kept: {reject.reason}")
        run.doubts.append((name, doubt))
        body = {"columns": reject.row, "constants": _as_text(reject.constants)}
        # of a row with an id the newest version is the one that counts; one without could be any
        same = json.dumps(reject.row, sort_keys=True) if subject.endswith(NO_ID) else ""
        run.evidence.append(Evidence(name, reject.reason, json.dumps(body).encode(), doubt, same))


def subject_of(schema: type[Dataset], row: Mapping[str, Any]) -> str:
    """A row for people: its account, if it is of one, and its id; `acc_1 txn_2`."""
    *before, own = [column for column in schema.key() if column not in ANY_OTHER]
    parts = [str(row.get(column) or "").strip() for column in before]
    return " ".join([*(part for part in parts if part), str(row.get(own) or "").strip() or NO_ID])


def finding_id(connection_id: str, dataset: str, kind: str, subject: str) -> str:
    """The same for the same thing seen again."""
    parts = "\n".join((connection_id, dataset, kind, subject))
    return "fnd_" + hashlib.sha256(parts.encode()).hexdigest()[:16]


def entries_of(finding: str) -> str:
    """How the ids of a finding's entries begin."""
    return "qua_" + finding.removeprefix("fnd_")


def finding_of(quarantine_id: str) -> str:
    """The finding that an entry is evidence of."""
    return "fnd_" + quarantine_id.removeprefix("qua_")[:16]


def sealed(run: Run, vault: Vault) -> list[Sealed]:
    """The run's evidence as the store keeps it."""
    return [
        Sealed(
            item.dataset, item.reason, vault.seal(item.body), "row" if item.doubt.kind == "row_invalid" else "page",
            _entry_id(run.connection.connection_id, item),
        )
        for item in run.evidence
    ]  # fmt: skip


def _entry_id(connection_id: str, item: Evidence) -> str:
    begin = entries_of(finding_id(connection_id, item.dataset, item.doubt.kind, item.doubt.subject))
    if item.doubt.kind == "row_invalid" and not item.same:
        return begin
    content = item.same.encode() or item.body
    return begin + hashlib.sha256(item.reason.encode() + b"\n" + content).hexdigest()[:8]


def _as_text(constants: Mapping[str, Any]) -> dict[str, str | None]:
    """As the builder takes columns: text, for every kind of column."""

    def told(value: Any) -> str | None:
        match value:
            case None:
                return None
            case bool():
                return str(value).lower()
            case date() | datetime():
                return value.isoformat()
            case _:
                return str(value)

    return {name: told(value) for name, value in constants.items()}
