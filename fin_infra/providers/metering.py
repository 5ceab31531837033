"""The meter inside the transport: each call is the ledger's, in all windows that the vendor's plan counts it in.

`Quotas` says which windows those are: the declared plan, what the settings put in its place, and the pace. `QuotaMeter`
asks the ledger before each call and tells it what became of it; a refusal of the vendor's blocks the windows it speaks
of for everyone who shares them, in every process, and takes a tenth off their limits.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from fin_infra.errors import QuotaError, StoreError, UsageError
from fin_infra.providers import declared, names
from fin_infra.providers.base import Provider, Reply
from fin_infra.providers.transport import Call, Sent
from fin_infra.quotas.declared import UNCOUNTED, UNDECLARED, Plan, Seen, Throttle
from fin_infra.quotas.headers import retry_after, wait_told
from fin_infra.quotas.ledger import Denied, Grant, Ledger
from fin_infra.quotas.overrides import overridden, overrides
from fin_infra.quotas.windows import SHORT, Calendar, Rolling, Spacing, Window, bound, paced

log = logging.getLogger("fin_infra.quotas")

SILENCE = timedelta(minutes=1)
"""An unreachable ledger is told once in so long."""
CLOSED = 5.0
"""Seconds until an unreachable ledger is asked again: no call is made without it."""
REMEMBERED = 8192
"""Calls whose bound windows are kept."""


class Quotas:
    """What every vendor permits, by this process's settings.

    `values`: the settings as `FIN_INFRA_ALPACA_PLAN` → `paid`, `FIN_INFRA_ALPACA_QUOTAS` → `trading=1000/60s`.
    """

    def __init__(self, values: Mapping[str, str] | None = None) -> None:
        self._values = values or {}
        self._windows: dict[tuple[str, str], tuple[Window, ...]] = {}

    def plan(self, provider: Provider | str, quota_key: str) -> Plan:
        """The declared plan of a key: its home's own, else the one that the settings name, else the first.

        Raises `UsageError` naming the variable when the vendor has no such plan.
        """
        found = _provider(provider)
        plans = (found.quota or UNDECLARED).plans
        home = quota_key.partition("/")[2]
        variable = _variable(found, "plan")
        chosen = self._values.get(variable, "").strip()
        for plan in plans:
            if plan.name == home:
                return plan
        if not chosen:
            return plans[0]
        for plan in plans:
            if plan.name == chosen:
                return plan
        raise UsageError(
            f"{variable}: {found.name} has no plan {chosen!r}; there are: {', '.join(plan.name for plan in plans)}"
        )

    def check(self) -> None:
        """Raises `UsageError` naming the first setting of a plan or of limits that is wrong, of any vendor."""
        for name in names():
            self.windows(name, f"{name}/app")

    def windows(self, provider: Provider | str, quota_key: str) -> tuple[Window, ...]:
        """The windows of a key's plan as they are planned with, unbound: declared, overridden and paced.

        Raises `UsageError` naming the variable of a setting that is wrong.
        """
        found = _provider(provider)
        known = self._windows.get((found.name, quota_key))
        if known is None:
            variable = _variable(found, "quotas")
            changes = overrides(self._values.get(variable, ""), variable)
            known = paced(overridden(self.plan(found, quota_key).windows, changes, quota_key))
            self._windows[found.name, quota_key] = known
        return known


def _provider(provider: Provider | str) -> Provider:
    return declared(provider) if isinstance(provider, str) else provider


def _variable(provider: Provider, field: str) -> str:
    return f"FIN_INFRA_{provider.name.replace('.', '_')}_{field}".upper()


@dataclass(frozen=True)
class Granted:
    """A call that may be made."""

    call: Call
    grant: Grant


class QuotaMeter:
    """The transport's `Meter` over a ledger. `ledger`: it, or what opens it when the first call is made."""

    def __init__(
        self, ledger: Ledger | Callable[[], Ledger], quotas: Quotas, now: Callable[[], datetime]
    ) -> None:  # fmt: skip
        self._opened = ledger if callable(ledger) else lambda: ledger
        self._quotas = quotas
        self._now = now
        self._told: datetime | None = None
        self._bound: dict[tuple[str, str, str, str], tuple[Window, ...]] = {}

    async def acquire(self, call: Call) -> Granted:
        """Raises `QuotaError` with the exact time when a window denies it, or the ledger cannot be reached."""
        quota = call.provider.quota or UNDECLARED
        endpoint = quota.named(call.host, call.endpoint)
        windows, cost = self._windows(call, endpoint), quota.costs.get(endpoint, 1)
        try:
            answer = self._opened().acquire(windows, cost, lane=call.lane)
        except StoreError as error:
            self._unreachable(error)
            raise self._denied(
                call, Denied(CLOSED, self._now() + timedelta(seconds=CLOSED), None, "unreachable")
            ) from None
        if isinstance(answer, Denied):
            raise self._denied(call, answer)
        return Granted(call, answer)

    async def settle(self, grant: object, sent: Sent) -> float | None:
        """Tells the ledger what became of a call. A refusal because of a limit: the seconds that all wait for it."""
        assert isinstance(grant, Granted)
        try:
            return self._settled(grant.call, grant.grant, sent)
        except StoreError as error:  # the answer is here and good; its unit comes back a little later
            self._unreachable(error)
            return None

    def _settled(self, call: Call, grant: Grant, sent: Sent) -> float | None:
        ledger, reply = self._opened(), sent.reply
        if not sent.left:
            ledger.cancel(grant)
            return None
        good = reply is not None and reply.status == 200 and sent.refused is None
        ledger.settle(grant, written=sent.written, success=good)
        if reply is None:
            return None
        quota = call.provider.quota or UNDECLARED
        answer = (reply.status, reply.headers, reply.body, reply.at)
        for seen in quota.seen(answer):
            if (window := _seen_of(grant.windows, seen)) is not None:
                ledger.observe(grant, window, seen.remaining, seen.reset, seen.limit)
        if isinstance(sent.refused, QuotaError):
            return self._throttled(call, grant, reply, sent.refused, quota.throttle(answer))
        told = retry_after(reply.headers, reply.at) if reply.status == 503 else None
        if told and getattr(sent.refused, "vendor_wide", False):  # down for all, and it says until when
            ledger.penalize(met(grant.windows, Throttle(), told), reply.at + timedelta(seconds=told))
        return None

    def _throttled(self, call: Call, grant: Grant, reply: Reply, refused: QuotaError, throttle: Throttle) -> float:
        """The vendor met a limit: whoever shares the windows waits, their limits go down, and it is told."""
        ledger = self._opened()
        told = wait_told(reply.headers, reply.at)
        told = told or (throttle.wait if throttle.wait is not None else told)  # "0" says no more than nothing
        windows = met(grant.windows, throttle, refused.retry_after if told is None else told)
        wait = refused.retry_after if told is None else told
        if told is None and throttle.windows and not any(_short(window) for window in windows):
            for window in windows:  # "no more today": all of it is spent, by whomever
                ledger.observe(grant, window, 0)
            wait = max(wait, *(self._free_in(ledger, window, reply.at) for window in windows))
        stopped = {window.key: window for window in (*windows, *self._everywhere(call, throttle))}
        ledger.penalize(list(stopped.values()), reply.at + timedelta(seconds=wait))
        ledger.throttled(grant, windows)
        log.warning(
            "%s refused %s because of a limit (%s), nobody who shares it asks for %.0f s: %s",
            call.provider.name, call.endpoint, reply.status, wait, "; ".join(_state(ledger, windows)),
        )  # fmt: skip
        return wait

    def _everywhere(self, call: Call, throttle: Throttle) -> list[Window]:
        """Where a refusal is not of one endpoint: the windows of its scope at all of them."""
        if not throttle.everywhere:
            return []
        declared = self._quotas.windows(call.provider, call.holder)
        alike = [replace(window, endpoints=()) for window in declared if window.scope == throttle.scope]
        place = {"holder": call.holder, "connection": call.connection_id, "account": call.account}
        endpoints = {window.key: window.endpoints for window in declared}
        return [
            replace(window, endpoints=endpoints[_name(window)])
            for window in bound(alike, **place, endpoint="")
            if not isinstance(window, Spacing)
        ]

    def _free_in(self, ledger: Ledger, window: Window, at: datetime) -> float:
        found = [row["free_at"] or at for row in ledger.frame((window,)).iter_rows(named=True)]
        return max(((free - at).total_seconds() for free in found), default=0.0)

    def _windows(self, call: Call, endpoint: str) -> tuple[Window, ...]:
        key = (call.holder, call.connection_id, call.account, endpoint)
        windows = self._bound.get(key)
        if windows is None:
            if len(self._bound) > REMEMBERED:
                self._bound.clear()
            place = {"holder": call.holder, "connection": call.connection_id, "account": call.account}
            declared = self._quotas.windows(call.provider, call.holder)
            windows = bound(declared, **place, endpoint=endpoint) or bound((UNCOUNTED,), **place, endpoint=endpoint)
            self._bound[key] = windows
        return windows

    def _denied(self, call: Call, denied: Denied) -> QuotaError:
        return QuotaError(
            self._sentence(call, denied), code="quota_exhausted", retry_after=denied.eta, why=denied.why,
            window=None if denied.window is None else denied.window.key,
            scope=None if denied.window is None else denied.window.scope,
        )  # fmt: skip

    def _sentence(self, call: Call, denied: Denied) -> str:
        name, window = call.provider.name, denied.window
        if window is None:
            return (
                f"{name} is not asked while the quota ledger cannot be reached; check FIN_INFRA_QUOTA_URL, it is tried "
                "again"
            )
        upper = _variable(call.provider, "plan")
        reasons = {
            "full": f"{_all(window)} used; if your plan permits more, set {upper} or _QUOTAS",
            "blocked": f"it asked us to wait ({_name(window)}); it is asked again then",
            "hold": f"the next of {_size(window)} is for a more urgent call; it is asked then",
            "reserve": f"{self._left(window)} of {_size(window)} are left, and kept for urgent calls; it is asked then",
            "closed": f"{_name(window)} begins anew about now, and whose clock counts is not known; it is asked then",
            "pace": f"its calls are spread evenly ({_name(window)}); it is asked then",
        }
        at = denied.at + timedelta(seconds=1, microseconds=-1)  # a whole second, and none too early
        reason = reasons.get(denied.why, "no unit is left")
        return f"{name} is not asked before {at.isoformat(timespec='seconds').replace('+00:00', 'Z')}: {reason}"

    def _left(self, window: Window) -> str:
        try:
            return str(self._opened().capacity((window,), 0.0, lane="interactive"))
        except StoreError:
            return "some"

    def _unreachable(self, error: StoreError) -> None:
        now = self._now()
        if self._told is None or now - self._told >= SILENCE:
            self._told = now
            log.error("the quota ledger cannot be used, no vendor is asked until it can: %s", error.message)


