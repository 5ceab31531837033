"""Alembic revisions of the store, run from Python: no ini file, its own version table."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from alembic.config import Config
from alembic.runtime.environment import EnvironmentContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, Engine

VERSION_TABLE = "fin_infra_version"


def script() -> ScriptDirectory:
    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parent))
    return ScriptDirectory.from_config(config)


def upgrade(engine: Engine, prepare: Callable[[Connection], None] = lambda sql: None) -> None:
    """Brings the schema to the newest revision, in one transaction; two processes doing it at once is one doing it."""
    revisions = script()
    config = Config()
    with engine.execution_options(begin="IMMEDIATE").begin() as sql:
        prepare(sql)

        def steps(current: object, context: object) -> object:
            return revisions._upgrade_revs("head", current)  # type: ignore[arg-type]

        with EnvironmentContext(config, revisions, fn=steps) as environment:
            environment.configure(connection=sql, version_table=VERSION_TABLE, transactional_ddl=True, fn=steps)
            environment.run_migrations()
