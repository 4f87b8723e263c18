#!/usr/bin/env python3
"""ZooKeeper put back to an older copy of its data under real processes: one
server, and an ensemble, whose next election lifts all zxids above those that
were known. Live, and while no coordinator ran. And no alarm where nothing was
lost: servers that are restarted or replaced by an older copy of themselves one
after the other, leaders that change.
"""

import os
import sys
import time
from functools import partial

import restore
from cluster import equal, run, settings, wait_for
from proxy import Proxy
from restore import Scene
from zookeeper import Ensemble, Registry

OURS = "/dolphinscheduler/pelorus"
one = partial(settings, more=restore.MORE, registry=Registry)
three = partial(settings, more=restore.MORE, registry=partial(Registry, servers=3))


class Store:
    """The servers, each behind a proxy: between their return and the first word
    of a process their keys are read."""

    def __init__(self, cluster):
        self.registry = cluster.registry
        self.servers = cluster.registry.servers
        each = self.servers.servers if isinstance(self.servers, Ensemble) else [self.servers]
        self.ways = [Proxy(s.connect) for s in each]
        self.registry.at = self.ways
        self.copy = os.path.join(cluster.dir, "copy")
        self.peer = self.registry.peer()
        self.n = 0

    def __enter__(self):
        return self

    def __exit__(self, *_):
        for way in self.ways:
            way.end()

    def keys(self):
        """By a new session, which has seen nothing."""
        self.n += 1
        self.peer.open(f"observer-{self.n}", 2)
        tree = self.peer.tree(f"observer-{self.n}", OURS)
        self.peer("close", f"observer-{self.n}")
        return {name: z.data for name, z in tree.items() if z.data and z.owner == "0"}

    def put_back(self):
        """As they were; the keys that they have, while nobody else can come."""
        self.servers.kill()
        for way in self.ways:
            way.refuse()
        self.servers.put_back(self.copy)
        self.servers.start().wait()
        return self.keys()

    def open(self):
        for way in self.ways:
            way.heal()
        return time.monotonic()


def backup(store, scene):
    store.servers.backup(store.copy)
    wait_for("ready", lambda: all(c.api("GET", "/readyz").status == 200 for c in scene.coordinators))


def live(cluster):
    with Store(cluster) as store, Scene(cluster, keys=store.keys) as scene:
        backup(store, scene)
        scene.live_on()
        mark = scene.ledger.mark()
        before = store.put_back()
        scene.went_back(mark, before, store.open())
        scene.accept()


def while_stopped(cluster):
    """One agent remembers."""
    with Store(cluster) as store, Scene(cluster, keys=store.keys) as scene:
        backup(store, scene)
        scene.live_on()
        scene.stop_coordinators()
        mark = scene.ledger.mark()
        before = store.put_back()
        began = store.open()
        scene.start_coordinators()
        scene.went_back(mark, before, began)
        scene.accept()


@one()
def test_a_server_put_back_live(cluster):
    live(cluster)


@one()
def test_a_server_put_back_while_no_coordinator_ran(cluster):
    while_stopped(cluster)


# Sessions that the copy knows go on in it.
@three(session=10)
def test_an_ensemble_put_back_live(cluster):
    live(cluster)


@three()
def test_an_ensemble_put_back_while_no_coordinator_ran(cluster):
    while_stopped(cluster)


@three()
def test_servers_restarted_in_turn_and_leaders_that_change_are_no_alarm(cluster):
    with Store(cluster) as store, Scene(cluster, keys=store.keys) as scene:
        backup(store, scene)
        for n, server in enumerate([*store.servers.servers, None, None]):
            server = server or wait_for("a leader", store.servers.leader)
            server.kill()
            if server in store.servers.servers[:2]:  # the others know what it lost
                server.put_back(os.path.join(store.copy, str(server.number)))
            server.start().wait()
            wait_for("ready", lambda: scene.api("GET", "/readyz").status == 200, 30)
            scene.give(range(100 + n, 101 + n))
        scene.never_noticed()
        equal(scene.ledger.twice(), {}, "(id, epoch) told to two")


if __name__ == "__main__":
    run(sys.modules[__name__])
