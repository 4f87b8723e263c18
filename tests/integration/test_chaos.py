"""One short chaos run on the embedded registry, and whether its judge would
notice. The long ones, on every registry: make chaos."""

import json
import os
import random
import sys
import time

import chaos
import chaos_judge
import chaos_master
from cluster import check, equal, run

S = 10 ** 9


def history(directory, name, *events):
    path = os.path.join(directory, name)
    with open(path, "w", encoding="utf-8") as f:
        for at, event, process, fields in events:
            f.write(json.dumps({"t": at * S, "event": event, "process": process, **fields}) + "\n")
    return path


def begin(at, process, epoch, item="i"):
    return at, "begin", process, {"item": item, "epoch": epoch}


def lease(at, process, until):
    return at, "lease", process, {"until": until * S}


def end(at, process, epoch, why="done"):
    return at, "end", process, {"item": "i", "epoch": epoch, "why": why, "at": at * S}


def verdict(cluster, first, second, died=float("inf"), state="done", epoch=2):
    paths = [(history(cluster.dir, "a", *first), "a", died), (history(cluster.dir, "b", *second), "b", float("inf"))]
    final = {"i": {"state": state, "owner": None, "epoch": epoch}}
    return [p.split(":")[0] for p in chaos_judge.judge(paths, {"i"}, final)[0]]


def test_the_judge_sees_what_is_wrong(cluster):
    """One owner after the other is right; each way of being wrong has its word."""
    held = [lease(1, 1, 10), begin(2, 1, 1)]
    after, before = [begin(11, 2, 2), end(12, 2, 2)], [begin(9, 2, 2), end(12, 2, 2)]
    equal(verdict(cluster, held, after), [], "a lease that is over")
    equal(verdict(cluster, held, before), ["two owners"], "a lease that is not over")
    equal(verdict(cluster, held, before, died=8 * S), [], "an owner that is dead")
    equal(verdict(cluster, held + [end(8, 1, 1, "lapsed")], before), [], "an owner that has stopped")
    equal(verdict(cluster, [begin(2, 1, 1), (8, "tick", 1, {})], before), [], "a command that is at work no more")
    equal(verdict(cluster, [begin(2, 1, 1), (10, "tick", 1, {})], before), ["two owners"], "a command at work")
    equal(verdict(cluster, held, [begin(11, 2, 1), end(12, 2, 1)], epoch=1), ["epochs"], "an epoch twice")
    equal(verdict(cluster, held, after, state="assigned"), ["unfinished"], "work that is left")
    equal(verdict(cluster, held, after, epoch=3), ["out of nothing"], "work that nobody did")
    equal([p.split(":")[0] for p in chaos_judge.judge([], {"i"}, {})[0]], ["lost"], "work that is gone")


def test_a_master_that_was_stopped_worked_to_the_end_of_its_lease(cluster):
    """Whatever it hears first when it goes on."""
    path = os.path.join(cluster.dir, "stopped")
    master = chaos_master.Master("a", path, 3, [])
    item = {"id": "i", "epoch": 1, "owner": "a", "state": "assigned", "process": {"startupTime": master.process}}
    master.until = chaos_master.now() + S // 5
    master.take([item])
    time.sleep(0.5)
    master.end("i", "lost")
    master.take([{**item, "epoch": 2}])
    (_, epoch, _, _, ended, why), = chaos_judge.spells(path, "a", float("inf"))
    equal((epoch, ended, why), (1, master.until, "lost"), "what it worked on, and until when")


def test_a_short_run(cluster):
    seed = random.SystemRandom().randrange(1, 10 ** 6)
    problems = chaos.Run(seed, "sqlite", 15)()
    check(not problems, f"seed {seed}: {problems[:3]}")


if __name__ == "__main__":
    run(sys.modules[__name__])
