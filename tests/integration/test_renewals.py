#!/usr/bin/env python3
"""Renewals in groups with real processes: few writes at the store however many
nodes there are, and no lease lost while a coordinator is killed, stopped or cut
off from the registry."""

import sqlite3
import sys
import time

import etcd
import zookeeper
from cluster import SLOW, Lateness, check, equal, pace, run, wait_for
from partitions import Way
from renewing import TTL, Nodes

INTERVAL = 1     # heartbeat-interval: a node renews as often, or up to twice
SECONDS = 12     # that it is counted
MORE = "renewals: grouped\n"


def settings(**options):
    def mark(test):
        test.cluster = {"session": 3, "heartbeat": f"{INTERVAL}s", **options}
        return test
    return mark


def share(sorted_values, part):
    return sorted_values[min(len(sorted_values) - 1, int(len(sorted_values) * part))]


def grouped(c):
    return lambda: any("mode=grouped" in line for line in c.text().splitlines())


class Count:
    """How many writes the store took: by its own number of changes."""

    def __init__(self, cluster):
        self.registry = cluster.registry
        self.path = cluster.path

    def __call__(self):
        if isinstance(self.registry, etcd.Registry):
            answer = self.registry.servers[0].post("/v3/kv/range", {"key": "AA=="})
            return int(answer["header"]["revision"])
        if isinstance(self.registry, zookeeper.Registry):
            return int(self.registry.servers.said("Zxid"), 16)
        with sqlite3.connect(f"file:{self.path}?mode=ro", uri=True, timeout=10) as db:
            return db.execute("SELECT revision FROM meta").fetchone()[0]


def measure(cluster, coordinators, seconds=SECONDS):
    for c in coordinators:
        c.wait_ready()
    wait_for("groups are written", lambda: any(grouped(c)() for c in coordinators), 30)
    nodes = Nodes([c.port for c in coordinators])
    try:
        wait_for("all are registered", lambda: all(n.instance for n in nodes.nodes), 60)
        time.sleep(4 * INTERVAL)  # each is verified by each coordinator
        count = Count(cluster)
        began, before = time.monotonic(), count()
        with Lateness() as late:
            time.sleep(seconds)
        writes = (count() - before) / (time.monotonic() - began)
        spans = nodes.spans_since(began)
    except BaseException:
        nodes.end()
        raise
    rate = len(spans) / (time.monotonic() - began)
    print(f"     {len(nodes.nodes)} nodes, {rate:.0f} renewals/s, {writes:.1f} writes/s at the store, "
          f"p50 {share(spans, .5) * 1000:.0f} ms, p99 {share(spans, .99) * 1000:.0f} ms", flush=True)
    kind = cluster.registry.__class__.__module__.replace("cluster", "sqlite")
    print(f"row renewals-{kind}-writes writes/s {writes:.3g} {10 * len(coordinators)} <= # {rate:.0f} renewals/s")
    print(f"row renewals-{kind}-p99 ms {share(spans, .99) * 1000:.3g} 300 <=", flush=True)
    check(writes <= 10 * len(coordinators), lambda: f"{writes:.1f} writes/s by {len(coordinators)} coordinators")
    check(share(spans, .99) <= 0.3 * SLOW * pace() + late.worst, lambda: f"p99 {share(spans, .99):.3f} s")
    return nodes


def all_kept(nodes, coordinators):
    """Nobody has lost his lease, nor was he missed."""
    equal(nodes.lost, [], "nodes whose lease ended before they could renew it")
    equal(nodes.problems, [], "answers that are no 200 and no 503")
    for c in coordinators:
        gone = c.lines("-registration") + c.lines("~node-suspect") + c.lines("-node-down")
        equal(gone, [], f"nodes that {c.name} missed")
        up = [n for n in c.api.all("/v1/nodes?kind=worker") if n["state"] == "up"]
        equal(len(up), len(nodes.nodes), f"nodes that are up by {c.name}")


def goes_on(nodes, seconds):
    """Each node is renewed within the time."""
    since = time.monotonic()
    time.sleep(seconds)
    silent = [n.n for n in nodes.nodes if not any(sent >= since for sent, _ in n.spans)]
    equal(silent, [], "nodes that were not renewed")


def through_one_that_stops_and_one_that_dies(cluster):
    two = [cluster.coordinator(more=MORE) for _ in range(2)]
    nodes = measure(cluster, two)
    try:
        two[0].stop()
        time.sleep(5 * SLOW)
        two[0].resume()
        goes_on(nodes, 2 * TTL)
        two[0].wait_ready()
        all_kept(nodes, two)
        two[1].kill()
        goes_on(nodes, 2 * TTL)
    finally:
        nodes.end()
    all_kept(nodes, two[:1])


def through_one_that_is_cut_off(cluster, seconds):
    """It keeps its clients, and loses its session."""
    registry = cluster.registry
    way = Way(registry.servers[0].connect)
    try:
        registry.at = [way]
        cut = cluster.coordinator(more=MORE)
        registry.at = registry.servers
        two = [cut, cluster.coordinator(more=MORE)]
        nodes = measure(cluster, two)
        try:
            way.cut()
            goes_on(nodes, seconds * SLOW)
            way.heal()
            cut.wait_ready()
            goes_on(nodes, 2 * TTL)
        finally:
            nodes.end()
        check(any("state=disconnected" in line for line in cut.text().splitlines()), lambda: "it was not cut off")
        all_kept(nodes, two)
    finally:
        way.end()


@settings()
def test_sqlite(cluster):
    one = cluster.coordinator(more=MORE)
    nodes = measure(cluster, [one])
    nodes.end()
    all_kept(nodes, [one])


@settings()
def test_early_ones_are_answered_from_memory(cluster):
    """By one coordinator, in `single`; another one waits for what was written."""
    one, two = (cluster.coordinator(more="renewals: single\n") for _ in range(2))
    count, instance, path = Count(cluster), "", "/v1/nodes/worker/10.0.0.1:1234"
    node = {"startupTime": 1000, "processId": 7, "cpuUsage": 0.5}

    def put():
        answer = one.api("PUT", f"{path}?ttl={TTL}s{instance}", node)
        check(answer.status in (200, 201), lambda: f"{answer.status} {answer.text}")
        return answer

    instance = f"&instance={put().json['instance']}"
    cluster.wait_up(one.api, "10.0.0.1:1234")
    for _ in range(10):
        put()
    before, answers = count(), [put() for _ in range(40)]
    equal(len({a.json["instance"] for a in answers}), 1, "instances")
    check(count() - before < 20, lambda: f"{count() - before} writes for 40 renewals")
    index = answers[-1].headers["X-Pelorus-Index"]
    shown = two.api("GET", f"{path}?index={index}&wait=5s")
    equal(shown.status, 200, "what the other one shows at that index")
    equal(one.api("DELETE", path).status, 204, "its leave")


@settings(registry=etcd.Registry)
def test_etcd(cluster):
    through_one_that_stops_and_one_that_dies(cluster)


@settings(registry=etcd.Registry, session=6)
def test_one_that_is_cut_off(cluster):
    through_one_that_is_cut_off(cluster, 16)


@settings(registry=zookeeper.Registry)
def test_zookeeper(cluster):
    through_one_that_stops_and_one_that_dies(cluster)


if __name__ == "__main__":
    run(sys.modules[__name__])
