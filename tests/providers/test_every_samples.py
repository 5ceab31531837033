"""The shared collection as a whole: every recorded, quoted and documented answer stands in a vendor's table.

Which rows or which code each stands for, the tables beside the vendors say; here, that none is left out.
"""

from __future__ import annotations

import json
import os
from pathlib import Path

VENDORS = Path(os.environ["FIN_INFRA_SHARED"]) / "vendors"
HERE = Path(__file__).parent
FILES = 359


def listed() -> dict[str, list[str]]:
    """The files of each vendor's index."""
    return {
        index.parent.parent.name: [row["file"] for row in json.loads(index.read_text(encoding="utf-8"))]
        for index in sorted(VENDORS.glob("*/samples/INDEX.json"))
    }


def test_every_sample_stands_in_a_table() -> None:
    tables = "\n".join(path.read_text(encoding="utf-8") for path in HERE.glob("*/test_*_samples.py"))
    webhooks = (HERE.parent / "integration/test_webhooks_samples.py").read_text(encoding="utf-8")
    told = tables + webhooks
    assert 'name.startswith("webhook_")' in tables, "snaptrade's table takes its webhooks all together"
    missing = [
        f"{vendor}/{name}"
        for vendor, names in listed().items()
        for name in names
        if name not in told and not (vendor == "snaptrade" and name.startswith("webhook_"))
    ]
    assert missing == []
    assert sum(map(len, listed().values())) == FILES
