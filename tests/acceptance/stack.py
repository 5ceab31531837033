"""The acceptance stack as processes of this machine: `python -m tests.acceptance.stack [PROFILE]`.

The same services as in docker-compose.test.yml, on free ports of 127.0.0.1 and in a temporary folder, with the same
tests run against them. Exit code 0: the tests passed, every service ended cleanly, and no log held a secret.
"""

from __future__ import annotations

import argparse
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from fin_infra.testing.seeds import Seed
from tests.postgres import postgres_server

ROOT = Path(__file__).parents[2]
SEED = Seed("A0")
START_SECONDS = 60.0
STOP_SECONDS = 20.0
TAIL = 40

CLI = "from fin_infra.cli import main; main()"


class StackError(Exception):
    """The stack could not be brought up or down; the message has the log's end."""


@dataclass(frozen=True)
class Profile:
    """What a stack is made of. `variables` go to the worker and the app, `{folder}` in them is the stack's own."""

    what: str
    simulators: tuple[str, ...]
    variables: Mapping[str, str]
    postgres: bool = False
    """With a PostgreSQL beside them; `{postgres}` in the variables is its URL."""


PROFILES = {
    "smoke": Profile(
        "simulators, worker and app on SQLite files", ("teller", "alpaca", "plaid"),
        {"FIN_INFRA_STORE_URL": "sqlite:///{folder}/fin.db", "FIN_INFRA_PLAN_SECONDS": "0.2"},
    ),
    "postgres": Profile(
        "the same with store and queue in a PostgreSQL", ("teller", "alpaca", "plaid"),
        {
            "FIN_INFRA_STORE_URL": "{postgres}", "FIN_INFRA_QUEUE_URL": "{postgres}",
            "FIN_INFRA_VAULT_KEY_FILE": "{folder}/fin.key", "FIN_INFRA_PLAN_SECONDS": "0.2",
        },
        postgres=True,
    ),
}  # fmt: skip
"""A server that a profile adds (PostgreSQL) is started before the services, from its wheel, and ends after them."""


@dataclass(frozen=True)
class Running:
    """A service's process and where its output goes."""

    name: str
    process: subprocess.Popen[bytes]
    log: Path
    ends: int
    """The exit code of a clean end on SIGTERM."""

    def text(self) -> str:
        return self.log.read_text(encoding="utf-8", errors="replace")

    def tail(self) -> str:
        lines = self.text().splitlines()[-TAIL:]
        return "\n".join([f"-- the last lines of {self.name} --", *lines])


class Stack:
    """Services of one folder. Whatever was started is ended when the `with` block ends, the newest first."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.running: list[Running] = []

    def start(
        self, name: str, command: Sequence[str], variables: Mapping[str, str], *, ends: int = 0, keep: int | None = None
    ) -> Running:  # fmt: skip
        log = self.folder / f"{name}.log"
        with log.open("wb") as output:
            process = subprocess.Popen(
                [sys.executable, *command], cwd=ROOT, env={**clean(os.environ), **variables},
                stdin=subprocess.DEVNULL, stdout=output, stderr=subprocess.STDOUT,
                pass_fds=() if keep is None else (keep,),
            )  # fmt: skip
        self.running.append(Running(name, process, log, ends))
        return self.running[-1]

    def wait(self, service: Running, is_up: Callable[[], bool]) -> None:
        """Until it is up. Raises `StackError` when it ended or took too long."""
        deadline = time.monotonic() + START_SECONDS
        while not is_up():
            code = service.process.poll()
            if code is not None:
                raise StackError(f"{service.name} ended with code {code} before it was up\n{service.tail()}")
            if time.monotonic() > deadline:
                raise StackError(f"{service.name} was not up after {START_SECONDS:g} s\n{service.tail()}")
            time.sleep(0.05)

    def stop(self) -> list[str]:
        """Ends all, by their process ids. What went wrong, a text for each."""
        faults = []
        for service in reversed(self.running):
            code = service.process.poll()
            if code is not None:
                faults.append(f"{service.name} ended by itself with code {code}\n{service.tail()}")
                continue
            service.process.terminate()
            try:
                code = service.process.wait(STOP_SECONDS)
            except subprocess.TimeoutExpired:
                service.process.kill()
                service.process.wait()
                faults.append(f"{service.name} did not end within {STOP_SECONDS:g} s of SIGTERM\n{service.tail()}")
            else:
                if code != service.ends:
                    faults.append(f"{service.name} ended with code {code} on SIGTERM\n{service.tail()}")
        return faults


def clean(variables: Mapping[str, str]) -> dict[str, str]:
    """Without the settings of whoever runs this: the stack has its own."""
    return {name: value for name, value in variables.items() if not name.startswith(("FIN_INFRA_", "ACCEPTANCE_"))}


@contextmanager
def stack_of(profile: Profile, folder: Path) -> Iterator[tuple[Stack, dict[str, str]]]:
    """The profile's services, up; and the variables that tell the tests where they are."""
    stack = Stack(folder)
    faults: list[str] = []
    with ExitStack() as servers:
        try:
            yield stack, _bring_up(stack, profile, servers)
        finally:
            faults = stack.stop()
    leaks = [
        f"the log of {service.name} holds a secret" for service in stack.running
        if any(secret in service.text() for secret in SEED.credentials)
    ]  # fmt: skip
    if faults or leaks:
        raise StackError("\n".join([*faults, *leaks]))


