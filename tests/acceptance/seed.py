"""Links the seed's credentials through the app, to look around by hand: `make up wait seed`.

The user is `ada`. Prints the connections, never their secrets.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable

import httpx

from fin_infra.testing.seeds import Seed

LINKS: dict[str, tuple[str, Callable[[Seed], dict[str, str]]]] = {
    "teller": ("banking:teller", lambda seed: {"access_token": seed.token}),
    "alpaca": ("brokerage:alpaca", lambda seed: {"key_id": seed.key_id, "secret_key": seed.secret}),
    "plaid": ("banking:plaid", lambda seed: {"access_token": seed.item_token}),
}
"""What the app is told to link: vendor → provider and the fields of its secret."""


def main() -> None:
    seed = Seed(os.environ.get("ACCEPTANCE_SEED", "A0"))
    with httpx.Client(base_url=os.environ["ACCEPTANCE_APP_URL"], trust_env=False, headers={"x-user": "ada"}) as http:
        for provider, secrets in LINKS.values():
            answer = http.post("/connections", json={"provider": provider, "secrets": secrets(seed)})
            answer.raise_for_status()
            sys.stdout.write(json.dumps(answer.json()) + "\n")


if __name__ == "__main__":
    main()
