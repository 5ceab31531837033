"""Finds a project's jobs/ and schedules/, and writes them out for a user to own.

`jobs` and `schedules` are generic names that belong to whoever runs them: they are loaded by path, under a private
module name, so that the folder works in any application.
"""

from __future__ import annotations

import hashlib
import importlib.util
import shutil
import sys
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from fin_infra.engine import Job
from fin_infra.errors import UsageError
from fin_infra.planning import Schedule, load_schedules
from fin_infra.settings import Settings

PACKAGE = Path(__file__).parent

SETTINGS_TEMPLATE = """\
# Settings of this project; every line is optional. Real environment variables win over this file.

# Where rows are kept, and where jobs wait (default: a file of its own beside the store's).
# FIN_INFRA_STORE_URL=sqlite:///var/fin.db
# FIN_INFRA_QUEUE_URL=sqlite:///var/fin-queue.db

# Where calls of vendors are counted; all workers that share a vendor's key must share it.
# FIN_INFRA_QUOTA_URL=sqlite:///var/fin-quota.db

# A vendor's plan, and limits that differ from it.
# FIN_INFRA_ALPACA_PLAN=paid
# FIN_INFRA_TELLER_QUOTAS=application=300/60s

# The vault's keys, newest first, comma-separated. Default: a key file beside the store's, made once, mode 0600.
# FIN_INFRA_VAULT_KEY=

# Teller's client certificate: needed outside the sandbox.
# FIN_INFRA_TELLER_CERTIFICATE=certificate.pem
# FIN_INFRA_TELLER_PRIVATE_KEY=private_key.pem
"""


@dataclass(frozen=True)
class Project:
    """A folder with jobs/ and schedules/."""

    root: Path

    @cached_property
    def jobs(self) -> Mapping[str, Job[Any]]:
        """Jobs by name. Raises `UsageError` when jobs/ cannot be loaded."""
        found = _load(self.root / "jobs")
        jobs = getattr(found, "JOBS", None)
        if not isinstance(jobs, list) or not all(isinstance(item, Job) for item in jobs):
            raise UsageError(
                f"{self.root / 'jobs/__init__.py'} has no list JOBS of jobs made with fin_infra.engine.job"
            )
        by_name = {job.name: job for job in jobs}
        if len(by_name) != len(jobs):
            raise UsageError(f"{self.root / 'jobs/__init__.py'}: two jobs share one name")
        return by_name

    @cached_property
    def schedules(self) -> list[Schedule]:
        """Raises `UsageError` with every fault as `file:line`."""
        datasets = {name: job.dataset.dataset_name() for name, job in self.jobs.items()}
        return load_schedules(self.root / "schedules", datasets)


def find_project(settings: Settings) -> Project:
    """The project: `FIN_INFRA_PROJECT`, else the folder we stand in, else the checkout's, else the shipped one."""
    if settings.project is not None:
        if not _is_project(settings.project):
            raise UsageError(f"{settings.project} has no jobs/ and schedules/; fin-infra init {settings.project}")
        return Project(settings.project)
    here = Path.cwd()
    return Project(here if _is_project(here) else scaffold())


def scaffold() -> Path:
    """Where the shipped jobs/ and schedules/ lie: the checkout's root, or inside the installed package."""
    checkout = PACKAGE.parent
    pyproject = checkout / "pyproject.toml"
    if pyproject.is_file() and _is_project(checkout):
        name = tomllib.loads(pyproject.read_text(encoding="utf-8")).get("project", {}).get("name")
        if name == "fin-infra":
            return checkout
    return PACKAGE / "_project"


def init(folder: Path) -> list[Path]:
    """Writes jobs/, schedules/ and a settings template. Raises `UsageError` rather than overwrite anything."""
    source = scaffold()
    targets = [folder / "jobs", folder / "schedules", folder / ".env.example"]
    taken = [str(target) for target in targets if target.exists()]
    if taken:
        raise UsageError(f"{', '.join(taken)} is already there and was left as it is; choose an empty folder")
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for name in ("jobs", "schedules"):
            ignored = shutil.ignore_patterns("__pycache__", ".*")
            shutil.copytree(source / name, folder / name, ignore=ignored, copy_function=shutil.copyfile)
        targets[2].write_text(SETTINGS_TEMPLATE, encoding="utf-8")
    except OSError as error:
        raise UsageError(f"cannot write to {folder}: {(error.strerror or str(error)).lower()}") from None
    return targets


def _is_project(folder: Path) -> bool:
    return (folder / "jobs" / "__init__.py").is_file() and (folder / "schedules").is_dir()


def _load(folder: Path) -> object:
    path = (folder / "__init__.py").resolve()
    name = "_fin_infra_jobs_" + hashlib.sha256(str(path).encode()).hexdigest()[:12]
    if name in sys.modules:
        return sys.modules[name]
    spec = importlib.util.spec_from_file_location(name, path, submodule_search_locations=[str(path.parent)])
    if spec is None or spec.loader is None:
        raise UsageError(f"{folder} cannot be loaded as a package of jobs")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    try:
        spec.loader.exec_module(module)
    except Exception as error:
        del sys.modules[name]
        raise UsageError(f"{folder} cannot be loaded: {type(error).__name__}: {error}") from None
    return module
