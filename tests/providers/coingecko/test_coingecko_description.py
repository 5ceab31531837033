"""The simulator's answers, and the requests of our client, keep to the vendor's interface descriptions, strictly."""

from __future__ import annotations

import itertools
import json
import os
import re
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
import jsonschema
import pytest

from fin_infra.providers.coingecko.simulator import CoingeckoSimulator, sandbox
from fin_infra.providers.simulating import Fault
from fin_infra.testing import serve
from tests.coins import coins_of

VENDOR = Path(os.environ["FIN_INFRA_SHARED"]) / "vendors/coingecko"
DEMO, PRO = (json.loads((VENDOR / f"openapi-{plan}.json").read_text()) for plan in ("demo", "pro"))
NOW = datetime(2026, 11, 24, 12, tzinfo=UTC)
API = "/api/v3"
USD = "vs_currency=usd"


def _strict(schema: Any) -> Any:
    """OpenAPI 3.0 → JSON Schema: `nullable`; no property the description does not know."""
    if isinstance(schema, list):
        return [_strict(item) for item in schema]
    if not isinstance(schema, dict):
        return schema
    made = {key: _strict(value) for key, value in schema.items() if key not in ("nullable", "example")}
    if isinstance(made.get("properties"), dict) and "additionalProperties" not in made and made["properties"]:
        made["additionalProperties"] = False
    return {"anyOf": [made, {"type": "null"}]} if schema.get("nullable") is True else made


def template(description: Any, path: str) -> str:
    """The path of the description that is meant, the one with the fewest parameters."""
    fits = [name for name in description["paths"] if re.fullmatch(re.sub(r"{\w+}", "[^/]+", name), path)]
    return str(min(fits, key=lambda name: name.count("{")))


def check(description: Any, reply: httpx.Response) -> None:
    path = reply.request.url.path.removeprefix(API)
    operation = description["paths"][template(description, path)]["get"]
    schema = operation["responses"]["200"]["content"]["application/json"]["schema"]
    jsonschema.validate(reply.json(), {**_strict(schema), "components": _strict(description["components"])})


@pytest.fixture
def simulator() -> CoingeckoSimulator:
    made = CoingeckoSimulator(now=lambda: NOW)
    sandbox(made, today=NOW.date())
    made.coin("dead-coin", "dead", "Dead Coin")
    made.demo_keys.add("CG-free")
    made.pro_keys.add("CG-paid")
    return made


@pytest.fixture
def free(simulator: CoingeckoSimulator) -> Iterator[httpx.Client]:
    with serve(simulator) as served, httpx.Client(base_url=f"{served.url}{API}") as found:
        yield found


@pytest.fixture
def paid(simulator: CoingeckoSimulator) -> Iterator[httpx.Client]:
    keys = {"x-cg-pro-api-key": "CG-paid"}
    with serve(simulator.pro) as served, httpx.Client(base_url=f"{served.url}{API}", headers=keys) as found:
        yield found


PATHS = [
    "/ping", "/simple/price?ids=bitcoin,shiba-inu&vs_currencies=usd&include_last_updated_at=true&precision=18",
    "/simple/supported_vs_currencies", "/coins/list", "/coins/list?include_platform=true", "/coins/bitcoin", "/coins/tether",
    f"/coins/markets?{USD}", f"/coins/bitcoin/market_chart?{USD}&days=1", f"/coins/bitcoin/market_chart?{USD}&days=30",
    f"/coins/bitcoin/market_chart?{USD}&days=365", f"/coins/bitcoin/ohlc?{USD}&days=1", f"/coins/bitcoin/ohlc?{USD}&days=30",
    f"/coins/bitcoin/ohlc?{USD}&days=365",
    f"/coins/bitcoin/market_chart/range?{USD}&from={int((NOW - timedelta(days=200)).timestamp())}&to={int(NOW.timestamp())}",
]  # fmt: skip


@pytest.mark.parametrize("path", PATHS)
def test_an_answer_is_as_described(free: httpx.Client, paid: httpx.Client, path: str) -> None:
    for description, client in ((DEMO, free), (PRO, paid)):
        reply = client.get(path)
        assert reply.status_code == 200
        assert reply.json() != {}
        check(description, reply)


def test_what_a_paid_key_has_left_is_as_described(paid: httpx.Client) -> None:
    reply = paid.get("/key")
    check(PRO, reply)
    assert reply.json()["current_remaining_monthly_calls"] == 99_999


def test_a_coin_without_a_price_is_null_and_an_unknown_one_is_left_out(free: httpx.Client) -> None:
    reply = free.get("/simple/price?ids=dead-coin,nope&vs_currencies=usd&include_last_updated_at=true")
    assert reply.json() == {"dead-coin": {"usd": None, "last_updated_at": 1556582400}}
    assert free.get("/simple/price?ids=nope&vs_currencies=usd").json() == sample("simple_price_unknown_id.json")


@pytest.mark.parametrize(("days", "step", "count"), [(1, 300, 288), (2, 3600, 48), (90, 3600, 2160), (91, 86400, 91)])
def test_the_step_of_a_chart_is_that_of_its_span_and_its_last_point_is_now(
    free: httpx.Client, days: int, step: int, count: int
) -> None:
    points = [at for at, _ in free.get(f"/coins/bitcoin/market_chart?{USD}&days={days}").json()["prices"]]
    assert points[-1] == int(NOW.timestamp() * 1000)
    assert {later - earlier for earlier, later in itertools.pairwise(points[:-1])} == {step * 1000}
    assert len(points) - 1 == count
    assert all(at % 86_400_000 for at in points) == (step < 86_400), "only days are stamped with midnight"


