"""Every recorded webhook of the vendors, signed anew, is taken and does what its table says."""

from __future__ import annotations

import json
import os
from datetime import UTC, datetime
from pathlib import Path

import pytest

from fin_infra.providers.base import Follows
from fin_infra.providers.plaid import webhooks as plaid
from fin_infra.providers.plaid.wire import VerificationKey
from fin_infra.providers.teller import webhooks as teller
from tests.signing import KeyServer, Signer

VENDORS = Path(os.environ["FIN_INFRA_SHARED"]) / "vendors"
NOW = datetime(2026, 11, 24, 12, 0, tzinfo=UTC)
SIGNER = Signer()

NOTHING = (frozenset[str](), None)
PLAID = {
    "DefaultUpdate": ({"transactions"}, None),
    "HistoricalUpdate": ({"transactions"}, None),
    "InitialUpdate": ({"transactions"}, None),
    "SyncUpdatesAvailable": ({"transactions"}, None),
    "TransactionsRemoved": ({"transactions"}, None),
    "HoldingsDefaultUpdate": ({"holdings"}, None),
    "InvestmentsDefaultUpdate": ({"activities"}, None),
    "InvestmentsHistoricalUpdate": ({"activities"}, None),
    "NewAccountsAvailable": ({"accounts"}, None),
    "UserAccountRevoked": ({"accounts"}, None),
    "ItemError": (set(), "reauth"),
    "UserPermissionRevoked": (set(), "reauth"),
    "ItemLoginRepaired": (set(), "active"),
    "PendingExpiration": (set(), "ending"),
    "PendingDisconnect": (set(), "ending"),
    "LiabilitiesDefaultUpdate": NOTHING,
    "RecurringTransactionsUpdate": NOTHING,
    "WebhookUpdateAcknowledged": NOTHING,
}
TELLER = {
    "enrollment_disconnected": (set(), "reauth"),
    "transactions_processed": ({"transactions"}, None),
    "test": NOTHING,
}


def test_each_recorded_webhook_stands_in_the_table() -> None:
    names = {path.stem.removeprefix("webhook_") for path in (VENDORS / "plaid/samples").glob("webhook_*.json")}
    assert {name.removesuffix("Webhook") for name in names} == set(PLAID)
    names = {path.stem.removeprefix("webhook_") for path in (VENDORS / "teller/samples").glob("webhook_*.json")}
    assert names == set(TELLER)


@pytest.mark.parametrize("name", PLAID)
def test_a_recorded_webhook_of_plaid(name: str) -> None:
    body = (VENDORS / f"plaid/samples/webhook_{name}Webhook.json").read_bytes()
    headers = {plaid.HEADER: SIGNER.headers(body, NOW)["Plaid-Verification"]}
    event = plaid.verify(headers, body, [SIGNER.kept], NOW)
    follows = plaid.WEBHOOKS.events.get(event.name, Follows())
    assert (set(follows.due), follows.state) == PLAID[name]
    assert event.login == json.loads(body)["item_id"]


@pytest.mark.parametrize("name", TELLER)
def test_a_recorded_webhook_of_teller(name: str) -> None:
    body = (VENDORS / f"teller/samples/webhook_{name}.json").read_bytes()
    at = str(int(NOW.timestamp()))
    event = teller.verify({teller.HEADER: f"t={at},v1={teller.sign('s', at, body)}"}, body, ["s"], NOW)
    follows = teller.WEBHOOKS.events[event.name]
    assert (set(follows.due), follows.state) == TELLER[name]
    assert bool(event.login or event.accounts) == (name != "test")


def test_the_recorded_key_is_read_as_plaid_sends_it() -> None:
    """And its kid is that of the documentation's example; the private half nobody has."""
    import asyncio

    from fin_infra.providers.base import Reply

    body = (VENDORS / "plaid/samples/doc_webhook_verification_key_get.json").read_bytes()

    class Http:
        async def get(self, path: str, params: object = None, *, host: str = "", account: str = "") -> Reply:
            raise AssertionError(path)

        async def post(self, path: str, body_: object, *, host: str = "", account: str = "") -> Reply:
            assert path == "/webhook_verification_key/get"
            return Reply(200, {}, body, NOW)

    key = VerificationKey.model_validate_json(asyncio.run(plaid.ask_key(Http(), "k")))
    assert (key.alg, key.crv, key.expired_at) == ("ES256", "P-256", None)
    assert key.kid == json.loads(body)["key"]["kid"]
    assert KeyServer(SIGNER).keys[SIGNER.kid].keys() == json.loads(body)["key"].keys()
