"""Settings: one reader of the environment, a wrong value is a sentence with the variable's name and without the value."""

from __future__ import annotations

from pathlib import Path

import pytest

from fin_infra.errors import UsageError
from fin_infra.settings import Settings
from tests.unit.helpers import one_sentence


@pytest.mark.parametrize(
    ("variable", "value"),
    [
        ("SLOTS", "hunter2"), ("SLOTS", "0"), ("SLOTS", "-1"), ("SLOTS", "1025"), ("SLOTS", "1.5"), ("SLOTS", ""),
        ("LEASE_SECONDS", "hunter2"), ("LEASE_SECONDS", "0.1"), ("LEASE_SECONDS", "nan"), ("LEASE_SECONDS", "inf"),
        ("PLAN_SECONDS", "0"), ("PLAN_SECONDS", "nan"), ("PLAN_SECONDS", "inf"), ("HTTP_TIMEOUT", "0"),
        ("HTTP_TIMEOUT", "hunter2"), ("HTTP_TIMEOUT", "nan"), ("MAX_ATTEMPTS", "0"), ("MAX_ATTEMPTS", "many"),
    ],
)  # fmt: skip
def test_a_wrong_value_is_a_sentence_with_the_variables_name(
    monkeypatch: pytest.MonkeyPatch, variable: str, value: str
) -> None:
    monkeypatch.setenv(f"FIN_INFRA_{variable}", value)
    with pytest.raises(UsageError) as wrong:
        Settings.load()
    assert f"FIN_INFRA_{variable}" in one_sentence(wrong.value)
    assert wrong.value.__cause__ is None
    assert "hunter2" not in repr(wrong.value)


def test_settings_come_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FIN_INFRA_SLOTS", "3")
    monkeypatch.setenv("FIN_INFRA_STORE_URL", "sqlite:///x/y.db")
    assert (Settings.load().slots, Settings.load().store_url) == (3, "sqlite:///x/y.db")


def test_settings_come_from_a_file_beside_the_project_and_the_environment_wins(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / ".env").write_text("FIN_INFRA_SLOTS=3\nFIN_INFRA_MAX_ATTEMPTS=4\nOTHER=1\n")
    monkeypatch.setenv("FIN_INFRA_SLOTS", "5")
    assert (Settings.load().slots, Settings.load().max_attempts) == (5, 4)


def test_a_settings_file_that_is_no_text_is_a_sentence(tmp_path: Path) -> None:
    (tmp_path / ".env").write_bytes(b"FIN_INFRA_SLOTS=3\n# caf\xe9\n")
    with pytest.raises(UsageError, match=r"\.env"):
        Settings.load()


def test_no_repr_shows_a_vault_key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FIN_INFRA_VAULT_KEY", "hunter2")
    for shown in (repr(Settings.load()), str(Settings.load()), str(Settings.load().model_dump())):
        assert "hunter2" not in shown


