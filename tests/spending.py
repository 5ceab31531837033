"""What processes do that spend one ledger; little is imported here, for each of them imports it."""

from __future__ import annotations

import os
import random
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from fin_infra.quotas.ledger import Denied, Grant
from fin_infra.quotas.windows import Calendar, Rolling, Window
from fin_infra.store.ledger import open_ledger

SHORT = Rolling("vendor/app#short", 80, 0.25, arrive_within=0.05)
LONG = Rolling("vendor/app#long", 100_000, 86_400.0, None)
MONTH = Calendar("vendor/app#month", 100_000, "month", "UTC", skew=0.0)  # a test at midnight is no test of this
WINDOWS: tuple[Window, ...] = (SHORT, LONG, MONTH)


def spend(url: str, journal: str) -> None:
    """Acquires and settles for ever, and writes down each grant, its moment and cost, as soon as it is given."""
    ledger = open_ledger(url)
    draw = random.Random(os.getpid())
    with Path(journal).open("a", buffering=1) as told:
        while True:
            found = ledger.acquire(WINDOWS, draw.randrange(1, 4))
            if isinstance(found, Denied):
                time.sleep(min(found.eta, 0.05))
                continue
            told.write(f"{found.at} {found.cost}\n")
            if draw.random() < 0.8:
                ledger.settle(found, written=datetime.now(UTC))
            elif draw.random() < 0.5:
                told.write(f"{found.at} {-found.cost}\n")  # before it is: killed in between, it was given still
                ledger.cancel(found)


def take(url: str, window: Window, meeting: Any, found: Any) -> None:
    """Takes all there is, in steps of one, with all others at once. How many it got, and why it got no more."""
    ledger = open_ledger(url)
    count = 0
    meeting.wait(30)
    while isinstance(last := ledger.acquire((window,)), Grant):
        ledger.settle(last)
        count += 1
    found.put((count, last.why))
