"""Bad input: one clear sentence with what, where and the remedy; exit 2 for misuse, 1 for failure; nothing touched."""

from __future__ import annotations

import contextlib
import json
import re
import sqlite3
from pathlib import Path

import pytest

from tests.cli.conftest import TOKEN, Cli, Said


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (("connections", "add", "banking:tellr"), "no provider 'banking:tellr' (did you mean banking:teller?); there are:"),
        (("connections", "add", "brokerage:teller"), "no provider 'brokerage:teller'"),
        (("connections", "add", "banking:teller"), "where is the secret? --secret-stdin, or --secret access_token=env:VAR"),
        (("connections", "add", "teller", "--secret", "access_token=abc"), "a secret itself is never an argument"),
        (("connections", "add", "teller", "--secret", "access_token=env:NOPE"), "environment variable NOPE is not set"),
        (("connections", "add", "teller", "--secret", "access_token=file:/no"), "the file /no cannot be read as text"),
        (("connections", "add", "teller", "--secret", "token=env:HOME"), "with FIELD one of access_token"),
        (("connections", "show", "con_0"), "no connection 'con_0'; fin-infra connections ls shows them"),
        (("connections", "rm", "con_0"), "no connection 'con_0'"),
        (("sync",), "say which: --connection ID, --provider PROVIDER or --all"),
        (("sync", "--all"), "no active connection to sync"),
        (("sync", "runs", "--all"), "'runs' is not synced from vendors"),
        (("sync", "--provider", "tellr"), "no provider 'tellr'"),
        (("read", "transaction"), "no dataset 'transaction'; there are: accounts"),
        (("read", "accounts", "--since", "2026-01-01"), "accounts has no date to filter by"),
        (("read", "transactions", "--since", "yesterday"), "--since 'yesterday' is no date; write 2026-11-24"),
        (("read", "transactions", "--as-of", "2026-11-24T12:00:00"), "has no zone"),
        (("read", "transactions", "--as-of", "noon"), "is no instant"),
        (("read", "runs", "--history"), "runs has no history"),
        (("read", "transactions", "--format", "xml"), "no format 'xml'; there are: table, csv, ndjson, parquet"),
        (("runs", "show", "run_0"), "no run 'run_0'"),
        (("replay", "banking:teller", "transactions"), "which answers? name at least one FILE"),
        (("replay", "banking:teller", "transactions", "no.json"), "cannot read no.json: no such file or directory"),
        (("replay", "banking:teller", "holdings", "no.json"), "cannot read no.json"),
        (("replay", "banking:teller", "transactions", "x", "--context", "kind=credit"), "--context 'kind=credit' is not"),
        (("schedules", "next", "--at", "2026-11-24"), "has no zone"),
        (("backfill", "resume", "bf_0"), "no backfill 'bf_0'; fin-infra backfill ls shows them"),
        (("backfill", "prices", "--from", "2020-01-01", "--instruments", "@no.txt"),
         "the file 'no.txt' cannot be read: no such file or directory"),
        (("backfill", "prices", "--from", "2020-01-01", "--provider", "teller", "--tenant", "zoe"),
         "no active connection of teller of tenant zoe has prices"),
        (("init", "."), None),
    ],
)  # fmt: skip
def test_misuse_is_one_sentence_and_exit_2(cli: Cli, arguments: tuple[str, ...], sentence: str | None) -> None:
    said = cli(*arguments)
    if sentence is None:
        assert said.code == 0
        said = cli(*arguments)
        sentence = "is already there and was left as it is"
    assert said.code == 2
    assert sentence in said.error


def test_no_secret_on_stdin_and_a_wrong_one(cli: Cli) -> None:
    add = ("connections", "add", "banking:teller", "--secret-stdin")
    assert "nothing came on stdin" in cli(*add).error
    assert "no JSON object" in cli(*add, stdin="{broken").error
    assert "no JSON object of text fields" in cli(*add, stdin='["x"]').error
    assert "misses access_token" in cli(*add, stdin='{"token": "' + TOKEN + '"}').error
    assert cli(*add, stdin="{}").code == 2


def test_errors_are_json_for_machines(cli: Cli) -> None:
    said = cli("sync", "--all", "--json")
    assert json.loads(said.out)["error_code"] == "usage"
    assert said.code == 2


