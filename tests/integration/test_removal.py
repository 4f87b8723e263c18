"""A node that speaks HTTP and dies: its registration is gone within its ttl and
two seconds, and its work is moved, while the others renew through whichever
coordinator they like; each renewal by itself, and in groups.
"""

import itertools
import sys
import threading
import time
from functools import partial

import etcd
import zookeeper
from cluster import SLOW, Api, Lateness, check, equal, pace, run, settings, submit, wait_for
from moves import given_out, ids_at

M1, M2 = "10.40.0.1:5678", "10.40.0.2:5678"
TTL = 4 * SLOW
ITEMS = 40
T = 1_700_000_000_000
BASE = "failover: {grace: 300ms, reconcile-interval: 1s, settle: 2s}\n"
SINGLE = BASE + "renewals: single\n"
GROUPED = BASE + "renewals: grouped\n"


class Node:
    """Renews every third of its ttl, at each of the ports in turn."""

    def __init__(self, address, ports, startup):
        self.address = address
        self.apis = itertools.cycle([Api(port) for port in ports])
        self.body = {"startupTime": startup, "processId": 7, "cpuUsage": 0.2}
        self.sent = self.lost = self.answered = 0
        self.dead = threading.Event()
        check(self.renew(), f"{address} is not registered")
        self.thread = threading.Thread(target=self.live, daemon=True)
        self.thread.start()

    def renew(self):
        """Once more elsewhere, if the first one does not answer."""
        for _ in range(2):
            sent = time.monotonic()
            try:
                answer = next(self.apis)("PUT", f"/v1/nodes/master/{self.address}?ttl={TTL}s", self.body)
            except OSError:
                continue
            if answer.status in (200, 201):
                self.body["instance"] = answer.json.get("instance", "")
                self.sent, self.answered = sent, self.answered + 1
                return True
        self.lost += 1
        return False

    def live(self):
        while not self.dead.wait(TTL / 3):
            self.renew()

    def dies(self):
        self.dead.set()
        self.thread.join()
        return self.sent


def two_seconds():
    """On a machine that others use, too."""
    return 2 * SLOW * max(pace(), pace())


def removed(coordinators, address):
    return [line for c in coordinators for line in c.lines("-registration")
            if f"/pelorus/nodes/master/{address} " in line + " "]


def grouped(coordinators):
    wait_for("renewals in groups", lambda: any("mode=grouped" in line for c in coordinators
                                               for line in c.lines("=renewals")), 30)


def began(cluster, groups):
    coordinators = [cluster.coordinator(), cluster.coordinator()]
    if groups:
        grouped(coordinators)
    ports = [c.port for c in coordinators]
    one = Node(M1, ports, T)
    cluster.wait_up(coordinators[0].api, M1)
    submit(coordinators[0].port, [f"w-{n}" for n in range(ITEMS)])
    given_out(coordinators[0].api, ITEMS, M1)
    two = Node(M2, ports, T + 1)
    cluster.wait_up(coordinators[0].api, M1, M2)
    time.sleep(1.5 * TTL)  # both are renewed, often
    for node in (one, two):
        check(node.lost == 0 and node.answered >= 4, f"{node.address} was renewed {node.answered} times")
    equal(removed(coordinators, M1) + removed(coordinators, M2), [], "removed")
    return coordinators, one, two


def goes_in_time(cluster, groups):
    coordinators, one, two = began(cluster, groups)
    with Lateness() as late:
        last = one.dies()
        wait_for("its registration gone", lambda: removed(coordinators, M1))
        gone = time.monotonic() - last
        wait_for("its work moved", lambda: len(ids_at(coordinators[0].api, M2)) == ITEMS)
        moved = time.monotonic() - last
    print(f"ttl {TTL} s: its registration was gone {gone:.2f} s after its last renewal, its work moved after "
          f"{moved:.2f} s; this machine was up to {late.worst:.2f} s late")
    limit = TTL + two_seconds() + 3 * late.worst
    check(gone >= TTL, f"gone after {gone:.2f} s, before its lease was over")
    check(gone <= limit, f"gone after {gone:.2f} s, more than {limit:.2f}")
    check(moved <= limit + two_seconds(), f"moved after {moved:.2f} s")
    equal(len(removed(coordinators, M1)), 1, "who removed it")
    two.dies()
    equal((two.lost, removed(coordinators, M2)), (0, []), "of the other one lost, removed")


def whoever_is_killed_leaves_it_to_the_other(cluster, groups):
    """Before, while and after it would remove it."""
    coordinators, one, two = began(cluster, groups)
    with Lateness() as late:
        last = one.dies()
        time.sleep(max(0, last + TTL - 0.02 - time.monotonic()))
        coordinators[0].kill()
        wait_for("its registration gone", lambda: removed(coordinators, M1))
        gone = time.monotonic() - last
    limit = TTL + two_seconds() + 0.5 + 3 * late.worst
    check(TTL <= gone <= limit, f"gone after {gone:.2f} s, of {limit:.2f}")
    wait_for("its work moved", lambda: len(ids_at(coordinators[1].api, M2)) == ITEMS, 30)
    two.dies()
    equal((two.lost, removed(coordinators, M2)), (0, []), "of the other one lost, removed")


@settings(session=6, more=SINGLE)
def test_on_sqlite(cluster):
    goes_in_time(cluster, False)


@settings(session=6, more=GROUPED)
def test_on_sqlite_in_groups(cluster):
    goes_in_time(cluster, True)


@settings(registry=etcd.Registry, session=6, more=SINGLE)
def test_on_etcd(cluster):
    goes_in_time(cluster, False)


@settings(registry=etcd.Registry, session=6, more=GROUPED)
def test_on_etcd_in_groups(cluster):
    goes_in_time(cluster, True)


@settings(registry=partial(zookeeper.Registry, tick=1000), session=6, more=GROUPED)
def test_on_zookeeper_in_groups(cluster):
    goes_in_time(cluster, True)


@settings(registry=partial(zookeeper.Registry, tick=1000), session=6, more=GROUPED)
def test_killed_on_zookeeper_in_groups(cluster):
    whoever_is_killed_leaves_it_to_the_other(cluster, True)


@settings(session=6, more=GROUPED)
def test_killed_on_sqlite_in_groups(cluster):
    whoever_is_killed_leaves_it_to_the_other(cluster, True)


if __name__ == "__main__":
    run(sys.modules[__name__])
