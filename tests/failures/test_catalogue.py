"""Every case of the failure catalogue is tested here, or listed with the reason why it does not apply yet."""

from __future__ import annotations

import re
from pathlib import Path

NOT_YET: dict[int, str] = {}


def test_each_case_is_tested_or_listed_with_its_reason() -> None:
    tested = set()
    for path in Path(__file__).parent.glob("test_*.py"):
        tested |= {int(number) for number in re.findall(r"def test_t(\d\d)_", path.read_text(encoding="utf-8"))}
    assert tested | set(NOT_YET) == set(range(1, 57))
    assert not tested & set(NOT_YET), "a case that is tested is no longer listed as missing"
