import sys,time,math
from pathlib import Path
from tests.quota_simulation.machine import folder
from tests.quota_simulation import scenes
from fin_infra.quotas import counting as c
z=float(sys.argv[1])
def kept(spec,row,at,cost):
    x=c.rate(spec,row,at)*(spec.bounds(at)[1]-at)
    return min(c._most(c.limit_at(spec,row,at),cost), math.floor(x+z*math.sqrt(x)+.5))
c._kept_in_day=kept
for seed in (1,2):
    with folder() as d: f=scenes.daily(Path(d),seed,37)
    print(z,f)
