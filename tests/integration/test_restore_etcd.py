#!/usr/bin/env python3
"""etcd put back to a snapshot under real processes: live, while no coordinator
ran, as the same cluster and as a new one, and where its revision is lifted
above all that was known before anybody looks. And no alarm where nothing was
lost: members that are restarted one after the other, leaders that change.

With ETCD and ETCDUTL of 3.6 or newer the revision is lifted by etcdutl, too.
RESTORE_LONG=1 runs all ways, and RESTORE_ROUNDS=N rounds of restarts.

FAILOVERS=N changes the leader N times under load. With ETCD_NEWER, binaries of
later versions in their order (a:b:c), the members are replaced one after the
other by each of them, UPGRADES=N times, each time a new cluster; with
PELORUS_BEFORE, an older build of ours, our processes are, and back.
"""

import json
import os
import shutil
import sys
import time
from functools import partial

import restore
import steady
from cluster import SLOW, Failure, check, equal, run, settings, wait_for
from etcd import NAMESPACE, Registry
from proxy import Proxy
from restore import Scene
from steady import Load, replace_ours

LONG = bool(os.environ.get("RESTORE_LONG"))
ROUNDS = int(os.environ.get("RESTORE_ROUNDS", "10" if LONG else "1"))
NEWER = bool(os.environ.get("ETCDUTL"))
FAILOVERS = int(os.environ.get("FAILOVERS", "0"))
UPGRADES = int(os.environ.get("UPGRADES", "1"))
VERSIONS = [b for b in os.environ.get("ETCD_NEWER", "").split(":") if b]
BEFORE = os.environ.get("PELORUS_BEFORE")
NEW_CLUSTER = ("--initial-cluster-token", "another")
one = partial(settings, more=restore.MORE, registry=Registry)
three = partial(settings, more=restore.MORE, registry=partial(Registry, servers=3))


class Way(Proxy):
    @property
    def endpoint(self):
        return f"http://{self.connect}"


class Store:
    """The members, each behind a proxy: between their return and the first word
    of a process their keys are read."""

    def __init__(self, cluster):
        self.registry = cluster.registry
        self.servers = cluster.registry.servers
        self.etcdctl = cluster.registry.etcdctl
        self.ways = [Way(s.connect) for s in self.servers]
        self.registry.at = self.ways
        self.snapshot = os.path.join(cluster.dir, "snapshot")

    def __enter__(self):
        return self

    def __exit__(self, *_):
        for way in self.ways:
            way.end()

    def keys(self):
        return {k: value for k, (_, _, lease, value) in self.etcdctl.tree(NAMESPACE + "/pelorus").items() if not lease}

    def revision(self):
        return int(self.servers[0].post("/v3/kv/range", {"key": "eA=="})["header"]["revision"])

    def backup(self):
        self.servers[0].wait()
        Etcdctl = type(self.etcdctl)
        Etcdctl(self.servers[0].connect)("snapshot", "save", self.snapshot)

    def put_back(self, *options):
        """As they were; the keys that they have, while nobody else can come."""
        known = self.revision()
        for s in self.servers:
            s.kill()
        for way in self.ways:
            way.refuse()
        for s in self.servers:
            s.put_back(self.snapshot, *options)
            s.start()
        for s in self.servers:
            s.wait()
        print(f"     revision {known}, now {self.revision()}", flush=True)
        return self.keys(), known

    def lift(self, above):
        """By what others write."""
        while self.revision() <= above + 50:
            check(self.servers[0].post("/v3/kv/put", {"key": "eA==", "value": "eA=="}), "a write refused")

    def open(self):
        for way in self.ways:
            way.heal()
        return time.monotonic()


def goes_back(cluster, *options, lifted=False, stopped=False, shown=False):
    with Store(cluster) as store, Scene(cluster, keys=store.keys) as scene:
        store.backup()
        scene.live_on()
        if stopped:
            scene.stop_coordinators()
        mark = scene.ledger.mark()
        before, known = store.put_back(*options)
        if lifted:
            store.lift(known)
        began = store.open()
        if stopped:
            scene.start_coordinators()
        scene.went_back(mark, before, began)
        for p in scene.processes():
            equal(len(p.lines("registry_went_back")), 1, f"{p.name}: {p.lines('registry_went_back')} lines")
            said = p.lines("!etcd") + p.lines("!registry")
            check(len(said) < 5, lambda p=p, said=said: f"{p.name}: {said}")
        scene.accept()
        if shown:
            scene.shown_by_a_client()


