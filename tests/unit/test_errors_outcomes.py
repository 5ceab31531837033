"""The table of error codes and what follows from each: the table of decisions is this test."""

from __future__ import annotations

import pytest

from fin_infra.errors import (
    CODES,
    DefectError,
    FinInfraError,
    FrameError,
    LaterError,
    OwnerActionError,
    QuotaError,
    StaleCursor,
    StoreError,
    TransientError,
    UsageError,
    WireError,
    error_of,
)
from fin_infra.outcomes import OK, Kind, Outcome, decide, worst

CLASSES: dict[str, type[FinInfraError]] = {
    "retry": TransientError, "later": LaterError, "park": OwnerActionError, "quarantine": DefectError,
    "refuse": UsageError,
}  # fmt: skip


@pytest.mark.parametrize("code", CODES)
def test_every_code_has_a_class_of_its_outcome(code: str) -> None:
    error = error_of(code, "what, where, remedy")
    assert isinstance(error, CLASSES[CODES[code].outcome])
    assert (error.code, error.message) == (code, "what, where, remedy")


@pytest.mark.parametrize("code", CODES)
def test_every_code_is_decided_as_the_table_says(code: str) -> None:
    decided = decide(error_of(code, "m"))
    wanted = {"refuse": "park"}.get(CODES[code].outcome, CODES[code].outcome)  # a wrong set-up waits for its owner
    if code == "stale_cursor":  # a retry with an outcome of its own: nobody is ill, the other run was first
        wanted = "stale_cursor"
    assert (decided.kind, decided.code, decided.message) == (wanted, code, "m")


@pytest.mark.parametrize("code", CODES)
def test_every_code_has_a_meaning_in_one_sentence(code: str) -> None:
    assert CODES[code].meaning
    assert "\n" not in CODES[code].meaning
    assert CODES[code].outcome in CLASSES


CONTRACT = {
    "retry": ["vendor_unavailable", "vendor_timeout", "network_error", "mutation_during_pagination", "cursor_invalid"],
    "later": ["rate_limited", "quota_exhausted", "not_ready"],
    "park": ["auth_invalid", "reauth_required", "permission_denied", "account_closed", "plan_limit", "unknown_symbol",
             "not_found"],
    "quarantine": ["bad_request", "contract_broken", "row_invalid"],
}  # fmt: skip


@pytest.mark.parametrize(("outcome", "code"), [(o, c) for o, codes in CONTRACT.items() for c in codes])
def test_the_published_codes_keep_their_outcome(outcome: str, code: str) -> None:
    assert CODES[code].outcome == outcome


@pytest.mark.parametrize(
    ("error", "outcome"),
    [
        (QuotaError("m", retry_after=7.0), Outcome("later", 7.0, "rate_limited", "m")),
        (LaterError("m", retry_after=7.0), Outcome("later", 7.0, "not_ready", "m")),
        (StaleCursor("m"), Outcome("stale_cursor", 0.0, "stale_cursor", "m")),
        (StoreError("m"), Outcome("retry", None, "store_unavailable", "m")),
        (TransientError("m", retry_after=3.0), Outcome("retry", 3.0, "vendor_unavailable", "m")),
        (OwnerActionError("m"), Outcome("park", None, "reauth_required", "m")),
        (UsageError("m"), Outcome("park", None, "usage", "m")),
        (WireError("m"), Outcome("quarantine", None, "contract_broken", "m")),
        (FrameError("m"), Outcome("quarantine", None, "row_invalid", "m")),
        (DefectError("m"), Outcome("quarantine", None, "bad_request", "m")),
        (FinInfraError("m"), Outcome("retry", None, "internal_error", "m")),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, Exception) else "",
)  # fmt: skip
def test_each_class_is_decided_by_what_its_caller_does_next(error: FinInfraError, outcome: Outcome) -> None:
    assert decide(error) == outcome


@pytest.mark.parametrize("error", [ValueError("hunter2"), KeyError("hunter2"), OSError("hunter2"), TimeoutError()])
def test_an_unmapped_error_is_kept_and_its_text_is_not(error: Exception) -> None:
    decided = decide(error)
    assert (decided.kind, decided.code) == ("retry", "internal_error")
    assert "hunter2" not in str(decided)
    assert type(error).__name__ in str(decided.message)


def test_a_code_that_is_not_in_the_table_cannot_be_raised() -> None:
    with pytest.raises(LookupError):
        FinInfraError("m", code="nope")


@pytest.mark.parametrize("code", [code for code in CODES if CODES[code].outcome == "later"])
def test_a_later_code_without_a_time_waits_a_minute(code: str) -> None:
    assert decide(error_of(code, "m")).after == 60.0


@pytest.mark.parametrize("code", CODES)
@pytest.mark.parametrize("wait", [None, 0.0, 5.0])
def test_every_code_takes_all_that_a_refusal_knows(code: str, wait: float | None) -> None:
    error = error_of(code, "m", retry_after=wait, evidence=b"body", vendor_wide=True)
    assert getattr(error, "evidence", b"body") == b"body"
    assert getattr(error, "vendor_wide", True)
    if CODES[code].outcome == "later" and wait is not None:
        assert decide(error).after == wait


def test_an_error_for_machines_has_its_code_outcome_and_wait() -> None:
    assert QuotaError("m", retry_after=5.0).as_dict() == {
        "error_code": "rate_limited", "outcome": "later", "message": "m", "retry_after": 5.0,
    }  # fmt: skip
    assert OwnerActionError("m").as_dict()["retry_after"] is None


@pytest.mark.parametrize(
    ("kinds", "expected"),
    [
        ([], "ok"), (["ok", "partial"], "partial"), (["park", "retry"], "retry"), (["retry", "later"], "later"),
        (["park", "quarantine"], "quarantine"), (["quarantine", "stale_cursor"], "stale_cursor"), (["ok", "park"], "park"),
    ],
)  # fmt: skip
def test_the_part_that_promises_most_decides(kinds: list[Kind], expected: str) -> None:
    for order in (kinds, kinds[::-1]):
        assert worst([Outcome(kind) for kind in order]).kind == expected


def test_of_two_waits_the_sooner_decides() -> None:
    assert worst([Outcome("later", 60.0), Outcome("later", 5.0)]).after == 5.0
    assert worst([]) is OK
