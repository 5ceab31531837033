"""What a vendor's adapter declares, and what its functions are given and give back."""

from __future__ import annotations

import hashlib
import json
from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, NoReturn, Protocol, TypeVar

import httpx
from pydantic import BaseModel, ConfigDict, TypeAdapter, ValidationError

from fin_infra.datasets.base import Built, Dataset
from fin_infra.errors import FinInfraError, WireError
from fin_infra.instruments import calendar_of
from fin_infra.quotas.declared import VendorQuota

if TYPE_CHECKING:
    from fin_infra.providers.ordering import Ordering

T = TypeVar("T")
Kind = Literal["cursor", "window", "snapshot", "series"]


class Wire(BaseModel):
    """Base of the vendors' shapes: unknown fields are ignored, missing ones are an error."""

    model_config = ConfigDict(extra="ignore", frozen=True, hide_input_in_errors=True)


@dataclass(frozen=True)
class Reply:
    """An answer as it came: header names in lower case, the body untouched, `at` the moment it was whole."""

    status: int
    headers: Mapping[str, str]
    body: bytes
    at: datetime


@dataclass(frozen=True)
class Account:
    """What a client and a frame need to know of an account: the vendor's id, ours, and what decides signs."""

    vendor_id: str
    account_id: str
    kind: str
    currency: str | None = None


class Want(NamedTuple):
    """Sessions of one instrument that are asked for, both days inclusive. `ticker` is the vendor's spelling.

    `interval`: of bars shorter than a day, how long they are; and `since`: the moment of those days from which on they
    are needed, None: from the first of them.
    """

    instrument: str
    ticker: str
    first: date
    last: date
    interval: str = ""
    since: datetime | None = None

    @property
    def subject(self) -> str:
        """What an answer is about: the instrument, and the interval where it has one."""
        return f"{self.instrument} {self.interval}" if self.interval else self.instrument


@dataclass(frozen=True)
class Ask:
    """What is asked of a client. `since` is per account; `resume` says where an interrupted account goes on.

    `wants`: of a series, the sessions of each instrument; of a source per instrument, which instruments. `cursor`: of a
    cursor stream, the vendor's position to go on from, "" for the beginning. `any_account`: the answers lie in files,
    and nobody said of which account they are. `left_out`: accounts that nothing but the list is asked about; `known`:
    where it is set, so is any account that is not among these. `listed_to`: of a `Listing`, how far it was read, less
    the overlap, None for the whole list; `unsettled`: rows held, by the vendor's ids, to be read again one by one.
    """

    provider: str
    tenant_id: str
    connection_id: str
    run_id: str
    at: datetime
    accounts: Sequence[Account] = ()
    since: Mapping[str, date] = field(default_factory=dict)
    resume: Mapping[str, str] = field(default_factory=dict)
    wants: Sequence[Want] = ()
    cursor: str = ""
    any_account: bool = False
    left_out: Collection[str] = ()
    known: Collection[str] | None = None
    listed_to: datetime | None = None
    unsettled: Sequence[str] = ()

    def leaves_out(self, vendor_id: str) -> bool:
        """Whether the owner does not want this account, or has not chosen yet."""
        return vendor_id in self.left_out or (self.known is not None and vendor_id not in self.known)

    def columns(self, at: datetime, **more: object) -> dict[str, object]:
        """Values that every row of an answer shares."""
        return {
            "provider": self.provider,
            "tenant_id": self.tenant_id,
            "connection_id": self.connection_id,
            "run_id": self.run_id,
            "fetched_at": at,
            **more,
        }


