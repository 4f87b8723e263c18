"""Eight threads at one coordinator over HTTP, for HAMMER_SECONDS (10): they
pick, end picks (their own and others', now and then twice), and are the workers
that report, join and leave meanwhile. Then every grant is accounted for.

The same without HTTP, a thousand times as often: tests/unit/test_balancer_hammer.c.
"""

import collections
import http.client
import itertools
import json
import os
import queue
import random
import sys
import threading
import time

from cluster import check, equal, run, settings, wait_for
from test_metrics import parse

SECONDS = float(os.environ.get("HAMMER_SECONDS") or 10)
THREADS, WORKERS = 8, 48
ADDRESSES = [f"10.9.{i % THREADS}.{i}:1234" for i in range(WORKERS)]     # a thread's own by i % THREADS


class Client:
    """One connection; a request is sent once, and an error is one."""

    def __init__(self, port):
        self.connection = http.client.HTTPConnection("127.0.0.1", port, timeout=120)

    def __call__(self, method, path, body=None):
        data = json.dumps(body) if body is not None else None
        self.connection.request(method, path, data, {"Content-Type": "application/json"} if data else {})
        reply = self.connection.getresponse()
        text = reply.read()
        return reply.status, json.loads(text) if text else None


class Shared:
    def __init__(self, port):
        self.port, self.until = port, time.monotonic() + SECONDS
        self.open = queue.SimpleQueue()     # picks that whoever comes ends
        self.order = itertools.count(1)     # of what came and went
        # Of each worker: when it had left for certain, and before when it was not back.
        self.away, self.back = dict.fromkeys(ADDRESSES, 0), dict.fromkeys(ADDRESSES, 0)


class Hand(threading.Thread):
    def __init__(self, shared, number):
        super().__init__(daemon=True)
        self.shared, self.api = shared, Client(shared.port)
        self.random = random.Random(number)
        self.mine = ADDRESSES[number::THREADS]
        self.picks, self.by_worker = [], collections.Counter()
        self.ends = collections.Counter()       # how it was said, each time
        self.counts = collections.Counter()
        self.processes = dict.fromkeys(self.mine, 1)
        self.error = None

    def run(self):
        try:
            while time.monotonic() < self.shared.until:
                self.random.choices((self.pick, self.end, self.report, self.leave), (40, 90, 12, 2))[0]()
        except Exception as error:  # noqa: a thread must not lose it
            self.error = error

    def pick(self):
        count = self.random.choice((0, 0, 0, 1, 5))
        began = next(self.shared.order)
        status, answer = self.api("GET", "/v1/workers/best" + (f"?count={count}" if count else ""))
        if status == 503:
            self.counts["in vain"] += 1
            return
        equal(status, 200, f"workers/best ({answer})")
        for p in answer["picks"] if count else [answer]:
            self.picks.append(p["pick"])
            self.by_worker[p["address"]] += 1
            away, back = self.shared.away[p["address"]], self.shared.back[p["address"]]
            check(not back < away <= began, f"{p['address']} was picked at {began}: it left at {away}")
            self.shared.open.put(p["pick"])

    def end(self):
        try:
            pick = self.shared.open.get_nowait()
        except queue.Empty:
            return
        if self.random.random() < 0.03:
            self.shared.open.put(pick)      # somebody else says so as well
        how = "refused" if self.random.random() < 0.02 else "done"
        equal(self.api("POST", f"/v1/picks/{pick}/{how}")[0], 204, how)
        self.ends[pick] += 1
        self.counts["said"] += 1

    def report(self):
        address = self.random.choice(self.mine)
        self.shared.back[address] = next(self.shared.order)
        status, answer = self.api("PUT", f"/v1/nodes/worker/{address}?ttl=60s", {
            "startupTime": self.processes[address], "processId": 7, "slots": 16,
            "cpuUsage": self.random.random() * 0.8, "memoryUsage": 0.3, "threadPoolUsage": self.random.random(),
            "serverStatus": "NORMAL"})
        check(status in (200, 201), f"a report: {status} {answer}")
        self.counts["reports"] += 1

    def leave(self):
        address = self.random.choice(self.mine)
        status, answer = self.api("DELETE", f"/v1/nodes/worker/{address}?startupTime={self.processes[address]}")
        check(status in (200, 204, 404), f"a leave: {status} {answer}")
        self.processes[address] += 1
        if status != 404:
            self.shared.away[address] = next(self.shared.order)
            self.counts["leaves"] += 1


@settings(heartbeat="10s")
def test_every_grant_is_accounted_for(cluster):
    c = cluster.coordinator(more="http: {threads: 4}\nlog: {level: warn}\n")
    wait_for("ready", lambda: c.api("GET", "/readyz").status == 200)
    shared = Shared(c.port)
    hands = [Hand(shared, n) for n in range(THREADS)]
    for h in hands:
        h.start()
    for h in hands:
        h.join(SECONDS + 150)
        check(not h.is_alive(), "a request without an answer")
        check(h.error is None, f"{h.error!r}")
    picks = [p for h in hands for p in h.picks]
    ends, counts = collections.Counter(), collections.Counter()
    for h in hands:
        ends.update(h.ends)
        counts.update(h.counts)
    print(f"     {len(picks)} picks, {dict(counts)}")
    equal(len(set(picks)), len(picks), "picks, each id once")
    samples = parse(c.api("GET", "/metrics").text)
    told = {name: samples[f"pelorus_picks{name}_total", ()] for name in ("", "_done", "_refused", "_unknown")}
    equal(told[""], len(picks), "picks that were counted")
    equal(told["_done"] + told["_refused"], len(ends), "ends that were believed: one of each pick")
    equal(told["_unknown"], sum(n - 1 for n in ends.values()), "ends of picks that had ended")
    # What is left open is ended now, and nobody's load but these was left.
    left = set(picks) - set(ends)
    for pick in left:
        equal(c.api("POST", f"/v1/picks/{pick}/done").status, 204, "done")
    samples = parse(c.api("GET", "/metrics").text)
    equal(samples["pelorus_picks_done_total", ()] + samples["pelorus_picks_refused_total", ()], len(picks), "all ended")
    equal(samples["pelorus_picks_unknown_total", ()], told["_unknown"], "none of these was unknown")
    equal(c.terminate(10)[0], 0, "exit of the coordinator")  # sanitizers have their own
    check(len(picks) > 100 and counts["leaves"] > 5 and counts["reports"] > 50, "enough of everything happened")


if __name__ == "__main__":
    run(sys.modules[__name__])
