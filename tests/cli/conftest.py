"""The command line as a person or a script meets it: arguments in, exit code, stdout and stderr out."""

from __future__ import annotations

import io
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import date

import pytest

from fin_infra.cli import main
from fin_infra.providers.teller.simulator import TellerSimulator, sandbox
from fin_infra.testing import serve

TOKEN = "test_token_SECRET7731"


@dataclass(frozen=True)
class Said:
    code: int
    out: str
    err: str

    @property
    def error(self) -> str:
        """The one error sentence."""
        lines = [line for line in self.err.splitlines() if line.startswith("error: ")]
        assert len(lines) == 1, self.err
        return lines[0].removeprefix("error: ")


Cli = Callable[..., Said]


@pytest.fixture
def cli(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Cli:
    """Runs a command in this process. No output may hold a traceback or the secret."""

    def run(*arguments: str, stdin: str = "") -> Said:
        monkeypatch.setattr(sys, "argv", ["fin-infra", *arguments])
        monkeypatch.setattr(sys, "stdin", io.StringIO(stdin))
        capsys.readouterr()
        code = 0
        try:
            main()
        except SystemExit as done:
            code = done.code if isinstance(done.code, int) else 1 if done.code else 0
            if isinstance(done.code, str):
                sys.stderr.write(done.code + "\n")
        out, err = capsys.readouterr()
        for text in (out, err):
            assert "Traceback" not in text
            assert TOKEN not in text
        return Said(code, out, err)

    return run


@pytest.fixture
def bank(monkeypatch: pytest.MonkeyPatch) -> Iterator[TellerSimulator]:
    simulator = TellerSimulator()
    sandbox(simulator, TOKEN, today=date(2026, 11, 24))
    for account in simulator.enrollments[TOKEN].accounts:  # ids are no secret, so the token is not in them here
        account.id = account.id.replace(TOKEN, "ada")
        for row in account.transactions:
            row.id = row.id.replace(TOKEN, "ada")
    with serve(simulator) as served:
        monkeypatch.setenv("FIN_INFRA_TELLER_BASE_URL", served.url)
        yield simulator


@pytest.fixture
def linked(cli: Cli, bank: TellerSimulator) -> str:
    """The id of a linked connection."""
    said = cli("connections", "add", "banking:teller", "--tenant", "ada", "--secret-stdin", stdin=TOKEN + "\n")
    assert said.code == 0, said.err
    return said.out.strip()
