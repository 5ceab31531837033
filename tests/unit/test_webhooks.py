"""What proves a webhook, as pure functions: nothing of it counts before the signature, the age and the body agree."""

from __future__ import annotations

import base64
import hashlib
import json
from datetime import UTC, datetime, timedelta
from typing import Any

import jwt
import pytest
from cryptography.hazmat.primitives import serialization

from fin_infra.datasets import DATASETS
from fin_infra.errors import WebhookRefused
from fin_infra.providers import PROVIDERS, resolve
from fin_infra.providers.base import WebhookEvent
from fin_infra.providers.plaid import webhooks as plaid
from fin_infra.providers.teller import webhooks as teller
from fin_infra.providers.teller.simulator import TellerSimulator
from tests.guards import guarded
from tests.signing import Signer, plaid_body

NOW = datetime(2026, 11, 24, 12, 0, tzinfo=UTC)
SECRET = "whsec_simulated"
SIGNER = Signer()
BODY = plaid_body("SYNC_UPDATES_AVAILABLE")

# -- teller --------------------------------------------------------------------------------------------------------


def taken(
    headers: dict[str, str], body: bytes, *, keys: tuple[str, ...] = (SECRET,), now: datetime = NOW
) -> WebhookEvent:  # fmt: skip
    return teller.verify({name.lower(): value for name, value in headers.items()}, body, keys, now)


def signed(*secrets: str, at: datetime = NOW) -> tuple[dict[str, str], bytes]:
    payload = {"enrollment_id": "enr_1", "reason": "disconnected.account_locked"}
    return TellerSimulator(now=lambda: at).webhook("enrollment.disconnected", payload, secrets=secrets)


def test_a_webhook_of_teller_says_what_happened_to_which_login() -> None:
    event = taken(*signed(SECRET))
    assert (event.name, event.login, event.word, event.at) == (
        "enrollment.disconnected", "enr_1", "disconnected.account_locked", NOW,
    )  # fmt: skip


def test_teller_signs_the_time_and_the_raw_body() -> None:
    """The vendor's own recipe, computed here by hand."""
    import hmac

    body = b'{"type": "webhook.test", "payload": {}, "timestamp": "2026-11-24T12:00:00Z"}'
    at = str(int(NOW.timestamp()))
    proof = hmac.new(SECRET.encode(), f"{at}.".encode() + body, hashlib.sha256).hexdigest()
    assert taken({"Teller-Signature": f"t={at},v1={proof}"}, body).name == "webhook.test"
    with pytest.raises(WebhookRefused):  # the same JSON, written anew
        taken({"Teller-Signature": f"t={at},v1={proof}"}, json.dumps(json.loads(body), indent=1).encode())


@pytest.mark.parametrize(
    ("sent", "known", "good"),
    [
        (("old",), ("old",), True),
        (("old", "new"), ("old",), True),  # the vendor has begun to change it, we know the old one yet
        (("new",), ("old", "new"), True),  # we know both, the vendor signs with the new one already
        (("old", "new"), ("new",), True),
        (("old",), ("new",), False),
        (("old",), (), False),
    ],
)
def test_while_a_secret_is_changed_one_pair_that_agrees_is_enough(
    sent: tuple[str, ...], known: tuple[str, ...], good: bool
) -> None:
    if good:
        assert taken(*signed(*sent), keys=known).login == "enr_1"
    else:
        with pytest.raises(WebhookRefused, match="FIN_INFRA_TELLER_WEBHOOK_SECRET"):
            taken(*signed(*sent), keys=known)


@pytest.mark.parametrize(
    ("age", "good"), [(-31, False), (-30, True), (0, True), (180, True), (181, False), (86400, False)]
)
@guarded(
    "an old capture of teller's is taken",
    "providers/teller/webhooks.py",
    "if not -SKEW <= now - signed_at <= WINDOW:",
    "if False:",
)
def test_teller_webhooks_are_good_for_three_minutes(age: int, good: bool) -> None:
    headers, body = signed(SECRET, at=NOW - timedelta(seconds=age))
    if good:
        assert taken(headers, body).login == "enr_1"
    else:
        with pytest.raises(WebhookRefused, match="three minutes"):
            taken(headers, body)


