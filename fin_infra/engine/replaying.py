"""Recorded answers through the same classification, parsing and frames as live ones: no network, no store."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime
from email.utils import parsedate_to_datetime
from typing import Any

import polars as pl

from fin_infra.datasets.base import Built, Reject
from fin_infra.engine import intraday
from fin_infra.engine.series import judged_alone, shape_of
from fin_infra.errors import UsageError
from fin_infra.providers.base import Account, Ask, Feed, Provider, Reply, Source, Want
from fin_infra.providers.transport import refusal


@dataclass(frozen=True)
class Recorded:
    """One recorded answer."""

    body: bytes
    status: int = 200
    headers: Mapping[str, str] | None = None


@dataclass(frozen=True)
class Replayed(Built):
    """Rows of the answers; `announced`: the last one says that there is a page behind it, which was not given."""

    announced: bool = False


EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
CONTEXT_KEYS = ("status", "account_id", "account_kind", "currency", "instrument", "interval", "at", "from", "until")


def replay(provider: Provider, dataset: str, answers: Sequence[Recorded], context: Mapping[str, str]) -> Replayed:
    """Rows of recorded answers, which are pages of one, in order.

    Bars are judged as they are in a sync: rows outside `from` and `until` or on days without a session are set aside.
    Raises the error an answer stands for, and `UsageError` when the context does not say what the frame needs.
    """
    source = provider.source(dataset)
    if source is None:
        raise UsageError(f"{provider.name} has no {dataset}; it has: {', '.join(provider.datasets)}")
    feed = source.feed(dataset)
    headers = {k.removeprefix("header.").lower(): v for k, v in context.items() if k.startswith("header.")}
    pages: list[tuple[Any, datetime]] = []
    for answer in answers:
        sent = {**{k.lower(): v for k, v in (answer.headers or {}).items()}, **headers}
        at = _moment(context, sent)
        reply = Reply(int(context.get("status", answer.status)), sent, answer.body, at)
        if (error := refusal(provider, reply)) is not None:
            raise error
        pages.append((feed.parse(reply.body), at))
    ask = Ask(
        provider.name, "replay", "replay", "replay", pages[-1][1], any_account="account_id" not in context,
        wants=_wants(source, context),
    )  # fmt: skip
    account = _account(source, feed, pages, context)
    built = _folded(feed, pages, ask, account) if source.kind == "cursor" else feed.frames(pages, ask, account)
    if source.series is not None and source.kind == "series":
        first, last = _day(context, "from"), _day(context, "until")
        if source.series.intervals:
            built = intraday.judged_alone(built, source.series, first, last)
        else:
            built = judged_alone(built, source.series, first, last, shape_of(source))
    announced = bool(getattr(pages[-1][0], "next_page_token", None))
    return Replayed(built.good, built.rejects, built.differing, announced)


def _folded(feed: Feed, pages: Sequence[tuple[Any, datetime]], ask: Ask, account: Account | None) -> Built:
    """What is left after all pages of a cursor stream: a later version replaces an earlier, a removed row is gone."""
    row_id = feed.schema.key()[-1]
    good = feed.schema.empty()
    rejects: list[Reject] = []
    differing: list[tuple[str, ...]] = []
    for page in pages:
        built = feed.frames([page], ask, account)
        good = pl.concat([good, built.good]).unique(feed.schema.key(), keep="last", maintain_order=True)
        if feed.removed is not None:
            good = good.filter(~pl.col(row_id).is_in(list(feed.removed(page[0]))))
        rejects += built.rejects
        differing += built.differing
    return Built(good, tuple(rejects), tuple(differing))


def _wants(source: Source, context: Mapping[str, str]) -> Sequence[Want]:
    """The instrument that the context names, and the interval, of answers that do not say what they are about."""
    if source.series is None or not {"instrument", "interval"} & context.keys():
        return ()
    name, interval = context.get("instrument", ""), context.get("interval", "")
    if not source.series.intervals:
        interval = ""  # days have none, whatever is said of an answer
    elif interval and interval not in source.series.intervals:
        known = ", ".join(source.series.intervals)
        raise UsageError(f"context interval={interval!r} is none that is synced; there are: {known}")
    first, last = _day(context, "from") or date.min, _day(context, "until") or date.max
    return (Want(name, source.series.ticker(name) or "", first, last, interval),)


def _day(context: Mapping[str, str], key: str) -> date | None:
    try:
        return date.fromisoformat(context[key]) if key in context else None
    except ValueError:
        raise UsageError(f"context {key}={context[key]!r} is no day; write 2026-11-24") from None


def _account(
    source: Source, feed: Feed, pages: Sequence[tuple[Any, datetime]], context: Mapping[str, str]
) -> Account | None:
    """Whose rows these are: from the context, else from the answer itself."""
    if feed.schema.dataset_name() == "accounts" or "account_id" not in feed.schema.dtypes():
        return None
    kind = context.get("account_kind", source.account_kind)
    if feed.tells_accounts:
        if "account_id" not in context:
            return None
        kind = kind or "other"
    if kind is None:
        raise UsageError("the sign of amounts depends on the account: --context account_kind=depository or credit")
    account_id = context.get("account_id") or _named_account(pages) or "account"
    return Account(account_id, account_id, kind, context.get("currency"))


def _named_account(pages: Sequence[tuple[Any, datetime]]) -> str | None:
    for value, _ in pages:
        first = value[0] if isinstance(value, list) and value else value
        found = first.get("account_id") if isinstance(first, dict) else getattr(first, "account_id", None)
        if isinstance(found, str):
            return found
    return None


def _moment(context: Mapping[str, str], headers: Mapping[str, str]) -> datetime:
    """When the answer came: the context's `at`, else its own Date header, else 1970: never today's clock."""
    if "at" in context:
        try:
            moment = datetime.fromisoformat(context["at"])
        except ValueError:
            raise UsageError(f"context at={context['at']!r} is no instant; write 2026-11-24T12:00:00Z") from None
        return moment.astimezone(UTC) if moment.tzinfo else moment.replace(tzinfo=UTC)
    if "date" in headers:
        try:
            return parsedate_to_datetime(headers["date"]).astimezone(UTC)
        except (ValueError, OverflowError):
            return EPOCH
    return EPOCH
