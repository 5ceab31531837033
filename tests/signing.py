"""Plaid's side of a webhook: a key of its own, the server that hands it out, and a stand-in for the vendor."""

from __future__ import annotations

import base64
import hashlib
import json
import threading
import time
from datetime import datetime
from typing import Any

import httpx
import jwt
from cryptography.hazmat.primitives.asymmetric import ec
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route
from starlette.types import Receive, Scope, Send

from fin_infra.providers.base import Field, Provider, Refusal
from fin_infra.providers.plaid.webhooks import WEBHOOKS
from fin_infra.providers.teller import PROVIDER as TELLER
from fin_infra.providers.teller.wire import refusal_word

PLAID = Provider(
    name="plaid",
    title="Plaid",
    base_url="http://127.0.0.1:9",
    domains={},
    auth=lambda secrets: httpx.Auth(),
    secrets=(Field("access_token", "of the Item"),),
    app_fields=(Field("client_id", "the application"), Field("secret", "its secret")),
    app_headers=lambda fields: {"PLAID-CLIENT-ID": fields["client_id"], "PLAID-SECRET": fields["secret"]},
    refusals=(
        Refusal(400, "invalid_api_keys", "auth_invalid", "check the keys"),
        Refusal(400, "", "bad_request", "look at the evidence"),
    ),
    refusal_word=refusal_word,
    sources=TELLER.sources,
    webhooks=WEBHOOKS,
)


class Signer:
    """A key pair on P-256, and webhooks signed with it."""

    def __init__(self, kid: str = "bfbd5111-8e33-4643-8ced-b2e642a72f3c") -> None:
        self.kid = kid
        self.key = ec.generate_private_key(ec.SECP256R1())

    def jwk(self, **more: Any) -> dict[str, Any]:
        numbers = self.key.public_key().public_numbers()
        x, y = (base64.urlsafe_b64encode(n.to_bytes(32, "big")).rstrip(b"=").decode() for n in (numbers.x, numbers.y))
        return {
            "alg": "ES256", "created_at": 1560466150, "crv": "P-256", "expired_at": None, "kid": self.kid,
            "kty": "EC", "use": "sig", "x": x, "y": y, **more,
        }  # fmt: skip

    @property
    def kept(self) -> str:
        """The key as our cache keeps it."""
        return json.dumps(self.jwk())

    def headers(self, body: bytes, at: datetime, **claims: Any) -> dict[str, str]:
        said = {"iat": int(at.timestamp()), "request_body_sha256": hashlib.sha256(body).hexdigest(), **claims}
        token = jwt.encode({k: v for k, v in said.items() if v is not None}, self.key, "ES256", {"kid": self.kid})
        return {"Plaid-Verification": token}


class KeyServer:
    """`/webhook_verification_key/get` alone. `down`: what it answers instead."""

    def __init__(self, *signers: Signer) -> None:
        self.keys = {signer.kid: signer.jwk() for signer in signers}
        self.asked: list[str] = []
        self.credentials: list[tuple[str | None, str | None]] = []
        self.down: Response | None = None
        self.pause = 0.0
        self._lock = threading.Lock()
        self._app = Starlette(routes=[Route("/webhook_verification_key/get", self._get, methods=["POST"])])

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await self._app(scope, receive, send)

    def _get(self, request: Request) -> Response:  # in a thread: it may pause
        kid = json.loads(self._body(request))["key_id"]
        with self._lock:
            self.asked.append(kid)
            self.credentials.append((request.headers.get("plaid-client-id"), request.headers.get("plaid-secret")))
        time.sleep(self.pause)
        if self.down is not None:
            return self.down
        if kid not in self.keys:
            return JSONResponse({"error": {"code": "invalid_input"}}, status_code=400)
        return JSONResponse({"key": self.keys[kid], "request_id": "sim"})

    def _body(self, request: Request) -> bytes:
        import anyio.from_thread

        body: bytes = anyio.from_thread.run(request.body)
        return body


def plaid_body(code: str, item: str = "item_1", *, type: str = "TRANSACTIONS", **more: Any) -> bytes:
    said = {"webhook_type": type, "webhook_code": code, "item_id": item, "environment": "sandbox", **more}
    return json.dumps(said).encode()
