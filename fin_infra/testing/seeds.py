"""Named seeds: what a vendor's simulator holds, and the credentials that open it, decided by the name alone.

A seed is written down in a test or a compose file and gives the same rows there and here. Its credentials are made of
its name; the ids of its accounts and rows never hold them, so a credential that shows up anywhere is a leak.
"""

from __future__ import annotations

import importlib
import re
import zlib
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime

from starlette.types import ASGIApp

from fin_infra.errors import UsageError

Now = Callable[[], datetime]


def utc_now() -> datetime:
    return datetime.now(UTC)


@dataclass(frozen=True)
class Seed:
    """A name and a clock. Rows end at the clock's day (UTC) at the time the simulator is made."""

    name: str
    now: Now = field(default=utc_now, compare=False)

    def __post_init__(self) -> None:
        if not re.fullmatch(r"[A-Z][A-Z0-9]{0,15}", self.name):
            raise UsageError(f"a seed is a capital letter with letters and digits after it, like A0; not {self.name!r}")

    @property
    def number(self) -> int:
        """What the drawing of rows begins with; the same on every machine."""
        return zlib.crc32(self.name.encode())

    @property
    def slug(self) -> str:
        """The name as it stands in ids and credentials."""
        return self.name.lower()

    @property
    def token(self) -> str:
        """Teller's access token."""
        return f"test_token_{self.slug}"

    @property
    def key_id(self) -> str:
        """Alpaca's key id."""
        return f"PK{self.name}"

    @property
    def secret(self) -> str:
        """Alpaca's secret key, and that of the application at Plaid, whose client id is `client-a0`."""
        return f"secret-{self.slug}"

    @property
    def item_token(self) -> str:
        """Plaid's access token of the seed's Item."""
        return f"access-sandbox-{self.slug}"

    @property
    def api_key(self) -> str:
        """ExchangeRate-API's key."""
        return f"key-{self.slug}"

    @property
    def credentials(self) -> tuple[str, ...]:
        """All of them: what no answer, log or row may hold."""
        return self.token, self.key_id, self.secret, self.item_token, self.api_key


VENDORS = {
    "teller": "fin_infra.testing.seeds:teller",
    "alpaca": "fin_infra.testing.seeds:alpaca",
    "plaid": "fin_infra.testing.seeds:plaid",
    "ecb": "fin_infra.testing.seeds:ecb",
    "frankfurter": "fin_infra.testing.seeds:frankfurter",
    "exchangerate_api": "fin_infra.testing.seeds:exchangerate_api",
}
"""Which simulators can stand alone: vendor → `module:function`, a function from a `Seed` to an ASGI app."""


def simulator_of(vendor: str, seed: Seed) -> ASGIApp:
    """The vendor's simulator with this seed's rows. Raises `UsageError` for a vendor that has none."""
    if vendor not in VENDORS:
        raise UsageError(f"there is no simulator of {vendor!r}; there are: {', '.join(sorted(VENDORS))}")
    module, _, function = VENDORS[vendor].partition(":")
    made: ASGIApp = getattr(importlib.import_module(module), function)(seed)
    return made


def teller(seed: Seed) -> ASGIApp:
    """One login at a bank: checking, savings and a card, ids `acc_a0_checking` and so on."""
    from fin_infra.providers.teller.simulator import TellerSimulator, sandbox

    simulator = TellerSimulator(now=seed.now)
    enrollment = sandbox(simulator, seed.token, today=seed.now().date(), seed=seed.number)
    for account in enrollment.accounts:
        account.id = account.id.replace(seed.token, seed.slug)
        for row in account.transactions:
            row.id = row.id.replace(seed.token, seed.slug)
    return simulator


def alpaca(seed: Seed) -> ASGIApp:
    """One paper account with holdings and their bars; trading and data host in one, their paths do not overlap."""
    from fin_infra.providers.alpaca.simulator import AlpacaSimulator, sandbox

    simulator = AlpacaSimulator(now=seed.now)
    sandbox(simulator, seed.key_id, seed.secret, today=seed.now().date(), seed=seed.number)
    return simulator


def plaid(seed: Seed) -> ASGIApp:
    """One Item: bank, card, loan and brokerage accounts, ids `plaid_a0_checking` and so on."""
    from fin_infra.providers.plaid.simulator import PlaidSimulator, sandbox

    simulator = PlaidSimulator(now=seed.now, keys=(f"client-{seed.slug}", seed.secret))
    sandbox(simulator, seed.item_token, today=seed.now().date(), seed=seed.number, name=seed.slug)
    return simulator


def ecb(seed: Seed) -> ASGIApp:
    """The three files, with rates of 29 currencies."""
    from fin_infra.providers.ecb.simulator import EcbSimulator, sandbox

    simulator = EcbSimulator(now=seed.now)
    sandbox(simulator, today=seed.now().date(), seed=seed.number)
    return simulator


def frankfurter(seed: Seed) -> ASGIApp:
    """The same rates as JSON."""
    from fin_infra.providers.frankfurter.simulator import FrankfurterSimulator, sandbox

    simulator = FrankfurterSimulator(now=seed.now)
    sandbox(simulator, today=seed.now().date(), seed=seed.number)
    return simulator


def exchangerate_api(seed: Seed) -> ASGIApp:
    """Rates of every day, for one key and for open access."""
    from fin_infra.providers.exchangerate_api.simulator import ExchangeRateSimulator, sandbox

    simulator = ExchangeRateSimulator(now=seed.now)
    sandbox(simulator, seed.api_key, today=seed.now().date(), seed=seed.number)
    return simulator


__all__ = ["VENDORS", "Seed", "simulator_of"]
