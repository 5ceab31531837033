"""What a setting puts in the place of a plan's windows."""

from __future__ import annotations

import pytest

from fin_infra.errors import UsageError
from fin_infra.providers import PROVIDERS, resolve
from fin_infra.providers.metering import Quotas
from fin_infra.quotas.declared import key_windows
from fin_infra.quotas.overrides import FORM, overridden, overrides
from fin_infra.quotas.windows import Calendar, Rolling, Spacing, Window, bound
from tests.unit.helpers import one_sentence

DECLARED: tuple[Window, ...] = (
    Rolling("minute", 200, 60.0, endpoints=("/x",)),
    Rolling("day", 25, 86400.0, None, scope="connection", charge="success"),
)


def over(text: str, holder: str = "acme/app") -> dict[str, Window]:
    found = overridden(DECLARED, overrides(text, "FIN_INFRA_ACME_QUOTAS"), holder)
    return {window.key: window for window in found}


def test_no_setting_leaves_what_is_declared() -> None:
    assert tuple(over("").values()) == tuple(over(" , ").values()) == DECLARED


def test_a_window_is_replaced_by_name_and_keeps_whose_and_what_it_counts() -> None:
    found = over("minute=10000/60s, day=30/24h")
    assert found["minute"] == Rolling("minute", 10_000, 60.0, endpoints=("/x",))
    assert found["day"] == Rolling("day", 30, 86400.0, None, scope="connection", charge="success")


@pytest.mark.parametrize(
    ("text", "window"),
    [
        ("second=1/1s", Rolling("second", 1, 1.0)),
        ("half=3/0.5s", Rolling("half", 3, 0.5)),
        ("hour=60/1h", Rolling("hour", 60, 3600.0, None)),
        ("five=60/5m", Rolling("five", 60, 300.0)),
        ("month=1500/31d success", Rolling("month", 1500, 31 * 86400.0, None, charge="success")),
        ("gate=30/60s counter", Rolling("gate", 30, 60.0, profile="counter")),
        ("account:four=4/24h@/accounts/{id}/transactions",
         Rolling("four", 4, 86400.0, None, scope="account", endpoints=("/accounts/{id}/transactions",))),
        ("endpoint:each=9/60s@/a+/b", Rolling("each", 9, 60.0, scope="endpoint", endpoints=("/a", "/b"))),
        ("today=25/day(America/New_York)", Calendar("today", 25, "day", "America/New_York")),
        ("bill=1500/month(UTC,14)", Calendar("bill", 1500, "month", "UTC", anchor=14)),
        ("minute=9/60s@/y log attempt", Rolling("minute", 9, 60.0, endpoints=("/y",))),
    ],
)  # fmt: skip
def test_every_word_of_the_grammar(text: str, window: Window) -> None:
    assert over(f"other=5/7s, {text}")[window.key] == window


def test_a_part_may_be_for_one_key_alone_and_goes_before_the_others() -> None:
    text = "alpaca/3f0c*:minute=9/60s, minute=5/60s, alpaca/77:day=1/24h"
    assert over(text, "alpaca/3f0c12")["minute"] == Rolling("minute", 9, 60.0, endpoints=("/x",))
    assert over(text, "alpaca/77")["minute"] == Rolling("minute", 5, 60.0, endpoints=("/x",))
    assert over(text, "alpaca/77")["day"].key == "day"
    assert over(text, "alpaca/778")["day"] == DECLARED[1]


@pytest.mark.parametrize(
    "text",
    ["minute", "minute=5", "minute=5/60", "minute=0/60s", "minute=5/0s", "minute=-5/60s", "team:minute=5/60s",
     "day=5/day(Mars/Base)", "day=5/month(UTC,32)", "Minute=5/60s", "minute=5/60s loudly", "a=1/1s; b=2/2s"],
)  # fmt: skip
def test_what_is_wrong_names_the_variable_and_what_is_allowed(text: str) -> None:
    with pytest.raises(UsageError, match="FIN_INFRA_ACME_QUOTAS") as wrong:
        over(text)
    one_sentence(wrong.value)


def test_the_form_that_is_told_is_one_that_is_taken() -> None:
    examples = FORM.partition("like ")[2].split(" or ")
    assert [over(text) is not None for text in examples] == [True, True]


def test_a_plan_is_chosen_by_its_name_and_a_wrong_one_lists_what_there_is() -> None:
    quotas = Quotas({"FIN_INFRA_ALPACA_PLAN": "paid"})
    assert {w.key: w.limit for w in quotas.windows("alpaca", "alpaca/77") if isinstance(w, Rolling)} == {
        "trading": 200, "data": 10_000,
    }  # fmt: skip
    with pytest.raises(UsageError, match=r"FIN_INFRA_ALPACA_PLAN.*basic, paid"):
        Quotas({"FIN_INFRA_ALPACA_PLAN": "gold"}).windows("alpaca", "alpaca/77")


def test_a_sandbox_is_planned_with_its_own_figures() -> None:
    def item_limit(key: str) -> int:
        [window] = [w for w in Quotas().windows("plaid", key) if w.key == "accounts.item"]
        assert isinstance(window, Rolling)
        return window.limit

    provider = resolve("plaid")
    real, made_up = ({"access_token": f"access-{kind}-1"} for kind in ("production", "sandbox"))
    assert item_limit(provider.quota_key(real)) == 15
    assert item_limit(provider.quota_key(made_up)) == 100


def test_two_keys_have_two_quotas_and_no_key_the_open_one() -> None:
    provider = resolve("exchangerate_api")
    one, other = (provider.quota_key({"api_key": key}) for key in ("hunter2", "hunter3"))
    assert one != other
    assert "hunter2" not in one
    assert provider.quota_key({}) == "exchangerate_api/open"
    assert [w.key for w in Quotas().windows("exchangerate_api", provider.quota_key({}))] == ["hour"]


def test_windows_of_minutes_that_many_share_are_paced_in_an_overridden_plan_too() -> None:
    found = Quotas({"FIN_INFRA_ALPACA_QUOTAS": "trading=1000/60s"}).windows("alpaca", "alpaca/77")
    assert [w.interval for w in found if isinstance(w, Spacing) and w.key == "trading/pace"] == [60 / 1000]


@pytest.mark.parametrize("name", PROVIDERS)
def test_every_vendor_declares_what_it_permits_with_the_day_and_the_source(name: str) -> None:
    quota = resolve(name).quota
    assert quota is not None
    for plan in quota.plans:
        assert plan.windows
        assert plan.source
        assert len({window.key for window in plan.windows}) == len(plan.windows)
    assert len({plan.name for plan in quota.plans}) == len(quota.plans)


def test_windows_of_a_key_are_those_that_its_calls_are_bound_to() -> None:
    declared = Quotas().windows("plaid", "plaid/app")
    shared = {window.key for window in key_windows(declared, "plaid/app")}
    place = {"holder": "plaid/app", "connection": "con_1", "account": "", "endpoint": "/transactions/sync"}
    keys = {window.key for window in bound(declared, **place)}
    assert keys - shared == {"plaid/app/con_1#transactions_sync.item"}
    assert "plaid/app#transactions_sync.client" in shared & keys
