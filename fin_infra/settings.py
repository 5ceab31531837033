"""The one reader of the environment: `FIN_INFRA_…` variables, or the same names in a `.env` file beside the project.

Application credentials of a vendor are `FIN_INFRA_<VENDOR>_<FIELD>`; which fields there are, the provider declares.
User tokens are never settings: they live in the vault only.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Mapping
from datetime import timedelta
from decimal import Decimal
from pathlib import Path

from dotenv import dotenv_values
from pydantic import Field, SecretStr, ValidationError
from pydantic_settings import BaseSettings, SettingsConfigDict

from fin_infra.errors import UsageError

DEFAULT_STORE_URL = "sqlite:///var/fin.db"
FRESH_HOURS = {
    "accounts": 36, "balances": 36, "transactions": 36, "holdings": 36, "activities": 48, "instruments": 360,
    "prices": 12, "fx_rates": 36, "intraday_prices": 36, "quotes": 6, "identity_sessions": 36,
}  # fmt: skip
"""How old data may be, in hours; of prices, counted from the close of the newest session."""

CURRENCIES = (
    "USD", "JPY", "CZK", "DKK", "GBP", "HUF", "PLN", "RON", "SEK", "CHF", "ISK", "NOK", "TRY", "AUD", "BRL", "CAD",
    "CNY", "HKD", "IDR", "ILS", "INR", "KRW", "MXN", "MYR", "NZD", "PHP", "SGD", "THB", "ZAR",
)  # fmt: skip
"""Those that have a reference rate of the ECB, in its order."""


class VendorSettings:
    """What the environment says about one vendor: its application's credentials and its address."""

    def __init__(self, vendor: str, values: Mapping[str, str]) -> None:
        self.vendor = vendor
        self._prefix = f"FIN_INFRA_{vendor.upper().replace('.', '_')}_"
        self._values = values

    def variable(self, field: str) -> str:
        """The variable's name, for messages: `variable("key")` → `FIN_INFRA_ALPHAVANTAGE_KEY`."""
        return self._prefix + field.upper()

    def secret(self, field: str) -> SecretStr | None:
        value = self._values.get(self.variable(field), "").strip()
        return SecretStr(value) if value else None

    def secrets(self, fields: Iterable[str]) -> dict[str, str]:
        """Those of a credential's fields that are set: for who uses one of his own. What tenants link is never here,
        but in the vault."""
        found = {name: self.secret(name) for name in fields}
        return {name: value.get_secret_value() for name, value in found.items() if value is not None}

    @property
    def base_url(self) -> str | None:
        """Another address for the vendor: a simulator, a proxy."""
        return self.base_url_of("")

    def base_url_of(self, host: str) -> str | None:
        """Another address for one of the vendor's hosts: `base_url_of("data")` → `FIN_INFRA_ALPACA_DATA_BASE_URL`."""
        field = f"{host}_base_url" if host else "base_url"
        return self._values.get(self.variable(field), "").strip() or None

    @property
    def shown_base_url(self) -> str | None:
        return self.shown(self.base_url)

    @staticmethod
    def shown(address: str | None) -> str | None:
        """An address for people: without a user and password that may stand in it."""
        return None if address is None else re.sub(r"//[^/@]*@", "//…@", address)


