"""Serves the bank of `data` over HTTP, as fast as one process can: rows are bytes made at start.

A process of its own, so that its CPU is nobody's. It prints its address and serves until it is killed.
"""

from __future__ import annotations

import asyncio
import base64
import json
from dataclasses import dataclass
from urllib.parse import parse_qs, urlsplit

from bench import data


@dataclass
class Ledger:
    """One account's rows, newest first: their bytes, dates and places."""

    rows: list[bytes]
    dates: list[str]
    places: dict[str, int]


def dumped(value: object) -> bytes:
    return json.dumps(value, separators=(",", ":")).encode()


class Bank:
    """Answers by path. Two states of the same bank under two prefixes."""

    def __init__(self) -> None:
        self.accounts = {data.token(n): dumped([data.account(n)]) for n in range(data.LOGINS)}
        self.balances = {data.account_id(n): dumped(data.balance(n)) for n in range(data.LOGINS)}
        self.ledgers = {
            (state, data.account_id(n)): self._ledger(n, state)
            for state in ("first", "changed")
            for n in range(data.LOGINS)
        }

    def _ledger(self, login: int, state: str) -> Ledger:
        rows = data.transactions(login, state)
        return Ledger(
            [dumped(row) for row in rows], [str(row["date"]) for row in rows],
            {str(row["id"]): n for n, row in enumerate(rows)},
        )  # fmt: skip

    def answer(self, target: str, authorization: str) -> bytes | None:
        parts = urlsplit(target)
        state, *path = parts.path.strip("/").split("/")
        match path:
            case ["accounts"]:
                user = base64.b64decode(authorization.removeprefix("Basic ")).decode().partition(":")[0]
                return self.accounts.get(user)
            case ["accounts", account, "balances"]:
                return self.balances.get(account)
            case ["accounts", account, "transactions"] if (state, account) in self.ledgers:
                return self._page(self.ledgers[state, account], {k: v[0] for k, v in parse_qs(parts.query).items()})
            case ["accounts", account, "transactions", row_id] if (state, account) in self.ledgers:
                ledger = self.ledgers[state, account]
                return ledger.rows[ledger.places[row_id]] if row_id in ledger.places else None
        return None

    def _page(self, ledger: Ledger, query: dict[str, str]) -> bytes:
        begin = ledger.places[query["from_id"]] + 1 if "from_id" in query else 0
        end = min(len(ledger.rows), begin + int(query.get("count", len(ledger.rows))))
        since = query.get("start_date", "")
        while end > begin and ledger.dates[end - 1] < since:
            end -= 1
        return b"[" + b",".join(ledger.rows[begin:end]) + b"]"


class Line(asyncio.Protocol):
    """HTTP/1.1 with keep-alive, GET only: all this bank is asked."""

    def __init__(self, bank: Bank) -> None:
        self._bank = bank
        self._received = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport

    def data_received(self, received: bytes) -> None:
        self._received += received
        while (end := self._received.find(b"\r\n\r\n")) >= 0:
            first, *headers = self._received[:end].decode("latin-1").split("\r\n")
            self._received = self._received[end + 4 :]
            sent = {name.lower(): value for name, _, value in (line.partition(": ") for line in headers)}
            body = self._bank.answer(first.split(" ")[1], sent.get("authorization", ""))
            status = "200 OK" if body is not None else "404 Not Found"
            body = b'{"error":{"code":"not_found","message":"not found"}}' if body is None else body
            head = f"HTTP/1.1 {status}\r\ncontent-type: application/json\r\ncontent-length: {len(body)}\r\n\r\n"
            self._transport.write(head.encode() + body)


async def main() -> None:
    bank = Bank()
    server = await asyncio.get_running_loop().create_server(lambda: Line(bank), "127.0.0.1", 0)
    host, port = server.sockets[0].getsockname()
    print(f"http://{host}:{port}", flush=True)
    await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(main())
