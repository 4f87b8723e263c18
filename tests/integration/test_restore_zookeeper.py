#!/usr/bin/env python3
"""ZooKeeper put back to an older copy of its data under real processes: one
server, and an ensemble, whose next election lifts all zxids above those that
were known. Live, and while no coordinator ran. And no alarm where nothing was
lost: servers that are restarted or replaced by an older copy of themselves one
after the other, leaders that change.

FAILOVERS=N changes the leader N times under load. With ZOOKEEPER_NEWER, the
class path of another version, the servers are replaced by it and back, one
after the other, UPGRADES=N times; with PELORUS_BEFORE, an older build of ours,
so are our processes.
"""

import os
import shutil
import sys
import time
from functools import partial

import restore
import steady
from cluster import equal, run, settings, wait_for
from proxy import Proxy
from restore import Scene
from steady import Load, replace_ours
from zookeeper import Ensemble, Registry, server_jars

OURS = "/dolphinscheduler/pelorus"
one = partial(settings, more=restore.MORE, registry=Registry)
three = partial(settings, more=restore.MORE, registry=partial(Registry, servers=3))
FAILOVERS = int(os.environ.get("FAILOVERS", "0"))
UPGRADES = int(os.environ.get("UPGRADES", "1"))
NEWER = os.environ.get("ZOOKEEPER_NEWER")
BEFORE = os.environ.get("PELORUS_BEFORE")


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
        scene.shown_by_a_client()


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


def whole(servers):
    wait_for("a leader and two followers", lambda: servers.leader() and len(servers.followers()) == 2, 60)


def epoch_of(server):
    """Of its leader: each election takes the next."""
    return int(server.said("Zxid"), 16) >> 32


if FAILOVERS:
    @three()
    def test_the_leader_killed_stopped_or_ended_under_load_is_no_alarm(cluster):
        with Store(cluster) as store, Scene(cluster, keys=store.keys) as scene, Load(scene) as load:
            servers = store.servers
            store.servers.backup(store.copy)
            whole(servers)
            began, n, changes = epoch_of(servers.leader()), 0, {"kill": 0, "stop": 0, "terminate": 0}
            while sum(changes.values()) < FAILOVERS:
                old, how, n = servers.leader(), ["kill", "stop", "terminate"][n % 3], n + 1
                epoch = epoch_of(old)
                getattr(old.process, how)()
                new = wait_for("another leader", lambda old=old: servers.leader(other_than=old), 60)
                changes[how] += epoch_of(new) > epoch
                if how == "stop":
                    old.resume()
                else:
                    old.process.file.close()
                    if n % 4 == 0:  # the others know what it lost
                        old.put_back(os.path.join(store.copy, str(old.number)))
                    elif n % 4 == 2:
                        shutil.rmtree(os.path.join(old.dir, "version-2"))
                    old.start()
                whole(servers)
                load.goes_on()
            load.settle(f"{sum(changes.values())} changes of leader ({changes}), epochs {began} to "
                        f"{epoch_of(servers.leader())}")

if NEWER:
    @three()
    def test_servers_of_another_version_one_after_the_other_and_back_are_no_alarm(cluster):
        with Store(cluster) as store, Scene(cluster, keys=store.keys) as scene, Load(scene) as load:
            replaced, versions = 0, set()
            for jars in [NEWER, server_jars()] * UPGRADES:
                for server in store.servers.servers:
                    server.process.terminate()
                    server.process.file.close()
                    server.jars = jars
                    server.start().wait()
                    whole(store.servers)
                    versions.add(server.said("Zookeeper version").split("-")[0])
                    load.goes_on()
                    replaced += 1
            load.settle(f"{replaced} servers replaced, versions {sorted(versions)}")

if BEFORE:
    @three(more=steady.MORE)
    def test_our_processes_of_another_version_and_back_are_no_alarm(cluster):
        cluster.pelorus = BEFORE
        with Store(cluster) as store, Scene(cluster, keys=store.keys) as scene, Load(scene) as load:
            replace_ours(scene, load, BEFORE, UPGRADES)


if __name__ == "__main__":
    run(sys.modules[__name__])
