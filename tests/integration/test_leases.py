"""What a heartbeat over HTTP may give and to whom, at the worst moments: held
up between what it reads and what it writes while its sender's work moves, and
carried out when its sender is long dead and another process at its address.
"""

import base64
import json
import socket
import sys
import struct
import threading
import time
from functools import partial

import etcd
import zookeeper
from cluster import SLOW, Api, check, equal, holds, run, settings, submit, wait_for
from moves import all_moved_once, gone_from, given_out, ids_at
from proxy import Proxy

S1, M2, M3 = "10.30.0.1:5678", "10.30.0.2:5678", "10.30.0.3:5678"
T = 1_700_000_000_000


def put(api, address, startup=T, ttl="1h", query="", **more):
    return api("PUT", f"/v1/nodes/master/{address}?ttl={ttl}{query}",
               {"startupTime": startup, "processId": 7, **more})


def registered(api, *args, **kwargs):
    a = put(api, *args, **kwargs)
    check(a.status in (200, 201), f"a heartbeat: {a.status} {a.text}")
    return a.json


def node(api, address):
    return api.get(f"/v1/nodes/master/{address}")


def stop(stopped, other):
    """Not while it has the write lock of the embedded registry, which nobody
    else could take then."""
    for _ in range(10):
        stopped.stop()
        if put(other.api, "10.30.0.9:5678").status in (200, 201):
            return
        stopped.resume()
    check(False, "it has the write lock whenever it is stopped")


class Trap(Proxy):
    """Carries everything but the first write of one key to etcd, which it holds
    until release(). What is held was sent: who sent it is between its reads and
    its write."""

    LATER = 3600

    def __init__(self, target, key):
        super().__init__(target)
        self.key = base64.b64encode((etcd.NAMESPACE + key).encode())
        self.caught = threading.Event()
        self.holding = None
        self.armed = True

    def read(self, s):
        pipe = self.pipes[s]
        super().read(s)
        if (self.armed and self.holding is None and pipe.to_server and pipe.chunks
                and self.key in pipe.chunks[-1][1] and b"request_put" in pipe.chunks[-1][1]):
            self.holding = pipe
            pipe.chunks[-1] = (time.monotonic() + self.LATER, pipe.chunks[-1][1])
            self.caught.set()

    def release(self):
        def now():
            self.holding.chunks = type(self.holding.chunks)((0, c) for _, c in self.holding.chunks)
        self.order(now)


class ZooKeeperTrap(Trap):
    """The same on the way to ZooKeeper."""

    def __init__(self, target, key):
        super().__init__(target, key)
        self.key = f"/{zookeeper.NAMESPACE}{key}".encode()

    def read(self, s):
        pipe = self.pipes[s]
        Proxy.read(self, s)
        if self.holding is None and pipe.to_server and pipe.chunks and self.writes(pipe.chunks[-1][1]):
            self.holding = pipe
            pipe.chunks[-1] = (time.monotonic() + self.LATER, pipe.chunks[-1][1])
            self.caught.set()

    def writes(self, sent):
        """A request is its length, a number, its type: 5 sets, 14 is a multi."""
        while len(sent) >= 12:
            length, _, kind = struct.unpack(">iii", sent[:12])
            if kind in (5, 14) and self.key in sent[:4 + length]:
                return True
            sent = sent[4 + length:]
        return False


class Sender:
    """A heartbeat whose answer is awaited beside the test."""

    def __init__(self, port, *args, **kwargs):
        self.answer = None
        self.thread = threading.Thread(
            target=lambda: setattr(self, "answer", put(Api(port), *args, **kwargs)))
        self.thread.start()

    def wait(self):
        self.thread.join(60 * SLOW)
        check(self.answer is not None, "the heartbeat was never answered")
        return self.answer


def held_up(cluster):
    """Two coordinators on one etcd: one goes through a trap for the
    registration of S1, the other does not."""
    other = cluster.coordinator()
    cluster.registry.proxy = Trap(cluster.registry.servers[0].connect, f"/pelorus/nodes/master/{S1}")
    slow = cluster.coordinator()
    return other, slow, cluster.registry.proxy


@settings(registry=etcd.Registry, session=15, grace="4s",
          more="failover: {grace: 4s, reconcile-interval: 1s, settle: 2s}\n")
