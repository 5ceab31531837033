"""How a request to SnapTrade is signed, and a webhook of its proven: HMAC-SHA256 over JSON with sorted keys.

Facts: https://docs.snaptrade.com/docs/request-signatures
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
from collections.abc import Callable, Generator, Mapping
from datetime import datetime
from typing import Any
from urllib.parse import urlencode

import httpx


def canonical(value: Any) -> bytes:
    """The JSON that is signed: keys sorted, no blanks, everything beyond ASCII escaped."""
    return json.dumps(value, separators=(",", ":"), sort_keys=True).encode()


def proof(consumer_key: str, message: bytes) -> str:
    """The HMAC in base64."""
    return base64.b64encode(hmac.new(consumer_key.encode(), message, hashlib.sha256).digest()).decode()


def signature(consumer_key: str, path: str, query: str, content: Any = None) -> str:
    """What the header `Signature` must be. `path` and `query` are the very characters of the request line.

    `content`: the parsed JSON body; an empty one counts as none.
    """
    return proof(consumer_key, canonical({"content": content or None, "path": path, "query": query}))


class Signed(httpx.Auth):
    """Adds who asks, for which user and when to the query, and signs what then stands in the request line.

    Each request is stamped anew: a second try of an old one would be refused.
    """

    requires_request_body = True

    def __init__(
        self, client_id: str, consumer_key: str, user: Mapping[str, str], now: Callable[[], datetime]
    ) -> None:  # fmt: skip
        self._client_id = client_id
        self._consumer_key = consumer_key
        self._user = dict(user)
        self._now = now

    def auth_flow(self, request: httpx.Request) -> Generator[httpx.Request, httpx.Response, None]:
        who = {"clientId": self._client_id, "timestamp": str(int(self._now().timestamp())), **self._user}
        query = b"&".join(part for part in (request.url.query, urlencode(who).encode()) if part)
        request.url = request.url.copy_with(query=query)
        path, _, sent = request.url.raw_path.decode("ascii").partition("?")
        content = json.loads(request.content) if request.content else None
        request.headers["Signature"] = signature(self._consumer_key, path, sent, content)
        yield request


def signed(secrets: Mapping[str, str], app_fields: Mapping[str, str], now: Callable[[], datetime]) -> httpx.Auth:
    """The application signs with its key, with the first of two while it is changed; the user is named in the query."""
    user = {"userId": secrets["user_id"], "userSecret": secrets["user_secret"]}
    return Signed(app_fields["client_id"], app_fields["consumer_key"].partition(",")[0].strip(), user, now)
