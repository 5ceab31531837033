"""Plaid's refusals, one table. `word` is its error_code, whatever the status: Plaid answers 400 to a wrong key too.

An Item that is broken says so in its `error` field under a status of 200: the same table reads it.
"""

from __future__ import annotations

from fin_infra.errors import FinInfraError, error_of
from fin_infra.providers.base import Refusal

RELINK = "the user must log in at the institution again: fin-infra connections relink"
NOT_OFFERED = "the institution or the consent does not cover this; nothing was changed"
INSTITUTION = "the institution behind it does not answer; it is tried again"
OUR_REQUEST = "our request was malformed; look at the evidence in quarantine"
OUR_KEYS = "check FIN_INFRA_PLAID_CLIENT_ID and FIN_INFRA_PLAID_SECRET: each environment has its own secret"

CODES = {
    "reauth_required": (
        RELINK,
        "ITEM_LOGIN_REQUIRED", "ITEM_LOCKED", "PENDING_DISCONNECT", "PENDING_EXPIRATION", "USER_PERMISSION_REVOKED",
        "USER_ACCOUNT_REVOKED", "ACCESS_NOT_GRANTED", "INVALID_CREDENTIALS", "INVALID_MFA", "INSUFFICIENT_CREDENTIALS",
        "USER_SETUP_REQUIRED", "USER_INPUT_TIMEOUT", "MFA_NOT_SUPPORTED", "ITEM_NOT_FOUND", "ITEM_NO_LONGER_AVAILABLE",
    ),
    "auth_invalid": (
        "the access token is not accepted: fin-infra connections relink", "INVALID_ACCESS_TOKEN",
        "INVALID_PUBLIC_TOKEN",
    ),
    "not_ready": ("it is asked again later", "PRODUCT_NOT_READY"),
    "permission_denied": (
        NOT_OFFERED, "PRODUCTS_NOT_SUPPORTED", "NO_ACCOUNTS", "NO_INVESTMENT_ACCOUNTS", "ADDITIONAL_CONSENT_REQUIRED",
        "ITEM_PRODUCT_NOT_ENABLED", "INSTITUTION_NO_LONGER_SUPPORTED", "UNAUTHORIZED_INSTITUTION",
    ),
    "plan_limit": (
        "Plaid must enable this for the application first", "INVALID_PRODUCT", "PRODUCT_NOT_ENABLED",
        "PRODUCT_UNAVAILABLE", "UNAUTHORIZED_ENVIRONMENT", "UNAUTHORIZED_ROUTE_ACCESS", "ADDITION_LIMIT",
    ),
    "vendor_unavailable": (
        INSTITUTION, "INSTITUTION_DOWN", "INSTITUTION_NOT_RESPONDING", "INSTITUTION_NOT_AVAILABLE",
        "INTERNAL_SERVER_ERROR", "PLANNED_MAINTENANCE", "PRODUCTS_NOT_AVAILABLE",
    ),
    "mutation_during_pagination": ("the loop starts again", "TRANSACTIONS_SYNC_MUTATION_DURING_PAGINATION"),
    "cursor_invalid": ("everything is read anew", "INVALID_FIELD:cursor"),
    "bad_request": (
        OUR_REQUEST, "INVALID_FIELD", "INVALID_BODY", "INVALID_HEADERS", "MISSING_FIELDS", "UNKNOWN_FIELDS",
        "INVALID_ACCOUNT_ID", "NOT_FOUND", "SANDBOX_ONLY",
    ),
}  # fmt: skip
"""Our code → its remedy and the error_codes of Plaid that mean it, as documented under https://plaid.com/docs/errors."""

REFUSALS = (
    Refusal(400, "INVALID_API_KEYS", "auth_invalid", OUR_KEYS, application=True),
    *(Refusal(400, word, code, remedy) for code, (remedy, *words) in CODES.items() for word in words),
    Refusal(429, "", "rate_limited", "it is asked again after the wait"),
    Refusal(500, "", "vendor_unavailable", "it is tried again", vendor_wide=True),
)


def item_error(word: str, evidence: bytes) -> FinInfraError:
    """What an Item's error stands for. One that we do not know is a broken contract, never a success."""
    rows = [row for row in REFUSALS if row.status == 400 and word.startswith(row.word)]
    said = f"plaid reports {word} of this login"
    if not rows:
        return error_of(
            "contract_broken", f"{said}, which we do not know; look at the evidence in quarantine", evidence=evidence
        )
    row = max(rows, key=lambda row: len(row.word))
    return error_of(row.code, f"{said}; {row.remedy}", evidence=evidence, word=word)
