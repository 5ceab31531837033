"""The simulator's requests, answers and refusals keep to the vendor's interface descriptions and recorded samples.

The descriptions are read strictly: a property they do not know is a failure. Where a sample or the vendor's own prose
says otherwise, `_deviating` says so, one by one.
"""

from __future__ import annotations

import copy
import json
import os
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import httpx
import jsonschema
import pytest

from fin_infra.providers.alpaca.simulator import (
    AlpacaSimulator,
    Fault,
    SimActivity,
    SimAsset,
    SimPosition,
    cusip_of,
    sandbox,
)

VENDOR = Path(os.environ["FIN_INFRA_SHARED"]) / "vendors/alpaca"
NOW = datetime(2026, 11, 24, 16, 30, tzinfo=UTC)  # a Tuesday, two hours into the session
KEYS = {"APCA-API-KEY-ID": "PKSIM", "APCA-API-SECRET-KEY": "sim-secret"}
FORMATS: Any = jsonschema.FormatChecker(["uuid", "date", "date-time"])
PRICED = (
    "market_value", "unrealized_pl", "unrealized_plpc", "unrealized_intraday_pl", "unrealized_intraday_plpc",
    "current_price", "lastday_price", "change_today",
)  # fmt: skip


def _described(name: str) -> dict[str, Any]:
    description: dict[str, Any] = json.loads((VENDOR / name).read_text())
    return description


def _deviating(trading: dict[str, Any]) -> dict[str, Any]:
    """What the trading description leaves out or has wrong."""
    schemas = trading["components"]["schemas"]
    schemas["Exchange"]["enum"].append("CRYPTO")  # rec_assets_crypto.json
    for name in PRICED:  # the vendor: null where it has no price
        schemas["Position"]["properties"][name]["nullable"] = True
    rows = schemas["NonTradeActivities"]["properties"]
    rows["description"] = {"type": "string"}  # fix_account_activities_page1.json
    rows["date"]["format"] = "date"  # its own example: 2019-08-01
    return trading


TRADING = _deviating(_described("openapi-trading.json"))
DATA = _described("openapi-marketdata.json")
HOSTS = {"trading": TRADING, "data": DATA}


def _strict(schema: Any) -> Any:
    """OpenAPI 3.0 → JSON Schema: nullable, and no property the description does not know."""
    if isinstance(schema, list):
        return [_strict(item) for item in schema]
    if not isinstance(schema, dict):
        return schema
    made = {key: _strict(value) for key, value in schema.items() if key not in ("nullable", "example")}
    if schema.get("nullable") and "type" in made:
        made["type"] = [made["type"], "null"]
    if isinstance(made.get("properties"), dict) and "additionalProperties" not in made:
        made["additionalProperties"] = False
    return made


def _resolved(description: dict[str, Any], node: dict[str, Any]) -> dict[str, Any]:
    while "$ref" in node:
        found: Any = description
        for step in node["$ref"].split("/")[1:]:
            found = found[step]
        node = found
    return node


def _check(description: dict[str, Any], schema: dict[str, Any], value: Any) -> None:
    whole = {**_strict(schema), "components": _strict(copy.deepcopy(description["components"]))}
    jsonschema.validate(value, whole, format_checker=FORMATS)


def check_request(host: str, template: str, params: dict[str, str]) -> None:
    """Every parameter is described, those required are there, each value fits."""
    description = HOSTS[host]
    operation = description["paths"][template]["get"]
    known = [_resolved(description, p) for p in operation.get("parameters", [])]
    query = {p["name"]: p for p in known if p["in"] == "query"}
    assert set(params) <= set(query), f"{template} does not describe {set(params) - set(query)}"
    assert {name for name, p in query.items() if p.get("required")} <= set(params)
    for name, text in params.items():
        schema = _resolved(description, query[name]["schema"])
        value = int(text) if schema["type"] == "integer" else text.split(",") if schema["type"] == "array" else text
        if schema.get("format") == "date-time" and len(text) == 10:
            schema = {**schema, "format": "date"}  # the prose: "or YYYY-MM-DD"
        _check(description, schema, value)


