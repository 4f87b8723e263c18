"""The brake, leaving in order, and a cluster in which nothing happens.

HTTP nodes are this program's: what they say and when they fall silent is exact.
How often the failover lock is taken is read from the registry itself: its number
grows with every grant.
"""

import sqlite3
import threading
import time

from cluster import Api, SLOW, check, equal, holds, run, settings, submit, wait_for

FAILOVER = "failover: {grace: 100ms, reconcile-interval: 1s, settle: 2s}\n"


class Beats:
    """HTTP nodes of one kind: each says every third of its ttl that it lives, at
    moments of its own, until it is cut off."""

    def __init__(self, port, kind, addresses, ttl):
        self.ttl = ttl
        self.api = Api(port)
        self.kind = kind
        self.startup = {a: 1000 + n for n, a in enumerate(addresses)}
        began = time.monotonic()
        self.due = {a: began + n * ttl / 3 / len(addresses) for n, a in enumerate(addresses)}
        self.lock = threading.Lock()
        self.over = False
        self.problems = []
        self.thread = threading.Thread(target=self.run)
        self.thread.start()

    def run(self):
        while not self.over:
            with self.lock:
                for address, due in list(self.due.items()):
                    if time.monotonic() >= due:
                        self.due[address] = due + self.ttl / 3
                        self.put(address)
            threading.Event().wait(0.02)

    def put(self, address):
        try:
            a = self.api("PUT", f"/v1/nodes/{self.kind}/{address}?ttl={int(self.ttl * 1000)}ms",
                         {"startupTime": self.startup[address], "processId": 7, "cpuUsage": 0.1})
            if a.status not in (200, 201):
                self.problems.append(f"{address}: {a.status} {a.text}")
        except OSError as error:
            self.problems.append(str(error))

    def cut(self, addresses):
        with self.lock:
            for a in addresses:
                del self.due[a]

    def come(self, addresses):
        """Other processes at these addresses."""
        with self.lock:
            for a in addresses:
                self.startup[a] += 1000
                self.put(a)
                self.due[a] = time.monotonic() + self.ttl / 3

    def end(self):
        self.over = True
        self.thread.join()


def owners(api, kind):
    found = {}
    for item in api.all(f"/v1/work?kind={kind}"):
        if item["state"] == "assigned":
            found.setdefault(item["owner"], []).append(item)
    return found


def tickets(cluster):
    """How often anybody has asked for a lock, ever."""
    with sqlite3.connect(f"file:{cluster.path}?mode=ro", uri=True) as db:
        row = db.execute("SELECT seq FROM sqlite_sequence WHERE name = 'lock'").fetchone()
        return row[0] if row else 0


def braked(api, kind):
    return api.get("/v1/cluster")["failover"][kind]["brake"]


MASTERS = [f"10.0.0.{n}:5678" for n in range(10)]


@settings(more=FAILOVER)
def test_ten_masters_of_which_eight_are_cut_off_at_one_moment(cluster):
    """Their leases end one after the other, each long after the grace of the one
    before."""
    c = cluster.coordinator()
    other = cluster.coordinator()
    ttl = 9 * SLOW
    beats = Beats(c.port, "master", MASTERS, ttl)
    try:
        cluster.wait_up(c.api, *MASTERS)
        submit(c.port, (f"w-{n}" for n in range(60)))
        wait_for("everybody has work", lambda: len(owners(c.api, "master")) == 10)
        threading.Event().wait(ttl / 3)  # each has been heard of twice
        before = owners(c.api, "master")
        beats.cut(MASTERS[:8])
        wait_for("eight are down", lambda: sum(n["state"] in ("down", "fenced") for n in
                                               c.api.all("/v1/nodes?kind=master")) == 8, 2 * ttl)
        wait_for("the brake of both", lambda: [braked(x.api, "master") for x in (c, other)] ==
                 ["mass", "mass"])
        wait_for("all that stays is held", lambda: sum(r["state"] == "held" for r in
                                                       c.api.all("/v1/failovers")) >= 5)
        moved = [a for a in MASTERS[:8] if a not in owners(c.api, "master")]
        check(len(moved) <= 3, lambda: f"{moved} were moved, one after the other")
        equal(moved, [], "moved although the others were late, too")
        equal(owners(c.api, "master").keys(), before.keys(), "owners")
        held = [r for r in c.api.all("/v1/failovers") if r["state"] == "held"]
        check(all(r["cause"] == "mass" for r in held), lambda: f"{[r['cause'] for r in held]}")
    finally:
        beats.end()
    equal(beats.problems, [], "heartbeats")


def down_then_moved(c, cluster, victim, address, kind):
    victim.kill()
    wait_for("its work gone", lambda: address not in owners(c.api, kind), 30)
    wait_for("no brake", lambda: braked(c.api, kind) is None)


