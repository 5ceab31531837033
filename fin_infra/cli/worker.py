from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from fin_infra.settings import Settings


def worker(
    slots: Annotated[int | None, typer.Option("--slots", min=1, max=1024, help="Jobs at once.")] = None,
    until_idle: Annotated[bool, typer.Option("--until-idle", help="End when nothing is due and nothing runs.")] = False,
    grace: Annotated[float, typer.Option("--grace", help="Seconds running jobs get at the end.")] = 10.0,
) -> None:
    """Plan and work: what is due is queued, what is queued is synced. SIGTERM drains and loses nothing.

    Any number of workers may share the same files. Example: fin-infra worker --slots 16
    """
    import asyncio
    import os

    # many small frames: more threads than one only wait for each other; several workers use several cores
    os.environ.setdefault("POLARS_MAX_THREADS", "1")
    from fin_infra.cli.output import quiet_logs
    from fin_infra.settings import Settings

    quiet_logs()
    asyncio.run(_work(Settings.load(), slots, until_idle, grace))


async def _work(settings: Settings, slots: int | None, until_idle: bool, grace: float) -> None:
    import asyncio
    import signal

    from fin_infra.cli.output import put, say
    from fin_infra.providers.metering import Quotas
    from fin_infra.runtime import Runtime, settle_down

    Quotas(settings.environment).check()  # else each stream would be tried and say the same
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    async with Runtime(settings, on_report=lambda report: put(report.sentence(), at_once=True)) as runtime:
        names = ", ".join(schedule.name for schedule in runtime.project.schedules) or "no schedules"
        say(f"working on {settings.store_url} from {runtime.project.root}: {names}")
        settle_down()
        await runtime.run_worker(
            slots=slots, until_idle=until_idle, stop=stop, grace_seconds=grace,
            on_planned=lambda due: say(f"due: {len(due)} streams") if due else None,
        )  # fmt: skip
        stats = runtime.queue.stats()
        say(
            f"done: {stats.ready} ready, {stats.later} wait for later, {stats.running} run elsewhere, {stats.dead} dead"
        )
