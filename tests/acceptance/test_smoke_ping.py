"""Every service answers."""

from __future__ import annotations

from tests.acceptance.conftest import Service


def test_the_app_answers(app: Service) -> None:
    assert app.get("/ping") == {"ok": True}


def test_the_banks_simulator_answers_beside_and_as_the_vendor(teller: Service) -> None:
    assert teller.get("/__health") == {"vendor": "teller"}
    assert "links" in teller.get("/")
    assert teller.http.get("/accounts").status_code == 401  # nobody gets in without a token


def test_the_brokers_simulator_answers_as_both_hosts(alpaca: Service) -> None:
    assert alpaca.get("/__health") == {"vendor": "alpaca"}
    for path in ("/v2/account", "/v2/stocks/bars?symbols=SPY&timeframe=1Day"):
        assert alpaca.http.get(path).status_code in (401, 403), path  # nobody gets in without a pair of keys


def test_plaids_simulator_answers_and_lets_nobody_in_without_keys(plaid: Service) -> None:
    assert plaid.get("/__health") == {"vendor": "plaid"}
    refused = plaid.http.post("/item/get", json={"access_token": "access-sandbox-other"})
    assert (refused.status_code, refused.json()["error_code"]) == (400, "INVALID_API_KEYS")
