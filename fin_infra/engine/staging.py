"""Pages that were paid for and not yet applied: a killed or deferred run does not ask for them again."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

from fin_infra.connections import Vault
from fin_infra.engine.run import Run
from fin_infra.providers.base import Page
from fin_infra.store import Cursor, StagedPage, Store

STAGED_FOR = timedelta(hours=6)  # a page older than this is asked for again rather than trusted
STAGE_EVERY = timedelta(seconds=2)
WHOLE = ""
"""Stands for the subject of a cursor stream's pages, which are about the whole connection."""
ANEW = "*"
"""The same of a pass from the very beginning: it goes on as one, or what is missing in it would never be noticed."""


def stage(run: Run, page: Page) -> None:
    """A page that is not the last waits to be written: see `due`."""
    of_all = page.account is None and run.source.kind == "cursor"
    if page.reply is None or page.position is None or not (page.account or of_all):
        return
    n, reply = len(run.pages[page.dataset, page.subject]), page.reply
    of_pass = ANEW if run.whole else WHOLE
    run.unstaged.append(StagedPage(page.subject or of_pass, n, page.position, reply.status, reply.body, reply.at))


def due(run: Run, now: datetime) -> bool:
    """Whether asking takes so long that a kill would cost something. A quick run stages nothing at all."""
    return bool(run.unstaged) and now - run.staged_at >= STAGE_EVERY


def keep(run: Run, cursor: Cursor, store: Store, vault: Vault, now: datetime) -> None:
    """Seals and writes what waits. A killed run pays again for the last seconds at most, a deferred one for nothing."""
    pages, run.unstaged = run.unstaged, []
    run.staged_at = now
    if pages:
        sealed = [replace(page, body=vault.seal(page.body)) for page in pages]
        store.stage_pages(run.stream, cursor.generation, sealed)


def restore(
    run: Run, kept: Sequence[StagedPage], vault: Vault, waited_until: datetime | None = None
) -> dict[str, str]:  # fmt: skip
    """Puts the pages of an earlier attempt first. Where each account goes on.

    `waited_until`: the stream was put off until then, so no page is older than that: with a window of a day or a month
    its next page could not come sooner.
    """
    resume: dict[str, str] = {}
    lead = run.source.lead
    passes = (ANEW,) if any(staged.subject == ANEW for staged in kept) else (WHOLE,)  # never pages of both
    for staged in kept:
        of_all = run.source.kind == "cursor" and staged.subject in passes
        account, subject = run.accounts.get(staged.subject), None if of_all else staged.subject
        pages = run.pages.get((lead, subject), [])
        unknown = account is None and subject is not None
        since = max(staged.staged_at, min(waited_until or staged.staged_at, run.started_at))
        if unknown or run.started_at - since > STAGED_FOR or staged.n != len(pages) + 1:
            continue
        value = run.source.feed(lead).parse(vault.unseal(staged.body))
        page = Page(lead, account=account, position=staged.position, value=Restored(value, staged.staged_at))
        run.pages.setdefault((lead, subject), []).append(page)
        resume[staged.subject] = staged.position
    return resume


class Restored(tuple[Any, datetime]):
    """A parsed body and when its answer came."""

    def __new__(cls, value: Any, at: datetime) -> Restored:
        return super().__new__(cls, (value, at))
