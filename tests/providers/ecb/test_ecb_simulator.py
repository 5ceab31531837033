"""The imitated ECB over HTTP: three files, and a day that appears at 16:00 in Frankfurt."""

from __future__ import annotations

from datetime import UTC, date, datetime

import httpx

from fin_infra.calendars import get_calendar
from fin_infra.providers.ecb import wire
from fin_infra.providers.ecb.client import DAILY, HISTORY, NINETY_DAYS
from fin_infra.providers.ecb.simulator import EcbSimulator, sandbox
from fin_infra.testing import VirtualClock, serve


def test_a_days_rates_are_there_from_four_in_the_afternoon() -> None:
    clock = VirtualClock(datetime(2026, 11, 24, 14, 59, 59, tzinfo=UTC))
    simulator = EcbSimulator(now=clock)
    sandbox(simulator, today=date(2026, 11, 24))
    with serve(simulator) as served, httpx.Client(base_url=served.url) as client:
        assert {cube.time for cube in wire.rates(client.get(DAILY).content).cubes} == {"2026-11-23"}
        clock.set(datetime(2026, 11, 24, 15, tzinfo=UTC))
        assert {cube.time for cube in wire.rates(client.get(DAILY).content).cubes} == {"2026-11-24"}
        assert b"<Cube time='2026-11-24'>" in client.get(DAILY).content
        ninety = {cube.time for cube in wire.rates(client.get(NINETY_DAYS).content).cubes}
        whole = {cube.time for cube in wire.rates(client.get(HISTORY).content).cubes}
        assert (len(ninety), min(ninety)) == (62, "2026-08-31")
        days = get_calendar("TARGET").dates(date(2025, 10, 20), date(2026, 11, 24))
        assert whole == {str(day) for day in days}
        assert len(wire.rates(client.get(DAILY).content).cubes) == 29
        assert client.get("/stats/eurofxref/other.xml").status_code == 404


def test_a_currency_is_dropped_and_a_rate_corrected() -> None:
    simulator = EcbSimulator(now=lambda: datetime(2026, 11, 24, 17, tzinfo=UTC))
    for day in ("2026-11-23", "2026-11-24"):
        simulator.set_rate(day, "USD", "1.1")
        simulator.set_rate(day, "RUB", "99.0")
    simulator.drop("RUB", since="2026-11-24")
    simulator.set_rate("2026-11-23", "USD", "1.2")
    with serve(simulator) as served:
        found = wire.rates(httpx.get(served.url + HISTORY).content).cubes
    assert found == [("2026-11-24", "USD", "1.1"), ("2026-11-23", "USD", "1.2"), ("2026-11-23", "RUB", "99.0")]