@settings(more=FAILOVER)
def test_leaving_in_order_costs_a_line_and_pulls_no_brake(cluster):
    c = cluster.coordinator()
    agents = [f"127.0.0.1:{1230 + n}" for n in range(6)]
    nodes = [f"10.0.1.{n}:1234" for n in range(30)]
    processes = {a: cluster.agent("worker", a) for a in agents}
    beats = Beats(c.port, "worker", nodes, 30 * SLOW)
    try:
        cluster.wait_up(c.api, *agents, *nodes)
        a = c.api("PUT", "/v1/work/w-0", {"kind": "worker", "owner": agents[3]})
        equal(a.status, 201, "claim")
        before, lines = tickets(cluster), len(c.text().splitlines())
        beats.cut(nodes[:25])
        for n in nodes[:25]:
            equal(c.api("DELETE", f"/v1/nodes/worker/{n}").status, 204, "leave")
        for a in agents[:3]:
            equal(processes[a].terminate()[0], 0, f"{a} exit")
        wait_for("all 28 have left", lambda: len(c.api.all("/v1/nodes?kind=worker&state=left")) == 28)
        holds("no brake", lambda: braked(c.api, "worker") is None, 3)
        equal(tickets(cluster), before, "the lock was asked for")
        equal(c.api.all("/v1/failovers"), [], "records")
        added = c.text().splitlines()[lines:]
        equal(len([line for line in added if " -node-left " in line]), 28, "lines that say so")
        equal(len(added), 28, f"lines: {added[:5]}")
        # and one that is killed among them is moved
        down_then_moved(c, cluster, processes[agents[3]], agents[3], "worker")
        # whoever left may come again, and is given work
        again = cluster.agent("worker", agents[0])
        cluster.wait_up(c.api, agents[0])
        wait_for("work for it", lambda: c.api(
            "PUT", "/v1/work/w-1", {"kind": "worker", "owner": agents[0]}).status in (200, 201))
        # what it leaves behind is not waited for
        equal(again.terminate()[0], 0, "exit")
        wait_for("what it left", lambda: agents[0] not in owners(c.api, "worker"), 10)
        equal([r["cause"] for r in c.api.all("/v1/failovers") if r["address"] == agents[0]], ["left"],
              "cause")
    finally:
        beats.end()


@settings(more=FAILOVER)
def test_two_workers_that_are_replaced_together(cluster):
    c = cluster.coordinator()
    old = ["127.0.0.1:1230", "127.0.0.1:1231"]
    new = ["127.0.0.1:1240", "127.0.0.1:1241"]
    processes = [cluster.agent("worker", a) for a in old]
    cluster.wait_up(c.api, *old)
    submit(c.port, (f"w-{n}" for n in range(20)), kind="worker")
    for p in processes:
        p.kill()
    wait_for("nobody is left", lambda: braked(c.api, "worker") == "mass", 30)
    for a in new:
        cluster.agent("worker", a)
    cluster.wait_up(c.api, *new)
    wait_for("their work goes on", lambda: set(owners(c.api, "worker")) == set(new), 30)
    equal(sum(len(v) for v in owners(c.api, "worker").values()), 20, "items")
    wait_for("the brake lifted", lambda: braked(c.api, "worker") is None)
    equal([r["state"] for r in c.api.all("/v1/failovers") if r["state"] == "held"], [], "held records")


@settings(session=4, heartbeat="300ms", more="failover: {grace: 100ms, reconcile-interval: 200ms, settle: 1s}\n"
          f"work: {{keep: {10 * SLOW}s}}\n")
def test_nothing_happens_and_nothing_is_said_or_locked(cluster):
    """What takes minutes by default happens within seconds here: forty
    heartbeats, sixty looks at everything. An item waits all the time for a group
    of which nobody is there."""
    cs = [cluster.coordinator(), cluster.coordinator()]
    c = cs[0]
    agents = {k: [f"127.0.0.1:{p + n}" for n in range(2)] for k, p in
              (("master", 5670), ("worker", 1230))}
    nodes = [f"10.0.1.{n}:1234" for n in range(3)]
    for kind, addresses in agents.items():
        for a in addresses:
            cluster.agent(kind, a)
    beats = Beats(c.port, "worker", nodes, 3 * SLOW)
    try:
        cluster.wait_up(c.api, *nodes, *agents["master"], *agents["worker"])
        submit(c.port, (f"w-{n}" for n in range(20)))
        submit(c.port, (f"v-{n}" for n in range(20)), kind="worker")
        lonely = "10.0.1.9:1234"
        equal(c.api("PUT", "/v1/groups/g1", {"addresses": [lonely]}).status // 100, 2, "group")
        equal(c.api("PUT", f"/v1/nodes/worker/{lonely}?ttl=30s", {"startupTime": 5}).status, 201, "put")
        wait_for("an item of it", lambda: c.api(
            "POST", "/v1/work", {"id": "g-1", "kind": "worker", "group": "g1"}).status in (200, 201))
        equal(c.api("DELETE", f"/v1/nodes/worker/{lonely}").status, 204, "leave")
        wait_for("it waits", lambda: c.api.get("/v1/work/g-1")["state"] == "waiting")
        threading.Event().wait(2)
        before, lines = tickets(cluster), sum(len(x.text().splitlines()) for x in cs)
        threading.Event().wait(10)
        added = [line for x in cs for line in x.text().splitlines()]
        check(len(added) - lines <= 5, lambda: f"lines: {added[-8:]}")
        equal(tickets(cluster), before, "the lock was asked for")
        # finished work is collected, but not one lock each
        for n in range(20):
            item = c.api.get(f"/v1/work/w-{n}")
            equal(c.api("DELETE", f"/v1/work/w-{n}?epoch={item['epoch']}").status, 200, "done")
            threading.Event().wait(0.25)
        wait_for("collected", lambda: all(c.api("GET", f"/v1/work/w-{n}").status == 404
                                          for n in (0, 19)), 20)
        check(tickets(cluster) - before <= 10, lambda: f"{tickets(cluster) - before} locks for 20 items")
    finally:
        beats.end()


if __name__ == "__main__":
    run(__import__("__main__"))
