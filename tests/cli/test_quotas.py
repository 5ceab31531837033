"""What is used of every quota, as `fin-infra quotas` and `providers show` say it."""

from __future__ import annotations

import contextlib
import json
import os
import pty
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from fin_infra.providers import PROVIDERS, resolve
from fin_infra.providers.teller.simulator import Fault, TellerSimulator
from fin_infra.quotas.ledger import FRAME, Denied
from fin_infra.quotas.overrides import overrides
from fin_infra.quotas.rehearsal import rehearsal
from fin_infra.quotas.windows import Rolling
from fin_infra.store.ledger import SqlLedger, migrate_ledger, open_ledger
from tests.cli.conftest import Cli
from tests.guards import guarded
from tests.postgres import PostgresServer

MINUTE = Rolling("alpaca/3f0c12345678abcd#minute", 5, 600.0)
DAY = Rolling("alpha/app/con_1#day", 10, 86400.0, arrive_within=None)
COMMAND = [sys.executable, "-c", "from fin_infra.cli import main; main()"]


@pytest.fixture
def ledger() -> Iterator[SqlLedger]:
    """That of this folder, as any process has it."""
    Path("var").mkdir(exist_ok=True)
    found = open_ledger("sqlite:///var/fin-quota.db")
    yield found
    found.close()


def spend(ledger: SqlLedger, *windows: Rolling, times: int = 1) -> None:
    for _ in range(times):
        grant = ledger.acquire(windows)
        assert not isinstance(grant, Denied)
        ledger.settle(grant)


def rows(cli: Cli, *more: str) -> dict[str, dict[str, Any]]:
    said = cli("quotas", "--json", *more)
    assert said.code == 0, said.err
    return {row["window"]: row for row in json.loads(said.out)}


def test_before_the_first_call_it_says_what_is_declared_and_makes_no_file(cli: Cli) -> None:
    said = cli("quotas")
    assert (said.code, said.out) == (0, "")
    assert re.fullmatch(
        r"no call was counted yet; windows of \d+ vendors are declared; fin-infra providers show NAME says more\n",
        said.err,
    )
    assert cli("quotas", "--provider", "market:alpaca").err.startswith(
        "no call was counted yet; alpaca permits 200 calls in any minute"
    )
    assert cli("quotas", "--json").out == "[]\n"
    assert not Path("var/fin-quota.db").exists()


def test_every_call_to_the_vendor_is_in_it(cli: Cli, linked: str, bank: TellerSimulator) -> None:
    assert cli("sync", "--connection", linked).code == 0
    found = rows(cli)
    assert found["teller/app#application"]["used"] == len(bank.requests) > 3
    own = found[f"teller/app/{linked}#connection"]
    assert (own["used"], own["below"], own["percent"]) == (
        len(bank.requests),
        linked,
        round(len(bank.requests) / 0.6, 1),
    )
    assert set(FRAME) <= set(own)
    table = cli("quotas").out.splitlines()
    assert [line.split()[:3] for line in table[2:]] == [
        ["teller", "app", "application"], ["teller", f"app/{linked}", "connection"],
    ]  # fmt: skip


def test_a_refusal_shows_as_blocked_counted_and_with_a_lower_limit(
    cli: Cli, linked: str, bank: TellerSimulator
) -> None:
    bank.fail_next(Fault("refuse", status=429, retry_after="900"))
    before = datetime.now(UTC)
    assert cli("sync", "--connection", linked).code == 1
    row = rows(cli)["teller/app#application"]
    until = datetime.fromisoformat(row["blocked_until"])
    assert timedelta(seconds=895) < until - before < timedelta(seconds=910)
    assert (row["throttled"], row["declared"], row["limit"]) == (1, 3000, 2700)
    [line] = [line for line in cli("quotas").out.splitlines() if " application " in line]
    assert "2700 (3000)" in line
    assert "blocked by the vendor until 2" in line
    assert "waits for" in cli("status").out


def test_holds_and_reserves_are_told(cli: Cli, ledger: SqlLedger) -> None:
    spend(ledger, MINUTE, times=5)
    assert isinstance(ledger.acquire((MINUTE,), lane="webhook"), Denied)
    [row] = rows(cli).values()
    assert (row["hold"], row["used"], row["limit"]) == ("webhook", 5, 5)
    assert any(note.startswith("held for webhook until 2") for note in row["now"])
    assert any(note.startswith("next free 2") for note in row["now"])


