from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.providers.stripe.world import SECRET, IdentityWorld, identity_world


@pytest.fixture
def identity(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[IdentityWorld]:
    monkeypatch.setenv("FIN_INFRA_STRIPE_WEBHOOK_SECRET", SECRET)
    with identity_world(tmp_path) as found:
        yield found
