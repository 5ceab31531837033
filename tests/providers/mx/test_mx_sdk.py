"""The vendor's own client, of the older version, reads the simulator over real HTTP: it decodes what our frames have."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import pytest
from mx_platform_python import ApiClient, Configuration
from mx_platform_python.api.mx_platform_api import MxPlatformApi
from mx_platform_python.exceptions import ApiException

from fin_infra.providers.mx.simulator import API_KEY, CLIENT_ID, sandbox
from tests.providers.mx.platform import USER, MxWorld


def client_of(url: str, key: str = API_KEY) -> Any:
    api = ApiClient(Configuration(host=url, username=CLIENT_ID, password=key))
    api.default_headers["Accept"] = "application/vnd.mx.api.v1+json"
    return MxPlatformApi(api)


def exact(number: Any) -> Decimal:
    """A float's shortest form."""
    return Decimal(str(number))


@pytest.mark.parametrize("version", ["v20111101", "v20250224"])
async def test_what_it_decodes_is_what_our_frames_have(mx: MxWorld, version: str) -> None:
    sandbox(mx.sim, USER, today=mx.clock().date())
    await mx.link(api_version=version)
    reports = await mx.work()
    assert {report.outcome for report in reports} == {"ok"}
    client = client_of(mx.url)
    listed = client.list_user_accounts(USER).accounts
    assert {(row.guid, abs(exact(row.balance))) for row in listed} == {
        (row["account_id"], abs(row["current"])) for row in mx.rows("balances")
    }
    rows = client.list_transactions(USER, records_per_page=1000).transactions
    signs = {"CREDIT": 1, "DEBIT": -1}
    theirs = {row.guid: (signs[row.type] * exact(row.amount), row.date, row.status.lower()) for row in rows}
    assert theirs
    assert theirs == {
        row["transaction_id"]: (row["amount"], str(row["booked_on"]), row["status"]) for row in mx.rows("transactions")
    }
    held = client.list_holdings(USER).holdings
    assert {(row.account_guid, f"us:{row.symbol}", exact(row.shares), exact(row.cost_basis)) for row in held} == {
        (row["account_id"], row["instrument"], row["quantity"], row["cost_basis"]) for row in mx.rows("holdings")
    }


def test_a_wrong_key_is_refused(mx: MxWorld) -> None:
    mx.has()
    with pytest.raises(ApiException) as caught:
        client_of(mx.url, "wrong").list_user_accounts(USER)
    assert caught.value.status == 401