def met(windows: Sequence[Window], throttle: Throttle, wait: float) -> Sequence[Rolling | Calendar]:
    """Which of a call's windows a refusal speaks of: those it names, else those of its scope that are as long as the
    wait: hours are a day's limit, seconds a minute's."""
    counting = [window for window in windows if not isinstance(window, Spacing)]
    named = [window for window in counting if _name(window) in throttle.windows]
    if named:
        return named
    scoped = [window for window in counting if window.scope == throttle.scope] or counting
    alike = [window for window in scoped if _short(window) == (wait <= SHORT)]
    return alike or scoped


def _seen_of(windows: Sequence[Window], seen: Seen) -> Window | None:
    """The window that an answer speaks of: by its name, or, without one, the one it must be."""
    counting = [window for window in windows if not isinstance(window, Spacing)]
    if seen.window:
        return next((window for window in counting if _name(window) == seen.window), None)
    if len(counting) > 1:
        alike = [window for window in counting if window.limit == seen.limit]
        counting = alike or [window for window in counting if window.scope == "key"]
    return counting[0] if len(counting) == 1 else None


def _name(window: Window) -> str:
    """Without whose it is: ids stay out of logs and messages."""
    return window.key.rpartition("#")[2]


def _short(window: Window) -> bool:
    return isinstance(window, Rolling) and window.period <= SHORT


