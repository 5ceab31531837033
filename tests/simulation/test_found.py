"""What seeds have found, each as the smallest world that shows it."""

from __future__ import annotations

from fin_infra.providers.simulating import Fault
from fin_infra.providers.teller.simulator import SimTransaction
from tests.world import World, bought, checking


async def test_two_empty_answers_after_a_relink_do_not_lose_the_history(world: World) -> None:
    """A pending row that expires is dated, but not by the answer: it must not move the window of the next read on."""
    old, late = bought("t_old", on="2026-09-01"), bought("t_late", "-11.00", on="2026-11-20")
    world.bank.enroll(
        "tok", checking("acc_1", SimTransaction("t_pending", "-12.00", "2026-11-23", "Fuel", "pending"), late, old)
    )
    link = await world.link()
    await world.work()
    async with world.runtime() as runtime:
        runtime.connections.relink(link.connection_id, {"access_token": "tok"})
    world.bank.fail_next(Fault("garbage", times=2, on="/transactions", body=b"[]"))
    for _ in range(4):
        await world.next_day()
    assert world.ids() == ["t_late", "t_old", "t_pending"]
