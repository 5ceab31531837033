from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.providers.yahoo.market import YahooWorld, yahoo_of


@pytest.fixture
def market(tmp_path: Path) -> Iterator[YahooWorld]:
    with yahoo_of(tmp_path) as found:
        yield found
