"""A worker process of the simulation: it can be killed at any statement, and what it had in memory is then gone.

All processes live in one event loop. Which one a task belongs to says a context variable, which a database connection
remembers: statements are counted there, and the one whose number is up is not run any more.
"""

from __future__ import annotations

import asyncio
import contextvars
import sqlite3
from collections.abc import Callable, Coroutine
from typing import Any

from sqlalchemy import Engine, event

PROCESS: contextvars.ContextVar[Process | None] = contextvars.ContextVar("process", default=None)


class Crash(BaseException):
    """The process is no more. Like a kill, nothing of ours may catch it."""


class Process:
    """Tasks and connections that die together."""

    def __init__(self, name: str, on_crash: Callable[[Process], None]) -> None:
        self.name = name
        self.dead = False
        self.statements = 0
        self.crash_at: int | None = None  # the number of the statement that is not run any more
        self.frozen = False
        self.held: list[asyncio.Handle] = []  # what it would do if it were not frozen
        self.on_commit: Callable[[], None] = lambda: None
        self.tasks: set[asyncio.Task[Any]] = set()
        self._on_crash = on_crash

    def start(self, main: Callable[[], Coroutine[Any, Any, None]]) -> asyncio.Task[None]:
        context = contextvars.copy_context()
        context.run(PROCESS.set, self)
        return asyncio.get_running_loop().create_task(main(), name=self.name, context=context)

    def alive(self) -> None:
        """Raises when the process is dead: it does nothing any more, not even clean up."""
        if self.dead:
            raise Crash(self.name)

    def statement(self, text: str) -> None:
        """One more statement is about to be run."""
        self.alive()
        self.statements += 1
        if self.crash_at is not None and self.statements >= self.crash_at:
            self.crash()
            raise Crash(f"{self.name} at {text}")

    def crash(self) -> None:
        """Ends it now. Its tasks are cancelled; whatever they still try raises `Crash`."""
        if not self.dead:
            self.dead = True
            self._on_crash(self)
            for task in self.tasks:
                task.cancel()

    async def buried(self) -> None:
        """Waits until none of its tasks is left."""
        while self.tasks:
            for task in self.tasks:
                task.cancel()
            await asyncio.gather(*self.tasks, return_exceptions=True)


def task_factory(
    loop: asyncio.AbstractEventLoop, coro: Any, *, context: contextvars.Context | None = None
) -> asyncio.Task[Any]:
    """Tasks are known to the process that made them."""
    task: asyncio.Task[Any] = asyncio.Task(coro, loop=loop, context=context)
    owner = PROCESS.get() if context is None else context.get(PROCESS)
    if owner is not None:
        owner.tasks.add(task)
        task.add_done_callback(owner.tasks.discard)
    return task


class _Cursor(sqlite3.Cursor):
    def execute(self, sql: str, parameters: Any = (), /) -> _Cursor:
        _count(self, sql)
        super().execute(sql, parameters)
        return self

    def executemany(self, sql: str, parameters: Any, /) -> _Cursor:
        _count(self, sql)
        super().executemany(sql, parameters)
        return self


class SimConnection(sqlite3.Connection):
    """A connection of the process it was opened by."""

    def __init__(self, *args: Any, **more: Any) -> None:
        super().__init__(*args, **more)
        self.process = PROCESS.get()

    def cursor(self, *_: Any) -> Any:
        return super().cursor(_Cursor)

    def commit(self) -> None:
        if self.process is None or not self.in_transaction:
            super().commit()
            return
        self.process.statement("COMMIT")
        super().commit()
        self.process.on_commit()
        self.process.statement("the first moment after COMMIT")


def _count(cursor: _Cursor, sql: str) -> None:
    connection = cursor.connection
    if isinstance(connection, SimConnection) and connection.process is not None:
        connection.process.statement(sql)


def _connect(dialect: Any, record: Any, args: Any, options: dict[str, Any]) -> None:
    if PROCESS.get() is not None:
        options["factory"] = SimConnection


def _connected(connection: Any, record: Any) -> None:
    if PROCESS.get() is not None:
        connection.execute(
            "PRAGMA synchronous=OFF"
        )  # the files live as long as a seed; what is killed is not the system


class Switchboard:
    """Every connection that a simulated process opens from now on is a `SimConnection`, until the block ends."""

    def __enter__(self) -> None:
        event.listen(Engine, "do_connect", _connect)
        event.listen(Engine, "connect", _connected)

    def __exit__(self, *_: object) -> None:
        event.remove(Engine, "do_connect", _connect)
        event.remove(Engine, "connect", _connected)