@guarded(
    "windows come as they were made", "cli/quotas.py",
    'return sorted(found, key=lambda row: (row["provider"], row["key"], row["below"] or "", row["name"]))',
    "return found[::-1]",
)  # fmt: skip
def test_rows_are_sorted_keys_are_short_and_one_vendor_can_be_asked_for(cli: Cli, ledger: SqlLedger) -> None:
    spend(ledger, DAY)
    spend(ledger, MINUTE, Rolling("alpaca/3f0c12345678abcd#data", 5, 600.0))
    assert list(rows(cli)) == ["alpaca/3f0c12345678abcd#data", MINUTE.key, DAY.key]
    assert list(rows(cli, "--provider", "alpaca")) == ["alpaca/3f0c12345678abcd#data", MINUTE.key]
    lines = cli("quotas").out.splitlines()
    assert [line.split()[:3] for line in lines[2:]] == [
        ["alpaca", "3f0c1234", "data"], ["alpaca", "3f0c1234", "minute"], ["alpha", "app/con_1", "day"],
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (("--provider", "alpac"), "no provider 'alpac' (did you mean alpaca?)"),
        (("--every", "5"), "--every goes with --watch: fin-infra quotas --watch --every 5"),
        (("--watch", "--every", "0"), None),
        (("--interval", "3"), None),
    ],
)
def test_misuse(cli: Cli, arguments: tuple[str, ...], sentence: str | None) -> None:
    said = cli("quotas", *arguments)
    assert said.code == 2
    if sentence is not None:
        assert sentence in said.error


def test_a_ledger_that_is_not_ours_is_misuse(cli: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "their.db").write_text("words\n" * 100)
    monkeypatch.setenv("FIN_INFRA_QUOTA_URL", f"sqlite:///{tmp_path / 'their.db'}")
    said = cli("quotas")
    assert said.code == 2
    assert "FIN_INFRA_QUOTA_URL" in said.error


def test_it_needs_neither_vault_nor_svc_infra(tmp_path: Path, ledger: SqlLedger) -> None:
    spend(ledger, MINUTE)
    code = (
        "import sys; from fin_infra.cli import main\ntry:\n    main()\nfinally:\n"
        "    print(sorted({name.partition('.')[0] for name in sys.modules} & {'svc_infra', 'cryptography'}))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, "quotas", "--json"], cwd=tmp_path, capture_output=True, text=True, check=True
    )
    assert done.stdout.splitlines()[-1] == "[]"
    assert not list(tmp_path.rglob("*.key"))


