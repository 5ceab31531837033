"""What only a store in one SQLite file must hold: bytes that are gone, disks that fill, files that are not ours."""

from __future__ import annotations

import sqlite3
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from fin_infra.errors import FinInfraError, StoreError, UsageError
from fin_infra.store import open_store
from fin_infra.store.opening import HEAD, _write_ahead
from fin_infra.testing import VirtualClock
from tests.contract.rows import Bench
from tests.contract.test_store import MARK, full

ROOT = Path(__file__).parents[2]


def url_of(path: Path) -> str:
    return f"sqlite:///{path}"


def one_sentence(error: FinInfraError) -> None:
    assert "\n" not in error.message
    assert "Traceback" not in error.message
    assert error.message[0].islower() or error.message[0] == "/"
    assert not error.message.endswith(".")


def test_erasing_leaves_no_byte_of_a_text_in_any_file(tmp_path: Path, clock: VirtualClock) -> None:
    store = open_store(url_of(tmp_path / "fin.db"), now=clock)
    bench = Bench(store, clock)
    full(bench)
    bench.commit([bench.row(f"t{n}", description=f"{MARK} {'x' * 3_000}") for n in range(50)])  # overflow pages too
    bench.commit([bench.row(f"t{n}", description="changed") for n in range(50)])
    files = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert any(MARK.encode() in path.read_bytes() for path in files)
    store.erase(bench.connection.connection_id)
    assert [path.name for path in tmp_path.rglob("*") if path.is_file() and MARK.encode() in path.read_bytes()] == []
    store.close()


FULL_DISK = """
import resource, signal, sys
from datetime import UTC, datetime
from fin_infra.errors import StoreError
from fin_infra.store import open_store
from fin_infra.testing import VirtualClock
from tests.contract.rows import Bench

clock = VirtualClock(datetime(2026, 11, 24, tzinfo=UTC))
store = open_store(sys.argv[1], now=clock)
bench = Bench(store, clock)
bench.commit([bench.row("t1")], next='{"before":1}')
limit = int(sys.argv[2])
resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))
try:
    bench.commit([bench.row(f"n{n}", description="x" * 2000) for n in range(900)], next='{"after":1}')
except StoreError as error:
    print(bench.connection.connection_id)
    print(error.message)
    sys.exit(7)
"""


@pytest.mark.parametrize("limit", [1_000_000, 400_000])
def test_a_full_disk_is_one_sentence_and_loses_nothing(tmp_path: Path, clock: VirtualClock, limit: int) -> None:
    path = tmp_path / "fin.db"
    ran = subprocess.run(
        [sys.executable, "-c", FULL_DISK, url_of(path), str(limit)], capture_output=True, text=True, cwd=ROOT,
        timeout=60, check=False,
    )  # fmt: skip
    assert (ran.returncode, ran.stderr) == (7, "")
    connection, *message = ran.stdout.splitlines()
    assert len(message) == 1
    assert str(path) in message[0]
    assert "free some space" in message[0]
    store = open_store(url_of(path), now=clock)
    with store.reading() as sql:
        assert sql.exec_driver_sql("SELECT transaction_id FROM transactions").scalars().all() == ["t1"]
        found = [tuple(row) for row in sql.exec_driver_sql("SELECT body, connection_id FROM cursors")]
        assert found == [('{"before":1}', connection)]
        assert sql.exec_driver_sql("PRAGMA integrity_check").scalar() == "ok"
    store.close()


def foreign_database(path: Path) -> None:
    with sqlite3.connect(path) as sql:
        sql.execute("CREATE TABLE songs (title TEXT)")
    sql.close()


def text_file(path: Path) -> None:
    path.write_text("dear diary, " * 500)


def short_text_file(path: Path) -> None:
    path.write_text("hello")


def newer_file(path: Path) -> None:
    open_store(url_of(path)).close()
    with sqlite3.connect(path) as sql:
        sql.execute("UPDATE fin_infra_version SET version_num = '9999'")
    sql.close()


def newer_file_without_a_log(path: Path) -> None:
    """As a backup made by `VACUUM INTO` comes: its journal mode is the plain one."""
    newer_file(path)
    with sqlite3.connect(path) as sql:
        assert sql.execute("PRAGMA journal_mode = DELETE").fetchone() == ("delete",)
    sql.close()