def check_answer(host: str, template: str, reply: httpx.Response) -> None:
    description = HOSTS[host]
    responses = description["paths"][template]["get"]["responses"]
    assert str(reply.status_code) in responses, f"{template} does not describe {reply.status_code}"
    answer = _resolved(description, responses[str(reply.status_code)])
    for name, header in answer.get("headers", {}).items():
        _check(description, _resolved(description, header)["schema"], int(reply.headers[name]))
    if "content" in answer:
        _check(description, answer["content"]["application/json"]["schema"], reply.json())


@pytest.fixture
def vendor() -> AlpacaSimulator:
    simulator = AlpacaSimulator(now=lambda: NOW)
    account = sandbox(simulator, today=NOW.date())
    account.positions += [
        SimPosition("TSLA", "-3", "301.5", side="short", current_price="310.25"),
        SimPosition("SPY261218P00500000", "2", "4.10", asset_class="us_option", exchange="", current_price="3.95"),
        SimPosition("OLDCO", "12", "1.0625", exchange="OTC"),  # no price: nulls
    ]
    simulator.add_asset(SimAsset("BTC/USD", "Bitcoin / US Dollar", "crypto", "CRYPTO"))
    simulator.set_bar("BTC/USD", date(2026, 11, 23), "91000.5", "92000", "90000.125", "91999.999999999", "12.123456789")
    every_action(simulator)
    account.record(SimActivity("OPEXP", on=date(2026, 11, 20), symbol="SPY261120C00700000", qty="-1", net_amount="0"))
    return simulator


def every_action(vendor: AlpacaSimulator) -> None:
    """One of each type, in November."""
    day = date(2026, 11, 2)
    vendor.split("AAPL", day, "2", "1")
    vendor.split("KO", day, "1", "50")
    vendor.stock_dividend("MSFT", day, "0.05")
    vendor.dividend("SPY", day, "1.966031", special=True, currency="USD")
    vendor.spin_off("VTI", day, "VTN", source_rate="19.35")
    vendor.rename("OLDCO", "NEWCO", day)
    vendor.delist("GONE", day)
    vendor.delist("CASH", day, cash="5.37")
    vendor.delist("SHARE", day, into="SPY", rate="0.895")
    vendor.delist("BOTH", day, into="SPY", rate="0.7733", cash="7.8")
    vendor.act("unit_splits", old_symbol="UNITU", new_symbol="UNIT", alternate_symbol="UNITW", old_rate="1",
               new_rate="1", alternate_rate="0.3333", process_date=day, effective_date=day)  # fmt: skip
    vendor.act("redemptions", symbol="ORPHY", rate="0.141134", process_date=day, payable_date=day)
    vendor.act("rights_distributions", source_symbol="IFN", new_symbol="IFN.RTW", rate="1", process_date=day,
               ex_date=day, payable_date=day)  # fmt: skip
    vendor.act("partial_calls", symbol="PREF", process_date=day)
    vendor.act("reorganizations", symbol="REORG", process_date=day, effective_date=day, cash_rate="1.5")


async def ask(
    vendor: AlpacaSimulator, path: str, params: dict[str, str] | None = None, headers: dict[str, str] = KEYS
) -> httpx.Response:
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app=vendor), base_url="http://alpaca") as client:
        return await client.get(path, params=params, headers=headers)


