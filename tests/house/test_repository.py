"""What no file of the repository may hold."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest

# put together here, so that this file does not hold them
MACHINE = ["/" + "work/", "/" + "root/"]
INDEX = ["pypi" + ".org/simple", "index" + "-url"]
ALLOWED = {("Makefile", INDEX[1]): "--no-emit-" + INDEX[1]}  # the option that keeps it out of the lock


def tracked(root: Path) -> list[Path]:
    listed = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard", "-z"],
        cwd=root, capture_output=True, text=True, check=True,
    )  # fmt: skip
    return [root / name for name in listed.stdout.split("\0") if name and (root / name).is_file()]


def mentions(text: str, word: str) -> bool:
    """The word as a path or name of its own, not as a part of another: `~/root/` is no machine's path."""
    return re.search(rf"(?<![\w~.]){re.escape(word)}", text) is not None


@pytest.mark.parametrize("word", [*MACHINE, *INDEX])
def test_no_file_names_a_machines_path_or_a_package_index(root: Path, word: str) -> None:
    files = tracked(root)
    assert len(files) > 50
    found = []
    for path in files:
        name = path.relative_to(root).as_posix()
        text = path.read_text(encoding="utf-8", errors="replace").replace(ALLOWED.get((name, word), "\0"), "")
        if mentions(text, word):
            found.append(name)
    assert found == []


def test_such_a_name_would_be_noticed() -> None:
    assert mentions(f"see {MACHINE[0]}main", MACHINE[0])
    assert mentions(f"'{MACHINE[1]}.cache'", MACHINE[1])
    assert mentions(f"--{INDEX[1]}=x".replace("--", " "), INDEX[1])
    assert not mentions("the frame" + MACHINE[0], MACHINE[0])
