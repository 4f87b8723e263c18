"""Side by side with DolphinScheduler on etcd: its cluster is seen as it is, its
lock is waited for and lent, nothing of it is touched, and a store that fails
fails nobody over. Its side is played by etcdctl, in keys shaped like jetcd's.
"""

import os
import subprocess
import sys
import time
from functools import partial

import dolphin
from cluster import PELORUS, SLOW, check, demo_holds, equal, holds, run, settings, submit, wait_for
from dolphin import heartbeat, identity
from etcd import NAMESPACE, Registry
from moves import all_moved_once, finished, given_out, gone_from, ids_at, listed

M1, M2, M3 = (f"10.20.0.{n}:5678" for n in range(1, 4))
LOCK = NAMESPACE + "/lock/master-failover"
on_etcd = partial(settings, registry=Registry)


class Node:
    """A process of DolphinScheduler: a lease, who keeps it, a key."""

    def __init__(self, etcdctl, kind, address, process=(dolphin.STARTED, 1), seconds=4, **load):
        self.etcdctl, self.kind, self.address, self.process = etcdctl, kind, address, process
        self.key = f"/nodes/{kind}/{address}"
        self.lease, self.keeper = etcdctl.lease(int(seconds * SLOW))
        self.report(**load)

    def report(self, **load):
        self.etcdctl.put(self.key, heartbeat(self.kind, self.address, self.process, **load), self.lease)

    def kill(self):
        self.keeper.kill()

    def leave(self):
        self.keeper.kill()
        self.etcdctl("lease", "revoke", self.lease)