ACTED = {"start": "2025-01-01", "end": "2026-12-31", "limit": "1000"}
YEAR = {"timeframe": "1Day", "start": "2025-11-24"}
ANSWERED = [
    ("trading", "/v2/account", "/v2/account", {}),
    ("trading", "/v2/positions", "/v2/positions", {}),
    *(
        ("trading", "/v2/positions/{symbol_or_asset_id}", f"/v2/positions/{symbol}", {})
        for symbol in ("BRK.B", "TSLA", "SPY261218P00500000", "OLDCO")
    ),
    ("trading", "/v2/account/activities", "/v2/account/activities", {}),
    (
        "trading", "/v2/account/activities", "/v2/account/activities",
        {"after": "2026-01-01", "until": "2026-11-24T00:00:00Z", "direction": "asc", "page_size": "4"},
    ),
    ("trading", "/v2/account/activities", "/v2/account/activities", {"activity_types": "FILL,DIV"}),
    ("trading", "/v2/account/activities", "/v2/account/activities", {"category": "non_trade_activity"}),
    ("trading", "/v2/account/activities/{activity_type}", "/v2/account/activities/FILL", {"page_size": "100"}),
    ("trading", "/v2/account/activities/{activity_type}", "/v2/account/activities/OPEXP", {}),
    ("trading", "/v2/assets", "/v2/assets", {}),
    ("trading", "/v2/assets", "/v2/assets", {"status": "active", "asset_class": "crypto"}),
    ("trading", "/v2/assets/{symbol_or_asset_id}", "/v2/assets/BRK.B", {}),
    ("trading", "/v2/assets/{symbol_or_asset_id}", "/v2/assets/BTC/USD", {}),
    ("trading", "/v2/calendar", "/v2/calendar", {"start": "2026-11-23", "end": "2026-12-31"}),
    ("trading", "/v2/clock", "/v2/clock", {}),
    ("data", "/v2/stocks/bars", "/v2/stocks/bars", {**YEAR, "symbols": "AAPL,BRK.B"}),
    (
        "data", "/v2/stocks/bars", "/v2/stocks/bars",
        {**YEAR, "symbols": "SPY", "end": "2026-11-20T23:00:00Z", "limit": "50", "sort": "desc", "feed": "iex",
         "adjustment": "raw", "asof": "2026-11-20"},
    ),
    ("data", "/v2/stocks/{symbol}/bars", "/v2/stocks/AAPL/bars", {**YEAR, "limit": "10000"}),
    ("data", "/v2/stocks/bars/latest", "/v2/stocks/bars/latest", {"symbols": "AAPL,KO"}),
    ("data", "/v2/stocks/snapshots", "/v2/stocks/snapshots", {"symbols": "AAPL,KO", "feed": "delayed_sip"}),
    ("data", "/v1/corporate-actions", "/v1/corporate-actions", ACTED),
    ("data", "/v1/corporate-actions", "/v1/corporate-actions",
     {**ACTED, "symbols": "AAPL,KO", "types": "forward_split,cash_dividend", "sort": "desc"}),
    ("data", "/v1beta3/crypto/{loc}/bars", "/v1beta3/crypto/us/bars", {**YEAR, "symbols": "BTC/USD"}),
]  # fmt: skip


@pytest.mark.parametrize(("host", "template", "path", "params"), ANSWERED)
async def test_answers_have_the_described_shape(
    vendor: AlpacaSimulator, host: str, template: str, path: str, params: dict[str, str]
) -> None:
    check_request(host, template, params)
    reply = await ask(vendor, path, params)
    assert reply.status_code == 200
    assert reply.json()
    check_answer(host, template, reply)


async def test_every_page_has_the_described_shape(vendor: AlpacaSimulator) -> None:
    params = {**YEAR, "symbols": "AAPL,KO,SPY", "limit": "100"}
    pages = 0
    while True:
        check_request("data", "/v2/stocks/bars", params)
        reply = await ask(vendor, "/v2/stocks/bars", params)
        check_answer("data", "/v2/stocks/bars", reply)
        pages += 1
        if (token := reply.json()["next_page_token"]) is None:
            break
        params["page_token"] = token
    assert pages == 8


async def test_pages_of_actions_hold_each_once_in_the_order_they_are_processed(vendor: AlpacaSimulator) -> None:
    params = {**ACTED, "limit": "4"}
    seen: list[tuple[str, str, str]] = []
    while True:
        check_request("data", "/v1/corporate-actions", params)
        reply = await ask(vendor, "/v1/corporate-actions", params)
        check_answer("data", "/v1/corporate-actions", reply)
        listed = reply.json()["corporate_actions"]
        rows = [(row["process_date"], row["id"], kind) for kind, those in listed.items() for row in those]
        assert max(seen, default=("",))[0] <= min(rows)[0]
        seen += rows
        if (token := reply.json()["next_page_token"]) is None:
            break
        assert len(rows) == 4
        params["page_token"] = token
    assert sorted(action_id for _, action_id, _ in seen) == sorted(vendor.actions)
    described = DATA["components"]["schemas"]["corporate_actions"]["properties"]
    assert {kind for _, _, kind in seen} == set(described), "one of each type that the vendor describes"


