#!/usr/bin/env python3
"""A rolling restart from renewals written each by itself to groups, and back: no
lease is lost, nobody is missed, and a client meets nothing but 503; whoever dies
meanwhile is seen by all.

With PELORUS_BEFORE, an older build of ours, that takes the place of today's told
`single` (the way that docs/design/renewals.md has for it: told single first)."""

import os
import sys
import time

import etcd
from cluster import Api, equal, run, wait_for
from renewing import TTL, Nodes

BEFORE = os.environ.get("PELORUS_BEFORE")
COUNT = 60
SESSION = 3
MORE = "failover: {grace: 300ms, reconcile-interval: 1s, settle: 2s}\n"
SINGLE, GROUPED = MORE + "renewals: single\n", MORE + "renewals: grouped\n"
OLD = MORE if BEFORE else SINGLE


def settings(**options):
    def mark(test):
        test.cluster = {"session": SESSION, "heartbeat": "1s", **options}
        return test
    return mark


class Rolling:
    """Two coordinators, one after the other replaced at their ports."""

    def __init__(self, cluster, more, program=None):
        self.cluster = cluster
        self.two = [self.serve(more, program) for _ in range(2)]
        self.nodes = Nodes([c.port for c in self.two], COUNT)
        wait_for("all are registered", lambda: all(n.instance for n in self.nodes.nodes), 60)

    def __enter__(self):
        return self

    def __exit__(self, kind, *_):
        self.nodes.end()
        if kind is None:
            self.end()

    def serve(self, more, program=None, port=None):
        was, self.cluster.pelorus = self.cluster.pelorus, program or self.cluster.pelorus
        try:
            return self.cluster.coordinator(more=more, port=port)
        finally:
            self.cluster.pelorus = was

    def replace(self, i, more, program=None, kill=False):
        if kill:
            self.two[i].kill()
        else:
            self.two[i].terminate()
        self.missed(self.two[i])
        self.two[i] = self.serve(more, program, self.two[i].port)

    def said(self, i):
        """How renewals are written, and what each coordinator says it would."""
        cluster = Api(self.two[i].port).get("/v1/cluster")
        told = [c.get("renewals") for c in cluster["coordinators"]]
        return cluster.get("renewals"), sorted(told, key=str)

    def becomes(self, mode, told, i=0):
        wait_for(f"{mode}, as they say {told}", lambda: self.said(i) == (mode, told), 30)

    def goes_on(self, seconds=TTL + 2):
        """Each node that lives is renewed, through both."""
        since = time.monotonic()
        time.sleep(seconds)
        silent = [n.n for n in self.nodes.nodes if not n.dead and not any(sent >= since for sent, _ in n.spans)]
        equal(silent, [], "nodes that were not renewed")
        self.kept()

    def kept(self):
        equal(self.nodes.lost, [], "nodes whose lease ended before they could renew it")
        equal(self.nodes.problems, [], "answers that are no 200 and no 503")

    def missed(self, c):
        dead = {n.address for n in self.nodes.nodes if n.dead}
        gone = [line for line in c.lines("-registration") + c.lines("~node-suspect") + c.lines("-node-down")
                if not any(address in line for address in dead)]
        equal(gone, [], f"nodes that {c.name} missed")

    def one_dies(self):
        """And is gone by the word of both, the others are not."""
        victim = [n for n in self.nodes.nodes if not n.dead][-1]
        victim.dead = True
        time.sleep(TTL)

        def gone(c):
            up = {n["address"] for n in c.api.all("/v1/nodes?kind=worker") if n["state"] == "up"}
            return victim.address not in up and len(up) == sum(not n.dead for n in self.nodes.nodes)
        for c in self.two:
            wait_for(f"{victim.address} down by {c.name}", lambda c=c: gone(c), 10)

    def end(self):
        for c in self.two:
            self.missed(c)
        self.kept()
        print(f"     503: {dict(self.nodes.unavailable)}, longest {self.nodes.spans_since(0)[-1]:.2f} s", flush=True)


def up_and_back(cluster):
    told = None if BEFORE else "single"
    with Rolling(cluster, OLD, BEFORE) as r:
        r.goes_on()
        r.replace(0, GROUPED)
        r.becomes("single", sorted([told, "grouped"], key=str))
        r.goes_on()
        r.one_dies()
        r.replace(1, GROUPED)
        r.becomes("grouped", ["grouped", "grouped"])
        r.becomes("grouped", ["grouped", "grouped"], 1)
        r.goes_on()
        r.one_dies()
        # and back: single first, everywhere
        r.replace(1, SINGLE)
        r.becomes("single", ["grouped", "single"])
        r.goes_on()
        r.one_dies()
        r.replace(0, SINGLE)
        r.becomes("single", ["single", "single"])
        r.goes_on()
        for i in range(2 if BEFORE else 0):
            r.replace(i, OLD, BEFORE)
            r.goes_on()
        r.one_dies()


@settings()
def test_rolling_on_sqlite(cluster):
    up_and_back(cluster)


@settings(registry=etcd.Registry, session=6)
def test_rolling_on_etcd(cluster):
    up_and_back(cluster)


@settings()
def test_one_that_objects_is_killed_and_comes_back(cluster):
    """The mode goes to and fro under load: by a coordinator that is killed, so
    that its entry stands until its session is over."""
    with Rolling(cluster, GROUPED) as r:
        r.becomes("grouped", ["grouped", "grouped"])
        for _ in range(2):
            r.replace(1, OLD, BEFORE, kill=True)
            r.becomes("single", sorted([None if BEFORE else "single", "grouped"], key=str))
            r.goes_on(3)
            r.replace(1, GROUPED, kill=True)
            r.becomes("grouped", ["grouped", "grouped"])
            r.goes_on(3)
        r.goes_on()
        r.one_dies()


@settings()
def test_told_by_a_reload(cluster):
    """`renewals` is read anew with SIGHUP."""
    with Rolling(cluster, GROUPED) as r:
        r.becomes("grouped", ["grouped", "grouped"])
        for more, mode in ((SINGLE, "single"), (GROUPED, "grouped")):
            c = r.two[1]
            cluster.conf(c.name, c.port, more)
            c.signal(1)
            r.becomes(mode, sorted(["grouped", mode]))
            r.becomes(mode, sorted(["grouped", mode]), 1)
            r.goes_on()


if __name__ == "__main__":
    run(sys.modules[__name__])
