"""What loads what: the reader of an application pays for reading only. Each in a fresh process."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

from tests.house.fresh import clean_environment, run

HEAVY = ("svc_infra", "pandas", "fastapi", "polars")
REPORT = "import json, sys; print(json.dumps(sorted(sys.modules)))"


def loaded(code: str, folder: Path) -> set[str]:
    """Top-level names of the modules a process has after `code`; its last line of output tells."""
    done = run(sys.executable, "-c", code, cwd=folder, env=clean_environment(folder))
    assert done.returncode == 0, done.stderr
    return {name.partition(".")[0] for name in json.loads(done.stdout.splitlines()[-1])}


def test_importing_fin_infra_loads_nothing_heavy(tmp_path: Path) -> None:
    names = loaded(f"import fin_infra; {REPORT}", tmp_path)
    assert "fin_infra" in names
    assert names & set(HEAVY) == set()


def test_reading_loads_neither_svc_infra_nor_pandas(tmp_path: Path) -> None:
    names = loaded(f"import fin_infra; fin_infra.read('accounts').collect(); {REPORT}", tmp_path)
    assert "polars" in names
    assert names & {"svc_infra", "pandas", "fastapi"} == set()


HELP = f"""
import sys
from fin_infra.cli import main
sys.argv = ["fin-infra", *sys.argv_given]
try:
    main()
except SystemExit as end:
    assert end.code == 0, end.code
{REPORT}
"""


@pytest.mark.parametrize("arguments", [["--help"], ["sync", "--help"], ["connections", "add", "--help"], ["--version"]])
def test_help_loads_nothing_heavy(arguments: list[str], tmp_path: Path) -> None:
    names = loaded(HELP.replace("*sys.argv_given", f"*{arguments!r}"), tmp_path)
    assert "typer" in names
    assert names & set(HEAVY) == set()


def test_a_heavy_import_would_be_noticed(tmp_path: Path) -> None:
    assert "polars" in loaded(f"import fin_infra.datasets.base; {REPORT}", tmp_path)
