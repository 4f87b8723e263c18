"""Three who want one lock on ZooKeeper, again and again: two processes of ours
and Curator's, which are killed in the middle of it.

Each writes into a history when it has the lock and before it lets go. Ours
write in txns that check the lock; all are judged by the order of the writes in
the registry itself.
"""

import os
import random
import sys
import threading
import time
from functools import partial

from cluster import PELORUS, SLOW, Process, check, equal, run, settings, wait_for
from zookeeper import Registry

CONTENDER = os.path.join(os.path.dirname(os.path.abspath(PELORUS)), "tests", "registry",
                         "test_zookeeper_contenders")
LOCK = "/lock/master-failover"
HISTORY = "/dolphinscheduler/history"
TURNS = 200
KILLS = 8


class Ours:
    """A process that contends until it is killed."""

    def __init__(self, cluster, name):
        self.name = name
        self.process = Process(name, [CONTENDER, "contend", cluster.registry.servers.connect, name,
                                      str(cluster.session * 1000)],
                               os.path.join(cluster.dir, f"{name}.log"))
        cluster.processes.append(self.process)

    def kill(self):
        self.process.kill()


class Curators:
    """A JVM that contends until it is killed."""

    def __init__(self, cluster, name):
        self.name = name
        self.cluster = cluster
        self.killed = threading.Event()
        self.problem = None
        self.peer = cluster.registry.peer()
        self.peer.open(name, cluster.session / SLOW)
        self.thread = threading.Thread(target=self.contend, daemon=True)
        self.thread.start()

    def contend(self):
        try:
            for n in range(10 * TURNS):
                if self.peer("acquire", self.name, LOCK, "us", 60000) == ["true"]:
                    self.peer("keep", self.name, f"/history/{self.name}-{n}-begin", self.name)
                    self.peer("keep", self.name, f"/history/{self.name}-{n}-end", self.name)
                    self.peer("release", self.name, LOCK, "us")
        except Exception as error:  # noqa: what a kill ends, ends here
            self.problem = None if self.killed.is_set() else error

    def kill(self):
        self.killed.set()
        self.peer.kill()
        self.thread.join()


def judge(history, dead):
    """Turns, in the registry's order: a holder's begin is followed by its end,
    unless it was killed, and then by nothing of it any more."""
    turns, holder, gone = {}, None, set()
    for name, what in history:
        check(name not in gone, f"{name} wrote after another had taken its lock")
        if what == "begin":
            if holder is not None:
                check(holder in dead, f"{name} has the lock while {holder} has it")
                gone.add(holder)
            holder = name
        else:
            equal(name, holder, "who lets go")
            holder = None
            turns[name] = turns.get(name, 0) + 1
    return turns


def read_history(peer):
    nodes = peer.tree("observer", HISTORY)
    return [(z.data.decode(), n.rsplit("-", 1)[-1])
            for n, z in sorted(nodes.items(), key=lambda item: item[1].czxid) if n != HISTORY]


@settings(session=3, registry=partial(Registry, tick=200))
def test_two_of_ours_and_curator_take_turns_two_hundred_times(cluster):
    rand = random.Random(20261125)
    observer = cluster.registry.peer()
    observer.open("observer", 10)
    observer("keep", "observer", "/history", "")
    born = {"ours-1": 0, "ours-2": 0, "curator": 0}
    alive, dead = {}, set()

    def start(who):
        born[who] += 1
        kind = Curators if who == "curator" else Ours
        alive[who] = kind(cluster, f"{who}.{born[who]}")

    for who in born:
        start(who)
    began, kills = time.monotonic(), 0
    while len(read_history(observer)) < 2 * TURNS:
        wanted = 2 * TURNS * (kills + 1) // (KILLS + 1)
        wait_for(f"{wanted} entries", lambda n=wanted: len(read_history(observer)) >= n, 60)
        for c in alive.values():
            check(not getattr(c, "problem", None), lambda p=c: f"{p.name}: {p.problem}")
        if kills < KILLS:
            who = list(born)[kills % 3]
            threading.Event().wait(rand.random() * 0.05)
            dead.add(alive[who].name)
            alive[who].kill()
            kills += 1
            start(who)
    for c in alive.values():
        dead.add(c.name)
        c.kill()
    turns = judge(read_history(observer), dead)
    total = sum(turns.values())
    print(f"     {total} turns in {time.monotonic() - began:.1f} s, {kills} kills: {turns}")
    check(total >= TURNS - KILLS - 3, f"{total} turns")
    for who in born:
        share = sum(n for name, n in turns.items() if name.startswith(who))
        check(share >= total // 10, f"{who} got {share} of {total} turns")
    # Nobody is left: what the last ones had goes with their sessions.
    wait_for("the queue empty", lambda: [
        n for n in observer.tree("observer", "/dolphinscheduler/lock")
        if n.startswith("/dolphinscheduler" + LOCK + "/")] == [])


if __name__ == "__main__":
    run(sys.modules[__name__])
