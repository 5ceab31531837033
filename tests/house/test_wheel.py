"""The wheel: one top-level name, with all it needs, and it works where nothing else is installed."""

from __future__ import annotations

import os
import sys
import zipfile
from pathlib import Path

import pytest

from tests.house.fresh import clean_environment, run

BIN = "Scripts" if os.name == "nt" else "bin"
SHOWN = (
    "accounts: 7 rows:", "balances: 7 rows:", "transactions: ", "holdings: 7 rows:", "prices: ", "Everyday Checking",
    "Platinum Card", "BLUE DOOR COF", "us:BRK.B", "net worth: ", "not counted: 2 opt:AAPL:2027-01-15:C:300: ",
    "2026-11-27", "changes of the second cycle: ",
)  # fmt: skip


@pytest.fixture(scope="session")
def names(wheel: Path) -> list[str]:
    with zipfile.ZipFile(wheel) as file:
        return file.namelist()


def test_the_wheel_has_one_top_level_name(names: list[str]) -> None:
    tops = {name.partition("/")[0] for name in names}
    assert {top for top in tops if not top.endswith(".dist-info")} == {"fin_infra"}


def test_the_wheel_brings_scaffold_and_migrations(names: list[str], root: Path) -> None:
    wanted = {"fin_infra/store/migrations/__init__.py"}
    wanted |= {f"fin_infra/_project/jobs/{path.name}" for path in (root / "jobs").glob("*.py")}
    wanted |= {f"fin_infra/_project/schedules/{path.name}" for path in (root / "schedules").glob("*.yaml")}
    versions = (root / "fin_infra/store/migrations/versions").glob("r*.py")
    wanted |= {f"fin_infra/store/migrations/versions/{path.name}" for path in versions}
    assert {"fin_infra/_project/jobs/__init__.py", "fin_infra/_project/schedules/transactions.yaml"} <= wanted
    assert len([name for name in wanted if "/versions/" in name]) >= 1
    assert wanted - set(names) == set()


def test_the_wheel_holds_every_module_and_nothing_of_the_machine(names: list[str], root: Path) -> None:
    modules = {path.relative_to(root).as_posix() for path in (root / "fin_infra").rglob("*.py")}
    assert modules - set(names) == set()
    foreign = [n for n in names if n.endswith((".pyc", ".db", ".key", ".env")) or "__pycache__" in n or "/var/" in n]
    assert foreign == []


def test_the_wheel_says_that_it_is_typed(names: list[str]) -> None:
    assert "fin_infra/py.typed" in names


@pytest.fixture(scope="session")
def installed(wheel: Path, root: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The `fin-infra` of an environment that holds the lock's packages and the wheel, and knows no checkout."""
    folder = tmp_path_factory.mktemp("installed")
    uv, venv, env = Path(sys.executable).parent / "uv", folder / "venv", clean_environment(folder)
    python = venv / BIN / "python"
    install = (uv, "pip", "install", "--quiet", "--python", python)
    for command in (
        (uv, "venv", "--quiet", "--python", sys.executable, venv),
        (*install, "--require-hashes", "-r", root / "requirements.lock"),
        (*install, "--no-deps", wheel),
    ):
        done = run(*command, cwd=folder, env=env)
        assert done.returncode == 0, done.stderr
    where = run(python, "-c", "import fin_infra; print(fin_infra.__file__)", cwd=folder, env=env)
    assert Path(where.stdout.strip()).is_relative_to(venv), where.stdout + where.stderr
    return venv / BIN / "fin-infra"


def init_and_demo(command: Path, folder: Path) -> None:
    """`init` writes a project, and the demo in it shows the frames."""
    env = clean_environment(folder)
    project = folder / "my-worker"
    made = run(command, "init", project, cwd=folder, env=env)
    assert made.returncode == 0, made.stderr
    assert (project / "jobs/__init__.py").is_file()
    assert (project / "schedules/transactions.yaml").is_file()
    assert (project / ".env.example").is_file()
    again = run(command, "init", project, cwd=folder, env=env)
    assert again.returncode == 2, "init must not overwrite what is the user's"
    checked = run(command, "schedules", "check", cwd=project, env=env)
    assert checked.returncode == 0, checked.stderr
    shown = run(command, "demo", cwd=project, env=env)
    assert shown.returncode == 0, shown.stdout + shown.stderr
    assert [text for text in SHOWN if text not in shown.stdout] == []
    rows = run(command, "read", "transactions", "--tenant", "demo", "--format", "csv", cwd=project, env=env)
    assert len(rows.stdout.splitlines()) > 100, rows.stderr


def test_init_and_demo_from_the_wheel(installed: Path, tmp_path: Path) -> None:
    init_and_demo(installed, tmp_path)


def test_init_and_demo_from_the_checkout(tmp_path: Path) -> None:
    init_and_demo(Path(sys.executable).parent / "fin-infra", tmp_path)
