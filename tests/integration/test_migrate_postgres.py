"""`fin-infra migrate` and what comes with PostgreSQL, as an operator meets it: whole processes, by URL alone."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from cryptography.fernet import Fernet

from tests.postgres import PostgresServer

CLI = "from fin_infra.cli import main; main()"


def ran(*arguments: str, program: str = CLI, **variables: str) -> tuple[int, str, str]:
    done = subprocess.run(
        [sys.executable, "-c", program, *arguments], env={**os.environ, **variables}, capture_output=True, text=True,
        timeout=60, check=False,
    )  # fmt: skip
    return done.returncode, done.stdout, done.stderr


def test_a_new_database_is_refused_until_it_is_migrated(postgres: PostgresServer) -> None:
    url = postgres.empty()
    told = {"FIN_INFRA_STORE_URL": url, "FIN_INFRA_VAULT_KEY": Fernet.generate_key().decode()}
    code, _, said = ran("status", **told)
    assert code == 2
    assert said.endswith("has no tables of fin_infra yet; run fin-infra migrate\n")
    code, made, said = ran("migrate", **told)
    assert (code, said) == (0, "")
    assert [line.split(" at ")[0].split(":")[0] for line in made.splitlines()] == ["store", "queue", "quotas"]
    assert made.count("was made") == 3
    code, again, _ = ran("migrate", **told)
    assert (code, again.count("is up to date")) == (0, 3)
    code, found, said = ran("doctor", **told)
    assert (code, said) == (0, ""), found
    assert "answers, its tables are this version's" in found
    assert "postgres@" not in found


def test_migrating_files_is_opening_them(tmp_path: Path) -> None:
    told = {"FIN_INFRA_STORE_URL": f"sqlite:///{tmp_path / 'fin.db'}"}
    code, made, _ = ran("migrate", **told)
    assert (code, made.count("was made")) == (0, 3)
    assert (tmp_path / "fin.db").is_file()
    assert (tmp_path / "fin-queue.db").is_file()
    assert (tmp_path / "fin-quota.db").is_file()
    code, again, _ = ran("migrate", **told)
    assert (code, again.count("is up to date")) == (0, 3)


def test_without_the_driver_the_extra_is_named() -> None:
    without = f"import sys; sys.modules['psycopg'] = None\n{CLI}"
    code, _, said = ran("migrate", program=without, FIN_INFRA_STORE_URL="postgresql+psycopg://fin:hunter2@db/fin")
    assert code == 2
    assert said == 'error: PostgreSQL needs psycopg; install fin_infra with its extra "postgres"\n'


def test_nothing_loads_the_driver_before_it_is_needed(tmp_path: Path) -> None:
    program = (
        "import sys, fin_infra\n"
        f"fin_infra.open_store('sqlite:///{tmp_path / 'fin.db'}').close()\n"
        "import fin_infra.cli, fin_infra.runtime\n"
        "print('psycopg' in sys.modules)"
    )
    assert ran(program=program) == (0, "False\n", "")