class Settings(BaseSettings):
    """Settings of one process. Files lie beside the store's own file unless said otherwise."""

    model_config = SettingsConfigDict(env_prefix="FIN_INFRA_", env_file=".env", extra="ignore", frozen=True)

    store_url: str = Field(
        DEFAULT_STORE_URL,
        repr=False,
        description="where rows are kept: sqlite:///PATH or postgresql+psycopg://USER@HOST/DATABASE",
    )
    queue_url: str | None = Field(
        None,
        repr=False,
        description="where jobs wait; default: a file of its own beside the store's, or the store's PostgreSQL",
    )
    quota_url: str | None = Field(
        None,
        repr=False,
        description="where calls of vendors are counted; default: a file of its own beside the store's, or the store's "
        "PostgreSQL",
    )
    project: Path | None = Field(None, description="folder with jobs/ and schedules/; default: here, else the shipped")
    vault_key: SecretStr | None = Field(
        None, description="Fernet keys of the vault, newest first, comma-separated; default: a key file, made once"
    )
    vault_key_file: Path | None = Field(None, description="the vault's key file; default: beside the store's file")
    slots: int = Field(8, ge=1, le=1024, description="jobs a worker runs at once")
    lease_seconds: float = Field(
        60.0, ge=0.5, allow_inf_nan=False, description="a silent worker's job is given to another after this"
    )
    plan_seconds: float = Field(
        2.0, ge=0.05, allow_inf_nan=False, description="how often the planner looks for due streams"
    )
    http_timeout: float = Field(30.0, gt=0, description="seconds to wait for a vendor's answer")
    watchlist: str = Field("", description="instruments priced beside all that were ever held: us:SPY,us:QQQ")
    currencies: str = Field(
        ",".join(CURRENCIES),
        description="currencies whose rates against the euro are kept: USD,GBP,TWD; default: those of the ECB",
    )
    price_providers: str = Field(
        "", description="whose prices read() prefers, best first: alpaca,alphavantage; default: the registry's order"
    )
    fresh_within: str = Field(
        "", description="how old data may be before it counts as stale: transactions=24h,prices=6h; default: "
        + ",".join(f"{name}={hours}h" for name, hours in FRESH_HOURS.items()),
    )  # fmt: skip
    cache_url: str = Field(
        "mem://", repr=False,
        description="where svc-infra keeps lookups: mem:// for each process its own, redis://HOST for several",
    )  # fmt: skip
    orders_max_notional: Decimal | None = Field(
        None, gt=0, allow_inf_nan=False,
        description="what one order may be worth at most, in US dollars; default: 10000 on paper, live none",
    )  # fmt: skip
    orders_max_qty: Decimal | None = Field(
        None, gt=0, allow_inf_nan=False,
        description="how many units one order may buy or sell at most; default: 1000 on paper, live none",
    )  # fmt: skip
    orders_symbols: str = Field(
        "", description="instruments that may be traded: us:SPY,crypto:bitcoin; default: all on paper, live none"
    )
    orders_max_skew: float = Field(
        10.0,
        gt=0,
        allow_inf_nan=False,
        description="seconds that our clock and the broker's may differ when an order is sent",
    )
    orders_settle_seconds: float = Field(
        180.0, ge=60, allow_inf_nan=False,
        description="an order without an answer may arrive for so long still; it is not sent again before",
    )  # fmt: skip
    locale: str = Field("", description="how tables show money and dates: en_US, de_CH; default: as data is written")
    max_attempts: int = Field(8, ge=1, description="failed attempts before a job becomes a dead letter")

    @classmethod
    def load(cls) -> Settings:
        """Settings from the environment. Raises `UsageError` naming the variable that is wrong."""
        try:
            return cls()
        except UnicodeDecodeError:
            raise UsageError("the file .env is not UTF-8 text; correct it") from None
        except ValidationError as error:
            first = error.errors(include_input=False, include_url=False)[0]
            name = "FIN_INFRA_" + "_".join(str(part) for part in first["loc"]).upper()
            raise UsageError(f"setting {name} is wrong: {first['msg'].lower()}") from None

    def vendor(self, vendor: str) -> VendorSettings:
        return VendorSettings(vendor, self.environment)

    @property
    def environment(self) -> dict[str, str]:
        """All variables, those of the file `.env` too: what a vendor's settings are read from."""
        file = {k: v for k, v in dotenv_values(".env").items() if v is not None}
        return {**file, **os.environ}

    @property
    def watched(self) -> list[str]:
        """The instruments of the watchlist. Raises `UsageError` for one that is no InstrumentKey."""
        return _instruments("FIN_INFRA_WATCHLIST", self.watchlist)

    @property
    def tradable(self) -> list[str]:
        """The instruments that orders may name; none: no list is set. Raises `UsageError` for no InstrumentKey."""
        return _instruments("FIN_INFRA_ORDERS_SYMBOLS", self.orders_symbols)

    @property
    def pairs(self) -> list[str]:
        """The rates that are kept, as InstrumentKeys: `fx:EURUSD`. Raises `UsageError` for what is no currency code."""
        codes = [code.strip() for code in self.currencies.split(",") if code.strip()]
        for code in codes:
            if not re.fullmatch(r"[A-Z]{3}", code):
                raise UsageError(f"FIN_INFRA_CURRENCIES: {code!r} is no currency; write codes of ISO 4217: USD,GBP")
        return [f"fx:EUR{code}" for code in dict.fromkeys(codes) if code != "EUR"]

    @property
    def objectives(self) -> dict[str, timedelta]:
        """How old data may be, by dataset. Raises `UsageError` for what is no dataset or no duration."""
        chosen = {name: timedelta(hours=hours) for name, hours in FRESH_HOURS.items()}
        for part in filter(None, (part.strip() for part in self.fresh_within.split(","))):
            name, _, length = (piece.strip() for piece in part.partition("="))
            if name not in FRESH_HOURS:
                raise UsageError(f"FIN_INFRA_FRESH_WITHIN: no dataset {name!r}; there are: {', '.join(FRESH_HOURS)}")
            if not re.fullmatch(r"([0-9]{1,4}[hmd])+", length):
                raise UsageError(f"FIN_INFRA_FRESH_WITHIN: {part!r} is no dataset and duration; write {name}=36h")
            units = {"m": timedelta(minutes=1), "h": timedelta(hours=1), "d": timedelta(days=1)}
            chosen[name] = sum((int(n) * units[unit] for n, unit in re.findall(r"(\d+)([hmd])", length)), timedelta())
        return chosen

    @property
    def preferred_prices(self) -> list[str]:
        return [name.strip() for name in self.price_providers.split(",") if name.strip()]

    @staticmethod
    def secret_from(kind: str, where: str) -> str:
        """A secret from `env` or `file`. Raises `UsageError` that names the place, never the value."""
        if kind == "env":
            if not os.environ.get(where):
                raise UsageError(f"the environment variable {where} is not set")
            return os.environ[where]
        try:
            return Path(where).read_text(encoding="utf-8").strip()
        except (OSError, UnicodeDecodeError):
            raise UsageError(f"the file {where} cannot be read as text") from None

    @property
    def store_file(self) -> Path | None:
        """The store's own file, or None when it is not SQLite (or in memory)."""
        if not self.store_url.startswith("sqlite:///"):
            return None
        path = self.store_url.removeprefix("sqlite:///").split("?")[0]
        return Path(path) if path and path != ":memory:" else None

    @property
    def effective_queue_url(self) -> str:
        return self.queue_url or self._beside("queue", "FIN_INFRA_QUEUE_URL")

    @property
    def effective_quota_url(self) -> str:
        """Never the queue's nor the store's file: a call is counted while their transactions may still be open."""
        return self.quota_url or self._beside("quota", "FIN_INFRA_QUOTA_URL")

    def _beside(self, what: str, variable: str) -> str:
        """A file of its own beside the store's, or the store's PostgreSQL."""
        file = self.store_file
        if file is None:
            if self.store_url.startswith("postgresql+psycopg://"):
                return self.store_url  # it has tables of its own there
            raise UsageError(f"set {variable}: the store has no file to put the {what} beside")
        return f"sqlite:///{file.with_name(f'{file.stem}-{what}.db')}"

    @property
    def effective_vault_key_file(self) -> Path:
        file = self.store_file
        if self.vault_key_file:
            return self.vault_key_file
        if file is None:
            raise UsageError("set FIN_INFRA_VAULT_KEY or FIN_INFRA_VAULT_KEY_FILE: the store has no file beside it")
        return file.with_name(file.stem + ".key")


def _instruments(variable: str, listed: str) -> list[str]:
    keys = [key.strip() for key in listed.split(",") if key.strip()]
    for key in keys:
        if not re.fullmatch(r"[a-z0-9.]+:\S+", key):
            raise UsageError(f"{variable}: {key!r} is no instrument; write namespace:symbol, like us:SPY")
    return keys
