from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from fin_infra.engine.replaying import Recorded

PROVENANCE = ("tenant_id", "connection_id", "run_id")


def replay(
    provider: Annotated[str, typer.Argument(metavar="PROVIDER", help="For example banking:teller.")],
    dataset: Annotated[str, typer.Argument(help="Which dataset the files are answers for.")],
    files: Annotated[
        list[Path] | None, typer.Argument(metavar="FILE...", help="Pages of one answer, in order.")
    ] = None,
    context: Annotated[
        list[str] | None, typer.Option("--context", metavar="KEY=VALUE", help="What the request knew; may be repeated.")
    ] = None,
    index: Annotated[
        Path | None, typer.Option("--index", help="INDEX.json with status and headers of samples.")
    ] = None,
    names: Annotated[list[str] | None, typer.Option("--file", help="A file of the index; may be repeated.")] = None,
) -> None:
    """Turn recorded answers into rows, or into the refusal they stand for: one JSON object per row.

    Keys of --context: status, header.NAME, account_id, account_kind, currency, instrument, interval, at, from,
    until. Rows that break the schema go to stderr.

    Example: fin-infra replay banking:teller transactions page.json --context account_kind=credit
    """
    from fin_infra.cli.output import put_json, say
    from fin_infra.engine.replaying import replay as rows_of
    from fin_infra.errors import FinInfraError, UsageError
    from fin_infra.providers import resolve

    found = resolve(provider)
    known = _context(context or [])
    answers = _from_index(index, names) if index is not None else _from_files(files or [])
    if not answers:
        raise UsageError("which answers? name at least one FILE, or --index INDEX.json --file NAME")
    try:
        built = rows_of(found, dataset, answers, known)
    except UsageError:
        raise
    except FinInfraError as error:
        said = error.as_dict()
        put_json({key: said[key] for key in ("error_code", "outcome", "retry_after")})
        say(f"error: {error.message}")
        raise SystemExit(1) from None
    for row in built.good.drop(PROVENANCE, strict=False).iter_rows(named=True):
        put_json(row)
    import json

    for reject in built.rejects:
        say(json.dumps({"quarantined": reject.row, "reason": reject.reason}))
    if built.announced:
        say(json.dumps({"note": "the last answer announces a next page, which was not given"}))
    if built.rejects and built.good.is_empty():
        raise SystemExit(1)


def _context(pairs: list[str]) -> dict[str, str]:
    from fin_infra.engine.replaying import CONTEXT_KEYS
    from fin_infra.errors import UsageError

    context = {}
    for pair in pairs:
        key, equals, value = pair.partition("=")
        if not equals or not (key in CONTEXT_KEYS or key.startswith("header.")):
            raise UsageError(f"--context {pair!r} is not KEY=VALUE; keys: {', '.join(CONTEXT_KEYS)}, header.NAME")
        context[key] = value
    if not re.fullmatch("[1-5][0-9][0-9]", context.get("status", "200")):
        raise UsageError("--context status= takes a number, the HTTP status")
    return context


def _from_files(files: list[Path]) -> list[Recorded]:
    from fin_infra.engine.replaying import Recorded

    return [Recorded(_body(path)) for path in files]


def _from_index(index: Path, names: list[str] | None) -> list[Recorded]:
    import json

    from fin_infra.engine.replaying import Recorded
    from fin_infra.errors import UsageError

    try:
        rows = {row["file"]: row for row in json.loads(_body(index))}
    except (ValueError, TypeError, KeyError):
        raise UsageError(f"{index} is no index of samples: a JSON list of rows with file, status and headers") from None
    answers = []
    for name in names or []:
        if name not in rows:
            raise UsageError(f"{index} has no row for {name!r}")
        row = rows[name]
        answers.append(Recorded(_body(index.parent / name), int(row.get("status") or 200), row.get("headers") or {}))
    return answers


def _body(path: Path) -> bytes:
    from fin_infra.errors import UsageError

    try:
        return path.read_bytes()
    except OSError as error:
        raise UsageError(f"cannot read {path}: {(error.strerror or str(error)).lower()}") from None
