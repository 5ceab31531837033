"""The revisions make the tables that the code declares."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import sqlalchemy as sa
from alembic.autogenerate import compare_metadata
from alembic.runtime.migration import MigrationContext

from fin_infra.store import migrations
from fin_infra.store.opening import HEAD, VERSION_TABLE, migrate, open_store, sqlite_engine
from fin_infra.store.postgres import postgres_engine
from fin_infra.store.tables import METADATA
from tests.postgres import PostgresServer


@pytest.fixture(params=["sqlite", "postgres"])
def engine(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[sa.Engine]:
    """A freshly migrated database of each kind."""
    if request.param == "sqlite":
        migrate(f"sqlite:///{tmp_path / 'fin.db'}")
        made = sqlite_engine(tmp_path / "fin.db")
    else:
        server: PostgresServer = request.getfixturevalue("postgres")
        url = server.empty()
        migrate(url)
        made = postgres_engine(url, "URL")
    yield made
    made.dispose()


def differences(engine: sa.Engine, wanted: sa.MetaData) -> list[object]:
    """What Alembic would change in a freshly migrated database to make it `wanted`."""
    with engine.connect() as sql:
        context = MigrationContext.configure(
            sql, opts={"version_table": VERSION_TABLE, "compare_type": True, "compare_server_default": True}
        )
        found = compare_metadata(context, wanted)
        return [item for item in found if "sqlite_sequence" not in repr(item)]


def test_a_migrated_store_has_the_declared_tables(engine: sa.Engine) -> None:
    assert differences(engine, METADATA) == []


def test_a_forgotten_revision_is_noticed(engine: sa.Engine) -> None:
    ahead = sa.MetaData()
    for table in METADATA.tables.values():
        table.to_metadata(ahead)
    ahead.tables["meta"].append_column(sa.Column("extra", sa.Text))
    assert "extra" in repr(differences(engine, ahead))


def test_primary_keys_are_as_declared(engine: sa.Engine) -> None:
    """Alembic does not compare keys."""
    with engine.connect() as sql:
        inspector = sa.inspect(sql)
        for name, table in METADATA.tables.items():
            key = inspector.get_pk_constraint(name)["constrained_columns"]
            assert key == [column.name for column in table.primary_key.columns], name


def test_tables_are_clustered_as_declared_on_sqlite(tmp_path: Path) -> None:
    path = tmp_path / "fin.db"
    open_store(f"sqlite:///{path}").close()
    engine = sqlite_engine(path)
    with engine.connect() as sql:
        made = {
            row.name: row.sql
            for row in sql.execute(sa.text("SELECT name, sql FROM sqlite_master WHERE type = 'table'"))
        }
    engine.dispose()
    for name, table in METADATA.tables.items():
        clustered = table.dialect_options["sqlite"]["with_rowid"] is False
        assert ("WITHOUT ROWID" in made[name]) == clustered, name


def test_text_sorts_by_its_bytes_and_amounts_are_exact_on_postgresql(postgres: PostgresServer) -> None:
    url = postgres.empty()
    migrate(url)
    engine = postgres_engine(url, "URL")
    with engine.connect() as sql:
        columns = sql.execute(
            sa.text(
                "SELECT table_name, column_name, data_type, collation_name, numeric_precision, numeric_scale "
                "FROM information_schema.columns WHERE table_schema = 'fin_infra'"
            )
        ).fetchall()
    engine.dispose()
    declared = {(name, column.name) for name, table in METADATA.tables.items() for column in table.columns}
    ours = [row for row in columns if (row.table_name, row.column_name) in declared]
    assert len(ours) == len(declared)
    assert [row for row in ours if row.data_type == "text" and row.collation_name != "C"] == []
    assert {row.data_type for row in ours} == {"text", "bigint", "integer", "numeric", "bytea"}
    numeric = [row for row in ours if row.data_type == "numeric"]
    assert {(row.numeric_precision, int(row.numeric_scale)) for row in numeric} == {(38, 18)}


def test_head_is_the_newest_revision() -> None:
    revisions = migrations.script()
    assert revisions.get_heads() == [HEAD]
    assert migrations.VERSION_TABLE == VERSION_TABLE
