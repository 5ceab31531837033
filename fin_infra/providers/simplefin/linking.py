"""From a setup token to an access URL: the token is posted to once, by whoever is first."""

from __future__ import annotations

from fin_infra.errors import OwnerActionError, UsageError, WireError
from fin_infra.providers.base import Acting, Http, Linking
from fin_infra.providers.simplefin.access import claim_fault, claim_of, fault


async def exchange(http: Acting, setup_token: str) -> dict[str, str]:
    """The access URL for a setup token. Never sent twice: a second claim is refused, and the first answer is lost.

    Raises `UsageError` for a token that leads nowhere one may ask, and `auth_invalid` for one that was used before.
    """
    if (wrong := claim_fault(setup_token)) is not None:
        raise UsageError(f"the setup token for simplefin cannot be right: {wrong}")
    claim = claim_of(setup_token)
    try:
        reply = await http.send("POST", claim.path, account=claim.secret, repeat=False)
    except OwnerActionError as error:
        if error.code != "auth_invalid":
            raise
        raise OwnerActionError(
            "simplefin does not accept the setup token: it is wrong or was claimed before; if not by you, somebody "
            "else can read these accounts: disable it at the bridge, then make a new one",
            code="auth_invalid",
        ) from None
    access_url = reply.body.decode("ascii", "replace").strip()
    if (wrong := fault({"access_url": access_url})) is not None:
        raise WireError(f"simplefin's answer to the claim cannot be used: {wrong}")  # no evidence: it is a secret
    return {"access_url": access_url}


async def forget(http: Http) -> None:
    """Nothing: only the user can revoke an access URL, at the bridge."""


LINKING = Linking(start=None, exchange=exchange, forget=forget, once="setup_token", begins="aHR0c")
