from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.plaid_world import PlaidWorld, plaid_of


@pytest.fixture
def world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[PlaidWorld]:
    with plaid_of(tmp_path, monkeypatch) as found:
        yield found