def _all(window: Window) -> str:
    return f"{_size(window)} is" if getattr(window, "permitted", 1) == 1 else f"all {_size(window)} are"


def _size(window: Window) -> str:
    match window:
        case Rolling():
            return f"{_units(window.permitted)} in {span(window.period)} ({_name(window)})"
        case Calendar():
            return f"{_units(window.permitted)} of a {window.unit} ({_name(window)})"
        case Spacing():
            return f"one unit in {span(window.interval)} ({_name(window)})"


def _units(count: int) -> str:
    return f"{count} unit" if count == 1 else f"{count} units"


def span(seconds: float) -> str:
    """A length of time for people: 60 s, 24 h, 31 d."""
    for unit, length in (("d", 86400.0), ("h", 3600.0)):
        if seconds > length and seconds % length == 0:
            return f"{seconds / length:g} {unit}"
    return f"{seconds:g} s" if seconds != 86400.0 else "24 h"


def _state(ledger: Ledger, windows: Sequence[Window]) -> list[str]:
    """What the ledger knows of these windows, for the log of a refusal that it should have prevented."""
    keys = {window.key: _name(window) for window in windows}
    return [
        f"{keys[row['window']]} {row['used']} of {row['limit']} used, blocked until {row['blocked_until']}"
        for row in ledger.frame(windows).iter_rows(named=True)
    ]
