"""Whoever wrote through a coordinator sees it there in the next answer, and
another coordinator waits for it when it is asked with the write's index: on
every registry."""

import sys
from functools import partial

import etcd
import sql
import zookeeper
from cluster import check, equal, run, settings

ROUNDS = 50
MORE = "failover: {grace: 300ms, reconcile-interval: 1s}\n"


def address(i):
    return f"10.0.0.1:{1000 + i}"


class Both:
    """One coordinator that is written to, and another that is asked as well."""

    def __init__(self, cluster):
        self.here, self.there = (cluster.coordinator().api for _ in range(2))
        self.missed = []

    def write(self, method, path, body=None):
        answer = self.here(method, path, body)
        check(answer.status in (200, 201, 202, 204), f"{method} {path}: {answer.status} {answer.text[:300]}")
        index = answer.headers.get("X-Pelorus-Index", "")
        check(index != "", f"{method} {path}: no index")
        if answer.status != 204:
            equal(answer.json["index"], index, f"{method} {path}: the body's index")
        self.last = f"{method} {path}", index
        return answer

    def see(self, path, seen):
        """`seen` holds of the next answer here, and of the answer there to
        whoever waits for the index."""
        what, index = self.last
        join = "&" if "?" in path else "?"
        for who, answer in (("here", self.here("GET", path)),
                            ("there", self.there("GET", f"{path}{join}index={index}&wait=20s"))):
            if not seen(answer):
                self.missed.append(f"{who}: {what}, then GET {path}: {answer.status} {answer.text[:200]}")

    def end(self, what):
        equal(len(self.missed), 0, f"{what}: not seen, {self.missed[:3]}; misses")


def nodes(both):
    for i in range(ROUNDS):
        path = f"/v1/nodes/worker/{address(i)}"
        both.write("PUT", f"{path}?ttl=10m", {"cpuUsage": 0.25})
        both.see(path, lambda a: a.status == 200 and a.json["state"] == "up" and a.json["cpu"] == 0.25)
        both.see("/v1/nodes?limit=1000", lambda a: address(i) in {n["address"] for n in a.json["items"]})
        both.write("PUT", f"{path}?ttl=10m", {"cpuUsage": 0.5, "serverStatus": "BUSY"})
        both.see(path, lambda a: a.status == 200 and a.json["cpu"] == 0.5 and a.json["status"] == "BUSY")
        if i % 2:
            both.write("DELETE", path)
            both.see(path, lambda a: a.status == 404 or a.json["state"] != "up")
        else:
            both.write("PUT", f"{path}?ttl=10m", {"cpuUsage": 0.25})
    both.end("nodes")


def groups(both):
    for i in range(ROUNDS):
        path = f"/v1/groups/g{i // 2}"
        mine = [address(0), address(i)]
        both.write("PUT", path, {"addresses": mine})
        both.see(path, lambda a: a.status == 200 and set(a.json["addresses"]) == set(mine))
        both.see(f"/v1/nodes/worker/{address(0)}", lambda a: f"g{i // 2}" in a.json["groups"])
        if i % 2:
            both.write("DELETE", path)
            both.see(path, lambda a: a.status == 404)
    both.end("groups")


def gates(both):
    for i in range(ROUNDS):
        node = f"/v1/nodes/worker/{address(i // 4 * 2)}"
        order = ("cordon", "drain")[i % 2]
        both.write("PUT", f"{node}/{order}?reason=r{i}")
        both.see(node, lambda a: a.json["gate"]["reason"] == f"r{i}")
        both.write("DELETE", f"{node}/{order}")
        both.see(node, lambda a: a.json["gate"]["state"] == "open")
    both.end("gates")


def owned(both, owner):
    return {w["id"] for w in both.here.get(f"/v1/work?kind=worker&owner={owner}&limit=1000")["items"]}


def work(both):
    owner = address(0)
    lists = f"/v1/work?kind=worker&owner={owner}&limit=1000"
    for i in range(ROUNDS):
        epoch = both.write("PUT", f"/v1/work/w{i}", {"kind": "worker", "owner": owner}).json["epoch"]
        both.see(f"/v1/work/w{i}", lambda a: a.status == 200 and a.json["owner"] == owner)
        both.see(lists, lambda a: f"w{i}" in {w["id"] for w in a.json["items"]})
        both.see(f"/v1/nodes/worker/{owner}", lambda a: a.json["owned"] == 1)
        both.write("DELETE", f"/v1/work/w{i}?epoch={epoch}")
        both.see(lists, lambda a: f"w{i}" not in {w["id"] for w in a.json["items"]})
        both.see(f"/v1/nodes/worker/{owner}", lambda a: a.json["owned"] == 0)
    both.end("work")


def switches(both):
    for i in range(ROUNDS):
        both.write("PATCH", "/v1/settings", {"paused": i % 2 == 0, "reason": f"r{i}"})
        both.see("/v1/settings", lambda a: a.json["reason"] == f"r{i}")
        both.see("/v1/cluster", lambda a: a.json["failover"]["paused"] == (i % 2 == 0))
    both.end("settings")


def everything(cluster):
    both = Both(cluster)
    for part in nodes, groups, gates, work, switches:
        part(both)


def test_own_writes_are_seen_on_sqlite(cluster):
    everything(cluster)


@settings(registry=zookeeper.Registry, session=4)
def test_own_writes_are_seen_on_zookeeper(cluster):
    everything(cluster)


@settings(registry=etcd.Registry, session=4)
def test_own_writes_are_seen_on_etcd(cluster):
    everything(cluster)


@settings(registry=partial(sql.Registry, kind="mysql"), session=6)
def test_own_writes_are_seen_on_mysql(cluster):
    everything(cluster)


@settings(registry=partial(sql.Registry, kind="postgresql"), session=6)
def test_own_writes_are_seen_on_postgresql(cluster):
    everything(cluster)


if __name__ == "__main__":
    run(sys.modules[__name__])
