"""Windows in words: what is declared, how one stands now, and whose it is. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import datetime
from typing import Any, NamedTuple

from fin_infra.quotas.declared import Plan, VendorQuota
from fin_infra.quotas.ledger import Denied
from fin_infra.quotas.windows import Calendar, Rolling, Spacing, Window

Row = Mapping[str, Any]
"""One row of `Ledger.frame()`."""
SHOWN = 8  # digits of a key that are enough to tell it from another
SPANS = ((86400.0, "day"), (3600.0, "hour"), (60.0, "minute"), (1.0, "second"))
SCOPES = {
    "key": "",
    "connection": " of each connection",
    "account": " of each account",
    "endpoint": " of each endpoint",
}


class Place(NamedTuple):
    """Whose window a row of the ledger is: `alpaca`, `3f0c…`, below it a connection, an account or an endpoint."""

    provider: str
    key: str
    below: str
    window: str

    @property
    def short(self) -> str:
        """For people: a credential's name cut short; `app` is the application's own key."""
        below = f"/{self.below}" if self.below else ""
        return f"{self.key[:SHOWN]}{below}"


def place(name: str) -> Place:
    """The parts of a row's name, `plaid/app/con_0123/acc_1#minute`."""
    whose, _, window = name.rpartition("#")
    provider, _, rest = whose.partition("/")
    key, _, below = rest.partition("/")
    return Place(provider, key, below, window)


def period(seconds: float) -> str:
    """`60 seconds` as people say it: a minute, 2 hours, 31 days."""
    for length, word in SPANS:
        count = seconds / length
        if count >= 1 and count == int(count):
            return f"a{'n' if word == 'hour' else ''} {word}" if count == 1 else f"{int(count)} {word}s"
    return f"{seconds:g} seconds"


def declared(window: Window) -> str:
    """What a window permits, in one phrase."""
    whose = SCOPES[window.scope]
    what = f" ({', '.join(window.endpoints)})" if window.endpoints else ""
    match window:
        case Rolling():
            tail = ", refused calls not counted" if window.charge == "success" else ""
            return f"{units(window.limit)} in any {_bare(window.period)}{whose}{what}{tail}"
        case Calendar(unit="day"):
            return f"{units(window.limit)} a day, by the clock of {window.tz}{whose}{what}"
        case Calendar():
            since = "" if window.anchor == 1 else f" from day {window.anchor} on"
            return f"{units(window.limit)} a month{since}, by the clock of {window.tz}{whose}{what}"
        case Spacing():
            return f"one call every {window.interval:.3g} seconds{whose}{what}"


def plans(quota: VendorQuota | None, chosen: str = "") -> Iterator[str]:
    """A vendor's declared plans, a line each and one for each of their windows. `chosen`: the plan in force."""
    if quota is None:
        yield "quota: none is declared"
        return
    holder = "one key of the application" if quota.holder == "application" else "each credential"
    for plan in quota.plans:
        force = " (in force)" if plan.name == chosen else ""
        yield f"quota, plan {plan.name}{force}, counted by {holder}; read on {plan.read_on}: {plan.source}"
        for window in plan.windows:
            yield f"  {window.key}: {declared(window)}"
        if not plan.windows:
            yield "  nothing is published"


def units(count: int) -> str:
    return f"{count:,} call" if count == 1 else f"{count:,} calls"


def _bare(seconds: float) -> str:
    """`any minute`, `any 24 hours`: a rolling day is said in hours, or it would be taken for a day of the calendar."""
    if seconds == 86400.0:
        return "24 hours"
    return period(seconds).removeprefix("a ").removeprefix("an ")


# -- how a window stands -----------------------------------------------------------------------------------------------


def refusal(denied: Denied, row: Row | None) -> str:
    """Why there is no call now, as the clause of a sentence. `row`: of the window that denies, where it is recorded."""
    if denied.window is None or denied.why == "unreachable":
        return "the quota ledger cannot be read, so no call is made: fin-infra doctor says why"
    window, until = place(denied.window.key), at(denied.at)
    name = f"window {window.window} of {window.provider} {window.short}"
    used, limit = (row["used"], row["limit"]) if row is not None else (0, getattr(denied.window, "permitted", 1))
    match denied.why:
        case "full":
            return f"{name}: {used:,} of {units(limit)} are used, the next is free at {until}"
        case "blocked":
            return f"{name}: the vendor asked us to wait until {until}"
        case "hold":
            held = row["hold"] if row is not None and row["hold"] else "more urgent"
            return f"{name}: the next call is held for {held} work, ours is at {until}"
        case "reserve":
            left = max(limit - used, 0)
            return f"{name}: the last {units(left)} of {limit:,} are kept for urgent work, ours is at {until}"
        case "closed":
            return f"{name}: closed for some seconds around its reset, until {until}"
        case "pace":
            return f"{name}: calls are spread evenly, the next is at {until}"


def notes(row: Row, now: datetime) -> list[str]:
    """All there is to say of a window beside its numbers, most decisive first."""
    found = []
    if (until := row["blocked_until"]) is not None and until > now:
        found.append(f"blocked by the vendor until {at(until)}")
    if row["free_at"] is not None and row["free_at"] > now and row["kind"] != "spacing":
        found.append(f"next free {at(row['free_at'])}")
    if row["hold"] and row["hold_until"] is not None and row["hold_until"] > now:
        found.append(f"held for {row['hold']} until {at(row['hold_until'])}")
    if row["reserve"]:
        found.append(f"{row['reserve']:,} kept for urgent work")
    return found


def at(moment: datetime) -> str:
    """An instant for people, to the second."""
    return moment.isoformat(timespec="seconds").replace("+00:00", "Z")


def in_short(plan: Plan) -> str:
    """A plan and what its windows permit, in one phrase: `basic: 200 a minute`."""
    permitted = [declared(window) for window in plan.windows if not isinstance(window, Spacing)]
    return f"{plan.name}: {'; '.join(permitted)}" if permitted else plan.name
