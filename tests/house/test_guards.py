"""Each mutation that is recorded beside a test can be made, and each case of the catalogue that is due has one."""

from __future__ import annotations

import re

from tests.mutants import ROOT, mutants

DUE = {*range(1, 26), 36, *range(44, 52), 55}
"""The cases whose tests must record what they guard."""


def test_each_recorded_mutation_can_be_made_at_one_place() -> None:
    found = list(mutants())
    assert len({(m.test, m.guard) for m in found}) == len(found)
    texts: dict[str, str] = {}
    for mutant in found:
        guard = mutant.guard
        if guard.file not in texts:
            texts[guard.file] = (ROOT / "fin_infra" / guard.file).read_text(encoding="utf-8")
        assert texts[guard.file].count(guard.old) == 1, f"{mutant.test}: {guard.old!r} in {guard.file}"
        assert guard.new != guard.old, mutant.test


def test_each_case_of_the_catalogue_that_is_tested_records_what_it_guards() -> None:
    guarded = {int(n) for mutant in mutants() for n in re.findall(r"(?<=[:_])t(\d\d)_", mutant.test)}
    assert guarded >= DUE
