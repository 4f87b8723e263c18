#!/usr/bin/env python3
"""A database that is silent for longer than a node's ttl and shorter than until
SUSPENDED, stopped or killed: what is shown is stale from the first round trip
that it missed, picks go on from what was known, and nobody's time runs out.
"""

import functools
import http.client
import sys
import threading
import time

from cluster import SLOW, Api, check, equal, holds, run, settings, wait_for
from sql import Registry

MYSQL = functools.partial(Registry, kind="mysql")
POSTGRESQL = functools.partial(Registry, kind="postgresql")
WORKER = "10.0.0.1:1234"
MORE = "failover: {grace: 300ms, settle: 5s, reconcile-interval: 1s}\n"
PATH = f"/v1/nodes/worker/{WORKER}"


class Node:
    """A worker without a registry client: it renews its ttl of five seconds
    several times a second, as far as it gets through."""

    def __init__(self, port):
        self.port = port
        self.alive = True
        self.thread = threading.Thread(target=self.beat, daemon=True)
        self.thread.start()

    def beat(self):
        while self.alive:
            try:
                Api(self.port)("PUT", PATH + f"?ttl={5 * SLOW}s", {"startupTime": 5, "cpuUsage": 0.1}, timeout=1)
            except (OSError, http.client.HTTPException):
                pass  # its client gave up; the next one
            threading.Event().wait(0.3)

    def die(self):
        self.alive = False
        self.thread.join()


def silent_for(c, api, seconds):
    """Picks go on, and it is said within a few seconds that they are old."""
    began = time.monotonic()

    def goes_on():
        best = api("GET", "/v1/workers/best")
        equal(best.status, 200, f"a pick after {time.monotonic() - began:.1f} s ({best.text})")
        node = api.get(PATH)
        equal(node["state"], "up", f"the worker after {time.monotonic() - began:.1f} s")
        if time.monotonic() - began > 5 * SLOW:
            check(api.get("/v1/cluster")["stale"], f"not stale after {time.monotonic() - began:.1f} s")
            check(best.json.get("stale"), "a pick that does not say that it is stale")
        return True
    holds("picks", goes_on, seconds * SLOW)
    equal(api("GET", "/readyz").status, 200, "readyz while the session stands")


def heard_again(c, api):
    wait_for("fresh again", lambda: not api.get("/v1/cluster")["stale"], 20)
    holds("the worker is up", lambda: api.get(PATH)["state"] == "up", 4)
    equal(api.get(PATH)["flaps"], 0, "flaps")
    equal(c.lines("!node-suspect") + c.lines("-node-down"), [], "what was said of nodes")


def lives_through_silence(cluster, stop, go_on):
    c = cluster.coordinator()
    api = c.api
    node = Node(c.port)
    try:
        cluster.wait_up(api, WORKER)
        threading.Event().wait(3)
        stop()
        silent_for(c, api, 10)
        go_on()
        heard_again(c, api)
    finally:
        node.die()
    # and whoever is silent while the registry is not is gone as ever
    wait_for("the worker is down", lambda: api.get(PATH)["state"] == "down", 20)


@settings(session=30, registry=MYSQL, more=MORE)
def test_mariadb_stopped(cluster):
    server = cluster.registry.server
    lives_through_silence(cluster, server.stop, server.resume)


@settings(session=30, registry=POSTGRESQL, more=MORE)
def test_postgresql_killed(cluster):
    server = cluster.registry.server
    lives_through_silence(cluster, server.kill, server.restart)


if __name__ == "__main__":
    run(sys.modules[__name__])