@pytest.mark.parametrize(
    ("params", "found"),
    [({"symbols": "NONE"}, 0), ({}, 0), ({"start": "2026-11-02", "end": "2026-11-02"}, 14),
     ({"start": "2026-11-02", "symbols": "NEWCO"}, 1), ({"start": "2026-11-02", "cusips": cusip_of("OLDCO")}, 1)],
)  # fmt: skip
async def test_actions_are_found_by_day_symbol_or_cusip(
    vendor: AlpacaSimulator, params: dict[str, str], found: int
) -> None:
    reply = await ask(vendor, "/v1/corporate-actions", params)
    check_answer("data", "/v1/corporate-actions", reply)
    assert sum(map(len, reply.json()["corporate_actions"].values())) == found, "by default those of today alone"


@pytest.mark.parametrize(
    ("params", "message"),
    [({"limit": "1001"}, "limit must be between 1 and 1000"), ({"types": "splits"}, "invalid type: splits"),
     ({"start": "yesterday"}, "invalid start: yesterday"), ({"symbols": "BRK-B"}, "invalid symbol: BRK-B"),
     ({"end": "2020-01-01"}, "end should not be before start"), ({"page_token": "x"}, "invalid page_token"),
     ({"ids": "a", "symbols": "KO"}, "ids cannot be used together with other filters")],
)  # fmt: skip
async def test_actions_asked_for_wrongly_are_refused(
    vendor: AlpacaSimulator, params: dict[str, str], message: str
) -> None:
    reply = await ask(vendor, "/v1/corporate-actions", params)
    assert (reply.status_code, reply.json()["message"]) == (400, message)
    check_answer("data", "/v1/corporate-actions", reply)


async def test_an_action_names_what_the_samples_name(vendor: AlpacaSimulator) -> None:
    """All that a recorded record has, but optional days, the simulated one has too, of the same JSON type."""
    for kind, recorded in _sample("fix_corporate_actions.json")["corporate_actions"].items():
        reply = await ask(vendor, "/v1/corporate-actions", {**ACTED, "types": kind.removesuffix("s")})
        made = reply.json()["corporate_actions"][kind][-1]
        wanted = {name: value for name, value in recorded[0].items() if name in made or not name.endswith("_date")}
        if kind == "reverse_splits":
            assert made["old_cusip"] != made["new_cusip"]
        assert {name: isinstance(value, str) for name, value in wanted.items()} == {
            name: isinstance(made[name], str) for name in wanted
        }


async def test_an_empty_answer_is_an_empty_object_for_many_symbols_and_null_for_one(vendor: AlpacaSimulator) -> None:
    reply = await ask(vendor, "/v2/stocks/bars", {**YEAR, "symbols": "NONE"})
    assert reply.json() == _sample("fix_stocks_bars_empty.json")
    check_answer("data", "/v2/stocks/bars", reply)
    reply = await ask(vendor, "/v2/stocks/NONE/bars", YEAR)
    assert reply.json() == {"bars": None, "symbol": "NONE", "next_page_token": None}  # not described, but done


def _sample(name: str) -> Any:
    return json.loads((VENDOR / "samples" / name).read_text())


SIP = {"symbols": "AAPL", "timeframe": "1Day", "end": "2026-11-24T16:20:00Z"}
BAD = {"symbols": "BRK-B", "timeframe": "1Day"}
REFUSED: list[tuple[str, str, str, dict[str, str], dict[str, str], int, str]] = [
    ("trading", "/v2/account", "/v2/account", {}, {}, 401, "error_401_unauthorized.json"),
    ("trading", "", "/v2/positions/MSTR", {}, KEYS, 404, "error_404_position_not_found.json"),
    ("data", "/v2/stocks/bars", "/v2/stocks/bars", SIP, {}, 403, "error_403_forbidden.json"),
    ("data", "/v2/stocks/bars", "/v2/stocks/bars", SIP, KEYS, 403, "error_403_subscription_sip.json"),
    ("data", "/v2/stocks/bars", "/v2/stocks/bars", BAD, KEYS, 400, "error_400_data_invalid_symbol.json"),
]


@pytest.mark.parametrize(("host", "template", "path", "params", "keys", "status", "sample"), REFUSED)
async def test_refusals_are_those_of_the_samples(
    vendor: AlpacaSimulator, host: str, template: str, path: str, params: dict[str, str], keys: dict[str, str],
    status: int, sample: str,
) -> None:  # fmt: skip
    reply = await ask(vendor, path, params, keys)
    assert reply.status_code == status
    assert reply.json() == _sample(sample)
    if host == "data":  # the trading description names few refusals
        check_answer(host, template, reply)


