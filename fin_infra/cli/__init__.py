"""The command line, `fin-infra`: one module per noun. Heavy imports happen inside the commands, never for `--help`."""

from __future__ import annotations

import json
import sys
from typing import Annotated

import typer

from fin_infra.cli import (
    backfill,
    calendar,
    connections,
    demo,
    doctor,
    explain,
    identity,
    init,
    instruments,
    jobs,
    keys,
    migrate,
    orders,
    plan,
    providers,
    quarantine,
    quotas,
    read,
    replay,
    runs,
    schedules,
    status,
    worker,
    worth,
)
from fin_infra.cli import sync as sync_module
from fin_infra.errors import FinInfraError, UsageError

app = typer.Typer(
    name="fin-infra", no_args_is_help=True, pretty_exceptions_enable=False, add_completion=False,
    rich_markup_mode=None, context_settings={"help_option_names": ["-h", "--help"]},
    help="Keeps a finance app's data fresh: banks synced on schedule into exact Polars frames.",
    epilog="First steps: fin-infra demo, then fin-infra read transactions. Errors exit 1, misuse exits 2.",
)  # fmt: skip

app.add_typer(demo.app, name="demo")
app.command("init")(init.init)
app.add_typer(providers.app, name="providers")
app.add_typer(connections.app, name="connections")
app.add_typer(keys.app, name="keys")
app.command("sync")(sync_module.sync)
app.add_typer(backfill.app, name="backfill")
app.command("worker")(worker.worker)
app.command("status")(status.status)
app.command("explain")(explain.explain)
app.command("quotas")(quotas.quotas)
app.command("plan")(plan.plan)
app.command("worth")(worth.worth)
app.add_typer(orders.app, name="orders")
app.command("read")(read.read)
app.command("replay")(replay.replay)
app.add_typer(runs.app, name="runs")
app.add_typer(jobs.app, name="jobs")
app.add_typer(quarantine.app, name="quarantine")
app.add_typer(schedules.app, name="schedules")
app.add_typer(identity.app, name="identity")
app.add_typer(instruments.app, name="instruments")
app.add_typer(calendar.app, name="calendar")
app.command("migrate")(migrate.migrate)
app.command("doctor")(doctor.doctor)


@app.callback(invoke_without_command=True)
def root(
    context: typer.Context, version: Annotated[bool, typer.Option("--version", help="Show the version.")] = False
) -> None:
    if version:
        from fin_infra import __version__

        print(__version__)  # noqa: T201
        raise typer.Exit


def main() -> None:
    """Runs a command. Exit code 0 done, 1 failed, 2 misused; an error is one sentence, never a traceback."""
    try:
        app()  # prints its own misuse (unknown options and commands) and exits with 2
    except UsageError as error:
        _say(error)
        raise SystemExit(2) from None
    except FinInfraError as error:
        _say(error)
        raise SystemExit(1) from None
    except BrokenPipeError:  # the reader of our output went away, as `head` does
        sys.stderr.close()
        raise SystemExit(1) from None
    except Exception as error:
        print(f"error: unexpected {type(error).__name__}: {_first_line(error)}", file=sys.stderr)  # noqa: T201
        raise SystemExit(1) from None


def _say(error: FinInfraError) -> None:
    if "--json" in sys.argv[1:]:
        print(json.dumps(error.as_dict()))  # noqa: T201
    print(f"error: {error.message}", file=sys.stderr)  # noqa: T201


def _first_line(error: Exception) -> str:
    return (str(error).splitlines() or ["no message"])[0]
