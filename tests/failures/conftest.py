from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.broker import BrokerWorld, broker_of


@pytest.fixture
def market(tmp_path: Path) -> Iterator[BrokerWorld]:
    with broker_of(tmp_path) as found:
        yield found
