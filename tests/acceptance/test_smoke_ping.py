"""Every service answers."""

from __future__ import annotations

from tests.acceptance.conftest import Service


def test_the_app_answers(app: Service) -> None:
    assert app.get("/ping") == {"ok": True}


def test_the_banks_simulator_answers_beside_and_as_the_vendor(teller: Service) -> None:
    assert teller.get("/__health") == {"vendor": "teller"}
    assert "links" in teller.get("/")
    assert teller.http.get("/accounts").status_code == 401  # nobody gets in without a token
