"""How a chunk's questions reach the vendor: an answer that an earlier attempt paid for is not asked for again.

The engine need not know how a vendor's pages lead on. A client asks the same first question again, is given the answer
that was kept, and comes by itself to the first question that was not answered yet.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any, NoReturn

from fin_infra.connections import Vault
from fin_infra.providers.base import Ask, Http, Provider, Reply, Source, Want
from fin_infra.store import StagedPage

KEPT_FOR = timedelta(days=7)
"""How old an answer about days long past may be. A chunk may wait long for its next call where few are permitted."""


class Remembering:
    """An `Http` that knows answers. `asked`: the newest question and its answer, None where it was known before."""

    def __init__(self, http: Http, kept: Mapping[str, Reply]) -> None:
        self._http = http
        self._kept = dict(kept)
        self.replayed = 0
        self.asked: tuple[str, Reply] | None = None

    async def get(
        self, path: str, params: Mapping[str, Any] | None = None, *, host: str = "", account: str = ""
    ) -> Reply:  # fmt: skip
        key = question("GET", host, path, params)
        if (known := self._known(key)) is None:
            known = await self._http.get(path, params, host=host, account=account)
            self.asked = key, known
        return known

    async def post(self, path: str, body: Mapping[str, Any], *, host: str = "", account: str = "") -> Reply:
        key = question("POST", host, path, body)
        if (known := self._known(key)) is None:
            known = await self._http.post(path, body, host=host, account=account)
            self.asked = key, known
        return known

    def _known(self, key: str) -> Reply | None:
        self.asked = None
        reply = self._kept.get(key)
        self.replayed += reply is not None
        return reply


def question(method: str, host: str, path: str, said: Mapping[str, Any] | None) -> str:
    """The same for the same question."""
    told = json.dumps([method, host, path, sorted((said or {}).items())], default=str)
    return hashlib.sha256(told.encode()).hexdigest()[:32]


def restored(pages: Sequence[StagedPage], vault: Vault, now: datetime) -> dict[str, Reply]:
    """The answers that were kept, by question."""
    return {
        page.subject: Reply(page.status, {}, vault.unseal(page.body), page.staged_at)
        for page in pages
        if now - page.staged_at <= KEPT_FOR
    }


def staged(key: str, reply: Reply, vault: Vault) -> StagedPage:
    """An answer as it is kept."""
    return StagedPage(key, 1, "-", reply.status, vault.seal(reply.body), reply.at)


# -- what would be asked -----------------------------------------------------------------------------------------------


class _Caught(Exception):
    def __init__(self, host: str, path: str, *, words: bool) -> None:
        super().__init__(path)
        self.place = host, path, words


class _Catching:
    """An `Http` that sends nothing."""

    async def get(
        self, path: str, params: Mapping[str, Any] | None = None, *, host: str = "", account: str = ""
    ) -> NoReturn:  # fmt: skip
        raise _Caught(host, path, words=False)

    async def post(self, path: str, body: Mapping[str, Any], *, host: str = "", account: str = "") -> NoReturn:
        raise _Caught(host, path, words=True)


async def first_question(
    provider: Provider, source: Source, wants: Sequence[Want], at: datetime
) -> tuple[str, str, bool]:  # fmt: skip
    """Host and path that a client would ask first, and whether the path is in words alone. Nothing is sent."""
    ask = Ask(provider.name, "", "", "", at, wants=wants)
    try:
        async for _ in source.fetch(_Catching(), ask):
            break
    except _Caught as caught:
        return caught.place
    return "", "", False
