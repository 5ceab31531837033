"""Days of planning in virtual time: the real planner, queue, due table and ledger; vendor and syncs are imitated."""
