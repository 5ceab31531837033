"""The imitated ExchangeRate-API over HTTP: its answers are read by our own wire, its refusals are its own words."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, date, datetime

import httpx
import pytest

from fin_infra.providers.exchangerate_api import wire
from fin_infra.providers.exchangerate_api.simulator import ExchangeRateSimulator
from fin_infra.testing import VirtualClock, serve

NOW = datetime(2026, 11, 24, 17, tzinfo=UTC)
KEY = {"Authorization": "Bearer k1"}


@pytest.fixture
def clock() -> VirtualClock:
    return VirtualClock(NOW)


@pytest.fixture
def sim(clock: VirtualClock) -> ExchangeRateSimulator:
    simulator = ExchangeRateSimulator(now=clock)
    simulator.keys.add("k1")
    for day in ("2026-11-23", "2026-11-24", "2026-11-25"):
        simulator.set_rate(day, "USD", f"1.{day[-2:]}")
        simulator.set_rate(day, "JPY", "180.50")
    return simulator


@pytest.fixture
def client(sim: ExchangeRateSimulator) -> Iterator[httpx.Client]:
    with serve(sim) as served, httpx.Client(base_url=served.url) as found:
        yield found


def test_the_newest_day_by_header_by_path_and_in_open_access(client: httpx.Client, clock: VirtualClock) -> None:
    for reply in (
        client.get("/v6/latest/EUR", headers=KEY), client.get("/v6/k1/latest/EUR"), client.get("/v6/latest/EUR"),
    ):  # fmt: skip
        assert wire.rates(reply.content).rates == {"EUR": "1", "USD": "1.24", "JPY": "180.50"}
    assert "rates" in client.get("/v6/latest/EUR").json()
    assert "conversion_rates" in client.get("/v6/latest/EUR", headers=KEY).json()
    clock.set(datetime(2026, 11, 25, 0, 0, 1, tzinfo=UTC))
    assert wire.rates(client.get("/v6/latest/EUR").content).rate_on == "2026-11-24"
    clock.set(datetime(2026, 11, 25, 0, 0, 2, tzinfo=UTC))
    assert wire.rates(client.get("/v6/latest/EUR").content).rate_on == "2026-11-25"


def test_a_pair_a_day_and_the_quota(client: httpx.Client, sim: ExchangeRateSimulator) -> None:
    pair = wire.rates(client.get("/v6/pair/USD/JPY", headers=KEY).content)
    assert (pair.base, pair.rates) == ("USD", {"JPY": "145.5645"})
    assert client.get("/v6/history/EUR/2026/11/23", headers=KEY).json()["error-type"] == "plan-upgrade-required"
    sim.paid = True
    old = wire.rates(client.get("/v6/history/EUR/2026/11/23", headers=KEY).content)
    assert (old.rate_on, old.rates["USD"]) == (str(date(2026, 11, 23)), "1.23")
    assert client.get("/v6/quota", headers=KEY).json()["requests_remaining"] == 1497


@pytest.mark.parametrize(("path", "headers", "word", "status"), [
    ("/v6/latest/EUR", {"Authorization": "Bearer wrong"}, "invalid-key", 403), ("/v6/wrong/latest/EUR", {}, "invalid-key", 403),
    ("/v6/latest/XXX", KEY, "unsupported-code", 404), ("/v6/latest/XXX", {}, "unsupported-code", 404),
    ("/v6/pair/EUR/XXX", KEY, "unsupported-code", 404), ("/v6/oops", KEY, "malformed-request", 404),
])  # fmt: skip
def test_a_refusal_has_its_word(
    client: httpx.Client, sim: ExchangeRateSimulator, path: str, headers: dict[str, str], word: str, status: int
) -> None:
    reply = client.get(path, headers=headers)
    assert (reply.status_code, wire.refusal_word(reply.content)) == (status, word)
    sim.with_status_200 = True
    assert client.get(path, headers=headers).status_code == 200


def test_a_month_is_spent(client: httpx.Client, sim: ExchangeRateSimulator) -> None:
    sim.left = 1
    assert client.get("/v6/latest/EUR", headers=KEY).status_code == 200
    assert wire.refusal_word(client.get("/v6/latest/EUR", headers=KEY).content) == "quota-reached"