@one()
def test_restored_live(cluster):
    goes_back(cluster, shown=True)


@one()
def test_restored_as_a_new_cluster_that_others_wrote_to_while_no_coordinator_ran(cluster):
    goes_back(cluster, *NEW_CLUSTER, lifted=True, stopped=True)


@three()
def test_members_restarted_in_turn_and_leaders_that_change_are_no_alarm(cluster):
    with Store(cluster) as store, Scene(cluster, keys=store.keys) as scene:
        for n in range(ROUNDS * 3):
            server = store.servers[n % 3] if n % 2 else cluster.registry.leader()
            server.kill()
            server.start().wait()
            wait_for("ready", lambda: scene.api("GET", "/readyz").status == 200, 30)
            leader = cluster.registry.leader()
            other = store.servers[0] if leader is not store.servers[0] else store.servers[1]
            leader.post("/v3/maintenance/transfer-leadership", {"targetID": other.id()})
            wait_for("given out", lambda n=n: scene.api("POST", "/v1/work", {"id": f"r-{n}", "kind": "master"}).status in
                     (200, 201), 30)
        scene.never_noticed()
        equal(scene.ledger.twice(), {}, "(id, epoch) told to two")


@three()
def test_a_member_put_back_alone_is_left(cluster):
    """It is a cluster of its own, among the endpoints of ours."""
    with Store(cluster) as store, Scene(cluster, keys=store.keys) as scene:
        store.backup()
        scene.give([900])
        alone = store.servers[0]
        alone.kill()
        alone.peers = [alone]
        alone.put_back(store.snapshot, *NEW_CLUSTER)
        alone.start().wait()

        cut = [0, time.monotonic()]

        def left():
            if time.monotonic() >= cut[1]:  # one at a time: nobody may think that only the first answers
                store.ways[1 + cut[0] % 2].reset()
                cut[:] = cut[0] + 1, time.monotonic() + 2 * SLOW
            return all([line for line in c.lines("=etcd") if store.ways[0].endpoint in line and "another cluster" in line]
                       for c in scene.coordinators)
        wait_for("the one alone is left", left)
        wait_for("given out", lambda: scene.api("POST", "/v1/work", {"id": "r", "kind": "master"}).status in (200, 201))
        scene.never_noticed()


if LONG:
    @one(session=5)
    def test_restored_live_where_our_sessions_stand_and_others_wrote_since(cluster):
        goes_back(cluster, lifted=True)

    @one(session=10)
    def test_restored_live_long_sessions(cluster):
        goes_back(cluster)

    @one()
    def test_restored_as_a_new_cluster_while_no_coordinator_ran(cluster):
        goes_back(cluster, *NEW_CLUSTER, stopped=True)

    @one()
    def test_restored_live_and_others_wrote_since(cluster):
        goes_back(cluster, lifted=True)

    @one()
    def test_restored_live_as_a_new_cluster(cluster):
        goes_back(cluster, *NEW_CLUSTER)

    @one()
    def test_restored_as_a_new_cluster_and_others_wrote_since(cluster):
        goes_back(cluster, *NEW_CLUSTER, lifted=True)

    @one()
    def test_restored_while_no_coordinator_ran(cluster):
        goes_back(cluster, stopped=True)

    @one()
    def test_restored_while_no_coordinator_ran_and_others_wrote_since(cluster):
        goes_back(cluster, lifted=True, stopped=True)

    @three()
    def test_three_members_restored_live(cluster):
        goes_back(cluster)

    @three(session=10)
    def test_three_members_restored_live_as_a_new_cluster_while_no_coordinator_ran(cluster):
        goes_back(cluster, *NEW_CLUSTER, stopped=True)

if LONG and NEWER:
    BUMPED = ("--bump-revision", "1000000", "--mark-compacted")

    @one()
    def test_restored_live_with_its_revision_lifted(cluster):
        goes_back(cluster, *BUMPED)

    @one(session=10)
    def test_restored_live_with_its_revision_lifted_where_our_sessions_stand(cluster):
        goes_back(cluster, *BUMPED)

    @one()
    def test_restored_as_a_new_cluster_with_its_revision_lifted(cluster):
        goes_back(cluster, *NEW_CLUSTER, *BUMPED)

    @one()
    def test_restored_with_its_revision_lifted_while_no_coordinator_ran(cluster):
        goes_back(cluster, *BUMPED, stopped=True)


