"""Which line a test guards, said beside the test: `make mutants` breaks it and sees that this very test fails."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeVar

Test = TypeVar("Test", bound=Callable[..., Any])


@dataclass(frozen=True)
class Guard:
    """`old`, which stands at one place of `fin_infra/<file>`, becomes `new`; then the test must fail."""

    what: str
    file: str
    old: str
    new: str


def guarded(what: str, file: str, old: str, new: str) -> Callable[[Test], Test]:
    """Notes the mutation on the test, under which nothing of its run changes. Several may stand above one test.

    Where only one part of a test guards the line, `old` and `new` are still of the whole test: it fails as a whole.
    """

    def note(test: Test) -> Test:
        test.guards = (Guard(what, file, old, new), *guards_of(test))  # type: ignore[attr-defined]
        return test

    return note


def guards_of(test: Callable[..., Any]) -> tuple[Guard, ...]:
    found: tuple[Guard, ...] = getattr(test, "guards", ())
    return found
