from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.providers.mx.platform import MxWorld, mx_of, set_keys


@pytest.fixture
def mx(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[MxWorld]:
    set_keys(monkeypatch)
    with mx_of(tmp_path) as found:
        yield found
