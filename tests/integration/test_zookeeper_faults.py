"""ZooKeeper out of order: stopped, killed, cut off, without a quorum, a session
ended behind its owner's back. In each of these nobody is failed over who did
not die, and afterwards all goes on by itself and nothing is left behind.

Three masters of DolphinScheduler speak to the servers directly; a coordinator
speaks through the proxy, where there is one.
"""

import os
import sys
import time
from functools import partial

from cluster import SLOW, Lateness, check, equal, holds, pace, run, settings, submit, wait_for
from dolphin import Node
from moves import all_moved_once, finished, gone_from, ids_at, listed
from proxy import Proxy
from zookeeper import Registry

M1, M2, M3 = (f"10.20.0.{n}:5678" for n in range(1, 4))
ITEMS = [f"w-{n}" for n in range(60)]
SESSION = 4
COORDINATORS = "/dolphinscheduler/pelorus/coordinators"
LOCKS = "/dolphinscheduler/lock"
# A node that comes back from a lost session has been away for as long as its
# client needs for a new one: that is not death. So the grace is longer.
MORE = "failover: {grace: 3s, reconcile-interval: 1s}\n"
behind_a_proxy = partial(settings, session=SESSION, more=MORE, registry=partial(Registry, proxied=True))
on_three_servers = partial(settings, session=SESSION, more=MORE, registry=partial(Registry, servers=3))


class World:
    """A coordinator and three masters with work, none of whom is to die."""

    def __init__(self, cluster):
        self.cluster, self.registry = cluster, cluster.registry
        self.c = cluster.coordinator()
        self.api = self.c.api
        self.peer = self.registry.peer()
        self.peer.open("observer", SESSION)
        for m in (M1, M2, M3):
            Node(self.peer, "master", m, session=SESSION).beat(300)
        cluster.wait_up(self.api, M1, M2, M3)
        submit(self.c.port, ITEMS)
        self.before = self.work()
        self.newcomers = 0

    def work(self):
        return {i["id"]: (i["owner"], i["epoch"], i["state"], len(i["history"]))
                for i in listed(self.api, ITEMS).values()}

    def entry(self):
        """Our own entries' sessions, as the servers know them."""
        tree = self.peer.tree("observer", COORDINATORS)
        return [z.owner for n, z in tree.items() if n != COORDINATORS]

    def state(self):
        return self.api.get("/v1/cluster")["registry"]["state"]

    def wait_state(self, *states, seconds=15):
        return wait_for(f"the registry {' or '.join(states)}",
                        lambda: self.state() in states, seconds)

    def ready(self):
        return self.api("GET", "/readyz").status == 200

    def unchanged(self):
        equal(self.work(), self.before, "the masters' work")
        return True

    def settled(self, old_session=None):
        """All is as before: ready, our entry stands alone, nothing moved, and
        who is new now is seen, so that watches work."""
        began = time.monotonic()
        wait_for("ready", self.ready, 20)
        wait_for("one entry, the present session's", lambda: len(self.entry()) == 1
                 and self.entry() != [old_session], 20)
        took = time.monotonic() - began
        self.cluster.wait_up(self.api, M1, M2, M3)
        self.newcomers += 1
        new = f"10.20.1.{self.newcomers}:1234"
        Node(self.peer, "worker", new, session=SESSION).beat(1000)
        self.cluster.wait_up(self.api, new)
        self.unchanged()
        records = self.api.get("/v1/failovers?limit=1000")["items"]
        equal([(r["address"], r["state"], r["moved"]) for r in records
               if r["state"] not in ("held", "aborted")], [], "failovers")
        return took

    def lock_nodes(self):
        tree = self.peer.tree("observer", LOCKS)
        return [n for n, z in tree.items() if z.owner != "0"]


def in_time(cluster, lost, late):
    """Its own deadline, and not the servers' or the network's."""
    check(lost <= cluster.session + 0.5 * SLOW * pace() + 3 * late.worst,
          f"its own deadline came after {lost:.2f} s, on a machine that was {late.worst:.2f} s late")


@behind_a_proxy()
def test_a_server_stopped_longer_than_the_session(cluster):
    w = World(cluster)
    with Lateness() as late:
        w.registry.servers.stop()
        stopped = time.monotonic()
        w.wait_state("suspended")
        equal(w.api("GET", "/readyz").status, 503, "readyz while suspended")
        w.wait_state("disconnected")
        lost = time.monotonic() - stopped
    in_time(cluster, lost, late)
    holds("no decision, nothing moved", lambda: w.api("GET", "/readyz").status == 503
          and not w.c.lines("+failover"), cluster.session * 0.5)
    w.registry.servers.resume()
    print(f"     lost after {lost:.2f} s, back {w.settled():.2f} s after the server")


