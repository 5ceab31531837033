"""What a user's `jobs/` are made of: a typed order in, a report out, and a context that does the work."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Any, Generic, Protocol, TypeVar

from pydantic import BaseModel, ConfigDict, ValidationError

from fin_infra.datasets.base import Dataset
from fin_infra.engine.report import SyncReport
from fin_infra.errors import DefectError

OrderT = TypeVar("OrderT", bound="Order")


class Order(BaseModel):
    """What every job is asked for; subclasses add their own fields."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    connection: str


class Context(Protocol):
    """What a job may do."""

    async def sync(
        self, dataset: type[Dataset], connection: str, *, instruments: Sequence[str] | None = None
    ) -> SyncReport:
        """Syncs one stream of the connection and commits rows and cursor together.

        `instruments`: of prices, only these; default the watchlist and all that the tenant ever held.
        """
        ...

    async def backfill(self, backfill_id: str) -> SyncReport:
        """Does the next chunk of a backfill, the newest that is open. The report says whether another one follows."""
        ...


@dataclass(frozen=True)
class Job(Generic[OrderT]):
    """A registered job: its name, the order it takes, and the dataset whose stream it drives."""

    name: str
    order: type[OrderT]
    dataset: type[Dataset]
    run: Callable[[OrderT, Context], Awaitable[SyncReport]]

    async def deliver(self, payload: dict[str, Any], ctx: Context) -> SyncReport:
        """Runs the job on a queue's payload. Raises `DefectError` when the payload is not its order."""
        try:
            order = self.order.model_validate(payload)
        except ValidationError as error:
            places = ", ".join(".".join(map(str, e["loc"])) for e in error.errors(include_input=False))
            raise DefectError(f"the job {self.name} was queued with a wrong order: {places}") from None
        return await self.run(order, ctx)


def job(
    name: str, order: type[OrderT], *, dataset: type[Dataset]
) -> Callable[[Callable[[OrderT, Context], Awaitable[SyncReport]]], Job[OrderT]]:
    """Makes a job of an async function `(order, ctx) -> SyncReport`."""

    def made(run: Callable[[OrderT, Context], Awaitable[SyncReport]]) -> Job[OrderT]:
        return Job(name, order, dataset, run)

    return made
