"""What every ledger does around the algorithm: windows are compiled once, a grant ends once, ids survive a fork."""

from __future__ import annotations

import itertools
import os
import secrets
from collections import OrderedDict
from collections.abc import Callable, Iterable, Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Any, TypeVar

from fin_infra.quotas import counting
from fin_infra.quotas.bounds import SECOND, micros
from fin_infra.quotas.counting import Spec, State, declared
from fin_infra.quotas.ledger import Denied, Grant
from fin_infra.quotas.windows import Lane, Window

if TYPE_CHECKING:
    import polars as pl

T = TypeVar("T")
REMEMBERED = 10_000  # ended grants, and windows, that are known by heart


class Ids:
    """Unique in a fleet. A child that went on with its parent's would overwrite the parent's entries."""

    def __init__(self) -> None:
        self._renew()
        if hasattr(os, "register_at_fork"):
            os.register_at_fork(after_in_child=self._renew)

    def _renew(self) -> None:
        self._prefix = secrets.token_hex(6)
        self._numbers = itertools.count()

    def __call__(self) -> str:
        return f"{self._prefix}{next(self._numbers):x}"


_ids = Ids()


class CountingLedger:
    """The protocol's methods over transactions that a store gives: `_run`."""

    def __init__(self, timeout: float) -> None:
        self._timeout = round(timeout * SECOND)
        self._known: dict[str, Spec] = {}
        self._ended: OrderedDict[str, None] = OrderedDict()

    def _run(self, keys: Sequence[str], act: Callable[[State], T], *, reading: bool = False) -> T:
        """Runs `act` in a transaction that has the rows of `keys` for itself; `reading`: it need not, nothing is kept,
        and nobody is held up."""
        raise NotImplementedError

    def _declarations(self) -> Iterable[str]:
        """Of all windows ever used."""
        raise NotImplementedError

    def _ours(self, written: datetime) -> int:
        """A moment of the caller's clock by the ledger's."""
        return micros(written)

    # -- Ledger --------------------------------------------------------------------------------------------------------

    def acquire(self, windows: Sequence[Window], cost: int = 1, *, lane: Lane = "scheduled") -> Grant | Denied:
        if cost < 0:
            raise ValueError(f"a call cannot cost {cost} units; give 0 or more")
        specs = self._specs(windows)
        entry = _ids()
        return self._run(
            [spec.key for spec in specs], lambda state: counting.acquire(state, specs, entry, cost, lane)
        )  # fmt: skip

    def settle(
        self, grant: Grant, *, written: datetime | None = None, cost: int | None = None, success: bool = True
    ) -> None:  # fmt: skip
        if not grant.windows or grant.id in self._ended:
            return
        specs = self._specs(grant.windows)
        sent = None if written is None else self._ours(written)
        units = grant.cost if cost is None else cost
        self._run(
            [spec.key for spec in specs],
            lambda state: counting.settle(state, specs, grant, sent, units, success=success),
        )
        self._end(grant)

    def cancel(self, grant: Grant) -> None:
        if not grant.windows or grant.id in self._ended:
            return
        specs = self._specs(grant.windows)
        self._run([spec.key for spec in specs], lambda state: counting.cancel(state, specs, grant))
        self._end(grant)

    def penalize(self, windows: Sequence[Window], until: datetime) -> None:
        specs = self._specs(windows)
        self._run([spec.key for spec in specs], lambda state: counting.penalize(state, specs, self._ours(until)))

    def throttled(self, grant: Grant, windows: Sequence[Window]) -> None:
        specs = self._specs(windows)
        self._run([spec.key for spec in specs], lambda state: counting.throttled(state, specs, grant))

    def observe(
        self, grant: Grant, window: Window, remaining: int, reset: datetime | None = None, limit: int | None = None
    ) -> None:  # fmt: skip
        specs = self._specs((window,))
        at = None if reset is None else self._ours(reset)
        entry = f"seen:{_ids()}"
        self._run(
            [specs[0].key],
            lambda state: counting.observe(state, specs[0], entry, grant, remaining, at, limit),
        )

    def capacity(self, windows: Sequence[Window], horizon: float, *, lane: Lane = "scheduled") -> int:
        specs = self._specs(windows)
        span = round(horizon * SECOND)
        return self._run(
            [spec.key for spec in specs], lambda state: counting.capacity(state, specs, span, lane), reading=True
        )

    def lease(self, name: str, owner: str, seconds: float) -> bool:
        raise NotImplementedError

    def frame(self, windows: Sequence[Window] | None = None) -> pl.DataFrame:
        import polars as pl

        if windows is None:
            specs = [Spec(declared(text), self._timeout) for text in self._declarations()]
        else:
            specs = self._specs(windows)
        specs = sorted(specs, key=lambda spec: spec.key)
        rows: list[dict[str, Any]] = self._run(
            [spec.key for spec in specs],
            lambda state: [counting.described(state, spec) for spec in specs],
            reading=True,
        )
        instant = pl.Datetime("us", "UTC")
        return pl.DataFrame(
            rows,
            schema={
                "window": pl.String, "kind": pl.String, "used": pl.Int64, "limit": pl.Int64, "declared": pl.Int64,
                "period_seconds": pl.Float64, "blocked_until": instant, "hold": pl.String, "hold_until": instant,
                "reserve": pl.Int64, "free_at": instant, "reset_at": instant, "throttled": pl.Int64, "spent": pl.Int64,
            },
        )  # fmt: skip

    def close(self) -> None: ...

    # ------------------------------------------------------------------------------------------------------------------

    def _specs(self, windows: Sequence[Window]) -> list[Spec]:
        known = self._known
        found: list[Spec] = []
        for window in windows:
            spec = known.get(window.key)
            if spec is None or (spec.window is not window and spec.window != window):
                if len(known) >= REMEMBERED:
                    known.clear()
                spec = known[window.key] = Spec(window, self._timeout)
            found.append(spec)
        if len(found) > 1 and len({spec.key for spec in found}) < len(found):
            raise ValueError("two windows of a call have one name; give each its own key")
        return found

    def _end(self, grant: Grant) -> None:
        self._ended[grant.id] = None
        while len(self._ended) > REMEMBERED:
            self._ended.popitem(last=False)
