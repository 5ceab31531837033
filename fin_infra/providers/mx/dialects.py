"""How a request is completed by the credential: whose user, which login, which version of the interface.

The client asks in one language: `/users/~/accounts`, days as `2026-11-24`, investments as `holdings`. Who signs the
request knows the credential, and says it as that version wants it.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Mapping
from datetime import UTC, date, datetime, time
from urllib.parse import quote, urlencode

import httpx

CURRENT, LEGACY = "v20250224", "v20111101"
VERSIONS = (CURRENT, LEGACY)
USER = "/users/~/"
OF_A_MEMBER = frozenset({"accounts", "holdings"})
"""What is listed below a member just as below its user."""
DAYS = ("from_date", "to_date", "from_updated_at")


class Spoken(httpx.Auth):
    """HTTP Basic of the application, the user in the path, the version in a header, days as it spells them."""

    def __init__(self, client_id: str, api_key: str, user: str, member: str, version: str) -> None:
        self._basic = httpx.BasicAuth(client_id, api_key)
        self._user = user
        self._member = member
        self._version = version

    def auth_flow(self, request: httpx.Request) -> Generator[httpx.Request, httpx.Response, None]:
        path, _, query = request.url.raw_path.decode("ascii").partition("?")
        params = {name: spelled(name, value, self._version) for name, value in httpx.QueryParams(query).items()}
        path = addressed(path, self._user, self._member, self._version)
        request.url = request.url.copy_with(raw_path=(path + ("?" + urlencode(params) if params else "")).encode())
        if self._version == CURRENT:
            request.headers["Accept-Version"] = CURRENT
            request.headers["Accept"] = "application/json"
        else:
            request.headers["Accept"] = "application/vnd.mx.api.v1+json"
        yield from self._basic.auth_flow(request)


def addressed(path: str, user: str, member: str, version: str) -> str:
    """The path with the user in it, below the one login where there is one."""
    before, marked, rest = path.partition(USER)
    if not marked:
        return path
    own = f"/members/{quote(member, safe='')}" if member else ""
    where = f"{before}/users/{quote(user, safe='')}"
    if rest == "members":
        return where + (own or "/members")
    name = "investment_holdings" if rest == "holdings" and version == CURRENT else rest
    return f"{where}{own if rest in OF_A_MEMBER else ''}/{name}"


def spelled(name: str, value: str, version: str) -> str:
    """A day as the version wants it: seconds since 1970, of its beginning in UTC, or as it is."""
    if name not in DAYS or version != CURRENT:
        return value
    return str(int(datetime.combine(date.fromisoformat(value), time(), UTC).timestamp()))


def signed(secrets: Mapping[str, str], app_fields: Mapping[str, str], now: Callable[[], datetime]) -> httpx.Auth:
    """The application's key proves who asks; the user and its login only say of whom."""
    return Spoken(
        app_fields["client_id"], app_fields["api_key"], secrets["user_guid"], secrets.get("member_guid", ""),
        secrets.get("api_version") or CURRENT,
    )  # fmt: skip
