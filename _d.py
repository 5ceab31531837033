from pathlib import Path
from collections import Counter
from tests.quota_simulation.machine import folder, Machine
from tests.quota_simulation import scenes
from fin_infra.planning.admission import Admission

why = Counter()
orig = Machine._plan


def plan(self):
    n = len(self.running)
    pend = self.queue.pending_cost([self.holder], self.planner._admission._until)
    cap = self.planner._admission._capacity("teller", self.holder, "scheduled")
    orig(self)
    if int(self.now) % 100 < 5:
        print(
            int(self.now),
            "run",
            n,
            "pend",
            dict(pend[self.holder]),
            "cap",
            cap,
            "after",
            self.queue.stats().ready,
            len(self.running),
            Counter((s.lane, s.calls - s.made) for s in self.running.values()).most_common(4),
            self.seen.deferrals,
        )


Machine._plan = plan
with folder() as d:
    f = scenes.fleet(Path(d), 1, 0.4)
print(f)
