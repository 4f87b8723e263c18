#!/usr/bin/env python3
"""Waves that leave at once are no deaths: the brake is never down for them.

WAVES says how many (100). Each wave is two fifths of a kind, and comes back as
other processes at the same addresses at once, so that some hundreds leave within
the brake's window. Half of them have work in hand, which is moved as ever.
"""

import os
import sys
import threading

from cluster import Api, SLOW, check, equal, run, settings, wait_for
from pods import again, in_threads
from test_brake import FAILOVER, Beats, braked

WAVES = int(os.environ.get("WAVES") or 100)
NODES = [f"10.0.2.{n}:1234" for n in range(20)]
AGENTS = [f"127.0.0.1:{1250 + n}" for n in range(5)]
AGENTS_EVERY = 10  # waves: real processes, which take longer to start


class Brakes:
    """Looks at the brake all the time, of every coordinator."""

    def __init__(self, coordinators, kind):
        self.apis = [Api(c.port) for c in coordinators]
        self.kind, self.seen, self.looks, self.over = kind, [], 0, False
        self.thread = threading.Thread(target=self.run)
        self.thread.start()

    def run(self):
        while not self.over:
            for api in self.apis:
                brake = braked(api, self.kind)
                self.looks += 1
                if brake == "mass":  # else our own session is young, or in doubt
                    self.seen.append(brake)
            threading.Event().wait(0.01)

    def end(self):
        self.over = True
        self.thread.join()


def leave_together(port, addresses):
    """Each on a connection of its own."""
    def leave(api, i):
        equal(api("DELETE", f"/v1/nodes/worker/{addresses[i]}").status, 204, "leave")
    n = len(addresses)
    in_threads(n, [lambda i, a=Api(port): leave(a, i) for _ in range(n)], n)


def one_wave(cluster, c, beats, processes, wave):
    leaving = [NODES[(wave * 7 + n) % len(NODES)] for n in range(len(NODES) * 2 // 5)]
    gone = [AGENTS[(wave // AGENTS_EVERY + n) % len(AGENTS)] for n in range(2)] if wave % AGENTS_EVERY == 0 else []
    work = [f"/v1/work/{wave}-{n}" for n in range(len(leaving) // 2)]
    for path, a in zip(work, leaving):
        again(lambda p=path, a=a: c.api("PUT", p, {"kind": "worker", "owner": a}), 200, 201)
    beats.cut(leaving)
    for a in gone:
        processes[a].popen.terminate()
    leave_together(c.port, leaving)
    for a in gone:
        equal(processes[a].popen.wait(timeout=20 * SLOW), 0, f"{a} exit")
    wait_for("what they left is another's", lambda: all(c.api.get(p)["owner"] not in leaving for p in work))
    for p in work:
        again(lambda p=p: c.api("DELETE", f"{p}?epoch={c.api.get(p)['epoch']}"), 200)
    beats.come(leaving)
    for a in gone:
        processes[a] = cluster.agent("worker", a)
    cluster.wait_up(c.api, *leaving, *gone)


@settings(more=FAILOVER)
def test_waves_of_two_fifths_that_leave_at_once_pull_no_brake(cluster):
    c, other = cluster.coordinator(), cluster.coordinator()
    beats = Beats(c.port, "worker", NODES, 30 * SLOW)
    processes = {a: cluster.agent("worker", a) for a in AGENTS}
    brakes = Brakes((c, other), "worker")
    try:
        cluster.wait_up(c.api, *NODES, *AGENTS)
        for wave in range(WAVES):
            one_wave(cluster, c, beats, processes, wave)
        equal(brakes.seen, [], "brakes")
        check(brakes.looks > 10 * WAVES, f"{brakes.looks} looks at the brake")
        check(all("cause=mass" not in x.text() for x in (c, other)), "a failover was held")
        # and it is there for as many that die
        for n, a in enumerate(NODES[:2]):
            again(lambda n=n, a=a: c.api("PUT", f"/v1/work/last-{n}", {"kind": "worker", "owner": a}), 200, 201)
        beats.end()
        wait_for("the brake", lambda: braked(c.api, "worker") == "mass", 60)
        equal(beats.problems, [], "beats")
    finally:
        brakes.end()
        beats.end()


if __name__ == "__main__":
    run(sys.modules[__name__])