# Longer: between SUSPENDED and the session's end we must come back. A server
# takes its time to start: it does so meanwhile, and we are kept from it.
@settings(session=3 * SESSION, more=MORE, registry=partial(Registry, tick=600, proxied=True))
def test_a_server_killed_and_started_again_on_its_data(cluster):
    w = World(cluster)
    session = w.entry()
    w.registry.proxy.refuse()
    w.registry.servers.kill()
    w.registry.servers.start()
    w.wait_state("suspended")
    equal(w.api("GET", "/readyz").status, 503, "readyz while suspended")
    w.registry.servers.wait()
    w.registry.proxy.heal()
    print(f"     back {w.settled():.2f} s after the server")
    # Its data holds the sessions, too, and ours was not over by our clock.
    equal(w.entry(), session, "the session goes on")


def cut_off(cluster, **direction):
    w = World(cluster)
    session = w.entry()[0]
    with Lateness() as late:
        w.registry.proxy.cut(**direction)
        began = time.monotonic()
        w.wait_state("suspended")
        suspended = time.monotonic() - began
        w.wait_state("disconnected")
        lost = time.monotonic() - began
    in_time(cluster, lost, late)
    # Meanwhile somebody joins, and nobody is told to be dead.
    Node(w.peer, "worker", "10.20.2.1:1234", session=SESSION)
    holds("no decision", lambda: w.api("GET", "/readyz").status == 503
          and not w.c.lines("-node-down"), cluster.session * 0.5)
    w.registry.proxy.heal()
    took = w.settled(session)
    cluster.wait_up(w.api, "10.20.2.1:1234")
    print(f"     suspended after {suspended:.2f} s, lost after {lost:.2f} s, back {took:.2f} s after the network")


@behind_a_proxy()
def test_the_network_cut_in_both_directions(cluster):
    cut_off(cluster)


@behind_a_proxy()
def test_the_network_cut_towards_the_server(cluster):
    cut_off(cluster, to_client=False)


@behind_a_proxy()
def test_the_network_cut_towards_us(cluster):
    cut_off(cluster, to_server=False)


@settings(session=SESSION, registry=Registry)
def test_a_master_whose_answers_are_lost_keeps_no_work(cluster):
    """The servers go on hearing it, as one who lives."""
    way = Proxy(cluster.registry.servers.connect)
    try:
        c = cluster.coordinator()
        cluster.registry.at = [way]
        cluster.agent("master", M1)
        cluster.registry.at = None
        cluster.agent("master", M2)
        cluster.wait_up(c.api, M1, M2)
        submit(c.port, ITEMS[:20])
        wait_for("work of the first master", lambda: ids_at(c.api, M1))
        way.cut(to_server=False)
        began = time.monotonic()
        wait_for("its work elsewhere", gone_from(c.api, M1), cluster.session * 4)
        took = time.monotonic() - began
        print(f"     its work had moved after {took:.2f} s")
        check(took <= cluster.session + 5 * SLOW * pace(), lambda: f"its work moved after {took:.2f} s")
        way.heal()
        cluster.wait_up(c.api, M1, M2)
    finally:
        way.end()


@behind_a_proxy()
def test_a_session_ended_behind_our_back(cluster):
    w = World(cluster)
    session = w.entry()[0]
    w.peer("expire", "-", w.registry.servers.connect, session)
    wait_for("the end noticed", lambda: len(w.c.lines("=registry")) > 1)
    print(f"     back {w.settled(session):.2f} s after the end of the session")
    check(any("state=disconnected" in line for line in w.c.lines("=registry")), "its end was told")


@settings(session=SESSION, registry=partial(Registry, proxied=True),
          more="failover: {grace: 300ms, reconcile-interval: 1s, "
               "hook: 'echo $PELORUS_FENCE >>$HOOK_LOG; while [ ! -e $HOOK_LOG.on ]; do sleep 0.1; done'}\n")
def test_a_session_ended_in_the_middle_of_a_failover(cluster):
    """The lock goes with the session; another session takes it up again, with
    a higher fencing number, and moves everything once."""
    log = os.path.join(cluster.dir, "hooks")
    c = cluster.coordinator(env={"HOOK_LOG": log})
    peer, victim = cluster.registry.peer(), cluster.registry.peer()
    peer.open("observer", SESSION)
    Node(victim, "master", M1)
    for m in (M2, M3):
        Node(peer, "master", m, session=SESSION)
    cluster.wait_up(c.api, M1, M2, M3)
    submit(c.port, ITEMS)
    mine = [i for i, item in listed(c.api, ITEMS).items() if item["owner"] == M1]
    check(len(mine) >= 10, f"the first master got {len(mine)}")
    victim.kill()
    wait_for("the hook under the lock", lambda: os.path.exists(log))
    tree = peer.tree("observer", COORDINATORS)
    session = next(z.owner for n, z in tree.items() if n != COORDINATORS)
    peer("expire", "-", cluster.registry.servers.connect, session)
    wait_for("the loss of the lock told", lambda: c.lines("!lock-lost"))
    open(log + ".on", "wb").close()
    wait_for("all of it gone", gone_from(c.api, M1), 40)
    record = wait_for("the record done", finished(c.api, M1))[0]
    equal(record["moved"], len(mine), "moved by the record")
    all_moved_once(c.api, M1, mine, [i for i in ITEMS if i not in mine])
    with open(log, encoding="ascii") as f:
        fences = [int(line) for line in f]
    check(len(fences) >= 2 and fences == sorted(set(fences)), f"fencing numbers {fences}")
    wait_for("the lock free", lambda: [
        n for n, z in peer.tree("observer", LOCKS).items() if z.owner != "0"] == [])


