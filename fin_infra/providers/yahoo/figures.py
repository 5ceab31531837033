"""Yahoo's figures: what a float32 stood for, and which bars mix pounds with pence. Pure, and without a float."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import date
from decimal import ROUND_HALF_EVEN, Context, Decimal, DecimalException

EXACT = Context(prec=80)
HALF_A_STEP = Decimal(2) ** -24
"""How far a float32 may be from what it stands for, relatively: half of its last binary digit."""
FINEST = 12  # decimals: what needs more is no float32 of anything written down
WITHIN = 50  # times, within one bar: more is two units, no trading
HUNDREDFOLD = (Decimal(70), Decimal(140))  # a hundred times, and what the market may move from one bar to the next


def meant(text: str | None, hint: int = 2) -> str | None:
    """The decimal that a float32 stands for: the shortest, from `hint` digits on, that it cannot be told from.

    `29.479999542236328` → `29.48`, `45.08932876586914` → `45.08933`: an adjusted price, of which two digits would lose
    more than the float32 did. What is closer to no short decimal stays as it is, and so does what is no number.
    """
    number = decimal(text)
    if text is None or number is None:
        return text
    slack = EXACT.multiply(abs(number), HALF_A_STEP)
    for digits in range(max(0, hint), FINEST + 1):
        short = number.quantize(Decimal(1).scaleb(-digits), rounding=ROUND_HALF_EVEN, context=EXACT)
        if abs(EXACT.subtract(short, number)) <= slack:
            return format(short, "f") if short or not number else text
    return text


def over(text: str | None, factor: Decimal) -> str | None:
    """An amount by a power of ten, exact; what is no number stays, and is refused where the row is built."""
    number = decimal(text)
    return text if number is None or factor == 1 else format(EXACT.divide(number, factor), "f")


def decimal(text: str | None) -> Decimal | None:
    """The number, of a size that a price or an amount can have; None of everything else."""
    try:
        number = Decimal(text or "nothing")
        return number if number.is_finite() and -40 <= number.adjusted() <= 30 else None
    except DecimalException:
        return None


def mixed(
    bars: Sequence[tuple[date, Sequence[Decimal | None]]], now: tuple[date, Decimal] | None = None
) -> Mapping[int, str]:  # fmt: skip
    """Which bars are in another unit than those around them, by their place, and why. O(n).

    `bars`: day and open, high, low, close, oldest first; `now`: the price that the answer itself states, and its day.

    - Within a bar: no listing moves fifty times in a day.
    - Between bars: a hundred times, or a hundredth, of the bar before, and back again. A step that does not come back
      is not judged here: it may be real, and the engine holds back what is behind it.
    - At the end: the last bar is of the day of the stated price, and a hundred times it or a hundredth.
    """
    found: dict[int, str] = {}
    for place, (_, figures) in enumerate(bars):
        known = [figure for figure in figures if figure is not None and figure > 0]
        if known and max(known) >= WITHIN * min(known):
            found[place] = f"{_told(min(known))} beside {_told(max(known))} in one bar: two units are mixed"
    closes = [
        (place, day, figures[-1]) for place, (day, figures) in enumerate(bars)
        if place not in found and figures[-1] is not None and figures[-1] > 0
    ]  # fmt: skip
    run: list[tuple[int, Decimal]] = []
    base: Decimal | None = None
    for place, _, close in closes:
        assert close is not None
        before = run[-1][1] if run else base
        stepped = before is not None and _hundredfold(close, before)
        if run and stepped and base is not None and (close < run[-1][1]) == (base < run[0][1]):
            found |= {at: _apart(one, base) for at, one in run}
            run, base = [], close
        elif run or stepped:
            run.append((place, close))
        else:
            base = close
    if run and base is not None and now is not None:
        _, day, close = closes[-1]
        if close is not None and day == now[0] and _hundredfold(close, now[1]):
            found |= {at: f"{_told(one)} after {_told(base)}, where the price of now is {_told(now[1])}: another unit"
                      for at, one in run}  # fmt: skip
    return dict(sorted(found.items()))


def _apart(close: Decimal, base: Decimal) -> str:
    return f"{_told(close)} after {_told(base)}, and back again: a hundred times too much or too little"


def _hundredfold(one: Decimal, other: Decimal) -> bool:
    larger, smaller = max(one, other), min(one, other)
    least, most = HUNDREDFOLD
    return smaller > 0 and least * smaller <= larger <= most * smaller


def _told(number: Decimal) -> str:
    short = decimal(meant(format(number, "f")))
    return format((short or number).normalize(EXACT), "f")
