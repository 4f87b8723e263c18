"""A coordinator that has begun and has not read everything yet: it takes
heartbeats, so that no lease is lost for its restart, but it picks nobody, gives
nobody work and moves nothing by the half that it knows."""

import base64
import sys
import threading
import time

import etcd
from cluster import check, equal, holds, run, settings, submit, wait_for
from moves import gone_from, ids_at
from proxy import Proxy

M1, M2, W1 = "10.31.0.1:5678", "10.31.0.2:5678", "10.31.1.1:1234"
T = 1_700_000_000_000


class Hold(Proxy):
    """Carries everything to etcd but what asks for all below one key, until
    release(): that much is not read yet."""

    LATER = 3600

    def __init__(self, target, prefix):
        super().__init__(target)
        self.key = base64.b64encode((etcd.NAMESPACE + prefix).encode()).rstrip(b"=")[:-1]
        self.caught = threading.Event()
        self.holding = set()

    def read(self, s):
        pipe = self.pipes[s]
        super().read(s)
        if not self.released and pipe.to_server and pipe.chunks and \
                b"range_end" in pipe.chunks[-1][1] and self.key in pipe.chunks[-1][1]:
            self.holding.add(pipe)
            pipe.chunks[-1] = (time.monotonic() + self.LATER, pipe.chunks[-1][1])
            self.caught.set()

    released = False

    def release(self):
        def now():
            self.released = True
            for pipe in self.holding:
                pipe.chunks = type(pipe.chunks)((0, c) for _, c in pipe.chunks)
        self.order(now)


def put(api, kind, address, ttl="1h"):
    return api("PUT", f"/v1/nodes/{kind}/{address}?ttl={ttl}", {"startupTime": T, "processId": 7, "slots": 8})


@settings(registry=etcd.Registry, session=10, more="failover: {grace: 300ms, reconcile-interval: 1s, settle: 1s}\n")
def test_half_a_view_decides_nothing(cluster):
    first = cluster.coordinator()
    for address in (M1, M2):
        put(first.api, "master", address, "2s" if address == M1 else "1h")
    put(first.api, "worker", W1)
    cluster.wait_up(first.api, M1, M2, W1)
    submit(first.port, [f"h-{n}" for n in range(20)])
    wait_for("work at M1", lambda: ids_at(first.api, M1))
    mine = ids_at(first.api, M1)
    first.kill()
    first.file.close()
    hold = cluster.registry.proxy = Hold(cluster.registry.servers[0].connect, "/pelorus/nodes")
    second = cluster.coordinator(wait=False)
    check(hold.caught.wait(60), "it does not ask for the nodes")
    wait_for("heartbeats are taken", lambda: put(second.api, "master", M2).status == 200)
    equal(second.api("GET", "/livez").status, 200, "alive")

    def half():
        ready, pick = second.api("GET", "/readyz"), second.api("GET", "/v1/workers/best")
        given = second.api("POST", "/v1/work", {"id": "new", "kind": "master"})
        check(ready.status == 503 and "nodes" in ready.text, f"ready: {ready.status} {ready.text}")
        check(pick.status == 503 and pick.code in ("not_synced", "group_empty"), f"a pick: {pick.status} {pick.text}")
        equal(given.status, 503, f"work: {given.text}")
        equal(second.api("GET", "/v1/failovers").json["items"], [], "a failover")
        return second.api.get("/v1/nodes")["stale"]
    # longer than the lease of M1, the grace, and our own settling
    holds("it shows nothing as the whole", half, 5)
    equal({second.api.get(f"/v1/work/{i}")["owner"] for i in mine}, {M1}, "the work of the dead one")
    hold.release()
    wait_for("ready", lambda: second.api("GET", "/readyz").status == 200)
    wait_for("a pick", lambda: second.api("GET", "/v1/workers/best").status == 200)
    wait_for("the work of the dead one moves", gone_from(second.api, M1), 30)


if __name__ == "__main__":
    run(sys.modules[__name__])
