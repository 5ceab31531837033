"""Processes with nothing of ours in their environment: what a user begins with."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path


def clean_environment(folder: Path) -> dict[str, str]:
    """The environment without our settings and Python's paths, and a store in `folder`: what a user begins with."""
    kept = {k: v for k, v in os.environ.items() if not k.startswith(("FIN_INFRA_", "PYTHON", "VIRTUAL_ENV"))}
    return {**kept, "FIN_INFRA_STORE_URL": f"sqlite:///{folder / 'fin.db'}"}


def run(*command: str | Path, cwd: Path, env: dict[str, str] | None = None) -> subprocess.CompletedProcess[str]:
    """Runs a command to its end; its output is in the assertion when it fails."""
    return subprocess.run(
        list(map(str, command)), cwd=cwd, env=env, capture_output=True, text=True, timeout=300, check=False
    )
