"""Serves a simulator over real HTTP on loopback, in a thread of this process."""

from __future__ import annotations

import logging
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import uvicorn


@dataclass(frozen=True)
class Served:
    """Where a simulator listens."""

    url: str
    port: int


@contextmanager
def serve(app: Any, **options: Any) -> Iterator[Served]:
    """The app on a free port of 127.0.0.1 until the block ends. `options` go to uvicorn (TLS files, say)."""
    listener = socket.socket()
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    listener.bind(("127.0.0.1", 0))
    port = int(listener.getsockname()[1])
    config = uvicorn.Config(
        app, log_level="critical", lifespan="off", timeout_graceful_shutdown=1, access_log=False, **options
    )
    server = _Quiet(config)
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]}, name=f"simulator {port}", daemon=True)
    thread.start()
    try:
        patience = time.monotonic() + 10
        while not server.started:
            if not thread.is_alive() or time.monotonic() > patience:
                raise RuntimeError(f"the simulator did not start on 127.0.0.1:{port}")
            time.sleep(0.005)
        scheme = "https" if "ssl_certfile" in options else "http"
        yield Served(f"{scheme}://127.0.0.1:{port}", port)
    finally:
        server.should_exit = True
        thread.join(timeout=10)
        listener.close()


class _Quiet(uvicorn.Server):
    """Leaves the signal handlers of the process alone: it is a guest in it."""

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        logging.getLogger("uvicorn.error").setLevel(logging.CRITICAL + 1)  # a scripted drop is no error of ours
        yield
