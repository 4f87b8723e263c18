"""etcd with many: ten thousand workers under leases whose every report counts.

Their side is one thread that writes prepared requests to a few connections,
one put a worker and report, as ten thousand processes would.
"""

import base64
import concurrent.futures
import json
import socket
import statistics
import sys
import threading
import time
import urllib.request

import dolphin
from cluster import SLOW, Api, Bare, check, cpu_seconds, equal, pace, run, settings, wait_for
from dolphin import heartbeat
from etcd import NAMESPACE, Registry

MANY = 10000
LEASES = 100
HEARTBEAT = 10
MEASURED = 20
CONNECTIONS = 8


def address_of(i):
    return f"10.{i >> 16}.{i >> 8 & 255}.{i & 255}:1234"


def b64(text):
    return base64.b64encode(text.encode()).decode()


class Many:
    """The workers. Worker i hangs on lease i % LEASES."""

    def __init__(self, server):
        self.server = server
        self.leases = [self.post("/v3/lease/grant", {"TTL": 60})["ID"] for _ in range(LEASES)]
        self.alive = set(range(LEASES))
        self.requests = [[self.request(i, cpu) for i in range(MANY)] for cpu in (0.2, 0.3)]
        self.sockets = [socket.create_connection(("127.0.0.1", server.port))
                        for _ in range(CONNECTIONS)]
        self.answered = 0
        self.failed = []
        self.lock = threading.Lock()
        self.running = True
        self.threads = [threading.Thread(target=self.read, args=(s,), daemon=True) for s in self.sockets]

    def post(self, path, body):
        with urllib.request.urlopen(self.server.endpoint + path, json.dumps(body).encode(), 10) as reply:
            return json.load(reply)

    def request(self, i, cpu):
        value = heartbeat("worker", address_of(i), (dolphin.STARTED, 1000 + i), cpu=cpu)
        body = json.dumps({"key": b64(f"{NAMESPACE}/nodes/worker/{address_of(i)}"),
                           "value": b64(value), "lease": self.leases[i % LEASES]})
        return (f"POST /v3/kv/put HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\n"
                f"Content-Length: {len(body)}\r\n\r\n{body}").encode()

    def read(self, s):
        tail = b""
        while data := s.recv(1 << 16):
            data = tail + data
            done, bad = data.count(b"HTTP/1.1 200"), data.count(b"HTTP/1.1 4") + data.count(b"HTTP/1.1 5")
            tail = data[-11:]
            with self.lock:
                self.answered += done
                if bad:
                    self.failed.append(data[:300])

    def write(self, i, turn):
        if i % LEASES in self.alive:
            self.sockets[i % CONNECTIONS].sendall(self.requests[turn % 2][i])

    def fill(self):
        for t in self.threads:
            t.start()
        for i in range(MANY):
            self.write(i, 0)
        wait_for("all of them written", lambda: self.answered == MANY, 60)

    def report(self):
        """Each once in HEARTBEAT s, evenly, and the leases kept."""
        began, sent = time.monotonic(), 0
        while self.running:
            due = int((time.monotonic() - began) * MANY / HEARTBEAT)
            while sent < due:
                self.write(sent % MANY, 1 + sent // MANY)
                sent += 1
                if sent % (MANY * 2 // LEASES) == 0: # each within 20 s
                    lease = sent // (MANY * 2 // LEASES) % LEASES
                    if lease in self.alive:
                        self.post("/v3/lease/keepalive", {"ID": self.leases[lease]})
            threading.Event().wait(0.02)

    def start(self):
        self.reporter = threading.Thread(target=self.report, daemon=True)
        self.reporter.start()

    def end(self):
        self.running = False
        self.reporter.join(10)
        for s in self.sockets:
            s.shutdown(socket.SHUT_RDWR)
        for t in self.threads:
            t.join(10)
        for s in self.sockets:
            s.close()


def workers_up(api):
    return api.get("/v1/cluster")["nodes"]["worker"]["up"]


def exact(api, there=lambda i: True):
    """Each of them once, with its own process, up and without a break."""
    found = {n["address"]: n for n in api.all("/v1/nodes?kind=worker")}
    for i in range(MANY):
        n = found[address_of(i)]
        if there(i):
            equal((n["state"], n["flaps"], n["degraded"], n["process"]["processId"]),
                  ("up", 0, False, 1000 + i), n["address"])
        else:
            check(n["state"] != "up", f"{n['address']}, whose lease is gone, is up")
    equal(len(found), MANY, "workers")


@settings(session=10, heartbeat=f"{HEARTBEAT}s", registry=Registry)
def test_ten_thousand_workers_report_every_ten_seconds(cluster):
    many = Many(cluster.registry.servers[0])
    began = time.monotonic()
    many.fill()
    print(f"     {MANY} nodes made in {time.monotonic() - began:.1f} s")
    began = time.monotonic()
    c = cluster.coordinator(wait=False)
    wait_for("all of them", lambda: workers_up(c.api) == MANY and
             c.api("GET", "/readyz").status == 200, 30)
    first = time.monotonic() - began
    print(f"     first snapshot {first:.2f} s after the start of the process")
    exact(c.api)
    many.start()
    try:
        bare = Bare(MEASURED, "etcd", cluster.registry.servers[0].endpoint, f"{NAMESPACE}/nodes/")
        start, used, answered = time.monotonic(), cpu_seconds(c.pid), many.answered
        server = cpu_seconds(cluster.registry.servers[0].process.pid)
        wait_for("the time to be measured", lambda: time.monotonic() - start >= MEASURED, MEASURED + 5)
        took = time.monotonic() - start
        share = (cpu_seconds(c.pid) - used) / took
        server = (cpu_seconds(cluster.registry.servers[0].process.pid) - server) / took
        rate = (many.answered - answered) / took
        print(f"     {share * 100:.1f} % of a core for {rate:.0f} reports/s over {MEASURED} s "
              f"(the server: {server * 100:.0f} %)")
        exact(c.api)
        equal(many.failed, [], "reports that the server refused")
        gone = 17
        many.alive.discard(gone)
        many.post("/v3/lease/revoke", {"ID": many.leases[gone]})
        came = time.monotonic()
        wait_for("a lease's workers gone", lambda: workers_up(c.api) == MANY - MANY // LEASES)
        print(f"     {MANY // LEASES} workers of a lease gone after {time.monotonic() - came:.2f} s")
        exact(c.api, lambda i: i % LEASES != gone)
    finally:
        many.end()
    equal(c.lines("-session"), [], "sessions lost meanwhile")
    # A busy host may not write all of them in time; what is read is measured
    # as if it had.
    check(rate >= 0.5 / SLOW * MANY / HEARTBEAT, f"only {rate:.0f} reports/s were written")
    share *= MANY / HEARTBEAT / min(rate, MANY / HEARTBEAT)
    print(f"row heartbeats-etcd % {share * 100:.3g} 2 <=")
    bare.row("heartbeats-etcd", share)
    check(first <= 2 * SLOW * pace(), f"the first snapshot took {first:.2f} s, 2 s allowed")
    check(share <= 0.15 * SLOW * pace(time.process_time), f"{share * 100:.1f} % of a core, 15 % allowed")


# Writes crowd the stream that brings them, which rests then; but who wrote waits
# for it.
@settings(session=10, registry=Registry)
def test_a_client_does_not_wait_for_its_write_while_a_stream_rests(cluster):
    c = cluster.coordinator()
    equal(c.api("PUT", "/v1/nodes/worker/10.0.0.1:1?ttl=1h",
                {"startupTime": 1, "processId": 1, "slots": 60000}).status, 201, "a join")
    took = []

    def client(k):
        api = Api(c.port)
        for n in range(100):
            began = time.monotonic()
            equal(api("POST", "/v1/work", {"kind": "worker", "id": f"{k}-{n}"}).status, 201, "an item")
            took.append(time.monotonic() - began)

    with concurrent.futures.ThreadPoolExecutor(CONNECTIONS) as pool:
        list(pool.map(client, range(CONNECTIONS)))
    median = statistics.median(took)
    print(f"     {len(took)} items, an answer after {median * 1000:.1f} ms")
    check(median <= 0.04 * SLOW * pace(), f"an answer after {median * 1000:.1f} ms, 40 ms allowed")


if __name__ == "__main__":
    run(sys.modules[__name__])
