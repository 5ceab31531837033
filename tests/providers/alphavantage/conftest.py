from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.providers.alphavantage.market import AvWorld, av_of


@pytest.fixture
def market(tmp_path: Path) -> Iterator[AvWorld]:
    with av_of(tmp_path) as found:
        yield found