def test_a_fleets_ledger_is_read_and_rehearsed_alike(
    cli: Cli, postgres: PostgresServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    url = postgres.migrated()
    monkeypatch.setenv("FIN_INFRA_QUOTA_URL", url)
    migrate_ledger(url)
    ledger = open_ledger(url)
    spend(ledger, MINUTE, times=5)
    ledger.acquire((MINUTE,), lane="webhook")
    [row] = rows(cli).values()
    assert (row["used"], row["limit"], row["hold"]) == (5, 5, "webhook")
    other = Rolling("alpaca/3f0c12345678abcd#never", 5, 600.0)
    copy = rehearsal(ledger, (MINUTE, other), lambda: datetime.now(UTC))
    denied = copy.acquire((MINUTE, other))
    assert isinstance(denied, Denied)
    assert denied.window == MINUTE
    assert copy.capacity((other,), 0.0) == 5
    assert set(rows(cli)) == {MINUTE.key}, "a window that was looked at is not recorded"
    ledger.close()


# -- watching --------------------------------------------------------------------------------------------------------


def test_watching_into_a_pipe_tells_each_change_in_a_line(tmp_path: Path, ledger: SqlLedger) -> None:
    spend(ledger, MINUTE, DAY)
    with subprocess.Popen(
        [*COMMAND, "quotas", "--watch", "--every", "0.1"], cwd=tmp_path, stdout=subprocess.PIPE, text=True
    ) as process:  # fmt: skip
        assert process.stdout is not None
        first = json.loads(process.stdout.readline())
        assert [row["window"] for row in first["windows"]] == [MINUTE.key, DAY.key]
        spend(ledger, DAY)
        second = json.loads(process.stdout.readline())
        assert [(row["window"], row["used"]) for row in second["windows"]] == [(DAY.key, 2)], "only what changed"
        assert second["at"] > first["at"]
        process.send_signal(signal.SIGINT)
        assert process.wait(timeout=20) == 0


@pytest.mark.parametrize("columns", [60, 120])
def test_watching_on_a_terminal_refreshes_in_place_and_fits(tmp_path: Path, ledger: SqlLedger, columns: int) -> None:
    spend(ledger, MINUTE, times=5)
    shown = on_a_terminal(
        tmp_path, columns, "quotas", "--watch", "--every", "0.1", until="5", then=lambda: spend(ledger, DAY)
    )
    assert "\x1b[1A" in shown, "the cursor goes back up"
    assert "day" in shown
    assert max(map(len, plain(shown))) <= columns


def test_a_narrow_terminal_has_lines_in_place_of_the_table(tmp_path: Path, ledger: SqlLedger) -> None:
    spend(ledger, MINUTE, times=5)
    lines = plain(on_a_terminal(tmp_path, 50, "quotas"))
    assert max(map(len, lines)) <= 50
    words = " ".join(" ".join(lines).split())
    assert words.startswith("alpaca 3f0c1234 minute: 5 of 5 used, 100 %, all free at 2")
    assert "; next free 2" in words


def on_a_terminal(folder: Path, columns: int, *more: str, until: str | None = None, then: Any = None) -> str:
    """What the command writes to a terminal of that width; interrupted once `then` has been done and shown."""
    ours, theirs = pty.openpty()
    env = {**os.environ, "COLUMNS": str(columns), "LINES": "40", "TERM": "xterm"}
    process = subprocess.Popen([*COMMAND, *more], cwd=folder, stdout=theirs, stdin=theirs, env=env)
    os.close(theirs)
    text = ""
    with contextlib.suppress(OSError):  # the terminal is gone when the process is
        while part := os.read(ours, 65536):
            text += part.decode()
            if until is not None and until in text and then is not None:
                then()
                then = None
            elif then is None and until is not None and "day" in text:
                process.send_signal(signal.SIGINT)
                until = None
    os.close(ours)
    assert process.wait(timeout=20) == 0
    return text


def plain(text: str) -> list[str]:
    """Lines as they are seen."""
    return re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", text).replace("\r", "\n").split("\n")


# -- what is declared ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", PROVIDERS)
def test_a_vendor_shows_its_declared_windows_with_source_and_date(cli: Cli, name: str) -> None:
    said = cli("providers", "show", name)
    assert said.code == 0
    quota = resolve(name).quota
    assert quota is not None
    for number, plan in enumerate(quota.plans):
        [line] = [line for line in said.out.splitlines() if line.startswith(f"quota, plan {plan.name}")]
        assert f"read on {plan.read_on}: {plan.source}" in line
        assert ("(in force)" in line) == (number == 0)
        for window in plan.windows:
            assert f"  {window.key}: " in said.out


def test_the_plan_in_force_and_windows_of_the_settings_are_told(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FIN_INFRA_ALPACA_PLAN", "paid")
    monkeypatch.setenv("FIN_INFRA_ALPACA_QUOTAS", "day=5000/24h")
    lines = cli("providers", "show", "alpaca").out.splitlines()
    assert any(line.startswith("quota, plan paid (in force)") for line in lines)
    assert "  day: 5,000 calls in any 24 hours, set by FIN_INFRA_ALPACA_QUOTAS" in lines
    monkeypatch.setenv("FIN_INFRA_ALPACA_PLAN", "gold")
    said = cli("providers", "show", "alpaca")
    assert said.code == 2
    assert "FIN_INFRA_ALPACA_PLAN" in said.error


def test_the_figures_in_the_how_to_are_of_the_form_that_the_settings_take() -> None:
    page = (Path(__file__).parents[2] / "docs/how-to/live-on-a-free-tier.md").read_text(encoding="utf-8")
    lines = re.findall(r'FIN_INFRA_TELLER_QUOTAS="([^"]+)"', page)
    assert [len(overrides(line, "X")) for line in lines] == [1, 3]
    loose = [part for part in re.findall(r"`([^`]+)`", page) if re.search(r"[0-9]/(day\(|[0-9])", part)]
    assert len(loose) >= 2
    for part in loose:
        assert overrides(part if "=" in part else f"name={part}", "X"), part
