"""Why two rows of the vendor are one of ours: the names a transaction had, what it superseded, and each version."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from fin_infra.datasets.operations import Findings
from fin_infra.datasets.transactions import Transactions
from fin_infra.errors import UsageError
from fin_infra.store import Learned, Query, Store

OWN = ("fetched_at", "run_id", "known_from", "known_to")  # of the version, not of the row


@dataclass(frozen=True)
class Story:
    """One transaction: its key, the row as it is now (None when it left), all versions oldest first, its names."""

    tenant_id: str
    account_id: str
    transaction_id: str
    row: dict[str, Any] | None
    versions: list[dict[str, Any]]
    names: list[Learned]
    superseded: list[Learned]
    doubts: list[str]

    def as_dict(self) -> dict[str, Any]:
        """For `--json`: keys, rows as text, and each piece of evidence with its time."""
        return {
            "tenant_id": self.tenant_id, "account_id": self.account_id, "transaction_id": self.transaction_id,
            "row": _shown(self.row), "versions": [_shown(version) for version in self.versions],
            "names": [_evidence(name) for name in self.names],
            "superseded": [_evidence(name) for name in self.superseded], "doubts": self.doubts,
        }  # fmt: skip

    def sentences(self) -> Iterator[str]:
        """For people, one line each."""
        if self.row is None:
            gone = max(version["known_to"] for version in self.versions)
            yield f"{self.transaction_id} of {self.account_id} left the table at {_at(gone)}; its history stays"
        else:
            amount = f"{_plain(self.row['amount'])} {self.row['currency'] or ''}".strip()
            yield (
                f"{self.transaction_id} of {self.account_id} is one row: {self.row['status']}, {amount}, "
                f"{self.row['booked_on'] or 'without a date'}, delivered by {self.row['connection_id']}"
            )
        for name in self.names:
            vendor = self.versions[0]["provider"]
            yield f"{vendor} calls it {name.alias.vendor_id} since {_at(name.at)}: {name.alias.reason}"
        matched = {name.alias.vendor_id: name for name in self.superseded}
        for pending in dict.fromkeys(v["pending_transaction_id"] for v in self.versions):
            if pending is None:
                continue
            why = matched[pending].alias.reason if pending in matched else "the vendor linked the two"
            yield f"it took the place of the pending row {pending}: {why}"
        for before, after in zip(self.versions, self.versions[1:], strict=False):
            yield f"at {_at(after['known_from'])} it changed: {_changes(before, after)}"
        count = len(self.versions)
        yield f"it is known since {_at(self.versions[0]['known_from'])}, in {count} version{'s' * (count > 1)}"
        yield from self.doubts


def explain_transaction(transaction_id: str, store: Store, *, tenant: str | None = None) -> list[Story]:
    """The stories of all transactions that have this id, ours or the vendor's, or superseded a pending row of this id.

    Raises `UsageError` when nobody ever had it.
    """
    with store.reading():
        ids = {transaction_id}
        for kind in ("transaction", "superseded"):
            ids |= {name.alias.id for name in store.names(kind, vendor_ids=[transaction_id], tenant=tenant)}
        found = [story for our_id in sorted(ids) for story in _stories(our_id, store, tenant)]
        linked = {"pending_transaction_id": transaction_id} | ({"tenant_id": tenant} if tenant else {})
        known = {(story.tenant_id, story.account_id, story.transaction_id) for story in found}
        for key in store.values(Transactions, ("tenant_id", "account_id", "transaction_id"), linked):
            if key not in known:
                found += [s for s in _stories(key[2], store, key[0]) if s.account_id == key[1]]
    if not found:
        raise UsageError(
            f"no transaction {transaction_id!r} is or was known, under no name; fin-infra read transactions"
        )
    return found


def _stories(our_id: str, store: Store, tenant: str | None) -> Iterator[Story]:
    where = {"transaction_id": our_id} | ({"tenant_id": tenant} if tenant else {})
    for tenant_id, account_id in store.places(Transactions, ("tenant_id", "account_id"), where):
        query = Query(tenant=tenant_id, accounts=[account_id], history=True)
        versions = [
            row
            for part in store.read(Transactions, query)
            for row in part.filter(transaction_id=our_id).sort("known_from").to_dicts()
        ]
        row = versions[-1] if versions and versions[-1]["known_to"] is None else None
        findings = [
            finding
            for subject in (our_id, f"{account_id} {our_id}")
            for finding in store.records(Findings, {"tenant_id": tenant_id, "subject": subject, "state": "open"})
        ]
        yield Story(
            tenant_id, account_id, our_id, row, versions,
            store.names("transaction", ids=[our_id], tenant=tenant_id),
            store.names("superseded", ids=[our_id], tenant=tenant_id),
            [f"in doubt ({finding['kind']}): {finding['detail']}" for finding in findings],
        )  # fmt: skip


def _changes(before: dict[str, Any], after: dict[str, Any]) -> str:
    parts = [
        f"{name} {_plain(before[name])} → {_plain(after[name])}"
        for name in before
        if name not in OWN and before[name] != after[name]
    ]
    return ", ".join(parts) or "it came back as it was"


def _plain(value: Any) -> str:
    """An amount without idle zeros; anything else as text."""
    if value is None:
        return "nothing"
    text = str(value)
    return text.rstrip("0").rstrip(".") if hasattr(value, "as_tuple") and "." in text else text


def _at(moment: Any) -> str:
    return str(moment.isoformat(timespec="seconds"))


def _shown(row: dict[str, Any] | None) -> dict[str, Any] | None:
    return None if row is None else {name: None if value is None else _plain(value) for name, value in row.items()}


def _evidence(name: Learned) -> dict[str, str]:
    return {
        "vendor_id": name.alias.vendor_id, "id": name.alias.id, "since": _at(name.at), "reason": name.alias.reason,
        "connection_id": name.connection_id,
    }  # fmt: skip
