"""`python -m tests.simulation`: many seeds, or one again."""

from __future__ import annotations

import os
import sys

if __name__ == "__main__" and (os.environ.get("PYTHONHASHSEED") != "0" or os.environ.get("POLARS_MAX_THREADS") != "1"):
    # both are read at the start of the interpreter; without them a seed would still be the same world, at more cost
    settled = {name: value for name, value in os.environ.items() if not name.startswith("FIN_INFRA_")}
    os.execve(
        sys.executable, [sys.executable, "-m", "tests.simulation", *sys.argv[1:]],
        {**settled, "PYTHONHASHSEED": "0", "POLARS_MAX_THREADS": "1"},
    )  # fmt: skip

from tests.simulation.running import main

if __name__ == "__main__":
    main()