def test_no_lease_for_a_process_whose_work_is_being_taken(cluster):
    other, slow, trap = held_up(cluster)
    trap.armed = False  # whoever removes its registration marks it before: that passes
    registered(other.api, S1, ttl=f"{4 * SLOW}s")
    cluster.wait_up(other.api, S1)
    stop = threading.Event()

    def renew():
        api = Api(other.port)
        while not stop.wait(0.5):
            put(api, S1, ttl=f"{4 * SLOW}s")
    renewing = threading.Thread(target=renew)
    renewing.start()
    ids = [f"w-{n}" for n in range(2000)]
    submit(other.port, ids)
    given_out(other.api, len(ids), S1)
    registered(other.api, M2)
    cluster.wait_up(other.api, S1, M2)
    stop.set()
    renewing.join()
    wait_for("its registration gone", lambda: other.lines("-registration") or slow.lines("-registration"))
    trap.armed = True
    back = Sender(slow.port, S1, ttl="30s")
    check(trap.caught.wait(60 * SLOW), "the heartbeat was not written")
    wait_for("its work on the way to others", lambda: ids_at(other.api, M2), 30)
    trap.release()
    a = back.wait()
    equal((a.status, a.json.get("code", a.json.get("state"))), (409, "fenced"), "the heartbeat of the fenced one")
    wait_for("all of it gone", gone_from(other.api, S1), 30)
    all_moved_once(other.api, S1, ids, [])
    # a new process there is told to wait, or is in already: two words
    a = registered(other.api, S1, startup=T + 1)
    check(a["state"] in ("waiting", "up"), f"the new process: {a}")


@settings(registry=etcd.Registry, session=15,
          more="failover: {grace: 300ms, reconcile-interval: 1s, settle: 2s}\n")
def test_no_lease_behind_an_ordered_failover(cluster):
    other, slow, trap = held_up(cluster)
    for address in (S1, M2):
        registered(other.api, address)
    cluster.wait_up(other.api, S1, M2)
    ids = [f"w-{n}" for n in range(40)]
    submit(other.port, ids)
    given_out(other.api, len(ids), S1, M2)
    mine = ids_at(other.api, S1)
    check(mine, "S1 has no work")
    renewal = Sender(slow.port, S1, ttl="30s")
    check(trap.caught.wait(60 * SLOW), "the heartbeat was not written")
    a = other.api("POST", "/v1/failovers", {"kind": "master", "address": S1, "force": True})
    equal(a.status, 202, f"the order: {a.text}")
    wait_for("its work gone", gone_from(other.api, S1), 20)
    trap.release()
    a = renewal.wait()
    equal((a.status, a.json.get("code", a.json.get("state"))), (409, "fenced"), "the heartbeat of the fenced one")
    all_moved_once(other.api, S1, mine, [i for i in ids if i not in mine])


def send(port, address, body, ttl, query="", method="PUT"):
    """A heartbeat sent, and its sender dead: nobody waits for the answer."""
    text = json.dumps(body)
    query = f"ttl={ttl}{query}" if method == "PUT" else query.lstrip("&")
    s = socket.create_connection(("127.0.0.1", port), timeout=5)
    s.sendall((f"{method} /v1/nodes/master/{address}?{query} HTTP/1.1\r\nHost: x\r\n"
               f"Content-Type: application/json\r\nContent-Length: {len(text)}\r\n\r\n{text}").encode())
    return s


def answered(s):
    s.settimeout(20 * SLOW)
    head, _, text = s.recv(65536).partition(b"\r\n\r\n")
    s.close()
    return int(head.split()[1]), json.loads(text or "{}")


@settings(session=20)
def test_a_dead_process_takes_nothing_from_the_living_one(cluster):
    a, b = cluster.coordinator(), cluster.coordinator()
    registered(a.api, S1)
    registered(b.api, M2)
    cluster.wait_up(b.api, S1, M2)
    stop(a, b)
    late = send(a.port, S1, {"startupTime": T, "processId": 7}, "1h")
    leaves = [send(a.port, S1, {}, "1h", method="DELETE"),
              send(a.port, S1, {}, "1h", f"&startupTime={T}", method="DELETE")]
    sent = time.monotonic()
    # it dies; the next process at its address comes through another coordinator
    second = registered(b.api, S1, startup=T + 1)
    wait_for("the second process", lambda: node(b.api, S1)["process"]["startupTime"] == T + 1)
    ids = [f"w-{n}" for n in range(100)]
    for i in ids:
        equal(b.api("PUT", f"/v1/work/{i}", {"kind": "master", "owner": S1}).status, 201, f"{i} claimed")
    given_out(b.api, len(ids), S1)
    threading.Event().wait(max(0, sent + 1.5 - time.monotonic()))
    a.resume()
    status, said = answered(late)
    left = [answered(s) for s in leaves]

    def untouched():
        n = node(b.api, S1)
        return (n["state"], n["process"]["startupTime"]) == ("up", T + 1) and len(ids_at(b.api, S1)) == len(ids)
    holds("the living one has its address and its work", untouched, 4)
    equal((status, said.get("code")), (409, "address_taken"), "the late heartbeat")
    equal([(s, t.get("code")) for s, t in left], [(503, "too_late"), (409, "conflict")], "the late leaves")
    equal({i["epoch"] for i in b.api.all(f"/v1/work?kind=master&owner={S1}")}, {1}, "epochs")
    equal(b.api.all("/v1/failovers"), [], "failovers")
    again = registered(a.api, S1, startup=T + 1, query=f"&instance={second['instance']}")
    equal(again["instance"], second["instance"], "the renewal of the living one")


