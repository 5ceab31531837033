"""Alpaca's corporate actions → normalized rows. Pure, as `frames`; apart because there are fifteen types of them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import datetime
from decimal import Context, Decimal, DecimalException
from functools import reduce

from fin_infra.datasets.base import Built, Reject
from fin_infra.datasets.corporate_actions import CorporateActions
from fin_infra.providers.alpaca import wire
from fin_infra.providers.alpaca.symbols import from_alpaca
from fin_infra.providers.base import Account, Ask

Cells = dict[str, str | None]
EXACT = Context(prec=80)
FINEST = Decimal("1e-18")
COLUMNS = ("instrument", "ex_on", "kind", "ratio", "new_shares", "old_shares", "amount", "currency", "new_instrument",
           "paid_on")  # fmt: skip


def corporate_actions(pages: Sequence[tuple[wire.Actions, datetime]], ask: Ask, _: Account | None = None) -> Built:
    """One row per instrument, ex-date and kind, by these; see `CorporateActions` for what is made of which type.

    Records that are equal but for their id are one. A change of the CUSIP alone is no row; a type that is not known is
    a reject. Source: https://docs.alpaca.markets/reference/corporateactions-1
    """
    rejects: list[Reject] = []
    found: dict[tuple[str | None, ...], list[Cells]] = {}
    for kind, row in _distinct(pages):
        if kind not in TYPES:
            shown = {"type": kind, "id": _text(row, "id")}
            rejects.append(Reject(f"corporate actions of type {kind} are not known", {**shown, "instrument": None}))
            continue
        for cells in TYPES[kind](row):
            found.setdefault((cells["instrument"], cells["ex_on"], cells["kind"]), []).append(cells)
    rows = [
        _one(alike, rejects) for _, alike in sorted(found.items(), key=lambda item: [part or "" for part in item[0]])
    ]
    columns = {name: [row.get(name) for row in rows] for name in COLUMNS}
    built = CorporateActions.build(columns, ask.columns(pages[-1][1] if pages else ask.at))
    return Built(built.good, (*rejects, *built.rejects), built.differing)


def _distinct(pages: Sequence[tuple[wire.Actions, datetime]]) -> list[tuple[str, wire.Row]]:
    """The newest version of each id, and of records that say the same under several ids one."""
    by_id: dict[tuple[str, str], tuple[str, wire.Row]] = {}
    for n, (kind, row) in enumerate(pair for page, _ in pages for pair in page.rows):
        by_id[kind, _text(row, "id") or f"no id {n}"] = kind, row
    told = {repr((kind, sorted((k, str(v)) for k, v in row.items() if k != "id"))): (kind, row)
            for kind, row in by_id.values()}  # fmt: skip
    return list(told.values())


# -- one type ----------------------------------------------------------------------------------------------------------


def _split(row: wire.Row) -> list[Cells]:
    cells = [_cells(row, "symbol", "ex_date", "split", **_shares(_text(row, "new_rate"), _text(row, "old_rate")))]
    new = _text(row, "new_symbol")
    if new and new != _text(row, "symbol"):
        cells.append(_cells(row, "symbol", "ex_date", "symbol_change", new_instrument=_key(new)))
    return cells


def _stock_dividend(row: wire.Row) -> list[Cells]:
    """A rate of 0.05 gives 1.05 shares for one."""
    rate = _number(_text(row, "rate"))
    new = _text(row, "rate") if rate is None else format(EXACT.add(rate, Decimal(1)), "f")
    return [_cells(row, "symbol", "ex_date", "split", **_shares(new, "1"))]


def _cash_dividend(row: wire.Row) -> list[Cells]:
    paid = {"amount": _text(row, "rate"), "currency": _text(row, "currency") or None}
    return [_cells(row, "symbol", "ex_date", "dividend", **paid, paid_on=_text(row, "payable_date"))]


def _name_change(row: wire.Row) -> list[Cells]:
    old, new = _text(row, "old_symbol"), _text(row, "new_symbol")
    if old == new and old is not None:
        return []
    return [_cells(row, "old_symbol", "process_date", "symbol_change", new_instrument=_key(new))]


def _unit_split(row: wire.Row) -> list[Cells]:
    """A unit of a share and a warrant comes apart: it is gone, and the share is what goes on."""
    shares = _shares(_text(row, "new_rate"), _text(row, "old_rate"))
    return [_cells(row, "old_symbol", "effective_date", "delisting", new_instrument=_key(_text(row, "new_symbol")),
                   **shares)]  # fmt: skip


def _cash_merger(row: wire.Row) -> list[Cells]:
    paid = {"amount": _text(row, "rate"), "currency": _text(row, "currency") or None}
    return [_cells(row, "acquiree_symbol", "effective_date", "delisting", **paid)]


def _stock_merger(row: wire.Row) -> list[Cells]:
    cash = _text(row, "cash_rate")
    paid = {"amount": cash, "currency": _text(row, "currency") or None} if cash else {}
    shares = _shares(_text(row, "acquirer_rate"), _text(row, "acquiree_rate"))
    into = _key(_text(row, "acquirer_symbol"))
    return [_cells(row, "acquiree_symbol", "effective_date", "delisting", new_instrument=into, **shares, **paid)]


def _redemption(row: wire.Row) -> list[Cells]:
    day = "payable_date" if _text(row, "payable_date") else "process_date"
    paid = {"amount": _text(row, "rate"), "currency": _text(row, "currency") or None}
    return [_cells(row, "symbol", day, "delisting", **paid)]


def _worthless(row: wire.Row) -> list[Cells]:
    return [_cells(row, "symbol", "process_date", "delisting")]


def _reorganization(row: wire.Row) -> list[Cells]:
    """Cash, shares of others or both in the place of a share. Where its own symbol goes on nothing is delisted."""
    moves = row.get("stock_movements") or []
    moves = [move for move in moves if isinstance(move, dict)] if isinstance(moves, list) else []
    if any(_text(move, "symbol") == _text(row, "symbol") for move in moves):
        return [_cells(row, "symbol", "effective_date", "other")]
    cells: Cells = {}
    if len(moves) == 1:
        shares = _shares(_text(moves[0], "new_rate"), _text(moves[0], "source_rate"))
        cells |= {"new_instrument": _key(_text(moves[0], "symbol")), **shares}
    if cash := _text(row, "cash_rate"):
        cells |= {"amount": cash, "currency": _text(row, "currency") or None}
    return [_cells(row, "symbol", "effective_date", "delisting", **cells)]


def _spin_off(row: wire.Row) -> list[Cells]:
    shares = _shares(_text(row, "new_rate"), _text(row, "source_rate"))
    new = _key(_text(row, "new_symbol"))
    return [_cells(row, "source_symbol", "ex_date", "spin_off", new_instrument=new, **shares)]


def _rights(row: wire.Row) -> list[Cells]:
    return [_cells(row, "source_symbol", "ex_date", "other", new_instrument=_key(_text(row, "new_symbol")))]


def _partial_call(row: wire.Row) -> list[Cells]:
    return [_cells(row, "symbol", "process_date", "other")]


TYPES: dict[str, Callable[[wire.Row], list[Cells]]] = {
    "forward_splits": _split, "reverse_splits": _split, "stock_dividends": _stock_dividend,
    "cash_dividends": _cash_dividend, "name_changes": _name_change, "unit_splits": _unit_split,
    "cash_mergers": _cash_merger, "stock_mergers": _stock_merger, "stock_and_cash_mergers": _stock_merger,
    "redemptions": _redemption, "worthless_removals": _worthless, "reorganizations": _reorganization,
    "spin_offs": _spin_off, "rights_distributions": _rights, "partial_calls": _partial_call,
}  # fmt: skip


# -- several of one day ------------------------------------------------------------------------------------------------


def _one(alike: Sequence[Cells], rejects: list[Reject]) -> Cells:
    """One row of what is of one instrument, ex-date and kind: dividends add up, splits multiply.

    A part that is no number spoils the whole, which is then a reject: a sum without it would be wrong and look right.
    """
    first = alike[0]
    if len(alike) == 1:
        return first
    match first["kind"]:
        case "dividend":
            return _sum(alike, rejects)
        case "split":
            new, old = (_folded(alike, name, EXACT.multiply) for name in ("new_shares", "old_shares"))
            return {**first, **_shares(new, old)}
        case "delisting" | "symbol_change":  # the fullest record tells most; all of them say that it is gone
            return max(alike, key=lambda cells: sum(value is not None for value in cells.values()))
        case _:
            return {**first, "new_instrument": None, **_shares(None, None)}


def _sum(alike: Sequence[Cells], rejects: list[Reject]) -> Cells:
    """Of one currency; a part in another one cannot be added, and is set aside."""
    first = alike[0]
    mine = [cells for cells in alike if cells["currency"] == first["currency"]]
    for other in alike:
        if other["currency"] != first["currency"]:
            why = (
                f"a dividend in {other['currency'] or 'no stated currency'} beside one in {first['currency'] or 'none'}"
            )
            rejects.append(Reject(f"{why}: they cannot be added", other))
    paid = sorted({day for cells in mine if (day := cells["paid_on"])})
    return {**first, "amount": _folded(mine, "amount", EXACT.add), "paid_on": paid[0] if len(paid) == 1 else None}


def _folded(alike: Sequence[Cells], name: str, by: Callable[[Decimal, Decimal], Decimal]) -> str | None:
    numbers = [_number(cells[name]) for cells in alike]
    known = [number for number in numbers if number is not None]
    if len(known) < len(numbers):
        return next(cells[name] for cells, number in zip(alike, numbers, strict=True) if number is None)
    return format(reduce(by, known), "f")


# -- one value ---------------------------------------------------------------------------------------------------------


def _cells(row: wire.Row, symbol: str, day: str, kind: str, **more: str | None) -> Cells:
    return {"instrument": _key(_text(row, symbol)), "ex_on": _text(row, day), "kind": kind,
            **dict.fromkeys(COLUMNS[3:]), **more}  # fmt: skip


def _shares(new: str | None, old: str | None) -> Cells:
    """Both as they are given, and their quotient; no quotient of what is no number."""
    above, below = _number(new), _number(old)
    ratio = None
    if above is not None and below:
        ratio = format(EXACT.divide(above, below).quantize(FINEST, context=EXACT), "f")
    return {"new_shares": new, "old_shares": old, "ratio": ratio}


def _key(symbol: str | None) -> str | None:
    """What we have no key for keeps its symbol."""
    return (from_alpaca(symbol, "us_equity") or f"alpaca:{symbol}") if symbol else None


def _text(row: wire.Row, name: str) -> str | None:
    value = row.get(name)
    return value if isinstance(value, str) else None


def _number(text: str | None) -> Decimal | None:
    try:
        number = Decimal(text or "nothing")
        return number if number.is_finite() and -40 <= number.adjusted() <= 20 else None
    except DecimalException:
        return None