@dataclass(frozen=True)
class Page:
    """One answer on its way to a frame, or why one account has none.

    `position`: where the account's next page begins; None on its last page. `error`: this account alone failed.
    `value`: the parsed body, where the client had to look into it anyway. `wants`: instead of an account, the
    instruments that this answer and the pages behind it are about. `cursor`: of a cursor stream, the vendor's position
    behind this page. `history`: whether the vendor has delivered all it has (True), is still fetching older rows
    (False), or does not say. `as_of`: the vendor's own time of the data, where it states one. `follow`: the accounts,
    by the vendor's ids, that are asked about one by one behind this page: should it come to an end before the last of
    them, the next run is given just the rest as `Ask.accounts`. `reaches`: of bars shorter than a day, before which
    moment the vendor serves none, though they were asked for. `row`: the one row, by the vendor's id, that alone this
    answer or error is about.
    """

    dataset: str
    reply: Reply | None = None
    account: Account | None = None
    position: str | None = None
    error: FinInfraError | None = None
    value: Any = None
    wants: Sequence[Want] = ()
    cursor: str | None = None
    history: bool | None = None
    as_of: datetime | None = None
    follow: Sequence[str] = ()
    reaches: datetime | None = None
    row: str | None = None

    @property
    def subject(self) -> str | None:
        """What this page is a page of: the account, the one row, or the group of instruments, by the first of them."""
        if self.account is not None:
            return self.account.vendor_id
        if self.row is not None:
            return self.row
        return self.wants[0].subject if self.wants else None


class Http(Protocol):
    """The shared transport as a client sees it: asks, and gets a checked answer or one of our errors.

    `account`: the vendor's id of the one account that a call is about; some vendors count by it.
    """

    async def get(
        self, path: str, params: Mapping[str, Any] | None = None, *, host: str = "", account: str = ""
    ) -> Reply: ...

    async def post(self, path: str, body: Mapping[str, Any], *, host: str = "", account: str = "") -> Reply: ...


class Acting(Http, Protocol):
    """The transport of who changes something at the vendor, and does not only ask.

    `body` goes as JSON, or as a `form` whose keys are in the vendor's brackets already; `headers`: of this one call.
    Without `repeat` it is never sent twice, whatever became of the first.
    """

    async def send(
        self, method: Literal["POST", "DELETE", "PATCH"], path: str, body: Mapping[str, Any] | None = None, *,
        host: str = "", account: str = "", form: bool = False, headers: Mapping[str, str] | None = None,
        repeat: bool = True,
    ) -> Reply: ...  # fmt: skip


Fetch = Callable[[Http, Ask], AsyncIterator[Page]]


@dataclass(frozen=True)
class Feed:
    """From body to rows of one dataset: `parse` raises `WireError` on a wrong shape, `frames` is pure.

    `frames` takes all pages of one account (or of the connection), oldest answer first; of a cursor stream one page.
    `removed`: of a cursor stream or a listing, the vendor's ids that a parsed page takes back; a listing's are erased.
    `persistent`: of accounts, the ids in a parsed page that outlive a re-link, by the vendor's id of the account.
    `login`: of accounts, what the vendor calls the login they belong to, which its webhooks name. `tells_accounts`:
    rows of the pages say themselves whose they are and what decides their signs; recorded ones need not be told.
    """

    schema: type[Dataset]
    parse: Callable[[bytes], Any]
    frames: Callable[[Sequence[tuple[Any, datetime]], Ask, Account | None], Built]
    removed: Callable[[Any], Sequence[str]] | None = None
    persistent: Callable[[Any], Mapping[str, str]] | None = None
    login: Callable[[Any], str | None] | None = None
    tells_accounts: bool = False


@dataclass(frozen=True)
class Reach:
    """What one call for older rows of a series may ask and brings; a backfill is cut and reckoned by it.

    `at_once`: instruments of a call, None: all there are. `rows`: of an answer over all of them, more lie on further
    pages; `days`: from the first to the last day of a call; None: as many as there are. `row_bytes`: about how long a
    row is. `older`: whether the vendor can be asked for older days at all.
    """

    at_once: int | None = 1
    rows: int | None = None
    days: int | None = None
    row_bytes: int = 110
    older: bool = True

    @property
    def whole(self) -> bool:
        """One answer has everything there is, of all instruments."""
        return self.at_once is None and self.rows is None and self.days is None


