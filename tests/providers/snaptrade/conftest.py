from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.providers.snaptrade.broker import SnaptradeWorld, set_keys, snaptrade_of


@pytest.fixture
def broker(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[SnaptradeWorld]:
    set_keys(monkeypatch)
    with snaptrade_of(tmp_path) as found:
        yield found