def test_another_time_than_the_signed_one_is_refused() -> None:
    headers, body = signed(SECRET, at=NOW - timedelta(hours=1))
    moved = headers["Teller-Signature"].replace(str(int(NOW.timestamp()) - 3600), str(int(NOW.timestamp())))
    with pytest.raises(WebhookRefused, match="secret"):
        taken({"Teller-Signature": moved}, body)


HEX = "0" * 64
AT = str(int(NOW.timestamp()))


@pytest.mark.parametrize(
    "header",
    ["", "t=", f"v1={HEX}", f"t={AT}", f"t={AT},v1=", f"t={AT},v1=zz", f"t=-{AT},v1={HEX}", f"t=1e9,v1={HEX}",
     f"t={AT},v0={HEX}", f"t={AT},v1={HEX[:-1]}", f"t={AT};v1={HEX}", f"t={AT}," + ",".join([f"v1={HEX}"] * 50),
     f"t={AT},t={AT},v1={HEX}", "t=999999999999,v1=" + HEX, f"t={AT},v1={'é' * 64}"],
)  # fmt: skip
def test_a_header_of_another_form_is_refused(header: str) -> None:
    _, body = signed(SECRET)
    with pytest.raises(WebhookRefused):
        taken({"Teller-Signature": header}, body)
    with pytest.raises(WebhookRefused):
        taken({}, body)


@guarded(
    "any signature of teller's will do",
    "providers/teller/webhooks.py",
    "if not sum(hmac.compare_digest(ours, theirs) for ours in wanted for theirs in given):",
    "if not given:",
)
def test_a_tampered_body_is_refused_and_no_word_of_it_is_repeated() -> None:
    headers, body = signed(SECRET)
    with pytest.raises(WebhookRefused) as refused:
        taken(headers, body.replace(b"enr_1", b"enr_2"))
    assert "enr_" not in refused.value.message
    assert SECRET not in refused.value.message


@pytest.mark.parametrize("body", [b"", b"[]", b"nonsense", b'{"type": 1}', b'{"payload": {}}', b"\xff\xfe"])
def test_signed_nonsense_is_refused_too(body: bytes) -> None:
    with pytest.raises(WebhookRefused, match="shape"):
        taken({"Teller-Signature": f"t={AT},v1={teller.sign(SECRET, AT, body)}"}, body)


@pytest.mark.parametrize(
    "payload",
    [
        {},
        {"enrollment_id": ["x"], "reason": ["x"]},
        {"transactions": "x"},
        {"transactions": [7, {"account_id": ["x"]}, {}]},
    ],
)
def test_a_payload_of_odd_types_names_nobody(payload: dict[str, Any]) -> None:
    event = taken(*TellerSimulator(now=lambda: NOW).webhook("transactions.processed", payload, secrets=[SECRET]))
    assert (event.login, event.accounts, event.word) == (None, (), None)


# -- plaid ---------------------------------------------------------------------------------------------------------


def received(
    headers: dict[str, str], body: bytes = BODY, *, keys: list[str] | None = None, now: datetime = NOW
) -> WebhookEvent:
    lower = {name.lower(): value for name, value in headers.items()}
    return plaid.verify(lower, body, [SIGNER.kept] if keys is None else keys, now)


def test_a_webhook_of_plaid_says_what_happened_to_which_item() -> None:
    event = received(SIGNER.headers(BODY, NOW))
    assert (event.name, event.login, event.at) == ("TRANSACTIONS SYNC_UPDATES_AVAILABLE", "item_1", NOW)


def test_the_reason_is_kept_for_people() -> None:
    body = plaid_body("ERROR", type="ITEM", error={"error_type": "ITEM_ERROR", "error_code": "ITEM_LOGIN_REQUIRED"})
    assert received(SIGNER.headers(body, NOW), body).word == "ITEM_LOGIN_REQUIRED"
    body = plaid_body("PENDING_DISCONNECT", type="ITEM", reason="INSTITUTION_MIGRATION")
    assert received(SIGNER.headers(body, NOW), body).word == "INSTITUTION_MIGRATION"
    body = plaid_body("ERROR", type="ITEM", error={"error_type": "ITEM_ERROR", "error_code": "<script>"})
    assert received(SIGNER.headers(body, NOW), body).word is None