@dataclass(frozen=True)
class Series:
    """How instruments are asked for. `ticker`: the vendor's spelling of an InstrumentKey, None when it has none.

    `calendar`: the code of the calendar whose sessions an instrument has at this vendor, None where it is not known.
    `lags`: by calendar, how long after a session's close its bar is published. `history`: how far back the first
    read goes. `overlap`: held sessions that each read covers again, to see what the vendor corrected since. `basis`: of
    prices, what is served (see `Prices`). `reach`: how what is older is asked for. `intervals`: of bars shorter than a
    day, which lengths are synced, of those that `IntradayPrices` has; `lags` then count from a bar's end, `overlap` in
    bars, and `history` is a few days unless it is said.
    """

    ticker: Callable[[str], str | None]
    lags: Mapping[str, timedelta] = field(default_factory=dict)
    history: timedelta = timedelta(days=370)
    overlap: int = 5
    basis: str = "raw"
    calendar: Callable[[str], str | None] = calendar_of
    reach: Reach = Reach()
    intervals: tuple[str, ...] = ()


@dataclass(frozen=True)
class Listing:
    """A list that goes by creation alone, so that it never shows what became of older rows.

    Each run lists from the newest that is known, less the source's overlap, and reads every row held whose column
    `state` is none of `settled` again, one by one. `row`: the column with the vendor's id; `created`: with the instant
    the list goes by. `whole_every`: so often the whole list is read, for what changes in settled rows.
    """

    row: str
    created: str
    state: str
    settled: tuple[str, ...]
    whole_every: timedelta


@dataclass(frozen=True)
class Source:
    """What one fetch of a vendor feeds, and how: the engine does the rest, the same for all vendors."""

    kind: Kind
    fetch: Fetch
    feeds: tuple[Feed, ...]
    overlap: timedelta = timedelta()  # window, listing: how far behind the newest row each read begins
    margin: timedelta = timedelta()  # window: rows this near to its begin may have moved out of it, not away
    needs_accounts: bool = False
    account_kind: str | None = None  # where all accounts are of one kind: a recorded answer need not be told
    series: Series | None = None  # series, and snapshots per instrument
    listing: Listing | None = None  # snapshots of a list that does not show what changed

    @property
    def datasets(self) -> tuple[str, ...]:
        return tuple(feed.schema.dataset_name() for feed in self.feeds)

    @property
    def lead(self) -> str:
        """The dataset that names the source's stream."""
        return self.datasets[0]

    def feed(self, dataset: str) -> Feed:
        return next(feed for feed in self.feeds if feed.schema.dataset_name() == dataset)


@dataclass(frozen=True)
class Field:
    """A credential's field: what it is, whether the vendor works without it, and its values where they are few."""

    name: str
    purpose: str
    required: bool = True
    choices: tuple[str, ...] = ()


WHATEVER = 0
"""As a refusal's status: whatever it is, 200 too. Of vendors that say in the body alone that they refuse."""


@dataclass(frozen=True)
class Refusal:
    """One row of a vendor's status/body → error code table. `word` is a prefix of the vendor's own code.

    `application`: what is refused are the application's own keys: no user's login is stopped by it. `wait`: the seconds
    until it is asked again, where the answer names none.
    """

    status: int
    word: str
    code: str
    remedy: str
    vendor_wide: bool = False
    application: bool = False
    wait: float | None = None


@dataclass(frozen=True)
class WebhookEvent:
    """What a webhook says that is proven to be the vendor's.

    `name`: a key of `Webhooks.events`, or a word we do not know. `login`: the vendor's name of the login it is about;
    `accounts`: where it names none, the vendor's ids of accounts. `at`: when the vendor signed it, or says that it
    happened. `word`: the vendor's own reason, for people. `everyone`: it names neither, so all connections to the
    vendor are concerned; `rows`: the vendor's ids of what it is about.
    """

    name: str
    at: datetime
    login: str | None = None
    accounts: Sequence[str] = ()
    word: str | None = None
    everyone: bool = False
    rows: Sequence[str] = ()


@dataclass(frozen=True)
class Follows:
    """What follows from a webhook: datasets that are due; a connection's new state, or a warning of it.

    `state` "active": it works again, and all of its streams are due. `remedy`: what the owner is to do. `erase`: the
    dataset from which the event's rows are erased at once, with their history: the vendor's word is an order here.
    """

    due: tuple[str, ...] = ()
    state: Literal["active", "reauth", "ending"] | None = None
    remedy: str = ""
    erase: str = ""


