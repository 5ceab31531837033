from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.providers.alpaca.market import Market, market_of


@pytest.fixture
def market(tmp_path: Path) -> Iterator[Market]:
    with market_of(tmp_path) as found:
        yield found
