"""The revisions make the tables that the code declares."""

from __future__ import annotations

from pathlib import Path

import sqlalchemy as sa
from alembic.autogenerate import compare_metadata
from alembic.runtime.migration import MigrationContext

from fin_infra.store import migrations
from fin_infra.store.opening import HEAD, VERSION_TABLE, open_store, sqlite_engine
from fin_infra.store.tables import METADATA


def differences(path: Path, wanted: sa.MetaData) -> list[object]:
    """What Alembic would change in a freshly migrated file to make it `wanted`."""
    store = open_store(f"sqlite:///{path}")
    engine = sqlite_engine(path)
    try:
        with engine.connect() as sql:
            context = MigrationContext.configure(
                sql, opts={"version_table": VERSION_TABLE, "compare_type": True, "compare_server_default": True}
            )
            found = compare_metadata(context, wanted)
            return [item for item in found if "sqlite_sequence" not in repr(item)]
    finally:
        engine.dispose()
        store.close()


def test_a_migrated_store_has_the_declared_tables(tmp_path: Path) -> None:
    assert differences(tmp_path / "fin.db", METADATA) == []


def test_a_forgotten_revision_is_noticed(tmp_path: Path) -> None:
    ahead = sa.MetaData()
    for table in METADATA.tables.values():
        table.to_metadata(ahead)
    ahead.tables["meta"].append_column(sa.Column("extra", sa.Text))
    assert "extra" in repr(differences(tmp_path / "fin.db", ahead))


def test_primary_keys_and_clustering_are_as_declared(tmp_path: Path) -> None:
    """Alembic compares neither keys nor WITHOUT ROWID."""
    path = tmp_path / "fin.db"
    open_store(f"sqlite:///{path}").close()
    engine = sqlite_engine(path)
    try:
        with engine.connect() as sql:
            made = {
                row.name: row.sql
                for row in sql.execute(sa.text("SELECT name, sql FROM sqlite_master WHERE type = 'table'"))
            }
            inspector = sa.inspect(sql)
            for name, table in METADATA.tables.items():
                key = inspector.get_pk_constraint(name)["constrained_columns"]
                assert key == [column.name for column in table.primary_key.columns], name
                clustered = table.dialect_options["sqlite"]["with_rowid"] is False
                assert ("WITHOUT ROWID" in made[name]) == clustered, name
    finally:
        engine.dispose()


def test_head_is_the_newest_revision() -> None:
    revisions = migrations.script()
    assert revisions.get_heads() == [HEAD]
    assert migrations.VERSION_TABLE == VERSION_TABLE