@pytest.mark.parametrize(
    "made", [foreign_database, text_file, short_text_file, newer_file, newer_file_without_a_log],
    ids=lambda made: made.__name__,
)  # fmt: skip
def test_a_file_that_is_not_ours_is_refused_and_left_as_it_is(tmp_path: Path, made: object) -> None:
    path = tmp_path / "fin.db"
    made(path)  # type: ignore[operator]
    before = path.read_bytes()
    with pytest.raises(UsageError) as refused:
        open_store(url_of(path))
    assert refused.value.code == "store_foreign"
    one_sentence(refused.value)
    assert str(path) in refused.value.message
    assert path.read_bytes() == before


def test_a_newer_file_says_what_would_help(tmp_path: Path) -> None:
    newer_file(tmp_path / "fin.db")
    with pytest.raises(UsageError, match=f"newer fin_infra .*9999.*{HEAD}.*upgrade"):
        open_store(url_of(tmp_path / "fin.db"))


def test_a_folder_is_refused(tmp_path: Path) -> None:
    (tmp_path / "fin.db").mkdir()
    with pytest.raises(StoreError, match="is a folder; set FIN_INFRA_STORE_URL") as refused:
        open_store(url_of(tmp_path / "fin.db"))
    one_sentence(refused.value)
    assert list((tmp_path / "fin.db").iterdir()) == []


def test_a_path_below_a_regular_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("mine")
    with pytest.raises(StoreError) as refused:
        open_store(url_of(tmp_path / "file" / "below" / "fin.db"))
    one_sentence(refused.value)
    assert (tmp_path / "file").read_text() == "mine"


@pytest.mark.parametrize("url", ["postgresql://fin:hunter2@db/fin", "sqlite://", "sqlite:///:memory:", "fin.db", "x:"])
def test_a_url_of_another_kind_is_refused_without_echoing_it(url: str) -> None:
    with pytest.raises(UsageError, match="FIN_INFRA_STORE_URL") as refused:
        open_store(url)
    assert "hunter2" not in refused.value.message


@pytest.mark.parametrize("folder", ["a b", "ünï", "50%41", "c#sharp", "it's", "k=v&x"])
def test_a_file_in_a_folder_of_any_name_can_be_opened_again(tmp_path: Path, clock: VirtualClock, folder: str) -> None:
    path = tmp_path / folder / "fin.db"
    path.parent.mkdir()
    first = open_store(url_of(path), now=clock)
    bench = Bench(first, clock)
    bench.commit([bench.row("t1")])
    first.close()
    assert path.is_file()
    again = open_store(url_of(path), now=clock)
    assert again.cursor(bench.stream, 1).version == 1
    again.close()


def test_a_query_in_the_url_does_not_get_round_the_look_at_the_file(tmp_path: Path) -> None:
    path = tmp_path / "fin.db"
    foreign_database(path)
    before = path.read_bytes()
    with pytest.raises(UsageError):
        open_store(url_of(path) + "?timeout=5")
    assert path.read_bytes() == before


def test_a_database_that_another_holds_for_long_is_a_store_error(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'fin.db'}"
    store, other = open_store(url), open_store(url)
    with store.writing() as sql:
        sql.exec_driver_sql("PRAGMA busy_timeout = 1")  # of this connection, which the pool hands out again
    with other.writing(), pytest.raises(StoreError, match="another process holds it"), store.writing():
        pass
    with store.writing():
        pass
    store.close()
    other.close()


def test_a_file_that_another_process_just_makes_is_waited_for(tmp_path: Path) -> None:
    """Two that make one file at once may both want it alone, and SQLite then refuses one without its usual patience."""
    path = tmp_path / "fin.db"
    other = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
    other.execute("CREATE TABLE t (n)")
    other.execute("BEGIN EXCLUSIVE")
    impatient = sqlite3.connect(path, isolation_level=None, timeout=0)
    release = threading.Timer(0.2, lambda: other.execute("COMMIT"))
    release.start()
    try:
        _write_ahead(impatient)
        assert impatient.execute("PRAGMA journal_mode").fetchone() == ("wal",)
    finally:
        release.join()
        impatient.close()
        other.close()