def _bring_up(stack: Stack, profile: Profile, servers: ExitStack) -> dict[str, str]:
    known = {"ACCEPTANCE_SEED": SEED.name}
    database = servers.enter_context(postgres_server()).empty() if profile.postgres else ""
    variables = {
        name: value.format(folder=stack.folder, postgres=database) for name, value in profile.variables.items()
    }
    if profile.postgres:
        _migrate(stack, variables)
    for vendor in profile.simulators:
        url = _simulator(stack, vendor)
        known[f"ACCEPTANCE_{vendor.upper()}_URL"] = url
        variables |= dict.fromkeys(ADDRESSES[vendor], url) | KEYS.get(vendor, {})
    worker = stack.start("worker", ["-c", CLI, "worker", "--slots", "4"], variables)
    stack.wait(worker, lambda: "working on" in worker.text())
    known["ACCEPTANCE_APP_URL"] = _app(stack, variables)
    return known


ADDRESSES = {
    "teller": ("FIN_INFRA_TELLER_BASE_URL",),
    "alpaca": ("FIN_INFRA_ALPACA_BASE_URL", "FIN_INFRA_ALPACA_DATA_BASE_URL"),  # two hosts of the vendor, one port here
    "plaid": ("FIN_INFRA_PLAID_BASE_URL",),
}
"""The settings that take a vendor's address."""


def _migrate(stack: Stack, variables: Mapping[str, str]) -> None:
    """The tables, as an operator makes them before the first worker starts."""
    done = subprocess.run(
        [sys.executable, "-c", CLI, "migrate"], cwd=ROOT, env={**clean(os.environ), **variables},
        capture_output=True, text=True, timeout=START_SECONDS, check=False,
    )  # fmt: skip
    if done.returncode:
        raise StackError(f"fin-infra migrate ended with code {done.returncode}\n{done.stdout}{done.stderr}")


KEYS = {"plaid": {"FIN_INFRA_PLAID_CLIENT_ID": f"client-{SEED.slug}", "FIN_INFRA_PLAID_SECRET": SEED.secret}}
"""The application's own keys at a vendor."""


def _simulator(stack: Stack, vendor: str) -> str:
    ready = stack.folder / f"{vendor}.url"
    command = ["-m", "fin_infra.testing", vendor, "--seed", SEED.name, "--ready-file", str(ready)]
    service = stack.start(vendor, command, {})
    stack.wait(service, lambda: ready.exists() and answers(ready.read_text().strip() + "/__health"))
    return ready.read_text().strip()


def _app(stack: Stack, variables: Mapping[str, str]) -> str:
    """The app on a socket that is bound here, so that its port is known and nobody can take it in between."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{listener.getsockname()[1]}"
        command = ["-m", "uvicorn", "tests.acceptance.app:app", "--no-access-log", "--fd", str(listener.fileno())]
        # uvicorn raises the signal that ended it again, after it has closed everything
        service = stack.start("app", command, variables, ends=-signal.SIGTERM, keep=listener.fileno())
    stack.wait(service, lambda: answers(f"{url}/ping"))
    return url


def answers(url: str) -> bool:
    """Whether a GET is answered with 200. No proxy of the environment is asked."""
    try:
        with urllib.request.build_opener(urllib.request.ProxyHandler({})).open(url, timeout=5) as answer:
            return bool(answer.status == 200)
    except (OSError, urllib.error.URLError):
        return False


def run(profile: Profile, tests: Sequence[str]) -> int:
    """Brings the stack up, runs pytest against it, takes it down. The exit code."""
    with ExitStack() as parts:
        folder = Path(parts.enter_context(tempfile.TemporaryDirectory(prefix="acceptance-")))
        try:
            with stack_of(profile, folder) as (stack, known):
                command = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", *tests]
                code = subprocess.run(command, cwd=ROOT, env={**clean(os.environ), **known}, check=False).returncode
                if code:
                    for service in stack.running:
                        sys.stderr.write(service.tail() + "\n")
        except StackError as error:
            sys.stderr.write(f"error: {error}\n")
            return 1
    return code


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.acceptance.stack", description="Run the acceptance tests.")
    names = "; ".join(f"{name}: {profile.what}" for name, profile in PROFILES.items())
    parser.add_argument("profile", nargs="?", default="smoke", help=names)
    parser.add_argument("--tests", nargs="*", default=["tests/acceptance"], help="what pytest is given")
    given = parser.parse_args()
    if given.profile not in PROFILES:
        sys.stderr.write(f"error: there is no profile {given.profile!r}; there are: {', '.join(sorted(PROFILES))}\n")
        raise SystemExit(2)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))  # so that the stack is taken down then too
    raise SystemExit(run(PROFILES[given.profile], given.tests))


if __name__ == "__main__":
    main()