def test_candles_are_stamped_with_their_close_and_the_last_one_lies_ahead(free: httpx.Client) -> None:
    for days, step in ((1, 1800), (7, 4 * 3600), (30, 4 * 3600), (90, 4 * 86400)):
        rows = free.get(f"/coins/bitcoin/ohlc?{USD}&days={days}").json()
        assert {later[0] - earlier[0] for earlier, later in itertools.pairwise(rows)} == {step * 1000}
        assert rows[-1][0] > NOW.timestamp() * 1000 >= rows[-2][0]
        assert all(low <= min(first, last) <= max(first, last) <= high for _, first, high, low, last in rows)


# -- refusals ----------------------------------------------------------------------------------------------------------


def sample(name: str) -> Any:
    return json.loads((VENDOR / "samples" / name).read_text())


def timeless(body: Any) -> Any:
    return (
        {name: timeless(value) for name, value in body.items() if name != "timestamp"}
        if isinstance(body, dict)
        else body
    )


REFUSED = [
    ("free", "/coins/nope", {}, 404, "error_404_coin_not_found.json"),
    ("free", "/coins/nope/market_chart?vs_currency=usd&days=7", {}, 404, "error_404_coin_not_found.json"),
    ("free", "/coins/markets", {}, 400, "error_400_missing_vs_currency.json"),
    ("free", "/ping", {"x-cg-pro-api-key": "CG-paid"}, 400, "error_400_wrong_host_10010.json"),
    ("paid", "/ping", {"x-cg-demo-api-key": "CG-free"}, 400, "error_400_wrong_host_10011.json"),
    ("free", "/ping", {"x-cg-demo-api-key": "CG-wrong"}, 401, "error_401_invalid_key_10002.json"),
    ("paid", "/ping", {}, 401, "error_401_missing_key_10002.json"),
    ("free", "/key", {}, 401, "error_401_plan_restricted_10005.json"),
    ("free", f"/coins/bitcoin/market_chart?{USD}&days=max", {}, 401, "error_401_time_range_10012.json"),
    ("free", f"/coins/bitcoin/market_chart?{USD}&days=400", {}, 401, "error_401_time_range_10012.json"),
    ("free", f"/coins/bitcoin/market_chart/range?{USD}&from=1700000000&to=1790000000", {}, 401,
     "error_401_time_range_10012.json"),
]  # fmt: skip


@pytest.mark.parametrize(("host", "path", "keys", "status", "file"), REFUSED)
def test_refusals_are_those_of_the_samples(
    simulator: CoingeckoSimulator, host: str, path: str, keys: dict[str, str], status: int, file: str
) -> None:
    with serve(simulator if host == "free" else simulator.pro) as served:
        reply = httpx.get(f"{served.url}{API}{path}", headers=keys)
    assert (reply.status_code, timeless(reply.json())) == (status, timeless(sample(file)))


@pytest.mark.parametrize("how", ["fault", "limit"])
def test_too_many_requests_are_refused_as_in_the_sample(
    simulator: CoingeckoSimulator, free: httpx.Client, how: str
) -> None:
    if how == "fault":
        simulator.fail_next(Fault("refuse"))
    else:
        simulator.per_minute = 0
    reply = free.get("/ping")
    assert (reply.status_code, reply.json()) == (429, sample("error_429_rate_limit.json"))


def test_a_month_has_its_credits_and_begins_anew() -> None:
    clock = [datetime(2026, 11, 30, 23, 59, tzinfo=UTC)]
    simulator = CoingeckoSimulator(now=lambda: clock[0])
    simulator.demo_keys.add("CG-free")
    simulator.per_month = 2
    with serve(simulator) as served:
        url, keys = f"{served.url}{API}/ping", {"x-cg-demo-api-key": "CG-free"}
        assert [httpx.get(url, headers=keys).status_code for _ in range(3)] == [200, 200, 429]
        assert httpx.get(url).status_code == 200, "without a key nobody counts a month"
        clock[0] += timedelta(minutes=2)
        assert httpx.get(url, headers=keys).status_code == 200


# -- our requests ------------------------------------------------------------------------------------------------------


async def test_our_requests_are_as_described(tmp_path: Path) -> None:
    stranger = "caip19:eip155:1/erc20:0xfaba6f8e4a5e8ab82f62fe7c39859fa577269be3"
    with coins_of(tmp_path, f"crypto:bitcoin,{stranger}") as world:
        await world.link()
        for dataset in ("prices", "quotes", "instruments"):
            await world.sync(dataset)
        await world.sync("instruments", instruments=["crypto:bitcoin"])
        assert len(world.sim.requests) == 6
        for request in world.sim.requests:
            path, _, query = request.partition("?")
            for description in (DEMO, PRO):
                operation = description["paths"][template(description, path.removeprefix(API))]["get"]
                known = {p["name"]: p for p in operation.get("parameters", ()) if p["in"] == "query"}
                sent = dict(part.split("=") for part in query.split("&"))
                assert set(sent) <= set(known)
                assert {name for name, p in known.items() if p.get("required")} <= set(sent)
                for name, value in sent.items():
                    assert value in known[name]["schema"].get("enum", [value])
