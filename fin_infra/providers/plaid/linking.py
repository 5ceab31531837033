"""From a user to an access token: a link token opens Plaid's page, its public token is exchanged for the Item's.

Requests are made by pure functions and sent over `Http`, of which no credential of a user is needed but to repair or
to remove an Item. Facts: https://plaid.com/docs/api/link and https://plaid.com/docs/api/items
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from fin_infra.providers.base import Http, Linking, LinkOrder
from fin_infra.providers.plaid import wire
from fin_infra.providers.plaid.client import HISTORY

SANDBOX_BANK = "ins_109508"


def link_token_request(order: LinkOrder) -> dict[str, Any]:
    """The body of `/link/token/create`. To repair an Item the transport adds its access token."""
    body: dict[str, Any] = {
        "client_name": order.application, "user": {"client_user_id": order.tenant}, "language": order.language,
        "country_codes": list(order.countries),
    }  # fmt: skip
    if not order.repair:
        body["products"] = list(order.products)
        if "transactions" in order.products:
            body["transactions"] = {"days_requested": HISTORY.days}
        if order.if_supported:
            body["required_if_supported_products"] = list(order.if_supported)
    if order.webhook is not None:
        body["webhook"] = order.webhook
    return body


def public_token_request(
    institution: str = SANDBOX_BANK, products: Sequence[str] = ("transactions",)
) -> dict[str, Any]:
    """The body of `/sandbox/public_token/create`: a login of the sandbox, without Plaid's page."""
    return {"institution_id": institution, "initial_products": list(products)}


async def link_token(http: Http, order: LinkOrder) -> str:
    """A token that opens Plaid's page for one user, for half an hour to four hours."""
    reply = await http.post("/link/token/create", link_token_request(order), host=order.host)
    return wire.link_token(reply.body).link_token


async def sandbox_public_token(
    http: Http, institution: str = SANDBOX_BANK, products: Sequence[str] = ("transactions",)
) -> str:
    """What Plaid's page gives at the end, of a made-up user of the sandbox."""
    reply = await http.post("/sandbox/public_token/create", public_token_request(institution, products))
    return wire.public_token(reply.body).public_token


async def exchange(http: Http, public_token: str) -> dict[str, str]:
    """The credential for a public token, which is good once and for half an hour."""
    reply = await http.post("/item/public_token/exchange", {"public_token": public_token})
    return {"access_token": wire.exchanged(reply.body).access_token}


async def forget(http: Http) -> None:
    """Removes the Item at Plaid: its token ends, and so does its price."""
    await http.post("/item/remove", {})


LINKING = Linking(
    start=link_token, exchange=exchange, forget=forget, once="public_token", begins="public-",
    products=("transactions",),
)  # fmt: skip
