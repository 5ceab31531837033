"""`python -m fin_infra.testing VENDOR`: a vendor's simulator as a process of its own, until SIGTERM.

It runs on the real clock with the rows of a named seed, and answers `/__health` beside the vendor's own paths.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import signal
import socket
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import uvicorn
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Receive, Scope, Send

from fin_infra.errors import FinInfraError, UsageError
from fin_infra.testing.seeds import VENDORS, Seed, simulator_of

HEALTH = "/__health"


class WithHealth:
    """An app that also answers `/__health`: 200 and what it is. No vendor has such a path; all others are untouched."""

    def __init__(self, app: ASGIApp, **facts: str) -> None:
        self._app = app
        self._answer = JSONResponse(facts)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        healthy = scope["type"] == "http" and scope["path"] == HEALTH
        await (self._answer if healthy else self._app)(scope, receive, send)


class _Standing(uvicorn.Server):
    """Ends with code 0 on a signal. Uvicorn's own handlers raise it again at the end, which looks like a crash."""

    def __init__(self, config: uvicorn.Config, ready: Callable[[], None]) -> None:
        super().__init__(config)
        self._ready = ready

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        self._ready()

    def end(self) -> None:
        self.should_exit = True


async def stand(app: ASGIApp, listener: socket.socket, ready: Callable[[], None]) -> None:
    """Serves until SIGTERM or SIGINT; `ready` is called once, when connections are accepted."""
    config = uvicorn.Config(app, log_level="critical", lifespan="off", access_log=False, timeout_graceful_shutdown=2)
    server = _Standing(config, ready)
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, server.end)
    await server.serve(sockets=[listener])


def listen(host: str, port: int) -> socket.socket:
    """A bound socket; port 0 takes a free one."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listener = socket.socket(family)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((host, port))
    except OSError as error:
        listener.close()
        raise UsageError(
            f"cannot listen on {host}:{port}: {(error.strerror or str(error)).lower()}; choose another --port, "
            "0 takes a free one"
        ) from None
    return listener


def _arguments(given: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m fin_infra.testing", description="Serve a vendor's simulator until SIGTERM."
    )
    parser.add_argument("vendor", metavar="VENDOR", help=", ".join(sorted(VENDORS)))
    parser.add_argument("--host", default="127.0.0.1", help="where to listen (default %(default)s)")
    parser.add_argument("--port", type=int, default=0, help="0, the default, takes a free one")
    parser.add_argument("--seed", default="A0", help="which rows and credentials (default %(default)s)")
    parser.add_argument("--ready-file", type=Path, help="gets the URL as soon as it answers")
    return parser.parse_args(given)


def main(given: list[str] | None = None) -> None:
    arguments = _arguments(given)
    try:
        app = WithHealth(simulator_of(arguments.vendor, Seed(arguments.seed)), vendor=arguments.vendor)
        listener = listen(arguments.host, arguments.port)
    except FinInfraError as error:
        sys.stderr.write(f"error: {error.message}\n")
        raise SystemExit(2) from None
    url = f"http://{arguments.host}:{listener.getsockname()[1]}"

    def ready() -> None:
        sys.stdout.write(f"{arguments.vendor} simulator, seed {arguments.seed}, answers at {url}\n")
        sys.stdout.flush()
        if arguments.ready_file is not None:
            _put(arguments.ready_file, url + "\n")

    asyncio.run(stand(app, listener, ready))


def _put(path: Path, text: str) -> None:
    """Whole or not at all: whoever waits for the file never reads half of it."""
    aside = path.with_name(f"{path.name}.{os.getpid()}")
    aside.write_text(text, encoding="utf-8")
    aside.replace(path)


if __name__ == "__main__":
    main()
