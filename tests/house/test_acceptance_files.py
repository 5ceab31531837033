"""The container stack says the same as the native one, its checks see faults, and `make accept` always cleans up."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from fin_infra.testing.seeds import VENDORS, Seed
from tests.acceptance import seed
from tests.acceptance.stack import ADDRESSES, PROFILES, SEED
from tests.house.fresh import run

BIN = Path(sys.executable).parent


@pytest.fixture(scope="module")
def compose(root: Path) -> dict[str, Any]:
    found: dict[str, Any] = yaml.safe_load((root / "docker-compose.test.yml").read_text(encoding="utf-8"))
    return found


@pytest.fixture(scope="module")
def services(compose: dict[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = compose["services"]
    return found


def test_both_stacks_have_the_same_services(services: dict[str, Any]) -> None:
    always = {name for name, service in services.items() if "profiles" not in service}
    assert always == {*PROFILES["smoke"].simulators, "worker", "app"}
    rates = {"ecb", "frankfurter", "exchangerate_api"}  # stand alone, and are no part of the stack
    assert set(VENDORS) - rates == set(PROFILES["smoke"].simulators) == set(ADDRESSES) == set(seed.LINKS)
    assert {name: service["profiles"] for name, service in services.items() if "profiles" in service} == {
        "tester": ["tester"], "migrate": ["postgres"], "postgres": ["postgres"], "redis": ["redis"]
    }  # fmt: skip


def test_each_simulator_answers_where_the_worker_and_the_tests_look(services: dict[str, Any]) -> None:
    worker, tester = services["worker"]["environment"], services["tester"]["environment"]
    for vendor, variables in ADDRESSES.items():
        command = services[vendor]["command"]
        port = command[command.index("--port") + 1]
        assert command[command.index("--seed") + 1] == SEED.name == tester["ACCEPTANCE_SEED"]
        assert f"127.0.0.1:{port}/__health" in services[vendor]["healthcheck"]["test"][-1]
        for url in [worker[name] for name in variables] + [tester[f"ACCEPTANCE_{vendor.upper()}_URL"]]:
            assert url == f"http://{vendor}:{port}"
    vendors = {name for name in worker if name.endswith("_BASE_URL")}
    assert vendors == {name for variables in ADDRESSES.values() for name in variables}


def test_worker_and_app_share_store_and_vault_and_nothing_else_has_them(services: dict[str, Any]) -> None:
    with_store = [name for name, service in services.items() if service.get("volumes")]
    assert with_store == ["worker", "app"]
    assert services["worker"]["volumes"] == services["app"]["volumes"]
    app, worker = services["app"]["environment"], services["worker"]["environment"]
    assert app.items() <= worker.items()  # so both find the key file beside the store
    assert (
        app
        == services["migrate"].get("environment")
        == {
            "FIN_INFRA_STORE_URL": "${ACCEPTANCE_STORE_URL:-sqlite:////var/lib/fin-infra/fin.db}",
            "FIN_INFRA_VAULT_KEY_FILE": "/var/lib/fin-infra/fin.key",
        }
    )


@pytest.mark.parametrize(
    ("profile", "url"),
    [("smoke", "sqlite:////var/lib/fin-infra/fin.db"), ("postgres", "postgresql+psycopg://fin@postgres/fin")],
)
def test_the_profile_says_where_the_store_is(root: Path, services: dict[str, Any], profile: str, url: str) -> None:
    told = run(
        "make", "--no-print-directory", f"PROFILE={profile}", "--eval", "told:; @echo $$ACCEPTANCE_STORE_URL", "told",
        cwd=root,
    )  # fmt: skip
    assert told.stdout == f"{url}\n"
    server = services["postgres"]["environment"]
    assert (server["POSTGRES_USER"], server["POSTGRES_DB"]) == ("fin", "fin")
    assert services["worker"]["depends_on"]["migrate"] == {
        "condition": "service_completed_successfully", "required": False,
    }  # fmt: skip


def test_no_container_but_the_app_can_be_reached_and_none_that_syncs_gets_out(compose: dict[str, Any]) -> None:
    assert compose["networks"]["stack"] == {"internal": True}
    outside = {name for name, service in compose["services"].items() if service["networks"] != ["stack"]}
    assert outside == {"app"}
    assert all(port.startswith("127.0.0.1:") for port in compose["services"]["app"]["ports"])
    assert [name for name, service in compose["services"].items() if "ports" in service] == ["app"]


def test_every_service_is_pinned_and_every_one_that_stays_says_how_it_is(services: dict[str, Any]) -> None:
    for name, service in services.items():
        _, _, tag = service["image"].partition(":")
        assert tag not in ("", "latest"), name
        assert name in ("tester", "migrate") or "test" in service["healthcheck"], name


def test_every_action_is_pinned(root: Path) -> None:
    used = {
        line.split("uses:")[1].split("#")[0].strip()
        for path in (root / ".github/workflows").glob("*.yml")
        for line in path.read_text(encoding="utf-8").splitlines()
        if "uses:" in line
    }
    assert len(used) > 5
    assert [name for name in used if not re.search(r"@(v\d+(\.\d+)*|[0-9a-f]{40})$", name)] == []


def test_the_workflow_runs_every_profile(root: Path) -> None:
    workflow = yaml.safe_load((root / ".github/workflows/acceptance.yml").read_text(encoding="utf-8"))
    assert workflow["jobs"]["accept"]["strategy"]["matrix"]["profile"] == sorted(PROFILES)
    assert workflow["permissions"] == {"contents": "read"}


WORKFLOW = """\
on: {push: {branches: [main]}}
jobs:
  build:
    runs-on: ubuntu-24.04
    steps: [{run: "true"}]
  test:
    needs: NEEDED
    runs-on: ubuntu-24.04
    steps: [{run: "true"}]
