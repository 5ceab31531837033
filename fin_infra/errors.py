"""All errors, grouped by what the caller does next, and the one table of error codes.

The code says what happened, its outcome what follows: `retry` (the same request may succeed, an attempt is
counted), `later` (at a known time, no attempt), `park` (only the owner can repair it), `quarantine` (our defect
or a broken contract, kept with its evidence) and `refuse` (the command or the set-up is wrong, nothing was tried).
Messages are one sentence in lower case that names what, where and the remedy; they never hold a secret.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Code:
    """One error code: the outcome it leads to, and its meaning for the reader of `docs/reference/errors.md`."""

    outcome: str
    meaning: str


CODES: dict[str, Code] = {
    "vendor_unavailable": Code("retry", "the vendor, or the institution behind it, answered that it cannot serve now"),
    "vendor_timeout": Code("retry", "the vendor did not answer in time"),
    "network_error": Code("retry", "the vendor was not reached, or the connection broke before the answer was whole"),
    "mutation_during_pagination": Code("retry", "data changed while pages were read; the loop starts again"),
    "cursor_invalid": Code("retry", "the vendor no longer knows the cursor; it is reset and everything is reconciled"),
    "stale_cursor": Code("retry", "another run committed first; nothing of this one was written"),
    "store_unavailable": Code("retry", "the store or the queue could not be written: locked, full, or out of reach"),
    "internal_error": Code("retry", "an error nobody mapped: the work is kept and tried again, then dead-lettered"),
    "rate_limited": Code("later", "the vendor asked us to wait"),
    "quota_exhausted": Code("later", "the quota ledger has no unit left in a window"),
    "not_ready": Code("later", "the vendor is still preparing the data"),
    "auth_invalid": Code("park", "the credentials are not accepted: missing, wrong or revoked"),
    "reauth_required": Code("park", "the user must act at the institution and link again"),
    "permission_denied": Code("park", "the credentials are good but may not read this"),
    "account_closed": Code("park", "the account was closed at the institution"),
    "plan_limit": Code("park", "the vendor's plan does not include this"),
    "unknown_symbol": Code("park", "the vendor does not know the instrument"),
    "not_found": Code("park", "the vendor does not know the resource"),
    "bad_request": Code("quarantine", "the vendor rejected the form of our request"),
    "contract_broken": Code("quarantine", "an answer without its documented shape"),
    "row_invalid": Code("quarantine", "a row that breaks its schema; the rest of the answer commits"),
    "usage": Code("refuse", "the command, an argument or a setting is wrong"),
    "store_foreign": Code("refuse", "the database file is not ours, or was made by a newer fin_infra"),
    "secret_unreadable": Code("refuse", "a stored secret cannot be decrypted with the keys at hand"),
    "webhook_refused": Code("refuse", "a webhook whose origin is not proven: signature, age or key is wrong"),
}


class FinInfraError(Exception):
    """Base of all our errors; `code` is a key of `CODES`, `context` the machine-readable rest (never a secret)."""

    default_code = "internal_error"

    def __init__(self, message: str, *, code: str | None = None, **context: Any) -> None:
        super().__init__(message)
        self.code = code or self.default_code
        self.context = context
        if self.code not in CODES:
            raise LookupError(f"error code {self.code!r} is not in CODES")

    @property
    def message(self) -> str:
        return str(self.args[0])

    def as_dict(self) -> dict[str, Any]:
        """The error for machines: code, outcome, message, and when it may be tried again."""
        return {
            "error_code": self.code,
            "outcome": CODES[self.code].outcome,
            "message": self.message,
            "retry_after": getattr(self, "retry_after", None),
        }


class TransientError(FinInfraError):
    """The same request may succeed later: the queue tries again.

    `vendor_wide` tells the circuit breaker whether the vendor as a whole is failing or only one institution behind it.
    """

    default_code = "vendor_unavailable"

    def __init__(
        self, message: str, *, code: str | None = None, vendor_wide: bool = False, retry_after: float | None = None,
        **context: Any,
    ) -> None:  # fmt: skip
        super().__init__(message, code=code, **context)
        self.vendor_wide = vendor_wide
        self.retry_after = retry_after


class LaterError(TransientError):
    """Possible again in `retry_after` seconds: deferred until then, at no attempt's cost."""

    default_code = "not_ready"

    def __init__(self, message: str, *, retry_after: float, code: str | None = None, **context: Any) -> None:
        super().__init__(message, code=code, retry_after=retry_after, **context)
        self.retry_after: float = retry_after


class QuotaError(LaterError):
    """A quota is spent, by the vendor's word or our own ledger's, for `retry_after` seconds from now."""

    default_code = "rate_limited"

    @property
    def of_one_account(self) -> bool:
        """It is a quota of each account's own: the others may be asked still."""
        return self.context.get("scope") == "account"


class StaleCursor(TransientError):
    """Another run of the same stream committed first; nothing was written."""

    default_code = "stale_cursor"


class StoreError(TransientError):
    """The store or the queue could not be read or written; nothing of the transaction remains."""

    default_code = "store_unavailable"


class OwnerActionError(FinInfraError):
    """Only the owner can repair it (relink, pay, correct a key): parked, and the owner is told."""

    default_code = "reauth_required"


class DefectError(FinInfraError):
    """Our code or the vendor's contract is wrong: quarantined with its `evidence`."""

    default_code = "bad_request"

    def __init__(self, message: str, *, code: str | None = None, evidence: bytes = b"", **context: Any) -> None:
        super().__init__(message, code=code, **context)
        self.evidence = evidence


class WireError(DefectError):
    """An answer without its documented shape."""

    default_code = "contract_broken"


class FrameError(DefectError):
    """A frame that breaks schema, key or exactness."""

    default_code = "row_invalid"


class UsageError(FinInfraError):
    """The command, an argument, a file or a setting is wrong; nothing was tried. Exit code 2."""

    default_code = "usage"


class WebhookRefused(UsageError):
    """A webhook that is not proven to be the vendor's, and was not used: answer 401, and a real one comes again."""

    default_code = "webhook_refused"


_CLASS_OF_CODE: dict[str, type[FinInfraError]] = {
    "contract_broken": WireError,
    "row_invalid": FrameError,
    "stale_cursor": StaleCursor,
    "store_unavailable": StoreError,
    "webhook_refused": WebhookRefused,
}
_CLASS_OF_OUTCOME: dict[str, type[FinInfraError]] = {
    "retry": TransientError,
    "park": OwnerActionError,
    "quarantine": DefectError,
    "refuse": UsageError,
}


def error_of(code: str, message: str, *, retry_after: float | None = None, **context: Any) -> FinInfraError:
    """The error that a code stands for; a `later` code without a time waits one minute.

    `evidence` (bytes) is kept by defects only, `vendor_wide` by transient errors only.
    """
    outcome = CODES[code].outcome
    if outcome == "later":
        kind = NotReady if code == "not_ready" else QuotaError
        context.pop("evidence", None)
        return kind(message, code=code, retry_after=60.0 if retry_after is None else retry_after, **context)
    if outcome != "quarantine":
        context.pop("evidence", None)
    if outcome == "retry":
        context["retry_after"] = retry_after
    else:
        context.pop("vendor_wide", None)
    return _CLASS_OF_CODE.get(code, _CLASS_OF_OUTCOME[outcome])(message, code=code, **context)


class NotReady(LaterError):
    """The vendor is still preparing the data."""