SCHEDULES = [
    ("schedules:\n  a: {job: sync_transactions, every: 6 hours}\n", "x.yaml:2: a.every '6 hours': a duration is a number"),
    ("schedules:\n  a:\n    job: sync_transaction\n    every: 6h\n",
     "x.yaml:3: a.job: unknown 'sync_transaction' (did you mean 'sync_transactions'?); allowed: sync_accounts, sync_"),
    ("schedules:\n  a: {job: sync_accounts, evry: 6h}\n", "x.yaml:2: unknown field 'evry' (did you mean 'every'?); allowed:"),
    ("schedules:\n  a: {job: sync_accounts}\n", "x.yaml:2: a.every: field required"),
    ("schedules:\n  a: {job: sync_accounts, every: 6h, lane: fast}\n",
     "x.yaml:2: a.lane 'fast': input should be 'interactive', 'webhook', 'scheduled' or 'backfill'"),
    ("schedules:\n  a: {job: sync_accounts, every: 6h, providers: [telle]}\n", "unknown 'telle' (did you mean 'teller'?)"),
    ("schedules:\n  a: {job: sync_accounts, every: 1h, jitter: 2h}\n", "a.jitter: must not be longer than every"),
    ("schedules:\n  a: {job: sync_accounts, every: 0s}\n", "a.every: must be longer than nothing"),
    ("schedule:\n  a: {}\n", "x.yaml:1: unknown section 'schedule' (did you mean 'schedules'?); allowed: schedules"),
    ("schedules:\n  a: [1]\n", "x.yaml:2: expected a mapping of fields"),
    ("schedules:\n  a: {job: sync_accounts, every: 6h}\n  a: {job: sync_accounts, every: 6h}\n", "x.yaml:3: schedule 'a' stands twice"),
    ("schedules:\n  - a: {job\n", "not readable as YAML"),
    ("schedules: {accounts: {job: sync_accounts, every: 6h}}\n", "x.yaml:1: schedule 'accounts' is already in accounts.yaml:4"),
]  # fmt: skip


@pytest.mark.parametrize(("text", "sentence"), SCHEDULES)
def test_a_schedule_that_is_wrong_stops_check_and_worker_with_file_and_line(
    cli: Cli, tmp_path: Path, text: str, sentence: str
) -> None:
    assert cli("init", "mine").code == 0
    (tmp_path / "mine/schedules/x.yaml").write_text(text)
    for command in (("schedules", "check"), ("worker", "--until-idle")):
        said = _in_project(cli, tmp_path / "mine", *command)
        assert said.code == 2
        assert sentence in said.error


def _in_project(cli: Cli, folder: Path, *arguments: str) -> Said:
    with contextlib.chdir(folder):
        return cli(*arguments)


def test_jobs_that_cannot_be_loaded_are_a_sentence(cli: Cli, tmp_path: Path) -> None:
    cli("init", "mine")
    (tmp_path / "mine/jobs/__init__.py").write_text("import nothing_like_that\n")
    said = _in_project(cli, tmp_path / "mine", "schedules", "check")
    assert said.code == 2
    assert "No module named 'nothing_like_that'" in said.error


@pytest.mark.parametrize("what", ["text", "other", "folder", "below_a_file", "newer"])
def test_a_store_that_is_not_ours_or_cannot_be_used_is_left_as_it_is(
    cli: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, what: str
) -> None:
    path = tmp_path / "their.db"
    match what:
        case "text":
            path.write_text("not a database at all, just words\n" * 100)
        case "other":
            with sqlite3.connect(path) as sql:
                sql.execute("CREATE TABLE customers (id INTEGER)")
        case "folder":
            path.mkdir()
        case "below_a_file":
            path.write_text("x")
            path = path / "fin.db"
        case "newer":
            monkeypatch.setenv("FIN_INFRA_STORE_URL", f"sqlite:///{path}")
            assert cli("status").code == 0
            with sqlite3.connect(path) as sql:
                sql.execute("UPDATE fin_infra_version SET version_num = '9999'")
    sentence, code = {
        "text": ("is not a fin_infra store and was left as it is", 2),
        "other": ("is not a fin_infra store and was left as it is", 2),
        "folder": ("is a folder; set FIN_INFRA_STORE_URL to a file", 1),
        "below_a_file": ("choose another place", 1),
        "newer": ("was made by a newer fin_infra", 2),
    }[what]
    before = path.read_bytes() if path.is_file() else None
    monkeypatch.setenv("FIN_INFRA_STORE_URL", f"sqlite:///{path}")
    for command in (("status",), ("read", "accounts"), ("doctor",)):
        said = cli(*command)
        assert sentence in said.out + said.err
        assert said.code == (1 if command == ("doctor",) else code)
    assert before == (path.read_bytes() if path.is_file() else None)


@pytest.mark.parametrize(
    ("name", "value", "sentence"),
    [
        ("FIN_INFRA_STORE_URL", "mysql://x", "FIN_INFRA_STORE_URL is of kind 'mysql'"),
        ("FIN_INFRA_SLOTS", "many", "setting FIN_INFRA_SLOTS is wrong"),
        ("FIN_INFRA_VAULT_KEY", "SECRET-NOT-A-KEY", "a vault key is not a Fernet key"),
        ("FIN_INFRA_PROJECT", "/nowhere", "/nowhere has no jobs/ and schedules/"),
    ],
)
def test_a_wrong_setting_is_named(
    cli: Cli, monkeypatch: pytest.MonkeyPatch, name: str, value: str, sentence: str
) -> None:
    monkeypatch.setenv(name, value)
    said = cli("schedules", "next")
    assert said.code == 2
    assert sentence in said.error
    assert "SECRET" not in said.err


