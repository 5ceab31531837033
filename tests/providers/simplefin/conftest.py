from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.providers.simplefin.server import SimplefinWorld, simplefin_of


@pytest.fixture
def bridge(tmp_path: Path) -> Iterator[SimplefinWorld]:
    with simplefin_of(tmp_path) as found:
        yield found