def test_an_error_of_the_institution_is_none_of_the_login() -> None:
    error = {"error_type": "INSTITUTION_ERROR", "error_code": "INSTITUTION_DOWN"}
    body = plaid_body("ERROR", type="ITEM", error=error)
    assert received(SIGNER.headers(body, NOW), body).name not in plaid.WEBHOOKS.events


@pytest.mark.parametrize(("age", "good"), [(-31, False), (-30, True), (0, True), (300, True), (301, False)])
@guarded(
    "an old capture of plaid's is taken",
    "providers/plaid/webhooks.py",
    "if not -SKEW <= now - at <= WINDOW:",
    "if False:",
)
def test_plaid_webhooks_are_good_for_five_minutes(age: int, good: bool) -> None:
    headers = SIGNER.headers(BODY, NOW - timedelta(seconds=age))
    if good:
        assert received(headers).login == "item_1"
    else:
        with pytest.raises(WebhookRefused, match="five minutes"):
            received(headers)


@pytest.mark.parametrize("iat", [None, "1764000000", True, 1.5, -1, 1 << 35, 1 << 36, 1 << 60, [1]])
def test_a_token_without_a_time_is_refused(iat: Any) -> None:
    with pytest.raises(WebhookRefused):
        received(_token({"iat": iat, "request_body_sha256": hashlib.sha256(BODY).hexdigest()}))


@pytest.mark.parametrize("digest", [None, "", 7, "é", hashlib.sha256(b"other").hexdigest(), ["x"]])
def test_a_token_of_another_body_is_refused(digest: Any) -> None:
    with pytest.raises(WebhookRefused, match="body"):
        received(_token({"iat": int(NOW.timestamp()), "request_body_sha256": digest}))


@guarded(
    "any body goes with a good token",
    "providers/plaid/webhooks.py",
    "if not isinstance(claimed, str) or not hmac.compare_digest(ours.encode(), claimed.encode()):",
    "if not isinstance(claimed, str):",
)
def test_plaid_signs_the_raw_body() -> None:
    headers = SIGNER.headers(BODY, NOW)
    with pytest.raises(WebhookRefused, match="raw bytes"):
        received(headers, json.dumps(json.loads(BODY), indent=1).encode())
    with pytest.raises(WebhookRefused) as refused:
        received(headers, BODY.replace(b"item_1", b"item_2"))
    assert "item_" not in refused.value.message


def _token(claims: dict[str, Any], *, alg: str = "ES256", head: dict[str, Any] | None = None) -> dict[str, str]:
    """A token of any claims: PyJWT refuses to make some of them, so the parts are put together by hand."""
    told = {k: v for k, v in claims.items() if v is not None}
    first = {"alg": alg, "typ": "JWT", "kid": SIGNER.kid, **(head or {})}
    parts = [base64.urlsafe_b64encode(json.dumps(part).encode()).rstrip(b"=") for part in (first, told)]
    proof = jwt.algorithms.ECAlgorithm(jwt.algorithms.ECAlgorithm.SHA256).sign(b".".join(parts), SIGNER.key)
    return {"Plaid-Verification": b".".join([*parts, base64.urlsafe_b64encode(proof).rstrip(b"=")]).decode()}


GOOD = {"iat": int(NOW.timestamp()), "request_body_sha256": hashlib.sha256(BODY).hexdigest()}


def test_the_tokens_made_by_hand_are_good() -> None:
    assert received(_token(GOOD)).login == "item_1"


def test_a_token_that_is_not_signed_is_refused() -> None:
    head, said, _ = _token(GOOD, alg="none")["Plaid-Verification"].split(".")
    for token in (f"{head}.{said}.", f"{head}.{said}", jwt.encode(GOOD, "", "none", {"kid": SIGNER.kid})):
        with pytest.raises(WebhookRefused):
            received({"Plaid-Verification": token})
    head, said, _ = _token(GOOD)["Plaid-Verification"].split(".")
    with pytest.raises(WebhookRefused, match="signature"):
        received({"Plaid-Verification": f"{head}.{said}."})