@pytest.mark.parametrize(
    ("host", "template", "sample"),
    [
        ("trading", "/v2/clock", "error_429_rate_limit.json"),
        ("data", "/v2/stocks/bars", "error_429_data_too_many_requests.json"),
    ],
)
@pytest.mark.parametrize("how", ["fault", "limit"])
async def test_too_many_requests_are_refused_as_in_the_samples(
    vendor: AlpacaSimulator, host: str, template: str, sample: str, how: str
) -> None:
    if how == "fault":
        vendor.fail_next(Fault("refuse"))
    else:
        vendor.limit_per_minute = 1
        await ask(vendor, template, {**YEAR, "symbols": "SPY"})
    reply = await ask(vendor, template, {**YEAR, "symbols": "SPY"})
    assert (reply.status_code, reply.json()) == (429, _sample(sample))
    check_answer(host, template, reply)


@pytest.mark.parametrize(("host", "template"), [("trading", "/v2/clock"), ("data", "/v2/stocks/snapshots")])
async def test_an_internal_error_is_described(vendor: AlpacaSimulator, host: str, template: str) -> None:
    vendor.fail_next(Fault("refuse", status=500))
    reply = await ask(vendor, template)
    assert reply.json()["message"] == "internal server error"
    assert reply.json().get("code") == (50010000 if host == "trading" else None)
    check_answer(host, template, reply)


async def test_an_unknown_asset_is_refused_as_described(vendor: AlpacaSimulator) -> None:
    reply = await ask(vendor, "/v2/assets/GONE")
    assert (reply.status_code, reply.json()["code"]) == (404, 40410000)
    check_answer("trading", "/v2/assets/{symbol_or_asset_id}", reply)


def _same_kinds(recorded: Any, simulated: Any, where: str) -> None:
    """Every recorded field is simulated with a value of its JSON type; null counts for any."""
    if isinstance(recorded, dict):
        assert set(recorded) <= set(simulated), f"{where}: {set(recorded) - set(simulated)} are not simulated"
        for name, value in recorded.items():
            _same_kinds(value, simulated[name], f"{where}.{name}")
    elif isinstance(recorded, list):
        for value in recorded:
            _same_kinds(value, simulated[0], f"{where}[]")
    elif recorded is not None and simulated is not None:
        assert type(recorded) is type(simulated), where


@pytest.mark.parametrize(
    ("sample", "path", "params"),
    [
        ("rec_position_spy.json", "/v2/positions/KO", {}),
        ("rec_clock.json", "/v2/clock", {}),
        ("rec_assets_crypto.json", "/v2/assets", {"asset_class": "crypto"}),
    ],
)
async def test_what_was_recorded_is_simulated_field_by_field(
    vendor: AlpacaSimulator, sample: str, path: str, params: dict[str, str]
) -> None:
    simulated = (await ask(vendor, path, params)).json()
    _same_kinds(_sample(sample), simulated, sample)


async def test_the_clock_is_written_as_it_was_recorded(vendor: AlpacaSimulator) -> None:
    recorded, simulated = _sample("rec_clock.json"), (await ask(vendor, "/v2/clock")).json()
    for name in ("timestamp", "next_open", "next_close"):
        assert _blanked(simulated[name]) == _blanked(recorded[name])


def _blanked(text: str) -> str:
    return "".join("0" if sign.isdigit() else sign for sign in text)


async def test_bars_and_page_token_are_those_of_the_sample_to_the_digit(vendor: AlpacaSimulator) -> None:
    sample = _sample("fix_stocks_bars_single.json")
    for row in sample["bars"]["AAPL"]:
        session = date.fromisoformat(row["t"][:10])
        figures: Any = {name: json.dumps(row[name]) for name in ("o", "h", "l", "c", "v", "n", "vw")}
        vendor.set_bar("AAPL", session, **figures)
    vendor.set_bar("AAPL", date(2022, 2, 3), "1", "1", "1", "1", "1")
    params = {"symbols": "AAPL", "timeframe": "1Day", "start": "2022-02-01", "end": "2022-02-04", "limit": "2"}
    assert (await ask(vendor, "/v2/stocks/bars", params)).json() == sample
