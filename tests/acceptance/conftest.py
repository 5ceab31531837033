"""Where the services are, and how their answers are waited for. The stack is up before these tests begin."""

from __future__ import annotations

import os
import secrets
import time
from collections.abc import Callable, Iterator
from typing import Any

import httpx
import pytest

from fin_infra.testing.seeds import Seed

PATIENCE = float(os.environ.get("ACCEPTANCE_PATIENCE", "60"))
"""Seconds until something that must come counts as missing."""


class Service:
    """One service, seen from outside. Every answer it gave is kept, to be searched for secrets at the end."""

    def __init__(self, name: str, url: str, **headers: str) -> None:
        self.name = name
        self.answers: list[str] = []
        self.http = httpx.Client(base_url=url, timeout=10.0, trust_env=False, headers=headers)

    def get(self, path: str, **more: Any) -> Any:
        return self._checked(self.http.get(path, **more), 200)

    def post(self, path: str, body: object, status: int = 201) -> Any:
        return self._checked(self.http.post(path, json=body), status)

    def _checked(self, answer: httpx.Response, status: int) -> Any:
        self.answers.append(f"{answer.headers}\n{answer.text}")
        asked = f"{answer.request.method} {answer.request.url.path}"
        assert answer.status_code == status, f"{self.name}: {asked} answered {answer.status_code}: {answer.text[:500]}"
        return answer.json()

    def wait_for(self, path: str, found: Callable[[Any], bool], what: str) -> Any:
        """Asks until `found`; fails with the last answer when `PATIENCE` is over."""
        deadline = time.monotonic() + PATIENCE
        while True:
            answer = self.get(path)
            if found(answer):
                return answer
            if time.monotonic() > deadline:
                pytest.fail(f"{self.name}: waited {PATIENCE:g} s for {what}; GET {path} last answered {answer}")
            time.sleep(0.1)


def service(name: str, **headers: str) -> Service:
    variable = f"ACCEPTANCE_{name.upper()}_URL"
    url = os.environ.get(variable)
    if not url:
        pytest.fail(f"{variable} is not set: the acceptance tests need to know where every service is")
    return Service(name, url, **headers)


@pytest.fixture(scope="session")
def seed() -> Seed:
    return Seed(os.environ.get("ACCEPTANCE_SEED", "A0"))


@pytest.fixture(scope="session")
def app() -> Iterator[Service]:
    """The app as a user sees it who was not there before: the tests may run again on a stack that stays up."""
    found = service("app", **{"x-user": f"ada-{secrets.token_hex(4)}"})
    with found.http:
        yield found


@pytest.fixture(scope="session")
def teller() -> Iterator[Service]:
    found = service("teller")
    with found.http:
        yield found


@pytest.fixture(scope="session")
def alpaca() -> Iterator[Service]:
    found = service("alpaca")
    with found.http:
        yield found


@pytest.fixture(scope="session")
def plaid() -> Iterator[Service]:
    found = service("plaid")
    with found.http:
        yield found