@guarded(
    "the token says how it is proven",
    "providers/plaid/webhooks.py",
    'if head.get("alg") != ALGORITHM:',
    "if False:",
)
def test_the_public_key_is_no_secret_to_sign_with() -> None:
    """HS256 over the public key, in each form an attacker may have it."""
    pem = SIGNER.key.public_key().public_bytes(
        serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
    )
    for secret in (pem, SIGNER.kept.encode(), json.dumps(SIGNER.jwk()["x"]).encode()):
        head = base64.urlsafe_b64encode(json.dumps({"alg": "HS256", "kid": SIGNER.kid}).encode()).rstrip(b"=")
        said = base64.urlsafe_b64encode(json.dumps(GOOD).encode()).rstrip(b"=")
        proof = jwt.algorithms.HMACAlgorithm(jwt.algorithms.HMACAlgorithm.SHA256).sign(head + b"." + said, secret)
        token = b".".join([head, said, base64.urlsafe_b64encode(proof).rstrip(b"=")]).decode()
        with pytest.raises(WebhookRefused, match="ES256"):
            received({"Plaid-Verification": token})


@pytest.mark.parametrize("alg", ["HS256", "ES384", "RS256", "es256", "", None, 7])
def test_no_other_algorithm_is_taken(alg: Any) -> None:
    with pytest.raises(WebhookRefused):
        received(_token(GOOD, alg=alg))


def test_another_key_than_the_one_it_names_proves_nothing() -> None:
    other = Signer(SIGNER.kid)
    with pytest.raises(WebhookRefused, match="signature"):
        received(other.headers(BODY, NOW))
    with pytest.raises(WebhookRefused, match="key"):
        received(Signer("another").headers(BODY, NOW))
    with pytest.raises(WebhookRefused, match="key"):
        received(SIGNER.headers(BODY, NOW), keys=[])


@pytest.mark.parametrize("changed", [{"alg": "HS256"}, {"kty": "oct"}, {"crv": "P-384"}, {"expired_at": 1764000000}])
@guarded(
    "an expired key proves",
    "providers/plaid/webhooks.py",
    "if key.expired_at is not None:",
    "if False:",
)
def test_a_key_of_another_kind_or_one_that_has_expired_proves_nothing(changed: dict[str, Any]) -> None:
    key = {**SIGNER.jwk(), **changed}
    if "expired_at" in changed:
        key["expired_at"] = str(key["expired_at"])
    with pytest.raises(WebhookRefused, match="key"):
        received(SIGNER.headers(BODY, NOW), keys=[json.dumps(key)])


@pytest.mark.parametrize(
    "token", ["", "x", "a.b.c", "é.é.é", "x" * 5000, "..", base64.urlsafe_b64encode(b"[]").decode() + ".e30.e30"]
)
def test_what_is_no_token_is_refused(token: str) -> None:
    with pytest.raises(WebhookRefused):
        received({"Plaid-Verification": token})


@pytest.mark.parametrize("kid", [None, "", 7, "a b", "../x", "x" * 65, ["x"], "x\n"])
def test_a_token_that_names_no_key_is_refused(kid: Any) -> None:
    with pytest.raises(WebhookRefused, match=r"no key|no token"):
        received(_token(GOOD, head={"kid": kid}))


@pytest.mark.parametrize("body", [b"", b"[]", b"nonsense", b'{"webhook_type": "ITEM"}', b"\xff"])
def test_signed_nonsense_of_plaid_is_refused_too(body: bytes) -> None:
    with pytest.raises(WebhookRefused, match="shape"):
        received(SIGNER.headers(body, NOW), body)


# -- declarations --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", [*PROVIDERS])
def test_what_webhooks_make_due_is_what_there_is(name: str) -> None:
    webhooks = resolve(name).webhooks
    for follows in webhooks.events.values() if webhooks is not None else ():
        assert set(follows.due) <= set(DATASETS)
        assert bool(follows.remedy) == (follows.state in ("reauth", "ending"))
