"""The acceptance stack in its smallest profile, as `make accept-native` runs it; and that its runner tells the truth."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import pytest

from tests.acceptance import stack
from tests.acceptance.stack import Profile, Stack, StackError, stack_of


def run(root: Path, *arguments: str, seconds: float = 120) -> tuple[int, str]:
    """A command's exit code and output. It is asked to end when it takes too long, so that it ends what it started."""
    process = subprocess.Popen(
        [sys.executable, *arguments], cwd=root, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )
    try:
        output, _ = process.communicate(timeout=seconds)
    except subprocess.TimeoutExpired:
        process.terminate()
        output, _ = process.communicate()
        output += f"\nnot done after {seconds:g} s"
    return process.returncode, output


@pytest.fixture
def root(pytestconfig: pytest.Config) -> Path:
    return pytestconfig.rootpath


def test_the_smallest_profile_passes(root: Path) -> None:
    code, output = run(root, "-m", "tests.acceptance.stack", "smoke")
    assert code == 0, output
    assert " passed in " in output
    assert "skipped" not in output


def test_the_same_journey_passes_on_postgresql(root: Path) -> None:
    code, output = run(root, "-m", "tests.acceptance.stack", "postgres")
    assert code == 0, output
    assert " passed in " in output
    assert "skipped" not in output


def test_an_unknown_profile_is_misuse(root: Path) -> None:
    code, output = run(root, "-m", "tests.acceptance.stack", "smok")
    assert (code, output) == (2, "error: there is no profile 'smok'; there are: postgres, smoke\n")


def test_a_failing_test_fails_the_run_and_shows_the_logs(root: Path, tmp_path: Path) -> None:
    (tmp_path / "test_planted.py").write_text("def test_planted() -> None:\n    raise AssertionError('planted')\n")
    code, output = run(root, "-m", "tests.acceptance.stack", "smoke", "--tests", str(tmp_path))
    assert code == 1
    assert "planted" in output
    assert "-- the last lines of worker --\nworking on " in output


def start(made: Stack, program: str, variables: Mapping[str, str] | None = None) -> stack.Running:
    return made.start("planted", ["-c", program], variables or {})


def test_a_service_that_does_not_come_up_is_named_with_its_log(tmp_path: Path) -> None:
    made = Stack(tmp_path)
    service = start(made, "import sys; print('no port left'); sys.exit(3)")
    with pytest.raises(StackError, match=r"planted ended with code 3 before it was up\n.*\nno port left"):
        made.wait(service, lambda: False)


def test_a_service_that_is_gone_before_the_end_is_a_fault(tmp_path: Path) -> None:
    made = Stack(tmp_path)
    start(made, "print('gone')").process.wait()
    [fault] = made.stop()
    assert fault.startswith("planted ended by itself with code 0\n")


def test_a_service_that_ignores_sigterm_is_killed_and_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stack, "STOP_SECONDS", 0.2)
    made = Stack(tmp_path)
    deaf = "import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN); print('deaf', flush=True); signal.pause()"
    service = start(made, deaf)
    made.wait(service, lambda: "deaf" in service.text())
    [fault] = made.stop()
    assert "planted did not end within" in fault
    assert service.process.poll() == -signal.SIGKILL


def test_everything_ends_when_the_tests_raise(tmp_path: Path) -> None:
    with pytest.raises(ZeroDivisionError), stack_of(Profile("a bank alone", ("teller",), STORE), tmp_path) as (made, _):
        raise ZeroDivisionError
    assert [service.process.poll() is not None for service in made.running] == [True, True, True]


def talkative(folder: Path) -> None:
    """A stack with one more service, which prints its credential."""
    code = f"import signal, sys; signal.signal(15, lambda *_: sys.exit()); print('{stack.SEED.token}', flush=True)"
    with stack_of(Profile("nothing else", (), STORE), folder) as (made, _):
        service = start(made, f"{code}; signal.pause()")
        made.wait(service, lambda: service.text() != "")


def test_a_secret_in_a_log_fails_the_stack(tmp_path: Path) -> None:
    with pytest.raises(StackError) as found:
        talkative(tmp_path)
    assert str(found.value) == "the log of planted holds a secret"


def test_the_stack_has_settings_of_its_own() -> None:
    assert stack.clean({"FIN_INFRA_STORE_URL": "mine", "ACCEPTANCE_APP_URL": "other", "PATH": "/bin"}) == {
        "PATH": "/bin"
    }
    assert os.environ.keys() >= stack.clean(os.environ).keys()


STORE = {"FIN_INFRA_STORE_URL": "sqlite:///{folder}/fin.db"}
