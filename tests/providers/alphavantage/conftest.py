from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.providers.alphavantage.market import AlphaWorld, alpha_of


@pytest.fixture
def market(tmp_path: Path) -> Iterator[AlphaWorld]:
    with alpha_of(tmp_path) as found:
        yield found