@pytest.mark.parametrize("name", ["STORE_URL", "QUEUE_URL"])
def test_no_repr_shows_the_password_in_a_url(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.setenv(f"FIN_INFRA_{name}", "postgresql://fin:hunter2@db/fin")
    assert "hunter2" not in repr(Settings.load())


def test_a_vendors_secret_is_found_by_its_generic_name(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FIN_INFRA_TELLER_PRIVATE_KEY", " hunter2 ")
    vendor = Settings.load().vendor("teller")
    secret = vendor.secret("private_key")
    assert secret is not None
    assert secret.get_secret_value() == "hunter2"
    assert "hunter2" not in repr(secret) + repr(vendor)


@pytest.mark.parametrize("value", ["", "  "])
def test_t10_a_blank_secret_is_none(monkeypatch: pytest.MonkeyPatch, value: str) -> None:
    monkeypatch.setenv("FIN_INFRA_TELLER_PRIVATE_KEY", value)
    assert Settings.load().vendor("teller").secret("private_key") is None


def test_a_vendor_with_a_dot_has_an_underscore_in_its_variable() -> None:
    assert Settings.load().vendor("ccxt.kraken").variable("key") == "FIN_INFRA_CCXT_KRAKEN_KEY"


def test_a_secret_that_is_not_there_names_the_place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(UsageError, match="NO_SUCH_VARIABLE"):
        Settings.secret_from("env", "NO_SUCH_VARIABLE")
    with pytest.raises(UsageError, match="no_such_file"):
        Settings.secret_from("file", str(tmp_path / "no_such_file"))
    (tmp_path / "binary").write_bytes(b"\xff\xfehunter2")
    with pytest.raises(UsageError, match="binary") as wrong:
        Settings.secret_from("file", str(tmp_path / "binary"))
    assert "hunter2" not in repr(wrong.value)


def test_a_secret_is_read_from_its_place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TOKEN", "one")
    (tmp_path / "token").write_text("two\n")
    assert Settings.secret_from("env", "TOKEN") == "one"
    assert Settings.secret_from("file", str(tmp_path / "token")) == "two"


def test_files_lie_beside_the_store() -> None:
    settings = Settings(store_url="sqlite:///here/fin.db")
    assert settings.effective_queue_url == "sqlite:///here/fin-queue.db"
    assert settings.effective_vault_key_file == Path("here/fin.key")


@pytest.mark.parametrize("url", ["postgresql://fin:hunter2@db/fin", "sqlite://", "sqlite:///:memory:"])
def test_a_store_without_a_file_asks_for_the_other_places(url: str) -> None:
    settings = Settings(store_url=url)
    assert settings.store_file is None
    with pytest.raises(UsageError, match="FIN_INFRA_QUEUE_URL"):
        _ = settings.effective_queue_url
    with pytest.raises(UsageError, match="FIN_INFRA_VAULT_KEY") as wrong:
        _ = settings.effective_vault_key_file
    assert "hunter2" not in one_sentence(wrong.value)


# -- instruments and providers ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("said", "watched"),
    [
        ("", []), (" ", []), (",,", []), ("us:SPY", ["us:SPY"]), (" us:SPY , crypto:bitcoin,", ["us:SPY", "crypto:bitcoin"]),
        ("opt:AAPL:2026-01-16:C:200", ["opt:AAPL:2026-01-16:C:200"]), ("xlon:VOD,us:BRK.B", ["xlon:VOD", "us:BRK.B"]),
        ("ccxt.kraken:x", ["ccxt.kraken:x"]),
    ],
)  # fmt: skip
def test_the_watchlist_is_a_list_of_instruments(monkeypatch: pytest.MonkeyPatch, said: str, watched: list[str]) -> None:
    monkeypatch.setenv("FIN_INFRA_WATCHLIST", said)
    assert Settings.load().watched == watched


@pytest.mark.parametrize("wrong", ["SPY", "US:SPY", "us:", ":SPY", "us SPY", "us:SPY QQQ", "us:SPY;us:QQQ us:VTI"])
def test_a_watchlist_with_something_else_names_it(monkeypatch: pytest.MonkeyPatch, wrong: str) -> None:
    monkeypatch.setenv("FIN_INFRA_WATCHLIST", f"us:KO,{wrong}")
    with pytest.raises(UsageError, match="FIN_INFRA_WATCHLIST") as refused:
        _ = Settings.load().watched
    assert repr(wrong) in one_sentence(refused.value)


@pytest.mark.parametrize(
    ("said", "order"),
    [
        ("", []),
        ("alpaca", ["alpaca"]),
        (" alphavantage, alpaca ,", ["alphavantage", "alpaca"]),
        ("ccxt.kraken", ["ccxt.kraken"]),
    ],
)
def test_whose_prices_are_preferred_is_an_order(monkeypatch: pytest.MonkeyPatch, said: str, order: list[str]) -> None:
    monkeypatch.setenv("FIN_INFRA_PRICE_PROVIDERS", said)
    assert Settings.load().preferred_prices == order


def test_a_vendors_hosts_have_an_address_each(monkeypatch: pytest.MonkeyPatch) -> None:
    vendor = Settings.load().vendor("alpaca")
    assert [vendor.base_url_of(host) for host in ("", "data", "live")] == [None, None, None]
    monkeypatch.setenv("FIN_INFRA_ALPACA_BASE_URL", " http://127.0.0.1:7001 ")
    monkeypatch.setenv("FIN_INFRA_ALPACA_DATA_BASE_URL", "http://127.0.0.1:7002")
    monkeypatch.setenv("FIN_INFRA_ALPACA_LIVE_BASE_URL", "  ")
    vendor = Settings.load().vendor("alpaca")
    assert vendor.base_url == vendor.base_url_of("") == "http://127.0.0.1:7001"
    assert (vendor.base_url_of("data"), vendor.base_url_of("live")) == ("http://127.0.0.1:7002", None)


def test_an_address_is_shown_without_the_password_in_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FIN_INFRA_ALPACA_BASE_URL", "http://ada:hunter2@127.0.0.1:7001/x")
    assert Settings.load().vendor("alpaca").shown_base_url == "http://…@127.0.0.1:7001/x"
    assert Settings.load().vendor("teller").shown_base_url is None
