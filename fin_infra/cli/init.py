from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def init(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="A new folder, or one without jobs/ yet.")],
) -> None:
    """Write jobs/, schedules/ and a settings template for you to own.

    Example: fin-infra init my-worker
    """
    from fin_infra.cli.output import put, say
    from fin_infra.project import init as write

    for target in write(folder):
        put(str(target))
    say(f"next: cd {folder} && FIN_INFRA_STORE_URL=sqlite:///var/demo.db fin-infra demo")
