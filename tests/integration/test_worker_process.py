"""The worker as a process of its own: SIGTERM drains, and what was not finished goes back unburned."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from fin_infra.providers.teller.simulator import Fault
from fin_infra.runtime import Runtime
from fin_infra.settings import Settings
from tests.world import World, bought, checking

PROGRAM = "from fin_infra.cli import main; main()"


def start(world: World, *arguments: str) -> subprocess.Popen[str]:
    environment = {
        **{name: value for name, value in os.environ.items() if not name.startswith("FIN_INFRA_")},
        "FIN_INFRA_STORE_URL": world.settings.store_url,
        "FIN_INFRA_TELLER_BASE_URL": world.url,
    }
    return subprocess.Popen(
        [sys.executable, "-c", PROGRAM, "worker", *arguments], env=environment, cwd=world.folder,
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip


@pytest.mark.parametrize(("slow", "grace", "done"), [(0.6, "20", True), (30.0, "0.2", False)])
async def test_sigterm_lets_a_short_job_finish_and_puts_a_long_one_back(
    world: World, slow: float, grace: str, done: bool, tmp_path: Path
) -> None:
    asked = tmp_path / "asked"
    world.bank.enroll("tok", checking("acc_1", bought("txn_1")))
    world.bank.fail_next(Fault("slow", on="/accounts", seconds=slow))
    world.bank.on_request = lambda path: asked.touch()
    settings = Settings(store_url=world.settings.store_url)
    async with Runtime(settings) as runtime:
        provider = __import__("fin_infra").resolve("teller")
        runtime.connections.add(provider, {"access_token": "tok"}, tenant="ada")
    process = start(world, "--slots", "1", "--grace", grace)
    patience = time.monotonic() + 30
    while not asked.exists():
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < patience
        time.sleep(0.02)
    process.send_signal(signal.SIGTERM)
    out, err = process.communicate(timeout=30)
    assert process.returncode == 0, err
    assert "Traceback" not in err
    async with Runtime(settings) as runtime:
        jobs = runtime.queue.jobs()
        assert runtime.queue.stats().done == (1 if done else 0)
        assert ("accounts: ok" in out) is done
        assert all((job.state, job.attempts, job.crashes) == ("queued", 0, 0) for job in jobs)
        assert len(jobs) == (1 if done else 2)
        await runtime.run_worker(until_idle=True) if done else None
