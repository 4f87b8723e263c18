"""One minute of `make soak` on the embedded registry, and whether its judge would
notice. The long ones, on every registry: make soak MINUTES=240."""

import os
import subprocess
import sys

import soak_load
from cluster import PELORUS, SLOW, check, equal, run

A, B = "10.0.0.1:1", "10.0.0.2:1"
INF = float("inf")


def item(epoch, *before):
    return {"id": "i", "epoch": epoch, "history": [{"address": a} for a in before]}


def verdict(told, losses, first=1):
    return [w.split(":")[0] for w in soak_load.judge_item(told, 10, first, losses)]


def test_the_judge_sees_what_is_wrong(cluster):
    equal(verdict(item(1), {}), [], "an item that never moved")
    equal(verdict(item(2, A), {A: [[11, INF]]}), [], "from who was killed")
    equal(verdict(item(2, A), {A: [[5, 12]]}), [], "given to one who was dead, and not known to be")
    equal(verdict(item(2, A), {A: [[5, 9]]}), ["moved"], "from one who had long been back")
    equal(verdict(item(2, A), {}), ["moved"], "from one who lives")
    equal(verdict(item(3, A, A), {A: [[11, 12], [20, 22]]}), [], "twice, for two deaths")
    equal(verdict(item(3, A, A), {A: [[11, INF]]}), ["moved"], "twice for one death")
    equal(verdict(item(3, A), {A: [[11, INF]]}), ["epochs"], "an epoch that nobody had")
    equal(verdict(item(20, A), {A: [[11, INF]]}, first=19), [], "created when others were long forgotten")


def grown(**more):
    begin = {"rss": 10 << 20, "files": 30, "threads": 5, "keys": 2000, "data": 1 << 20, "kept": 0}
    return [w.split()[1] for w in soak_load.judge_growth(begin, {**begin, **more}, False)]


def test_growth_has_bounds(cluster):
    equal(grown(), [], "nothing grew")
    equal(grown(rss=14 << 20, files=36, keys=2300), [], "a little")
    for what, much in (("rss", 20 << 20), ("files", 60), ("threads", 9), ("keys", 4000), ("data", 60 << 20)):
        equal(grown(**{what: much}), [what], f"{what} grew")
    equal(grown(keys=4000, kept=500), [], "records of failovers, which are kept")


def test_a_minute(cluster):
    done = subprocess.run([sys.executable, os.path.join(os.path.dirname(__file__), "soak.py")],
                          env={**os.environ, "PELORUS": PELORUS, "OUT": cluster.dir, "REGISTRY": "sqlite", "MINUTES": "1",
                               "NODES": "80", "RATE": "2", "LEASE": "10", "SEED": "1"},
                          capture_output=True, text=True, timeout=400 * SLOW, check=False)
    print(done.stdout, flush=True)
    check(done.returncode == 0, lambda: f"exit {done.returncode}: {done.stdout[-2000:]}{done.stderr[-2000:]}")


if __name__ == "__main__":
    run(sys.modules[__name__])
