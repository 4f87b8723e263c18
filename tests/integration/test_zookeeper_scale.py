"""ZooKeeper with many: ten thousand workers whose every report counts, and ten
thousand items on the move while the leader of three servers dies."""

import sys
import time
from datetime import datetime, timezone
from functools import partial

import dolphin
from cluster import SLOW, Api, Bare, check, cpu_seconds, equal, holds, pace, run, settings, submit, wait_for
from dolphin import Node
from moves import all_moved_once, finished, gone_from, moved_in
from zookeeper import Registry

M1, M2, M3 = (f"127.0.0.1:{port}" for port in (5678, 5679, 5680))
MANY = 10000
SESSIONS = 20
SESSION = 10
HEARTBEAT = 10
MEASURED = 30
WORKERS = dolphin.NODES + "/worker"


def workers_up(api):
    return api.get("/v1/cluster")["nodes"]["worker"]["up"]


def exact(api, count=MANY):
    """Each of them once, with its own process, up and without a break."""
    nodes = api.all("/v1/nodes?kind=worker")
    mine = {f"10.{i >> 16}.{i >> 8 & 255}.{i & 255}:1234": 1000 + i for i in range(MANY)}
    found = {n["address"]: n for n in nodes}
    equal(len(found), count, "workers")
    for address, pid in mine.items():
        n = found[address]
        equal((n["state"], n["flaps"], n["degraded"], n["process"]["processId"]),
              ("up", 0, False, pid), address)
    return nodes


def oldest_report(nodes):
    now = datetime.now(timezone.utc)
    return max((now - datetime.fromisoformat(n["last_report"].replace("Z", "+00:00"))).total_seconds()
               for n in nodes if n["address"] != "10.20.1.1:1234")


@settings(session=SESSION, heartbeat=f"{HEARTBEAT}s", registry=partial(Registry, tick=500, proxied=True))
def test_ten_thousand_workers_report_every_ten_seconds(cluster):
    registry, session_ms = cluster.registry, cluster.session * 1000
    peer = registry.peer()
    peer.open("observer", SESSION)
    peer("keep", "observer", "/nodes/worker", "")
    made = peer("load", "many", registry.servers.connect, WORKERS, MANY, SESSIONS, session_ms,
                HEARTBEAT * 1000)[0]
    began = time.monotonic()
    c = cluster.coordinator(wait=False)
    wait_for("all of them", lambda: workers_up(c.api) == MANY and
             c.api("GET", "/readyz").status == 200, 30)
    first = time.monotonic() - began
    print(f"     {MANY} nodes made in {made} ms; first snapshot {first:.2f} s after the start of the process")
    exact(c.api)
    # A first round of reports, so that what is measured is the usual day.
    bare = Bare(MEASURED, "zookeeper", registry.servers.connect, WORKERS)
    start, used = time.monotonic(), cpu_seconds(c.pid)
    wait_for("the time to be measured", lambda: time.monotonic() - start >= MEASURED, MEASURED + 5)
    share = (cpu_seconds(c.pid) - used) / (time.monotonic() - start)
    age = oldest_report(exact(Api(c.port)))     # the other was idle for http.request-timeout
    print(f"     {share * 100:.1f} % of a core over {MEASURED} s; the oldest report is {age:.1f} s old")
    print(f"row heartbeats-zookeeper % {share * 100:.3g} 2 <=")
    bare.row("heartbeats-zookeeper", share)
    came = time.monotonic()
    Node(peer, "worker", "10.20.1.1:1234", session=SESSION)
    wait_for("one more", lambda: workers_up(c.api) == MANY + 1)
    print(f"     one more seen after {time.monotonic() - came:.2f} s")
    reconnects(cluster, c)
    check(first <= 2 * SLOW * pace(), f"the first snapshot took {first:.2f} s, 2 s allowed")
    check(share <= 0.10 * SLOW * pace(time.process_time), f"{share * 100:.1f} % of a core, 10 % allowed")
    # written once in 10 s and looked at once in 10 s
    check(age <= 2 * HEARTBEAT + 2 * pace(), f"the oldest report is {age:.1f} s old")


def reconnects(cluster, c):
    """All connections broken, and later no answer for longer than SUSPENDED
    takes: each is few connections more, no new session, and changes nobody."""
    proxy = cluster.registry.proxy
    for what, outage in (("reset", proxy.reset), ("cut", proxy.cut)):
        before = proxy.accepted
        outage()
        wait_for("another connection", lambda: proxy.accepted > before, SESSION)
        if what == "cut":
            wait_for("suspended", lambda: c.api("GET", "/readyz").status == 503, SESSION)
        began = time.monotonic()
        proxy.heal()
        wait_for("ready again", lambda: c.api("GET", "/readyz").status == 200, SESSION)
        took = time.monotonic() - began
        more = proxy.accepted - before
        holds("everybody up", lambda: workers_up(c.api) == MANY + 1, 3)
        print(f"     {what}: ready again after {took:.2f} s and {more} connections")
        check(more <= 3, f"{more} connections after a {what}")
        equal(proxy.accepted - before, more, f"connections a while after the {what}")
        exact(c.api, MANY + 1)
        for line in ("!node-suspect", "-node-down", "=node-replaced", "-session"):
            equal(c.lines(line), [], f"{line} after the {what}")


@settings(session=6, registry=partial(Registry, tick=300, servers=3))
def test_the_leader_dies_while_ten_thousand_items_move(cluster):
    c = cluster.coordinator(env={"PELORUS_FAILPOINT": "engine-mid-move:stop@3000"})
    victim = cluster.agent("master", M1)
    cluster.wait_up(c.api, M1)
    began = time.monotonic()
    submit(c.port, (f"w-{n}" for n in range(MANY)))
    print(f"     {MANY} items given out in {time.monotonic() - began:.1f} s")
    cluster.agent("master", M2)
    cluster.agent("master", M3)
    cluster.wait_up(c.api, M2, M3)
    leader = cluster.registry.servers.leader()
    victim.kill()
    # It stops itself with batches in flight; the leader dies at that moment.
    wait_for("some of it moved", c.stopped, 60)
    leader.kill()
    died = time.monotonic()
    c.resume()
    new = wait_for("another leader", cluster.registry.servers.leader)
    check(new is not leader, "the leader is another one")
    elected = time.monotonic() - died
    wait_for("all of it gone", gone_from(c.api, M1), 60)
    record = wait_for("the record done", finished(c.api, M1))[0]
    print(f"     another leader after {elected:.2f} s; {MANY} items moved in {moved_in(record):.2f} s")
    equal(record["moved"], MANY, "moved by the record")
    all_moved_once(c.api, M1, [f"w-{n}" for n in range(MANY)], [])
    leader.start().wait()


if __name__ == "__main__":
    run(sys.modules[__name__])