def term_of(server):
    return int(wait_for("a term", lambda: server.post("/v3/maintenance/status", {}))["raftTerm"])


def another_leader(servers, old):
    return wait_for("another leader", lambda: [s for s in servers if s is not old and s.leads()], 60)[0]


def whole(servers):
    """All know the same leader."""
    def agreed():
        said = [s.post("/v3/maintenance/status", {}) for s in servers]
        return all(said) and len({s.get("leader", "0") for s in said} - {"0"}) == 1
    wait_for("one leader", agreed, 60)


def replace_data(store, server):
    """It lost its disk: another member, with none of the data, in its place."""
    with_quorum = next(s for s in store.servers if s is not server)
    members = json.loads(store.etcdctl("member", "list", "-w", "json"))["members"]
    number = next(m["ID"] for m in members if m.get("name") == server.name)
    etcdctl = type(store.etcdctl)(with_quorum.connect)
    etcdctl("member", "remove", f"{number:x}")

    def added():    # refused while the two have known each other for less than 5 s
        try:
            return etcdctl("member", "add", server.name, "--peer-urls", f"http://127.0.0.1:{server.peer_port}")
        except Failure:
            return False
    wait_for("another member", added, 60)
    shutil.rmtree(server.data)
    server.more = ["--initial-cluster-state", "existing"]


if FAILOVERS:
    @three()
    def test_the_leader_killed_stopped_or_moved_under_load_is_no_alarm(cluster):
        with Store(cluster) as store, Scene(cluster, keys=store.keys) as scene, Load(scene) as load:
            whole(store.servers)
            began, n, changes = term_of(store.servers[0]), 0, {"kill": 0, "stop": 0, "move": 0}
            while sum(changes.values()) < FAILOVERS:
                old, how, n = cluster.registry.leader(), list(changes)[n % 3], n + 1
                term = term_of(old)
                if how == "move":
                    other = [s for s in store.servers if s is not old][n % 2]
                    old.post("/v3/maintenance/transfer-leadership", {"targetID": other.id()})
                else:
                    getattr(old, how)()
                changes[how] += term_of(another_leader(store.servers, old)) > term
                if how == "kill":
                    if n % 4 == 0:
                        replace_data(store, old)
                    old.start()
                elif how == "stop":
                    old.resume()
                whole(store.servers)
                if n % 5 == 0:
                    store.etcdctl("compact", str(store.revision()))
                    store.etcdctl("defrag")
                load.goes_on()
            load.settle(f"{sum(changes.values())} changes of leader ({changes}), terms {began} to "
                        f"{term_of(store.servers[0])}")


def newest_snapshot(server):
    return max((n for n in os.listdir(os.path.join(server.data, "member", "snap")) if n.endswith(".snap")), default="")


def upgrade(cluster):
    """Member by member, to each of the versions in turn."""
    with Store(cluster) as store, Scene(cluster, keys=store.keys) as scene, Load(scene) as load:
        replaced, versions = 0, []
        for binary in VERSIONS:
            for server in store.servers:
                server.process.terminate(20)
                server.process.file.close()
                server.binary = binary
                # 3.6 reads no log of 3.4, so there must be snapshots of 3.5.
                server.more = ["--snapshot-count", "50"]
                server.start()
                whole(store.servers)
                load.goes_on()
                replaced += 1
            since = {s: newest_snapshot(s) for s in store.servers}
            wait_for("snapshots", lambda since=since: all(newest_snapshot(s) > since[s] for s in store.servers), 60)
            versions.append(store.servers[0].post("/v3/maintenance/status", {})["version"])
        load.settle(f"{replaced} members replaced, versions {versions}")


for k in range(UPGRADES if VERSIONS else 0):
    globals()[f"test_members_of_later_versions_one_after_the_other_are_no_alarm_{k + 1}"] = \
        three()(lambda cluster: upgrade(cluster))

if BEFORE:
    @three(more=steady.MORE)
    def test_our_processes_of_another_version_and_back_are_no_alarm(cluster):
        cluster.pelorus = BEFORE
        with Store(cluster) as store, Scene(cluster, keys=store.keys) as scene, Load(scene) as load:
            replace_ours(scene, load, BEFORE, UPGRADES)


if __name__ == "__main__":
    run(sys.modules[__name__])
