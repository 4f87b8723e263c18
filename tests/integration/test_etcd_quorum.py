"""A member of etcd without the others: it answers what only it believes, while
the others end leases that it goes on renewing.

Keepalives do not pass through the quorum. A leader that hardly runs (its host
is overloaded, its disk hangs, it is stopped again and again) does not notice
that it lost its place, and answers them from its memory. The test's leader is
cut off from its peers, and stopped but for the moments in which it answers one
keepalive of the test's own; so its own clock takes seconds to the second after
which it would step down.
"""

import os
import sys
import threading
import time
from datetime import datetime
from functools import partial

from cluster import SLOW, check, holds, run, settings, submit, wait_for
from etcd import Registry
from moves import finished, gone_from, ids_at

M1, M2, M3 = (f"10.40.0.{n}:5678" for n in (1, 2, 3))
SESSION = 9
alone = partial(settings, session=SESSION, heartbeat="60s", registry=partial(Registry, servers=3, wired=True))


def stamping(path):
    """A command that writes the time for as long as it lives."""
    return ["sh", "-c", f"while :; do date +%s.%N; sleep 0.05; done >>{path}"]


def stamps(path):
    with open(path, encoding="ascii") as f:
        return [float(line) for line in f.read().splitlines(keepends=True) if line.endswith("\n")]


class Deserted(threading.Thread):
    """The leader, cut off and all but stopped, until it says no. `answered`:
    when its last keepalive was sent that it answered."""

    def __init__(self, server, pause=0.7):
        super().__init__(daemon=True)
        self.server, self.pause = server, pause
        self.lease = int(server.post("/v3/lease/grant", {"TTL": 600})["ID"])
        self.answered = time.time()
        self.over = threading.Event()
        server.stop()
        server.cut_off()
        self.start()

    def keepalive(self):
        said = self.server.post("/v3/lease/keepalive", {"ID": self.lease}, timeout=2)
        return bool(said) and "TTL" in said.get("result", {})

    def run(self):
        while not self.over.wait(self.pause):
            sent = time.time()
            self.server.resume()
            if not self.keepalive():
                break  # it knows by now; it runs on
            self.server.stop()
            self.answered = sent

    def end(self):
        self.over.set()
        self.join()
        self.server.resume()


def time_of(text):
    return datetime.fromisoformat(text.replace("Z", "+00:00")).timestamp()


@alone()
def test_a_deserted_leader_keeps_no_work(cluster):
    registry = cluster.registry
    leader = registry.leader()
    registry.at = [s for s in registry.servers if s is not leader]
    c = cluster.coordinator()
    path = os.path.join(cluster.dir, "stamps")
    cluster.agent("master", M2)
    registry.at = [leader]
    cluster.agent("master", M1, command=stamping(path))
    cluster.wait_up(c.api, M1, M2)
    submit(c.port, [f"w-{n}" for n in range(20)])
    wait_for("work of the first master", lambda: ids_at(c.api, M1))
    wait_for("its command runs", lambda: os.path.exists(path) and stamps(path))
    check(registry.leader() is leader, "another leader since")
    began = time.time()
    deserted = Deserted(leader)
    try:
        wait_for("its work elsewhere", gone_from(c.api, M1), 60)
        fenced = time_of(wait_for("the record", finished(c.api, M1))[0]["fenced_at"])
        while time.time() - stamps(path)[-1] < 1 * SLOW:  # it runs on: until when?
            check(time.time() - fenced < 60, "the old owner's command never stops")
            time.sleep(0.2)
    finally:
        deserted.end()
    last = [s for s in stamps(path) if s < time.time()][-1]
    print(f"     fenced {fenced - began:.1f} s after the leader was cut off; it answered keepalives for "
          f"{deserted.answered - began:.1f} s; the command's last sign at {last - began:.1f} s")
    check(last < fenced, lambda: f"its command worked for {last - fenced:.1f} s beside the new owner's")


def logged(line):
    return time_of(line.split(" ", 1)[0])


@alone()
def test_a_deserted_leader_keeps_no_lock(cluster):
    """The one who holds it, in the middle of a failover, knows that it may be
    another's before it is, and its hook has ended."""
    registry = cluster.registry
    path = os.path.join(cluster.dir, "stamps")
    leader = registry.leader()
    registry.at = [leader]
    holder = cluster.coordinator(more="failover: {grace: 300ms, reconcile-interval: 1s, "
                                      f"hook-timeout: 10s, hook: \"{stamping(path)[-1]}\"}}\n")
    registry.at = [s for s in registry.servers if s is not leader]
    victim = cluster.agent("master", M1)
    cluster.agent("master", M2)
    cluster.wait_up(holder.api, M1, M2)
    submit(holder.port, [f"w-{n}" for n in range(20)])
    wait_for("work of the first master", lambda: ids_at(holder.api, M1))
    victim.kill()
    wait_for("the lock and the hook", lambda: holder.lines("+lock") and os.path.exists(path) and stamps(path))
    heir = cluster.coordinator(more="failover: {grace: 300ms, reconcile-interval: 1s, hook: 'true'}\n")
    check(registry.leader() is leader, "another leader since")
    began = sure = time.time()
    deserted = Deserted(leader)
    try:
        by = began + 60 * SLOW
        while not heir.lines("+lock") or time.time() - began < SESSION * 1.5:
            check(time.time() < by, "nobody inherits the lock")
            asked = time.time()
            if holder.api("GET", "/readyz").status == 200:
                sure = asked
            time.sleep(0.05)
    finally:
        deserted.end()
    taken = logged(heir.lines("+lock")[0])
    print(f"     the lock is another's {taken - began:.1f} s after the leader was cut off; it answered "
          f"keepalives for {deserted.answered - began:.1f} s; its holder was sure for {sure - began:.1f} s")
    check(sure < taken, lambda: f"two believe for {sure - taken:.1f} s that they hold the lock")
    last = stamps(path)[-1]
    check(last < taken, lambda: f"the hook worked for {last - taken:.1f} s under another's lock")


@alone()
def test_a_member_without_its_leader_is_left_at_once(cluster):
    registry = cluster.registry
    c = cluster.coordinator()
    agents = [cluster.agent("master", m) for m in (M1, M2)]
    cluster.wait_up(c.api, M1, M2)
    used = [s for s in registry.servers if f"endpoint={s.endpoint} " in c.lines("+session")[-1] + " "][0]
    others = [s for s in registry.servers if s is not used]
    if registry.leader() is used:
        used.post("/v3/maintenance/transfer-leadership", {"targetID": others[0].id()})
        wait_for("another leader", lambda: registry.leader() is not used)
    began = time.monotonic()
    used.cut_off()
    wait_for("the member left", lambda: [line for line in c.lines("=etcd") if f"gives_up={used.endpoint} " in line])
    print(f"     left after {time.monotonic() - began:.2f} s; it knows after 1 to 2 s: {c.lines('=etcd')[-1][31:]}")
    wait_for("work", lambda: c.api("POST", "/v1/work", {"id": "w", "kind": "master"}).status in (200, 201))
    holds("the session stays", lambda: not c.lines("-session"), SESSION * 1.2)
    check(all(a.alive() for a in agents), "the agents live")
    before = len(c.lines("!etcd"))
    others[0].cut_off()
    said = wait_for("all of them were asked", lambda: c.lines("!etcd")[before:])
    check("none of 3 members writes" in said[0], f"what is said: {said}")
    holds("once", lambda: len(c.lines("!etcd")) == before + 1, SESSION / 2)


if __name__ == "__main__":
    run(sys.modules[__name__])