"""


@pytest.mark.parametrize(("needed", "code"), [("build", 0), ("bild", 1)])
def test_actionlint_sees_a_planted_fault(tmp_path: Path, needed: str, code: int) -> None:
    file = tmp_path / "planted.yml"
    file.write_text(WORKFLOW.replace("NEEDED", needed))
    done = run(BIN / "actionlint", "-shellcheck=", "-pyflakes=", file, cwd=tmp_path)
    assert done.returncode == code, done.stdout
    assert ('needs job "bild" which does not exist' in done.stdout) is (code == 1)


@pytest.mark.parametrize(("word", "code"), [("interval", 0), ("intervall", 1)])
def test_the_compose_check_sees_a_planted_fault(tmp_path: Path, word: str, code: int) -> None:
    file = tmp_path / "planted.yml"
    file.write_text(f"services: {{a: {{image: x, healthcheck: {{test: [CMD, 'true'], {word}: 3s}}}}}}\n")
    done = run(BIN / "check-jsonschema", "--builtin-schema", "vendor.compose-spec", file, cwd=tmp_path)
    assert done.returncode == code, done.stdout


# -- make accept, with a docker that only writes down what it was told ----------------------------------------------

DOCKER = """\
#!/bin/sh
shift 5  # compose --file FILE --profile PROFILE
echo "$*" >> "$CALLS"
case "$1" in
  run) case "$TESTER" in wait) kill -TERM "$PPID";; *) exit "$TESTER";; esac;;
  logs) echo "$LOGS";;
esac
"""


def accept(root: Path, folder: Path, *, tester: str, logs: str = "all quiet") -> tuple[int, list[str], str]:
    """`make accept`: its exit code, what docker was told, and what was printed."""
    docker = folder / "docker"
    docker.write_text(DOCKER)
    docker.chmod(0o755)
    calls = folder / "calls"
    environment = {
        **{name: value for name, value in os.environ.items() if not name.startswith("MAKE")},
        "PATH": f"{folder}:{os.environ['PATH']}", "CALLS": str(calls), "TESTER": tester, "LOGS": logs,
    }  # fmt: skip
    done = subprocess.run(
        ["make", "accept"], cwd=root, env=environment, capture_output=True, text=True, timeout=60, check=False
    )
    return done.returncode, calls.read_text().splitlines(), done.stdout + done.stderr


UP = ["up --detach --build", "up --detach --no-recreate --wait --wait-timeout 180", "run --rm tester"]
DOWN = "--profile tester down --volumes --remove-orphans --timeout 30"


def test_make_accept_passes_and_takes_the_stack_down(root: Path, tmp_path: Path) -> None:
    assert shutil.which("make")
    code, calls, _ = accept(root, tmp_path, tester="0")
    assert (code, calls) == (0, [*UP, "logs --no-color", DOWN])


def test_make_accept_fails_shows_logs_and_takes_the_stack_down(root: Path, tmp_path: Path) -> None:
    code, calls, output = accept(root, tmp_path, tester="1")
    assert code != 0
    assert calls == [*UP, "logs --no-color --tail 40", DOWN]
    assert "all quiet" in output


@pytest.mark.parametrize("secret", Seed("A0").credentials)
def test_make_accept_fails_on_a_secret_in_the_logs(root: Path, tmp_path: Path, secret: str) -> None:
    code, calls, output = accept(root, tmp_path, tester="0", logs=f"linked with {secret}")
    assert code != 0
    assert "the logs above hold a secret" in output
    assert calls[-1] == DOWN


def test_an_interrupted_make_accept_takes_the_stack_down(root: Path, tmp_path: Path) -> None:
    code, calls, _ = accept(root, tmp_path, tester="wait")
    assert code != 0
    assert calls == [*UP, DOWN]


def test_make_accept_without_docker_names_the_other_way(root: Path, tmp_path: Path) -> None:
    make = shutil.which("make")
    assert make
    done = run(make, "accept", cwd=root, env={"PATH": str(tmp_path)})
    assert done.returncode != 0
    assert done.stdout == "error: there is no docker here; make accept-native needs none\n"