@on_three_servers()
def test_without_a_quorum_nothing_is_decided(cluster):
    w = World(cluster)
    victim = w.registry.peer()
    Node(victim, "worker", "10.20.3.1:1234", session=SESSION)
    cluster.wait_up(w.api, "10.20.3.1:1234")
    lost = w.registry.servers.followers()
    equal(len(lost), 2, "followers")
    lost[0].kill()
    lost[1].stop()
    began = time.monotonic()
    w.wait_state("suspended")
    equal(w.api("GET", "/readyz").status, 503, "readyz while suspended")
    suspended = time.monotonic() - began
    w.wait_state("disconnected")
    print(f"     suspended after {suspended:.2f} s, lost after {time.monotonic() - began:.2f} s")
    equal(w.api("GET", "/readyz").status, 503, "readyz without a session")
    check(w.api.get("/v1/nodes")["stale"], "answers are marked stale")
    check(w.api("POST", "/v1/work", {"kind": "master"}).code in ("registry_unavailable", "registry_no_quorum"), "a write")
    # One dies now; that is seen when the servers are back, and not before.
    victim.kill()
    holds("no decision", lambda: not w.c.lines("-node-down") and not w.c.lines("+failover"),
          cluster.session)
    said = [line.split("state=")[1].split()[0] for line in w.c.lines("=registry")]
    equal(said[-2:], ["suspended", "disconnected"], "what the log says of the registry")
    lost[0].start()
    lost[1].resume()
    began = time.monotonic()
    wait_for("ready", w.ready, 30)
    print(f"     ready {time.monotonic() - began:.2f} s after the servers")
    wait_for("the dead one down", lambda: w.api.get(
        "/v1/nodes/worker/10.20.3.1:1234")["state"] == "down", 20)
    w.settled()


@behind_a_proxy()
def test_a_slow_network_is_only_slow(cluster):
    w = World(cluster)
    w.registry.proxy.delay(0.25)
    holds("ready", w.ready, cluster.session * 1.5)
    began = time.monotonic()
    w.settled()
    print(f"     with 0.5 s a round trip a new worker was seen after {time.monotonic() - began:.2f} s")
    equal(len(w.c.lines("=registry")), 1, "what the log says of the registry")
    equal(w.c.lines("!node-suspect"), [], "nodes in doubt")


def leftovers(pid):
    """What a leak makes grow: open descriptors, threads, MiB in memory."""
    with open(f"/proc/{pid}/status", encoding="ascii", errors="replace") as f:
        status = dict(line.split(":", 1) for line in f)
    return (len(os.listdir(f"/proc/{pid}/fd")), int(status["Threads"]),
            int(status["VmRSS"].split()[0]) / 1024)


@settings(session=2, more=MORE, registry=partial(Registry, proxied=True))
def test_outages_leave_nothing_behind(cluster):
    w = World(cluster)
    proxy, peer = w.registry.proxy, w.peer
    first = None

    def kept_up():
        """What is being closed is gone after a while; what leaked is not."""
        now = leftovers(w.c.pid)
        return now if not first or now[0] <= first[0] + 1 and now[1] == first[1] else None
    for n in range(6):
        session = w.entry()[0]
        peer("expire", "-", w.registry.servers.connect, session)
        w.settled(session)
        proxy.reset()
        proxy.cut()
        w.wait_state("suspended")
        proxy.heal()
        w.settled()
        proxy.refuse()
        w.wait_state("suspended")
        proxy.heal()
        w.settled()
        now = wait_for(f"no more descriptors and threads than {first}", kept_up)
        first = first or now
        print(f"     round {n}: {now[0]} descriptors, {now[1]} threads, {now[2]:.1f} MiB")
        check(len(w.lock_nodes()) <= 1, lambda: f"lock nodes {w.lock_nodes()}")
    # A sanitizer keeps what was freed, and looks for leaks by itself.
    check(SLOW > 1 or now[2] <= first[2] + 3, f"memory grew from {first[2]:.1f} to {now[2]:.1f} MiB")
    sessions = {z.owner for z in peer.tree("observer").values()} - {"0"}
    equal(len(sessions), 1 + 3 + w.newcomers, "sessions with nodes: ours, and each node's")


if __name__ == "__main__":
    run(sys.modules[__name__])