@dataclass(frozen=True)
class Webhooks:
    """How a vendor's webhooks are proven, and what follows from each. Header names come in lower case.

    `signature`: the header with the proof. `verify(headers, body, keys, now)` raises `WebhookRefused`, without a word
    of body or secret; `keys`: what stands in the app field `secret`, or, with `key_id`, the one public key it was
    signed with, as `ask_key` got it from the vendor.
    """

    signature: str
    verify: Callable[[Mapping[str, str], bytes, Sequence[str], datetime], WebhookEvent]
    events: Mapping[str, Follows]
    secret: str = ""
    key_id: Callable[[Mapping[str, str], bytes], str] | None = None
    ask_key: Callable[[Http, str], Awaitable[str]] | None = None


@dataclass(frozen=True)
class LinkOrder:
    """What a vendor's own page is opened for: a new login of a user, or with `repair` an old one that stopped working.

    `products`: what the login must give, `if_supported`: what it shall give where the institution has it; both are the
    vendor's words. `host`: at which of its addresses, by name.
    """

    tenant: str
    products: Sequence[str] = ()
    if_supported: Sequence[str] = ()
    application: str = "fin_infra"
    countries: Sequence[str] = ("US",)
    language: str = "en"
    webhook: str | None = None
    repair: bool = False
    host: str = ""


@dataclass(frozen=True)
class Linking:
    """How a credential comes of a vendor's own page, where users log in there.

    `start`: the token that opens the page, None where the page is opened without one; `exchange`: the credential for
    the one-time token that the page gives, a field `once` whose values begin with `begins`; `forget` tells the vendor
    that the credential is not used any more.
    """

    start: Callable[[Http, LinkOrder], Awaitable[str]] | None
    exchange: Callable[[Acting, str], Awaitable[dict[str, str]]]
    forget: Callable[[Http], Awaitable[None]]
    once: str
    begins: str
    products: tuple[str, ...] = ()


@dataclass(frozen=True)
class Found:
    """One answer to a lookup. `symbol`: the vendor's own spelling or id; `instrument`: our key of it, where there is
    one; `more`: what else the vendor says of it, in its words."""

    symbol: str
    name: str = ""
    instrument: str | None = None
    more: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Lookup:
    """Reference data that is looked up by a word and hardly changes: symbols, coins, institutions.

    `ask(http, word)` gives what the vendor finds; with `whole` its full list, whatever the word, in which we search
    ourselves. `keep`: how long an answer is kept, and not asked for again.
    """

    ask: Callable[[Http, str], Awaitable[Sequence[Found]]]
    keep: timedelta = timedelta(days=1)
    whole: bool = False


def nobody(secrets: Mapping[str, str]) -> httpx.Auth:
    """No credential at all."""
    return httpx.Auth()


def anything(secrets: Mapping[str, str]) -> str | None:
    """Nothing is known of how these secrets look."""
    return None


def untold(reply: Reply) -> bool | None:
    """The vendor does not say whether the same request may succeed."""
    return None


def one_address(secrets: Mapping[str, str]) -> str | None:
    """The vendor's address is the same for all."""
    return None


