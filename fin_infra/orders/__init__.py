"""Orders at brokers: placed once by the caller's key, within limits, on paper unless live is asked for."""

from __future__ import annotations

from fin_infra.orders.books import FINAL, OPEN, Order, OrderBooks, Step
from fin_infra.orders.placing import Listed, Orders, Submitted
from fin_infra.orders.request import OrderRequest, client_order_id

STATES = {
    "intended": "recorded, and certainly not on its way: the same submission sends it",
    "sent": "on its way, or whoever sent it died: it is looked up before anything else",
    "unknown": "it was sent and not answered: it is looked up, and not sent again before it cannot arrive any more",
    "accepted": "the vendor has it and it may still change; the vendor's own word is beside",
    "filled": "executed whole",
    "canceled": "cancelled, at the vendor or before it was sent",
    "expired": "ended without having been executed whole",
    "rejected": "refused by the vendor; its reason is beside. The same key gives the same refusal",
    "replaced": "another order took its place at the vendor",
}
"""What an order's state means."""

__all__ = [
    "FINAL", "OPEN", "STATES", "Listed", "Order", "OrderBooks", "OrderRequest", "Orders", "Step", "Submitted",
    "client_order_id",
]  # fmt: skip
