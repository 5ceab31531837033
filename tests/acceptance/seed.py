"""Links the seed's credentials through the app, to look around by hand: `make up wait seed`.

The user is `ada`. Prints the connections, never their secrets.
"""

from __future__ import annotations

import json
import os
import sys

import httpx

from fin_infra.testing.seeds import Seed

SECRETS = {"teller": lambda seed: {"access_token": seed.token}}
LINKS = {"teller": "banking:teller"}


def main() -> None:
    seed = Seed(os.environ.get("ACCEPTANCE_SEED", "A0"))
    with httpx.Client(base_url=os.environ["ACCEPTANCE_APP_URL"], trust_env=False, headers={"x-user": "ada"}) as http:
        for vendor, provider in LINKS.items():
            answer = http.post("/connections", json={"provider": provider, "secrets": SECRETS[vendor](seed)})
            answer.raise_for_status()
            sys.stdout.write(json.dumps(answer.json()) + "\n")


if __name__ == "__main__":
    main()
