"""What an answer of SimpleFIN complains of, beside the rows that it brings. Pure."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from fin_infra.errors import FinInfraError, error_of
from fin_infra.providers.simplefin import wire

NEXT_READ = 6 * 3600.0  # seconds until what failed is asked for again: banks are polled about once a day
REPAIR = "the user must repair this login at the SimpleFIN bridge; the rows held are kept"
NOT_NOW = "its rows are kept, and it is asked for again later"


@dataclass(frozen=True)
class Complaints:
    """What an answer complains of: by account, by its id among all servers; and what is about no account that it
    lists. `unlisted`: a login failed whose accounts are not listed, so that one that is missing is not gone."""

    accounts: Mapping[str, FinInfraError] = field(default_factory=dict)
    others: FinInfraError | None = None
    unlisted: bool = False


def complaints(value: wire.AccountSet) -> Complaints:
    """Whom the errors of an answer are about.

    Version 2 names the login or the account. Version 1 has a text alone: where it names an institution, all accounts of
    that name are taken for the ones that it means.
    """
    by_account: dict[str, FinInfraError] = {}
    others: FinInfraError | None = None
    unlisted = False
    said = [(one, _concerned(value, one)) for one in value.errlist]
    if not said:
        said = [(_of_text(text), _named(value, text)) for text in value.errors]
    for one, concerned in said:
        # an error about no account that is listed must not end the reading of those that are
        error = _error(one, of_user=bool(concerned) or not value.accounts)
        for account in concerned:
            by_account.setdefault(value.known_as(account), error)
        unlisted |= not concerned and not one.code.startswith("gen.")
        if not concerned:
            others = others or error
    return Complaints(by_account, others, unlisted)


def _concerned(value: wire.AccountSet, one: wire.Complaint) -> Sequence[wire.SfinAccount]:
    if one.account_id is not None:
        same = [row for row in value.accounts if row.id == one.account_id]
        return [row for row in same if one.conn_id in (None, row.conn_id)] or same
    return [row for row in value.accounts if one.conn_id is not None and row.conn_id == one.conn_id]


def _named(value: wire.AccountSet, text: str) -> Sequence[wire.SfinAccount]:
    found = re.search(r"connection to (.+?) may need attention", text, re.IGNORECASE)
    return [row for row in value.accounts if found is not None and value.institution_of(row) == found[1]]


def _of_text(text: str) -> wire.Complaint:
    needs_user = re.search(r"may need attention|authenticat", text, re.IGNORECASE) is not None
    return wire.Complaint(code="con.auth" if needs_user else "gen.", message=text)


def _error(one: wire.Complaint, *, of_user: bool) -> FinInfraError:
    said = wire.plain(one.message) or wire.plain(one.code) or "no reason was given"
    if of_user and one.code.partition(".")[2].startswith("auth"):
        return error_of("reauth_required", f"simplefin says: {said}; {REPAIR}")
    return error_of("not_ready", f"simplefin says: {said}; {NOT_NOW}", retry_after=NEXT_READ)
