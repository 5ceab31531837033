import sys,time
from pathlib import Path
from tests.quota_simulation.machine import folder
from tests.quota_simulation import scenes
t=time.process_time()
with folder() as d:
    f=scenes.daily(Path(d),int(sys.argv[2]) if len(sys.argv)>2 else 1,int(sys.argv[1]))
print(f); print(f.misses()); print('cpu',time.process_time()-t)