@dataclass(frozen=True)
class Provider:
    """A vendor: name, address, credentials, refusals and sources. Data, not behaviour.

    `hosts`: its other addresses, by name; `home`: which of them stands for `base_url` with these secrets ("" none).
    `body_secrets`: secrets that travel in the body of a POST; `app_headers`: headers made of the application's fields.
    `signed(secrets, app_fields, now)`: in place of `auth`, where that takes the application's fields too, or the time.
    `own_address`: the address that a credential brings with it. `fault`: why secrets cannot be right, in words that do
    not tell them, None if they may be. `again`: whether an answer that refuses says itself that the same request may
    succeed later (True) or will not (False), whatever the table of refusals says. `probe`: the cheapest call that
    proves a credential; what it tells, for people. `lookups`: by what is looked up: symbols, coins, institutions.
    `terms`: what the vendor's terms ask of who uses it; `opt_in`: so much that it is off until
    `FIN_INFRA_<VENDOR>_ENABLED=1` says that they were read. `ordering`: how orders are placed there.
    """

    name: str
    title: str
    base_url: str
    domains: Mapping[str, tuple[str, ...]]
    auth: Callable[[Mapping[str, str]], httpx.Auth]
    secrets: tuple[Field, ...]
    refusals: tuple[Refusal, ...]
    refusal_word: Callable[[bytes], str | None]
    sources: tuple[Source, ...]
    app_fields: tuple[Field, ...] = ()
    headers: Mapping[str, str] = field(default_factory=dict)
    hosts: Mapping[str, str] = field(default_factory=dict)
    home: Callable[[Mapping[str, str]], str] = lambda secrets: ""
    body_secrets: tuple[str, ...] = ()
    app_headers: Callable[[Mapping[str, str]], Mapping[str, str]] = lambda fields: {}
    attribution: str = ""
    facts: Sequence[str] = ()
    webhooks: Webhooks | None = None
    linking: Linking | None = None
    quota: VendorQuota | None = None
    signed: Callable[[Mapping[str, str], Mapping[str, str], Callable[[], datetime]], httpx.Auth] | None = None
    own_address: Callable[[Mapping[str, str]], str | None] = one_address
    fault: Callable[[Mapping[str, str]], str | None] = anything
    again: Callable[[Reply], bool | None] = untold
    probe: Callable[[Acting], Awaitable[str]] | None = None
    lookups: Mapping[str, Lookup] = field(default_factory=dict)
    terms: Sequence[str] = ()
    opt_in: bool = False
    ordering: Ordering | None = None

    @property
    def datasets(self) -> tuple[str, ...]:
        return tuple(name for source in self.sources for name in source.datasets)

    def quota_key(self, secrets: Mapping[str, str]) -> str:
        """Whose quota calls with these secrets spend: `plaid/app`, or a name made of the credential that does not tell
        it. Two connections with one credential share its quota, and so do all at a home with a plan of its own."""
        home = self.home(secrets)
        if self.quota is not None and any(plan.name == home for plan in self.quota.plans):
            return f"{self.name}/{home}"
        if self.quota is None or self.quota.holder == "application" or not self.secrets:
            return f"{self.name}/app"
        fields = [field for field in self.secrets if field.required] or self.secrets
        told = "\0".join(secrets.get(field.name, "") for field in fields)
        return f"{self.name}/{hashlib.sha256(told.encode()).hexdigest()[:16]}"

    def address(self, host: str) -> str:
        """The vendor's own address of a host."""
        return self.hosts[host] if host else self.base_url

    def source(self, dataset: str) -> Source | None:
        return next((s for s in self.sources if dataset in s.datasets), None)


# -- exact JSON ----------------------------------------------------------------------------------------------------


def exact_json(body: bytes) -> Any:
    """JSON whose numbers stay text until one vectorised cast; as floats they lose every digit after the 17th.

    Raises `WireError` when the body is no JSON.
    """
    try:
        return json.loads(body, parse_float=str, parse_int=str, parse_constant=_refuse_constant)
    except (ValueError, RecursionError):
        kind = "is empty" if not body.strip() else "is not whole JSON"
        raise WireError(
            f"the answer {kind} ({len(body)} bytes); the vendor's contract is broken or something between us cut it",
            evidence=body,
        ) from None


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is no number")


def checked(adapter: TypeAdapter[T], value: Any, body: bytes) -> T:
    """The value in the vendor's shape. Raises `WireError` that names the place, never the value."""
    try:
        return adapter.validate_python(value)
    except ValidationError as error:
        first = error.errors(include_input=False, include_url=False, include_context=False)[0]
        place = ".".join(str(part) for part in first["loc"]) or "the body"
        raise WireError(
            f"an answer without its documented shape: {place}: {first['msg'].lower()}", evidence=body
        ) from None