def three_masters(cluster, c, items):
    etcdctl = cluster.registry.etcdctl
    victim = Node(etcdctl, "master", M1)
    for m in (M2, M3):
        Node(etcdctl, "master", m)
    cluster.wait_up(c.api, M1, M2, M3)
    submit(c.port, (f"w-{n}" for n in range(items)))
    given_out(c.api, items, M1, M2, M3)
    mine = ids_at(c.api, M1)
    check(len(mine) >= items // 5, f"the first master got {len(mine)} of {items}")
    return victim, mine, [f"w-{n}" for n in range(items) if f"w-{n}" not in mine]


def state_of(api, kind, address):
    return api.get(f"/v1/nodes/{kind}/{address}")["state"]


def waiters(etcdctl):
    """The keys below the lock, the holder first."""
    tree = etcdctl.tree(LOCK + "/")
    return sorted(tree, key=lambda k: tree[k][0])


@on_etcd()
def test_nodes_of_dolphinscheduler_come_report_and_go(cluster):
    etcdctl = cluster.registry.etcdctl
    for kind in ("master", "worker", "alert-server"):
        etcdctl.put(f"/nodes/{kind}", "")
    early = Node(etcdctl, "worker", "10.20.1.1:1234", (dolphin.STARTED + 1, 11), cpu=0.25)
    etcdctl.put("/nodes/worker//10.20.1.8:1234", "{}")
    etcdctl.put("/nodes/worker/a\x01b:1234", "{}")
    c = cluster.coordinator()
    cluster.wait_up(c.api, early.address)
    etcdctl.put("/nodes/worker/" + "x" * 700, "{}")
    unfit = {"/nodes/worker//10.20.1.8:1234": "empty name", "/nodes/worker/a\\x01b:1234": "control character 0x01",
             "/nodes/worker/" + "x" * 186 + "... (714 bytes": "more than"}

    def ignored():
        problems = c.api.get("/v1/cluster")["problems"]
        return problems if problems["keys"] == len(unfit) else None
    wait_for("keys that can be nobody's are counted", lambda: ignored() and
             c.api.get("/v1/nodes")["ignored_keys"] == len(unfit))
    for key, reason in unfit.items():
        check([p for p in ignored()["ignored"] if p["key"].startswith(key) and reason in p["reason"]], ignored())
    equal(len(c.lines("!key")), len(unfit), "each is said once")
    shown = subprocess.run([PELORUS, "nodes", "--url", f"http://127.0.0.1:{c.port}"], capture_output=True, text=True,
                           timeout=20 * SLOW, check=False)
    check("3 keys in the registry are ignored" in shown.stdout + shown.stderr, shown)
    etcdctl("del", "--prefix", NAMESPACE + "/nodes/worker/x")
    unfit.popitem()
    wait_for("one is gone", ignored)
    late = Node(etcdctl, "worker", "10.20.1.2:1234", (dolphin.STARTED + 2, 12), seconds=60, cpu=0.5)
    came = time.monotonic()
    cluster.wait_up(c.api, late.address)
    print(f"     a new worker seen after {time.monotonic() - came:.2f} s")
    key, value = dolphin.sample("ds-3.0-worker-in-group")
    lease, _ = etcdctl.lease(int(4 * SLOW))
    etcdctl.put(key[len("/" + NAMESPACE):] if key.startswith("/" + NAMESPACE) else key, value, lease)
    cluster.wait_up(c.api, "10.20.0.14:1234")
    nodes = {n["address"]: n for n in c.api.all("/v1/nodes")}
    equal(set(nodes), {early.address, late.address, "10.20.0.14:1234"}, "the cluster")
    equal((identity(nodes[late.address]), nodes[late.address]["cpu"]), (late.process, 0.5), "the second")
    equal([g["alive"] for g in c.api.get("/v1/groups")["items"] if g["name"] == "gpu"],
          [["10.20.0.14:1234"]], "workers of the group in a path")
    early.report(cpu=0.75, status="BUSY")
    wait_for("its report", lambda: (lambda n: (n["cpu"], n["status"]) == (0.75, "BUSY"))(
        c.api.get(f"/v1/nodes/worker/{early.address}")))
    left = time.monotonic()
    late.leave()
    wait_for("an orderly leave", lambda: state_of(c.api, "worker", late.address) != "up")
    took = time.monotonic() - left
    print(f"     an orderly leave seen after {took:.2f} s")
    check(took < 20 * SLOW, f"an orderly leave seen after {took:.1f} s of a lease of {60 * SLOW} s")
    early.kill()
    killed = time.monotonic()
    wait_for("a death", lambda: state_of(c.api, "worker", early.address) == "down")
    print(f"     a death seen as down after {time.monotonic() - killed:.2f} s; lease 4 s, grace 0.3 s")
    equal(state_of(c.api, "worker", "10.20.0.14:1234"), "up", "the one that lives")


@on_etcd()
def test_a_failover_waits_for_a_foreign_lock(cluster):
    c = cluster.coordinator()
    etcdctl = cluster.registry.etcdctl
    holder = etcdctl.background("lock", LOCK)
    wait_for("etcdctl's lock", lambda: len(waiters(etcdctl)) == 1)
    victim, mine, kept = three_masters(cluster, c, 60)
    victim.kill()
    wait_for("Pelorus in the queue", lambda: len(waiters(etcdctl)) == 2)
    check(all(len(k.rsplit("/", 1)[1]) in (15, 16) for k in waiters(etcdctl)), "leases in hex")
    holds("the work stays", lambda: sorted(ids_at(c.api, M1)) == sorted(mine), cluster.session * 1.5)
    began = time.monotonic()
    holder.terminate() # releases it
    wait_for("all of it gone", gone_from(c.api, M1), 20)
    wait_for("the record done", finished(c.api, M1))
    print(f"     moved {time.monotonic() - began:.2f} s after etcdctl let go")
    all_moved_once(c.api, M1, mine, kept)
    wait_for("the lock free", lambda: waiters(etcdctl) == [])


@on_etcd()
def test_etcdctl_waits_for_our_lock(cluster):
    started, on, ended = (os.path.join(cluster.dir, n) for n in ("hook-started", "hook-on", "hook-ended"))
    c = cluster.coordinator(more=f"failover: {{grace: 300ms, reconcile-interval: 1s, hook: 'touch {started}; "
                                 f" while [ ! -e {on} ]; do sleep 0.1; done; sleep 1; touch {ended}'}}\n")
    etcdctl = cluster.registry.etcdctl
    victim, mine, kept = three_masters(cluster, c, 30)
    victim.kill()
    wait_for("the hook under our lock", lambda: os.path.exists(started))
    ours = waiters(etcdctl)
    equal(len(ours), 1, "holders")
    waiter = etcdctl.background("lock", LOCK)
    wait_for("etcdctl in the queue", lambda: len(waiters(etcdctl)) == 2)
    equal(waiters(etcdctl)[0], ours[0], "the holder")
    open(on, "wb").close()
    line = waiter.stdout.readline().strip()
    check(os.path.exists(ended), "etcdctl has the lock while our hook runs")
    check(line.startswith(LOCK + "/"), f"etcdctl says {line!r}")
    equal(waiters(etcdctl)[0], line, "the holder afterwards")
    waiter.terminate()
    wait_for("all of it gone", gone_from(c.api, M1))
    wait_for("the record done", finished(c.api, M1))
    all_moved_once(c.api, M1, mine, kept)
    wait_for("the lock free", lambda: waiters(etcdctl) == [])


def foreign(etcdctl):
    return {k: v for k, v in etcdctl.tree().items()
            if not k.startswith((NAMESPACE + "/pelorus/", NAMESPACE + "/lock/"))}


@on_etcd()
def test_nothing_of_theirs_is_written(cluster):
    etcdctl = cluster.registry.etcdctl
    etcdctl.put("/nodes/master", "")
    for n in range(1, 4):
        Node(etcdctl, "worker", f"10.20.1.{n}:1234")
    early = [Node(etcdctl, "master", m) for m in (M1, M2, M3)]
    before = foreign(etcdctl)
    c, other = cluster.coordinator(), cluster.coordinator()
    cluster.wait_up(c.api, M1, M2, M3)
    submit(c.port, (f"m-{n}" for n in range(40)))
    submit(other.port, (f"w-{n}" for n in range(20)), kind="worker")
    equal(c.api("PUT", "/v1/nodes/worker/10.20.1.1:1234/drain?for=1s").status, 200, "a drain")
    equal(c.api("PUT", f"/v1/nodes/master/{M2}/cordon").status, 200, "a cordon")
    wait_for("it is listed", lambda: len(c.api.all("/v1/work?kind=worker")) == 20)
    wait_for("the drained work moved", lambda: not c.api.all("/v1/work?kind=worker&owner=10.20.1.1:1234"))
    equal(foreign(etcdctl), before, "everything but /pelorus and /lock")
    early[0].kill()
    wait_for("its failover", finished(c.api, M1))
    for p in (c, other):
        equal(p.terminate()[0], 0, "exit code")
    before.pop(f"{NAMESPACE}/nodes/master/{M1}")
    equal(foreign(etcdctl), before, "everything but /pelorus and /lock, afterwards")
    left = {k: v for k, v in etcdctl.tree(NAMESPACE + "/pelorus").items() if v[2] != 0}
    equal((left, waiters(etcdctl)), ({}, []), "left of ours after our leave")


@settings(session=4, more="failover: {grace: 3s, reconcile-interval: 1s}\n", registry=Registry)
def test_a_store_that_fails_fails_nobody_over(cluster):
    c = cluster.coordinator()
    server = cluster.registry.servers[0]
    agents = [cluster.agent("master", f"127.0.0.1:{port}") for port in (5678, 5679, 5680)]
    cluster.wait_up(c.api, *(f"127.0.0.1:{port}" for port in (5678, 5679, 5680)))
    submit(c.port, (f"w-{n}" for n in range(60)))

    def owned():
        items = listed(c.api, (f"w-{n}" for n in range(60)))
        return {i["id"]: (i["owner"], i["epoch"]) for i in items.values()}
    before = owned()

    def ready():
        return c.api("GET", "/readyz").status == 200

    def settled(what):
        began = time.monotonic()
        wait_for(f"ready after {what}", ready, 20)
        cluster.wait_up(c.api, *(f"127.0.0.1:{port}" for port in (5678, 5679, 5680)))
        print(f"     {what}: back after {time.monotonic() - began:.2f} s")
        equal(owned(), before, f"the work after {what}")

    server.kill()
    wait_for("not ready", lambda: not ready(), 10)
    server.start().wait()
    settled("a restart")
    server.stop()
    wait_for("suspended", lambda: not ready(), 10)
    wait_for("disconnected", lambda: c.api.get("/v1/cluster")["registry"]["state"] == "disconnected", 10)
    holds("nothing decided", lambda: not ready() and not c.lines("+failover"), cluster.session * 0.3)
    server.resume()
    settled("a stop longer than the lease")
    moved = [f for f in c.api.get("/v1/failovers?limit=1000")["items"] if f["moved"]]
    equal(moved, [], "failovers that moved something")
    check(all(a.alive() for a in agents), "the agents live")


@settings(session=6, registry=partial(Registry, servers=3))
def test_a_member_dies_while_work_moves(cluster):
    c = cluster.coordinator(env={"PELORUS_FAILPOINT": "engine-mid-move:stop@300"})
    victim = cluster.agent("master", "127.0.0.1:5678")
    cluster.wait_up(c.api, "127.0.0.1:5678")
    submit(c.port, (f"w-{n}" for n in range(1000)))
    cluster.agent("master", "127.0.0.1:5679")
    cluster.wait_up(c.api, "127.0.0.1:5679")
    victim.kill()
    wait_for("some of it moved", c.stopped, 60)
    used = wait_for("the member it uses", lambda: [s for s in cluster.registry.servers
                    if f"endpoint={s.endpoint} " in c.text().split("+session")[-1].split("\n")[0] + " "])
    used[0].kill()
    c.resume()
    wait_for("all of it gone", gone_from(c.api, "127.0.0.1:5678"), 60)
    record = wait_for("the record done", finished(c.api, "127.0.0.1:5678"))[0]
    equal(record["moved"], 1000, "moved by the record")
    all_moved_once(c.api, "127.0.0.1:5678", [f"w-{n}" for n in range(1000)], [])


def test_the_demo_holds_on_etcd(_):
    demo_holds(REGISTRY="etcd")


if __name__ == "__main__":
    run(sys.modules[__name__])
