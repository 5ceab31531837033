import sys, time, cProfile, pstats
from pathlib import Path
from tests.quota_simulation.machine import folder
from tests.quota_simulation import scenes

h = float(sys.argv[1])
g = "g" in sys.argv[2:]
t = time.process_time()
with folder() as d:
    if "p" in sys.argv[2:]:
        pr = cProfile.Profile()
        pr.enable()
    f = scenes.fleet(Path(d), 1, h, greedy=g)
    if "p" in sys.argv[2:]:
        pr.disable()
        pstats.Stats(pr).sort_stats("tottime").print_stats(25)
print(f, "", "")
print(f.misses())
print("cpu", time.process_time() - t)
