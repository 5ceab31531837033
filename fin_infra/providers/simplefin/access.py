"""Access URLs and setup tokens: what is secret in them, and whom they may lead to. Pure.

An access URL is address and credential in one: `https://user:password@host/simplefin`. A setup token is a claim URL in
base64, and whoever posts to it first gets the access URL. Both come from outside and say where requests go, so they are
held to https and to public hosts.
"""

from __future__ import annotations

import base64
import binascii
import ipaddress
import re
from collections.abc import Generator, Mapping
from typing import NamedTuple
from urllib.parse import SplitResult, unquote, urlsplit

import httpx

SERVER = "x-simplefin-server"
"""A header put on each answer here: the host that gave it. Ids of accounts are unique only within one."""
_PRIVATE_NAMES = ("localhost", ".localhost", ".local", ".internal", ".lan", ".home.arpa")


class Claim(NamedTuple):
    """Where a setup token is claimed: the address, the path, and its last part, which is the secret."""

    address: str
    path: str
    secret: str


class AccessAuth(httpx.Auth):
    """HTTP Basic with what stands in the access URL; each answer is marked with the host that gave it."""

    def __init__(self, access_url: str) -> None:
        split = _split(access_url)
        user, password = (unquote(part or "") for part in (split.username, split.password))
        self._header = "Basic " + base64.b64encode(f"{user}:{password}".encode()).decode()
        self._server = split.hostname or ""

    def auth_flow(self, request: httpx.Request) -> Generator[httpx.Request, httpx.Response, None]:
        request.headers["Authorization"] = self._header
        response = yield request
        response.headers[SERVER] = self._server


def auth(secrets: Mapping[str, str]) -> httpx.Auth:
    """The access URL's credentials; none while a setup token is claimed, for they are not known yet."""
    url = secrets.get("access_url", "").strip()
    return AccessAuth(url) if url and _fault_of(url) is None else httpx.Auth()


def own_address(secrets: Mapping[str, str]) -> str | None:
    """The access URL without its credentials, or the host where the setup token is claimed. None where neither may be
    asked."""
    if url := secrets.get("access_url", "").strip():
        return None if fault(secrets) is not None else _address(_split(url))
    token = secrets.get("setup_token", "").strip()
    found = claim_of(token) if token and claim_fault(token) is None else None
    return found.address if found else None


def fault(secrets: Mapping[str, str]) -> str | None:
    """Why an access URL cannot be right, without a word of it."""
    url = secrets.get("access_url", "").strip()
    if (wrong := _fault_of(url)) is not None:
        return f"the access URL {wrong}"
    split = _split(url)
    if not split.username or not split.password:
        return "the access URL has no user and password in it; take it as the claim gave it"
    return None


def claim_fault(token: str) -> str | None:
    """Why a setup token cannot be right, without a word of it."""
    url = _decoded(token)
    if url is None:
        return "it is no base64 of an address; copy the whole setup token anew"
    return None if (wrong := _fault_of(url)) is None else f"the claim URL in it {wrong}"


def claim_of(token: str) -> Claim:
    """Where a setup token without a fault is claimed."""
    split = _split(_decoded(token) or "")
    return Claim(_address(split._replace(path="", query="")), split.path, split.path.rpartition("/")[2])


def _decoded(token: str) -> str | None:
    compact = re.sub(r"\s", "", token)
    try:
        url = base64.b64decode(compact + "=" * (-len(compact) % 4), validate=True).decode("ascii")
    except (binascii.Error, ValueError):
        return None
    return url.strip() if re.match(r"https?://", url.strip()) else None


def _fault_of(url: str) -> str | None:
    """What is wrong with where it leads. A name is not resolved: what its owner lets it point to is not seen here."""
    try:
        split = _split(url)
        host, _ = (split.hostname or "").rstrip("."), split.port
    except ValueError:
        return "is no address"
    if split.scheme not in ("https", "http") or not host:
        return "does not begin with https:// and a host"
    if split.query or split.fragment or re.search(r"[\s\x00-\x1f\\]", url):
        return "has more in it than an address"
    if split.scheme == "http":
        return None if _is_loopback(host) else "is not https: its credentials would travel in clear"
    return None if _is_public(host) else "leads into a private network"


def _split(url: str) -> SplitResult:
    return urlsplit(url)


def _address(split: SplitResult) -> str:
    """Scheme, host, port and path, without user and password."""
    host = f"[{split.hostname}]" if ":" in (split.hostname or "") else split.hostname or ""
    port = f":{split.port}" if split.port else ""
    return f"{split.scheme}://{host}{port}{split.path.rstrip('/')}"


def _is_loopback(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _is_public(host: str) -> bool:
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        # 127.1 and 0x7f000001 are numbers to a resolver, though no addresses by the book
        named = "." in host and re.search(r"[a-z]", host.rpartition(".")[2]) is not None
        return named and not re.match(r"0x", host.rpartition(".")[2]) and not f".{host}".endswith(_PRIVATE_NAMES)
    mapped = getattr(address, "ipv4_mapped", None)
    return (mapped or address).is_global and not address.is_multicast