@settings(session=20)
def test_a_heartbeat_that_waited_for_its_ttl_is_not_carried_out(cluster):
    a, b = cluster.coordinator(), cluster.coordinator()
    stop(a, b)
    # without a startupTime it would renew whatever stands when it is read
    late = [send(a.port, S1, {}, "1s"), send(a.port, M2, {"startupTime": T}, "1s")]
    kept = registered(b.api, S1)
    threading.Event().wait(2.5)
    a.resume()
    for s in late:
        status, said = answered(s)
        equal((status, said["code"]), (503, "too_late"), "the late heartbeat")
    equal(b.api("GET", f"/v1/nodes/master/{M2}").status, 404, "the dead one")
    equal(registered(b.api, S1)["instance"], kept["instance"], "the living one")


@settings(registry=partial(zookeeper.Registry, tick=1000), session=16,
          more="failover: {grace: 1s, reconcile-interval: 1s, settle: 2s}\n")
def test_a_late_write_meets_no_namesake_of_its_version(cluster):
    """On ZooKeeper a key that is made again counts its versions anew."""
    other = cluster.coordinator()
    cluster.registry.proxy = ZooKeeperTrap(cluster.registry.servers.connect, f"/pelorus/nodes/master/{S1}")
    slow = cluster.coordinator()
    trap = cluster.registry.proxy
    registered(other.api, S1, ttl="2s")
    late = Sender(slow.port, S1, ttl="2s")
    check(trap.caught.wait(10 * SLOW), "the heartbeat was not written")
    wait_for("its registration gone",
             lambda: other.api("GET", f"/v1/nodes/master/{S1}").json.get("state") == "down", 10)
    equal(put(other.api, S1, startup=T + 1).status, 201, "the next process")
    trap.release()
    a = late.wait()
    check((a.status, a.json.get("code")) in ((409, "address_taken"), (503, "too_late")), f"the late heartbeat: {a.text}")

    def untouched():
        n = node(other.api, S1)
        return (n["state"], n["process"]["startupTime"]) == ("up", T + 1)
    cluster.wait_up(other.api, S1)
    holds("the living one has its address", untouched, 3)
    equal(put(other.api, S1, startup=T + 1).status, 200, "its renewal")


def test_two_at_one_address_by_mistake_are_told(cluster):
    c = cluster.coordinator()
    first = registered(c.api, S1, ttl="30s")
    second = registered(c.api, S1, startup=T + 1, ttl="30s")
    check(first["instance"] != second["instance"], "an instance each")
    for query in ("", f"&instance={first['instance']}"):
        a = put(c.api, S1, query=query)
        equal((a.status, a.json.get("code")), (409, "address_taken"), f"the earlier one {query}")
    # the same startupTime, or none: only who brings the instance is meant
    with_it = f"&instance={second['instance']}"
    equal(put(c.api, S1, startup=T + 1, query=with_it).status, 200, "the holder")
    for body in ({"startupTime": T + 1, "processId": 7}, {"startupTime": T + 1, "processId": 8}, {}):
        a = c.api("PUT", f"/v1/nodes/master/{S1}", body)
        equal((a.status, a.json.get("code")), (409, "address_taken"), f"{body}")
    a = put(c.api, S1, query="&takeover=1")
    equal((a.status, a.json["process"]["startupTime"]), (200, T + 2), a.text)
    equal(put(c.api, S1, startup=T + 1, query=with_it).code, "address_taken", "who gave way")
    equal(put(c.api, S1, query=f"&instance={a.json['instance']}").status, 200, "who took over")
    equal(put(c.api, S1, query="&takeover=maybe").code, "invalid", "takeover=maybe")
    # nobody is so late that no later one could be told from him
    last = 9 * 10**15
    registered(c.api, M3, startup=last)
    a = registered(c.api, M3, startup=last, query="&takeover=1", processId=8)
    cluster.wait_up(c.api, M3)
    wait_for("who took over", lambda: node(c.api, M3)["process"]["startupTime"] == last + 1)
    equal((a["process"]["startupTime"], node(c.api, M3)["degraded"]), (last + 1, False), "he is known")
    equal(put(c.api, M3, startup=2**53 - 1).code, "invalid_value", "later than all")
    # without any identity it renews whatever stands
    for _ in range(2):
        check(c.api("PUT", f"/v1/nodes/master/{M2}").status in (200, 201), "a bare heartbeat")


if __name__ == "__main__":
    run(sys.modules[__name__])
