"""dlt on the same bank: pages over its REST client, parquet files, merged into DuckDB by key.

Runs in the environment of `bench/requirements.lock`: `python -m bench.sync_dlt MODE FOLDER URL [SINCE]`.
MODE `tuned`: its settings, as its documentation advises. `trimmed`: also without what its profile shows to be spent
around it. `each`: trimmed, one pipeline run per connection, as jobs of their own would be.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

os.environ |= {
    "RUNTIME__DLTHUB_TELEMETRY": "false",
    "RUNTIME__LOG_LEVEL": "CRITICAL",
    "EXTRACT__WORKERS": "1",
    "NORMALIZE__WORKERS": "1",  # more of them are processes, each of which imports everything anew
    "LOAD__WORKERS": "1",
    "DATA_WRITER__BUFFER_MAX_ITEMS": "100000",
    "DATA_WRITER__FILE_MAX_ITEMS": "1000000",
    "DATA_WRITER__DISABLE_COMPRESSION": "true",
    "NORMALIZE__PARQUET_NORMALIZER__ADD_DLT_LOAD_ID": "false",
}

import dlt
import dlt._workspace._plugins
import dlt._workspace.cli
import dlt.destinations.impl.duckdb.duck
import duckdb  # noqa: F401 - imports are measured apart, so all of them come first, those too that dlt would do later
import pytz  # noqa: F401
from dlt.common.jsonpath import compile_path
from dlt.sources.helpers.rest_client import RESTClient
from dlt.sources.helpers.rest_client.auth import HttpBasicAuth
from dlt.sources.helpers.rest_client.paginators import BasePaginator
from requests import Request, Response
from requests.auth import HTTPBasicAuth

from bench import data
from bench.measured import Stopwatch

PAGE = data.PAGE
WHOLE = compile_path("$")
SAMPLE = 20
"""Connections of `each`: they are alike, and one after the other takes long."""


class Behind(BasePaginator):
    """The bank's paging: a page shorter than asked for is the last; `from_id` goes on behind a row."""

    def update_state(self, response: Response, data: list[Any] | None = None) -> None:
        page = data or []
        self._has_next_page = len(page) >= PAGE
        self._behind = page[-1]["id"] if page else None

    def update_request(self, request: Request) -> None:
        request.params = {**(request.params or {}), "from_id": self._behind}


def flat(row: dict[str, Any]) -> dict[str, Any]:
    """What is kept of a row, so that dlt need not flatten the rest."""
    details = row["details"]
    return {
        "id": row["id"], "account_id": row["account_id"], "status": row["status"], "amount": row["amount"],
        "currency": "USD", "date": row["date"], "description": row["description"], "type": row["type"],
        "merchant": details["counterparty"]["name"], "category": details["category"],
    }  # fmt: skip


def source(url: str, since: str | None, logins: Iterable[int], *, trimmed: bool) -> Any:
    """The transactions of these logins as one dlt resource, upserted by key, amounts exact."""
    params = {"count": str(data.PAGE)} | ({"start_date": since} if since else {})

    @dlt.resource(
        name="transactions", primary_key=("account_id", "id"), max_table_nesting=0,
        write_disposition={"disposition": "merge", "strategy": "upsert"},
        columns={"amount": {"data_type": "decimal", "precision": 38, "scale": 18}, "date": {"data_type": "date"}},
    )  # fmt: skip
    def transactions() -> Iterator[list[dict[str, Any]]]:
        client = RESTClient(url, data_selector=WHOLE if trimmed else None)
        client.session.trust_env = not trimmed  # else it searches the environment for a proxy at every call
        for login in logins:
            user = data.token(login)
            auth: Any = HTTPBasicAuth(user, "") if trimmed else HttpBasicAuth(user, "")
            path = f"/accounts/{data.account_id(login)}/transactions"
            for page in client.paginate(path, params=params, auth=auth, paginator=Behind()):
                yield [flat(row) for row in page]

    return transactions


def main() -> None:
    mode, folder, url, *since = sys.argv[1:]
    watch = Stopwatch()
    pipeline = dlt.pipeline(
        "bench", pipelines_dir=str(Path(folder) / "dlt"), dataset_name="bank",
        destination=dlt.destinations.duckdb(str(Path(folder) / "dlt.duckdb")),
    )  # fmt: skip
    everyone = range(data.LOGINS)
    runs: list[Iterable[int]] = [[login] for login in range(SAMPLE)] if mode == "each" else [everyone]
    rows = 0
    for logins in runs:
        resource = source(url, since[0] if since else None, logins, trimmed=mode != "tuned")
        pipeline.run(resource, loader_file_format="parquet")
        rows += pipeline.last_trace.last_normalize_info.row_counts["transactions"]
    watch.report(rows=rows, connections=SAMPLE if mode == "each" else data.LOGINS)


if __name__ == "__main__":
    main()
