"""Side by side with DolphinScheduler on ZooKeeper: its cluster is seen as it
is, its lock is waited for and lent, and nothing of it is touched.

Its side is Curator's own code in JVMs of their own (tests/registry/curator).
"""

import os
import sys
import time
from functools import partial

import dolphin
from cluster import SLOW, check, demo_holds, equal, holds, items_by_owner, run, settings, submit, wait_for
from dolphin import Node, identity
from moves import all_moved_once, finished, gone_from, ids_at, listed
from zookeeper import Registry

M1, M2, M3, M4 = (f"10.20.0.{n}:5678" for n in range(1, 5))
LOCK = "/lock/master-failover"
LOCK_NODES = "/dolphinscheduler" + LOCK + "/"
on_zookeeper = partial(settings, session=4, registry=Registry)


def lock_holders(peer, session):
    """The nodes below the lock, by what they say of their owner, in turn."""
    tree = peer.tree(session, "/dolphinscheduler/lock")
    nodes = [n for n in tree if n.startswith(LOCK_NODES)]
    return [tree[n].owner for n in sorted(nodes, key=lambda n: n.rsplit("lock-", 1)[-1])]


def three_masters(cluster, c, items):
    """Three masters with work, of which the first is a JVM of its own.
    Returns it, the ids of its work and those of the others."""
    victim, others = cluster.registry.peer(), cluster.registry.peer()
    for m, peer in ((M1, victim), (M2, others), (M3, others)):
        Node(peer, "master", m, session=cluster.session / SLOW)
    cluster.wait_up(c.api, M1, M2, M3)
    ids = [f"w-{n}" for n in range(items)]
    submit(c.port, ids)
    mine = [i for i, item in listed(c.api, ids).items() if item["owner"] == M1]
    check(len(mine) >= items // 5, f"the first master got {len(mine)} of {items}")
    return victim, others, mine, [i for i in ids if i not in mine]


def state_of(api, kind, address):
    return api.get(f"/v1/nodes/{kind}/{address}")["state"]


def curator_holds_the_lock(cluster, let_go):
    """While Curator holds it a dead master's work stays where it is."""
    c = cluster.coordinator()
    holder = cluster.registry.peer()
    session = holder.open("holder")
    equal(holder("acquire", "holder", LOCK, "us", 5000), ["true"], "Curator has the lock")
    victim, others, mine, kept = three_masters(cluster, c, 60)
    victim.kill()
    wait_for("the master down", lambda: state_of(c.api, "master", M1) == "down")
    others.open("observer")
    wait_for("Pelorus in the queue", lambda: len(lock_holders(others, "observer")) == 2)
    equal(lock_holders(others, "observer")[0], session, "the first in the queue")
    holds("the work stays", lambda: sorted(ids_at(c.api, M1)) == sorted(mine), cluster.session * 1.5)
    equal(finished(c.api, M1)(), [], "failovers done under a foreign lock")
    began = time.monotonic()
    let_go(holder)
    wait_for("all of it gone", gone_from(c.api, M1), 20)
    wait_for("the record done", finished(c.api, M1))
    print(f"     moved {time.monotonic() - began:.2f} s after Curator let go")
    all_moved_once(c.api, M1, mine, kept)
    wait_for("the lock free", lambda: lock_holders(others, "observer") == [])


@on_zookeeper()
def test_a_failover_waits_until_curator_releases_the_lock(cluster):
    curator_holds_the_lock(cluster, lambda holder: holder("release", "holder", LOCK, "us"))


@on_zookeeper()
def test_a_failover_waits_until_a_killed_lock_holder_is_gone(cluster):
    curator_holds_the_lock(cluster, lambda holder: holder.kill())


@on_zookeeper()
def test_curator_waits_for_our_lock_and_gets_it_after_us(cluster):
    started, on, ended = (os.path.join(cluster.dir, n) for n in ("hook-started", "hook-on", "hook-ended"))
    c = cluster.coordinator(more=f"failover: {{grace: 300ms, reconcile-interval: 1s, hook: 'touch {started}; "
                                 f" while [ ! -e {on} ]; do sleep 0.1; done; sleep 1; touch {ended}'}}\n")
    victim, others, mine, kept = three_masters(cluster, c, 30)
    waiter = others.open("waiter")
    victim.kill()
    wait_for("the hook under our lock", lambda: os.path.exists(started))
    asked = others.begin("acquire", "waiter", LOCK, "they", int(300000 * SLOW))
    wait_for("Curator in the queue", lambda: lock_holders(others, "waiter")[1:] == [waiter])
    wait_for("who holds it, by our own word", lambda: [
        o["holds_lock"] for o in c.api.get("/v1/cluster")["coordinators"]] == ["master"])
    open(on, "wb").close()
    equal(others.finish(asked), ["true"], "Curator has the lock")
    check(os.path.exists(ended), "Curator has the lock while our hook runs")
    equal(lock_holders(others, "waiter")[0], waiter, "the holder in the registry")
    others("release", "waiter", LOCK, "they")
    wait_for("all of it gone", gone_from(c.api, M1))
    wait_for("the record done", finished(c.api, M1))
    all_moved_once(c.api, M1, mine, kept)
    wait_for("the lock free", lambda: lock_holders(others, "waiter") == [])


def shown(node):
    """What an answer says of a node, without when it was heard of."""
    keys = ("kind", "state", "status", "degraded", "groups", "weight", "slots", "cpu", "memory",
            "disk", "pool", "owned", "flaps", "gate")
    return {**{k: node[k] for k in keys}, "process": identity(node)}


def expected(kind, process, status="NORMAL", groups=(), weight=100, slots=None, cpu=0.2,
             memory=0.5, disk=0.0, pool=None):
    return {"kind": kind, "state": "up", "status": status, "degraded": False,
            "groups": ["default", *groups] if kind == "worker" else [], "weight": weight,
            "slots": slots, "cpu": cpu, "memory": memory, "disk": disk, "pool": pool,
            "owned": 0, "flaps": 0, "gate": None, "process": process}


def many_of_them(peer, session=4):
    """Three masters, ten workers, an alert server and a worker of version 3.0.
    Returns the nodes, and what must be shown of each address."""
    nodes, wanted = {}, {}
    for i in range(1, 4):
        address, process, load = f"10.20.0.{i}:5678", (dolphin.STARTED + i, 100 + i), {"cpu": i / 10}
        nodes[address] = Node(peer, "master", address, process, session, **load)
        wanted[address] = expected("master", process, **load)
    for i in range(1, 11):
        address, process = f"10.20.1.{i}:1234", (dolphin.STARTED + i, 4200 + i)
        load = {"cpu": i / 20, "memory": i / 25, "disk": i / 50, "weight": 10 * i, "pool": i / 8,
                "status": "BUSY" if i % 4 == 0 else "NORMAL"}
        nodes[address] = Node(peer, "worker", address, process, session, **load)
        wanted[address] = expected("worker", process, **load)
    for name, process, address, more in (
            ("ds-3.3-alert-server", (dolphin.STARTED, 31), "10.20.0.5:50052",
             {"kind": "alert-server", "cpu": 0.1, "memory": 0.2, "disk": 0.1}),
            ("ds-3.0-worker-in-group", (dolphin.STARTED, 902), "10.20.0.14:1234",
             {"kind": "worker", "status": "BUSY", "groups": ["gpu"], "weight": 200, "slots": 100,
              "cpu": 0.2, "memory": 0.3, "disk": None})):
        key, value = dolphin.sample(name)
        peer.open(name)
        peer("register", name, key, value)
        wanted[address] = expected(process=process, **more)
    return nodes, wanted


def seen(api):
    return {n["address"]: shown(n) for n in api.all("/v1/nodes")}


@on_zookeeper(heartbeat="3s", registry=partial(Registry, tick=1000))
def test_a_cluster_of_dolphinscheduler_is_shown_exactly(cluster):
    peer = cluster.registry.peer()
    nodes, wanted = many_of_them(peer, session=20)
    c = cluster.coordinator()
    equal(seen(c.api), wanted, "the cluster when first ready")
    # What they report later is shown at the next look, one heartbeat (3 s) away.
    reported = time.monotonic()
    load = {"cpu": 0.77, "memory": 0.66, "pool": 0.5, "disk": 0.4}
    nodes["10.20.1.3:1234"].report(status="BUSY", weight=30, reported=dolphin.STARTED + 1, **load)
    nodes["10.20.1.4:1234"].report(status="NORMAL", weight=40, reported=dolphin.STARTED + 1, **load)
    for address, status, weight in (("10.20.1.3:1234", "BUSY", 30), ("10.20.1.4:1234", "NORMAL", 40)):
        wanted[address] = expected("worker", nodes[address].process, status, weight=weight, **load)
    wait_for("the new reports", lambda: seen(c.api) == wanted)
    took = time.monotonic() - reported
    check(took < 2.5 * 3 * SLOW, f"the new reports were seen after {took:.1f} s")
    # Groups are by path, and the balancer's.
    equal([g["alive"] for g in c.api.get("/v1/groups")["items"] if g["name"] == "gpu"],
          [["10.20.0.14:1234"]], "workers of the group in a path")
    equal(c.api("GET", "/v1/workers/best?group=gpu").code, "all_busy", "its only worker is busy")
    # Who leaves in order is seen to, and who is new.
    for verb, node in (("close", nodes["10.20.1.5:1234"]), ("delete", nodes["10.20.1.6:1234"])):
        gone = time.monotonic()
        peer(verb, node.session, *([node.key] if verb == "delete" else []))
        wait_for("one left", lambda a=node.address: state_of(c.api, "worker", a) != "up")
        took = time.monotonic() - gone
        print(f"     an orderly leave seen after {took:.2f} s")
        check(took < 10 * SLOW, f"an orderly leave seen after {took:.1f} s of a session of {20 * SLOW} s")
    came = time.monotonic()
    Node(peer, "worker", "10.20.1.11:1234")
    cluster.wait_up(c.api, "10.20.1.11:1234")
    print(f"     a new worker seen after {time.monotonic() - came:.2f} s")
    # One whose IPv6 host it writes without brackets is one node by any spelling.
    bare, plain = "2001:DB8:0:0:0:0:0:7:1234", "[2001:db8::7]:1234"
    Node(peer, "worker", bare)
    cluster.wait_up(c.api, plain)
    equal(c.api.get(f"/v1/nodes/worker/{bare}")["address"], plain, "its one name")
    equal(c.api.get(f"/v1/nodes/worker/{bare}")["state"], "up", "by its own name")
    equal(c.api("PUT", f"/v1/nodes/worker/{bare}/cordon", {}).status, 200, "an order for it")
    equal(c.api("GET", "/v1/nodes/worker/2001:db8::8:1234").status, 400, "one that nobody knows")


@on_zookeeper()
def test_a_master_that_dies_while_no_coordinator_runs_is_hooked(cluster):
    ran = os.path.join(cluster.dir, "ran")
    more = (f"failover: {{grace: 300ms, reconcile-interval: 1s, hook: 'echo $PELORUS_ADDRESS "
            f"$PELORUS_PROCESS >>{ran}'}}\n")
    victim, survivor = cluster.registry.peer(), cluster.registry.peer()
    M4 = "10.20.9.4:5678"
    Node(victim, "master", M4, session=cluster.session / SLOW)
    Node(survivor, "master", M1)
    Node(survivor, "master", M2)
    c = cluster.coordinator(more=more)
    cluster.wait_up(c.api, M1, M2, M4)
    wait_for("its gate", lambda: c.api.get(f"/v1/nodes/master/{M4}")["gate"])
    c.terminate()
    victim.kill()
    time.sleep(2 * cluster.session)
    coordinators = [cluster.coordinator(more=more) for _ in range(2)]
    wait_for("the hook", lambda: os.path.exists(ran), 40)
    wait_for("the record", finished(coordinators[1].api, M4), 20)
    for c in coordinators:
        c.terminate()
    c = cluster.coordinator(more=more)
    cluster.wait_up(c.api, M1, M2)
    time.sleep(4 * SLOW)
    with open(ran, encoding="utf-8") as f:
        equal(f.read(), f"{M4} {dolphin.STARTED}-1\n", "when the hook ran")


@on_zookeeper()
def test_a_killed_master_is_down_in_time(cluster):
    c = cluster.coordinator()
    grace, tick = 0.3, cluster.registry.tick
    survivor = cluster.registry.peer()
    Node(survivor, "master", M1)
    best, worst = ({"suspect": start, "down": start} for start in (1e9, 0.0))
    for n in range(3):
        address = f"10.20.0.{10 + n}:5678"
        victim = cluster.registry.peer()
        Node(victim, "master", address)
        cluster.wait_up(c.api, address)
        killed = time.monotonic()
        victim.kill()
        for state in worst:
            wait_for(f"{address} {state}", lambda s=state: state_of(c.api, "master", address) in (s, "down"))
            took = time.monotonic() - killed
            best[state], worst[state] = min(best[state], took), max(worst[state], took)
    print(f"     a killed master is suspect after {worst['suspect']:.2f} s and down after "
          f"{worst['down']:.2f} s at most; session {cluster.session} s, grace {grace} s")
    limit = cluster.session + tick + 0.5 * SLOW
    # A machine that is busy at one moment is not so all the time.
    check(best["suspect"] <= limit, f"suspect only after {best['suspect']:.2f} s, {limit} s allowed")
    check(best["down"] <= limit + grace, f"down only after {best['down']:.2f} s, {limit + grace} s allowed")
    check(worst["down"] <= 2 * cluster.session, f"down only after {worst['down']:.2f} s")
    equal(state_of(c.api, "master", M1), "up", "the one that lives")


def restarted(c, new, mine):
    """The process at M1 is another one now, and its predecessor's work moved
    once; nothing else happens to it."""
    wait_for("the new process", lambda: identity(c.api.get(f"/v1/nodes/master/{M1}")) == new)
    wait_for("the old one's work moved", lambda: all(
        i["epoch"] == 2 for i in c.api.all("/v1/work?kind=master") if i["id"] in mine), 20)
    wait_for("the record done", finished(c.api, M1))

    def once():
        for i in c.api.all("/v1/work?kind=master"):
            equal(i["epoch"], 2 if i["id"] in mine else 1, f"epoch of {i['id']}")
            if i["owner"] == M1:
                equal(identity(i), new, f"owner of {i['id']}")
        equal({n["address"]: n["state"] for n in c.api.all("/v1/nodes?kind=master")
               if n["state"] in ("down", "fenced")}, {}, "masters declared dead")
        return True
    return once


@on_zookeeper()
def test_a_quick_restart_is_a_new_process(cluster):
    c = cluster.coordinator()
    victim, others, mine, kept = three_masters(cluster, c, 60)
    new = (dolphin.STARTED + 5000, 2)
    victim.kill()
    Node(others, "master", M1, new).beat(300)
    once = restarted(c, new, mine)
    holds("nothing moves again", once, cluster.session * 1.5)
    check(len(c.lines("=node-replaced", M1)) == 1, "it was replaced once")


@on_zookeeper(heartbeat="3s")
def test_a_restart_over_the_old_sessions_node_survives_its_end(cluster):
    """create().orSetData() writes into the dead process's node, which vanishes
    with that session: the living process is away until its next heartbeat."""
    c = cluster.coordinator()
    victim, others, mine, kept = three_masters(cluster, c, 60)
    others.open("observer")
    new = (dolphin.STARTED + 5000, 2)
    before = others.tree("observer", dolphin.NODES)[dolphin.NODES + "/master/" + M1]
    victim.kill()
    node = Node(others, "master", M1, new, session=4, register=False).report()
    over = others.tree("observer", dolphin.NODES)[dolphin.NODES + "/master/" + M1]
    equal((over.czxid, over.owner), (before.czxid, before.owner), "whose node it is")
    once = restarted(c, new, mine)
    # Its heartbeats are further apart than the grace (0.3 s), and closer than
    # two heartbeat intervals (3 s each).
    wait_for("the old session's end", lambda: dolphin.NODES + "/master/" + M1
             not in others.tree("observer", dolphin.NODES))
    wait_for("the gap seen", lambda: state_of(c.api, "master", M1) == "suspect")
    holds("no verdict in the gap", once, 1.0)
    node.report()
    cluster.wait_up(c.api, M1)
    holds("nothing moves again", once, cluster.session)
    again = others.tree("observer", dolphin.NODES)[dolphin.NODES + "/master/" + M1]
    check(again.czxid > before.czxid, "the node was made anew")
    equal([again.owner], others("id", node.session), "whose node it is now")
    equal(c.api.get(f"/v1/nodes/master/{M1}")["flaps"], 1, "its absence is a flap")


def foreign(peer):
    """All that is not ours, with everything that a write would change."""
    tree = peer.tree("observer")
    ours = ("/dolphinscheduler/pelorus", "/dolphinscheduler/lock")
    # our own roots are its children, which its counters tell
    top = tree["/dolphinscheduler"]
    tree["/dolphinscheduler"] = top._replace(pzxid=0, cversion=0)
    return {n: z for n, z in tree.items() if not (n in ours or n.startswith(tuple(o + "/" for o in ours)))}


@on_zookeeper()
def test_nothing_of_theirs_is_written(cluster):
    peer, victim = cluster.registry.peer(), cluster.registry.peer()
    peer.open("observer")
    _, wanted = many_of_them(peer)
    Node(victim, "master", M4)
    before = foreign(peer)
    peer("cache", "observer", "/nodes")
    wait_for("the cache filled", lambda: ("observer", "INITIALIZED", "") in peer.events)
    told = list(peer.events)
    c, other = cluster.coordinator(), cluster.coordinator()
    cluster.wait_up(c.api, M4, *(a for a, w in wanted.items() if w["kind"] == "master"))
    submit(c.port, (f"m-{n}" for n in range(40)))
    submit(other.port, (f"w-{n}" for n in range(20)), kind="worker")
    equal(c.api("PUT", f"/v1/nodes/master/{M1}/cordon").status, 200, "a cordon")
    wait_for("it is listed", lambda: sum(map(len, items_by_owner(c.api, "worker").values())) == 20)
    drained = max(items_by_owner(c.api, "worker").items(), key=lambda owner: len(owner[1]))[0]
    equal(c.api("PUT", f"/v1/nodes/worker/{drained}/drain?for=1s").status, 200, "a drain")
    wait_for("the drained work moved", lambda: drained not in items_by_owner(c.api, "worker"))
    equal(foreign(peer), before, "everything but /pelorus and /lock")
    equal(peer.events, told, "what a TreeCache on /nodes heard")
    key = f"{dolphin.NODES}/master/{M4}"
    victim.kill()
    wait_for("its node gone", lambda: key not in peer.tree("observer", dolphin.NODES))
    dead = foreign(peer)
    equal(set(before) - set(dead), {key}, "nodes gone")
    wait_for("its failover", finished(c.api, M4))
    for p in (c, other):
        equal(p.terminate()[0], 0, "exit code")
    equal(foreign(peer), dead, "everything but /pelorus and /lock, afterwards")
    left = peer.tree("observer", "/dolphinscheduler/lock")
    equal([n for n in left if n.startswith(LOCK_NODES)], [], "left below the lock")
    equal([n for n, z in peer.tree("observer", "/dolphinscheduler/pelorus").items() if z.owner != "0"], [],
          "ephemeral nodes of ours after our leave")


def test_the_demo_holds_on_zookeeper(_):
    demo_holds(REGISTRY="zookeeper")


if __name__ == "__main__":
    run(sys.modules[__name__])
