"""One line from nothing to rows."""

from __future__ import annotations

from datetime import date

import pytest

import fin_infra
from fin_infra.connections import Connections, open_vault
from fin_infra.errors import FinInfraError, UsageError
from fin_infra.providers.simulating import Fault
from fin_infra.providers.teller.simulator import TellerSimulator, sandbox
from fin_infra.settings import Settings
from fin_infra.store import open_store
from fin_infra.testing import serve


async def test_a_bank_in_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    bank = TellerSimulator()
    sandbox(bank, "test_token_ada", today=date(2026, 11, 24))
    with serve(bank) as served:
        monkeypatch.setenv("FIN_INFRA_TELLER_BASE_URL", served.url)
        rows = await fin_infra.easy_banking(access_token="test_token_ada").get("transactions")
        assert rows.height == sum(len(a.transactions) for a in bank.enrollments["test_token_ada"].accounts)
        assert set(rows["provider"]) == {"teller"}
        monkeypatch.setenv("FIN_INFRA_TELLER_ACCESS_TOKEN", "test_token_ada")
        again = fin_infra.easy_banking("teller")
        assert (await again.get("accounts")).height == 3
        assert "test_token" not in repr(again)
        store = open_store()
        assert len(Connections(store, open_vault(Settings.load())).all()) == 1  # the same credential is linked once
        store.close()
        bank.fail_next(Fault("refuse", status=502, code="x", times=99))
        with pytest.raises(FinInfraError, match="accounts of teller did not come whole") as failed:
            await again.get("accounts")
        assert failed.value.code == "vendor_unavailable"


def test_what_is_missing_is_a_sentence() -> None:
    with pytest.raises(
        UsageError, match="teller needs access_token: give it here, or set FIN_INFRA_TELLER_ACCESS_TOKEN"
    ):
        fin_infra.easy_banking()
    with pytest.raises(UsageError, match="no provider 'market:teller'"):
        fin_infra.easy_market("teller")


async def test_a_dataset_it_does_not_have_is_a_sentence() -> None:
    with pytest.raises(UsageError, match="teller has no prices; it has: accounts, balances, transactions"):
        await fin_infra.easy_banking(access_token="x").get("prices")
