import sys,time,math
from pathlib import Path
from tests.quota_simulation.machine import folder
from tests.quota_simulation import scenes
from fin_infra.quotas import counting as c
mode=sys.argv[1]; z=float(sys.argv[2])
def kept(spec,row,freed,at,cost):
    speed=c.rate(spec,row,at)
    kept,back,gone=0.0,0,0
    last=at
    for when,units in freed:
        if when<=at: gone+=units; continue
        want=speed*(when-at)
        kept=max(kept,want+z*math.sqrt(want)-back)
        back+=units
    if mode=='B':
        want=speed*(spec.period); kept=max(kept,0)
    return min(c._most(c.limit_at(spec,row,at),cost),math.ceil(kept)),gone
c._kept_in_log=kept
for seed in (1,2):
    with folder() as d: f=scenes.daily(Path(d),seed,30)
    print(mode,z,f)
