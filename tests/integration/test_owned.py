"""What the coordinator knows itself of a worker's load: the items that it owns.
Workers that report their slots and cpu alone, as the README's own example."""

import os
import re
import sys
import threading

from cluster import ROOT, SLOW, Api, check, equal, run, settings, wait_for
from test_api import W1, W2, problem, put

BEAT = 0.25 * SLOW  # half of an interval


class Beats:
    """Heartbeats of both, over a connection of their own."""

    def __init__(self, port):
        self.api, self.n, self.over = Api(port), 0, threading.Event()
        self.thread = threading.Thread(target=self.go_on)

    def __enter__(self):
        self.beat()
        self.thread.start()
        return self

    def __exit__(self, *_):
        self.over.set()
        self.thread.join(timeout=60 * SLOW)

    def beat(self):
        for address, slots in ((W1, 8), (W2, 16)):
            put(self.api, "worker", address, ttl=f"{3 * SLOW}s", slots=slots, cpuUsage=0.1)
        self.n += 1

    def go_on(self):
        while not self.over.wait(BEAT):
            self.beat()


def candidate(api, address):
    found = api.get("/v1/workers/best?peek=1&explain=1")["candidates"]
    return next(x for x in found if x["address"] == address)


def next_eight(api):
    return [p["address"] for p in api.get("/v1/workers/best?count=8")["picks"]]


@settings(heartbeat=f"{round(2000 * BEAT)}ms")
def test_a_worker_full_of_its_own_items_gets_no_more(cluster):
    c = cluster.coordinator()
    put(c.api, "worker", W1, ttl="30s", slots=8, cpuUsage=0.1)
    cluster.wait_up(c.api, W1)
    for n in range(8):
        equal(c.api("POST", "/v1/work", {"kind": "worker", "id": f"o-{n}"}).json["owner"], W1, "the owner")
    wait_for("its items", lambda: candidate(c.api, W1)["owned"] == 8)
    check(abs(candidate(c.api, W1)["est"] - 8) < 1, f"counted once: {candidate(c.api, W1)}")
    with Beats(c.port) as beats:
        cluster.wait_up(c.api, W1, W2)
        wait_for("15 intervals", lambda: beats.n >= 30, 60)
        one = candidate(c.api, W1)
        equal((one["owned"], one["est"] >= 8, one["capacity"]), (8, True, 8), f"after 15 intervals: {one}")
        equal(next_eight(c.api), [W2] * 8, "the next eight")
        # An item that ended makes room at once.
        equal(c.api("DELETE", "/v1/work/o-0?epoch=1").status, 200, "done")
        wait_for("one less", lambda: candidate(c.api, W1)["owned"] == 7)
        check(candidate(c.api, W1)["est"] < 8, f"room for one: {candidate(c.api, W1)}")
        c.api("POST", "/v1/work", {"kind": "worker", "id": "p-0"})
    # Another coordinator learns it from the registry.
    c.terminate()
    c = cluster.coordinator()
    with Beats(c.port):
        cluster.wait_up(c.api, W1, W2)
        wait_for("what it owns", lambda: candidate(c.api, W1)["owned"] >= 7)
        one = candidate(c.api, W1)
        check(one["est"] >= one["owned"], f"after a restart: {one}")
        check(W1 not in next_eight(c.api)[:4], "the next ones after a restart")


def documented_terms():
    """Names of the members of a candidate in openapi.yaml."""
    with open(os.path.join(ROOT, "http", "openapi.yaml"), encoding="utf-8") as f:
        text = f.read()
    text = text[text.index("\n    Candidate:\n"):]
    return set(re.findall(r"(?m)^        (\w+): {", text[:re.search(r"\n    \w+:\n", text[1:]).end()]))


def test_every_term_that_explain_gives_is_documented(cluster):
    c = cluster.coordinator()
    put(c.api, "worker", W1, slots=8, cpuUsage=0.1)
    cluster.wait_up(c.api, W1)
    given = set()
    for policy in ("ledger", "RANDOM", "ROUND_ROBIN", "FIXED_WEIGHTED_ROUND_ROBIN", "DYNAMIC_WEIGHTED_ROUND_ROBIN"):
        equal(c.api("PATCH", "/v1/settings", {"policy": policy}).status, 200, policy)
        wait_for(policy, lambda: ("est" in candidate(c.api, W1), "dynamic_weight" in candidate(c.api, W1)) ==
                 (policy == "ledger", policy.startswith("DYNAMIC")))
        given |= set(candidate(c.api, W1))
    equal(given, documented_terms(), "the terms")


@settings(heartbeat="30m")  # a refusal holds for 4.5 s
def test_who_refuses_while_nobody_else_is_left(cluster):
    c = cluster.coordinator()
    put(c.api, "worker", W1, ttl="30s", slots=8, cpuUsage=0.1)
    cluster.wait_up(c.api, W1)
    pick = c.api.get("/v1/workers/best")["pick"]
    equal(c.api("POST", f"/v1/picks/{pick}/refused").status, 204, "refused")
    a = c.api("GET", "/v1/workers/best")
    equal([x["why_not"] for x in problem(a, 503, "all_busy")["candidates"]], ["refused"], "why not")
    check(int(a.headers["Retry-After"]) >= 1, "Retry-After")
    wait_for("open again, long before its report", lambda: c.api("GET", "/v1/workers/best?peek=1").status == 200, 30)


if __name__ == "__main__":
    run(sys.modules[__name__])