@pytest.mark.parametrize(
    ("name", "value", "sentence"),
    [
        ("FIN_INFRA_TELLER_PLAN", "gold", "FIN_INFRA_TELLER_PLAN: teller has no plan 'gold'; there are: production"),
        ("FIN_INFRA_TELLER_QUOTAS", "many", "FIN_INFRA_TELLER_QUOTAS: 'many' is no window; write [KEY:]"),
        ("FIN_INFRA_TELLER_QUOTAS", "day=9/24h, account:day=4/24h", "FIN_INFRA_TELLER_QUOTAS says 'day' twice"),
    ],
)
def test_a_wrong_plan_or_limit_stops_the_worker_before_anything_is_tried(
    cli: Cli, linked: str, monkeypatch: pytest.MonkeyPatch, name: str, value: str, sentence: str
) -> None:
    monkeypatch.setenv(name, value)
    said = cli("worker", "--until-idle")
    assert said.code == 2
    assert sentence in said.error
    assert cli("runs", "ls", "--json").out == ""


def test_a_connection_that_is_not_active_takes_no_backfill(cli: Cli, linked: str) -> None:
    cli("connections", "disable", linked)
    said = cli("backfill", "transactions", "--from", "2020-01-01", "--connection", linked)
    assert said.code == 2
    assert f"{linked} is disabled; fin-infra connections relink {linked}" in said.error


def test_no_backfill_is_said_and_doctor_misses_no_schedule_of_one(cli: Cli) -> None:
    said = cli("backfill", "ls")
    assert said.code == 0
    assert "there is no backfill" in said.err
    assert "backfill_chunk" not in cli("doctor").out


def test_a_password_in_an_address_is_not_shown(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FIN_INFRA_TELLER_BASE_URL", f"https://user:{TOKEN}@127.0.0.1:9/path")
    for command in (("providers", "ls"), ("providers", "show", "teller")):
        assert "https://…@127.0.0.1:9/path" in cli(*command).out


def test_the_demo_does_not_touch_real_connections(cli: Cli, linked: str) -> None:
    said = cli("demo")
    assert said.code == 2
    assert "set FIN_INFRA_STORE_URL to another file for the demo" in said.error
    assert json.loads(cli("connections", "ls", "--json").out)[0]["state"] == "active"


def test_the_demo_runs_twice_and_leaves_rows_and_nothing_to_do(cli: Cli) -> None:
    for _ in range(2):
        said = cli("demo")
        assert said.code == 0, said.err
        assert re.search(r"changes of the second cycle: \d+ of 18\d\d rows moved", said.out)
        thanksgiving = said.out[said.out.index(", Thursday\n") : said.out.index(", Friday\n")]
        assert "/holdings since" in thanksgiving
        assert "(us_eod)" not in thanksgiving  # coins are priced on that day too
    assert len(cli("read", "transactions", "--format", "ndjson").out.splitlines()) == 217
    worker = cli("worker", "--until-idle")
    assert worker.code == 0
    assert worker.out == ""


@pytest.mark.parametrize(
    ("watchlist", "sentence"),
    [
        ("us:SPY,SPY", "'SPY' is no instrument; write namespace:symbol, like us:SPY"),
        ("us:SPY,nowhere:X", "no calendar is known of nowhere:X; nobody will price them"),
    ],
)
def test_doctor_looks_at_the_watchlist(
    cli: Cli, monkeypatch: pytest.MonkeyPatch, watchlist: str, sentence: str
) -> None:
    monkeypatch.setenv("FIN_INFRA_WATCHLIST", watchlist)
    said = cli("doctor")
    assert said.code == 1
    assert f"BAD  watchlist: FIN_INFRA_WATCHLIST: {sentence}" in said.out
    monkeypatch.setenv("FIN_INFRA_WATCHLIST", "us:SPY,crypto:bitcoin")
    assert "ok   watchlist: 2 instruments beside those held" in cli("doctor").out


def test_a_store_that_the_demo_filled_takes_no_real_link(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    assert cli("demo").code == 0
    monkeypatch.setenv("TOKEN", TOKEN)
    said = cli("connections", "add", "teller", "--secret", "access_token=env:TOKEN")
    assert said.code == 2
    assert "holds the demo's simulated rows" in said.error
    assert "set FIN_INFRA_STORE_URL to another file, or delete this one" in said.error
