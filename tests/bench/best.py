#!/usr/bin/env python3
"""workers/best with 10,000 workers beside the bare HTTP library, in pairs, and
beside nginx saying `return 200` where there is one; what a request takes of the
processor; how late the latest in a thousand is at half of the highest rate;
where there are cores for it, four threads beside one.

Rows for make bench (row.h). BEST_PAIRS=21 and TAIL_ROUNDS=20, of a second each;
OLD=FILE: that program's tail beside ours, in turn.
"""

import concurrent.futures
import os
import re
import shutil
import statistics
import subprocess
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "integration"))
from cluster import PELORUS, Api, Cluster, Process, check, cpu_seconds, equal, free_port, run, settings, wait_for  # noqa: E402

WORKERS, PAIRS = 10000, int(os.environ.get("BEST_PAIRS") or 21)
ROUNDS, OLD = int(os.environ.get("TAIL_ROUNDS") or 20), os.environ.get("OLD")
CLIENTS = 32     # who register them
PAUSE_MS = 4     # between an answer and the same client's next request
PACED = f"""
function delay() return {PAUSE_MS} end
function done(summary, latency) print("tail us:", latency:percentile(99.9)) end
"""
NGINX = shutil.which("nginx", path=os.environ["PATH"] + ":/usr/sbin")


def row(*words):
    print("row", *words, flush=True)


def wrk(port, path, threads=1):
    """Answers per second, and how many."""
    out = subprocess.run(["wrk", f"-t{threads}", "-c32", "-d1s", f"http://127.0.0.1:{port}{path}"],
                         capture_output=True, text=True, check=True, timeout=120).stdout
    check("Non-2xx" not in out, f"wrk met errors: {out}")
    return (float(re.search(r"Requests/sec:\s+([\d.]+)", out).group(1)),
            int(re.search(r"(\d+) requests in", out).group(1)))


def tail(cluster, port, rate):
    """The answer time in us that one of a thousand exceeds, when as many clients
    ask as make that rate together."""
    script = os.path.join(cluster.dir, "paced.lua")
    with open(script, "w", encoding="utf-8") as f:
        f.write(PACED)
    out = subprocess.run(["wrk", "-t1", f"-c{max(1, int(rate * PAUSE_MS / 1000))}", "-d1s", "-s", script,
                          f"http://127.0.0.1:{port}/v1/workers/best"],
                         capture_output=True, text=True, check=True, timeout=120).stdout
    check("Non-2xx" not in out, f"wrk met errors: {out}")
    return float(re.search(r"tail us:\s+([\d.]+)", out).group(1))


def register(port, numbers):
    api = Api(port)
    for n in numbers:
        body = {"startupTime": 1, "processId": n, "slots": 8 + n % 57, "cpuUsage": 0.2, "memoryUsage": 0.3,
                "serverStatus": "NORMAL"}
        equal(api("PUT", f"/v1/nodes/worker/10.1.{n // 250}.{n % 250}:1234?ttl=1h", body, timeout=60).status, 201,
              "registered")


def coordinator(cluster, threads):
    c = cluster.coordinator(more=f"http: {{threads: {threads}}}\nlog: {{level: warn}}\n")
    with concurrent.futures.ThreadPoolExecutor(CLIENTS) as pool:
        list(pool.map(lambda i: register(c.port, range(i, WORKERS, CLIENTS)), range(CLIENTS)))
    wait_for("all workers up", lambda: len(c.api.all("/v1/nodes?state=up")) == WORKERS, 60)
    return c


def bare(cluster, answer):
    path = os.path.join(cluster.dir, "answer.json")
    with open(path, "w", encoding="utf-8") as f:
        f.write(answer)
    port = free_port()
    program = os.path.join(os.path.dirname(PELORUS), "tests", "bench", "bench_bare_http")
    cluster.processes.append(Process("bare", [program, str(port), "2", path], os.path.join(cluster.dir, "bare.log")))
    wait_for("the bare server", lambda: Api(port)("GET", "/").status == 200)
    return port


def nginx(cluster, answer):
    port = free_port()
    conf = os.path.join(cluster.dir, "nginx.conf")
    with open(conf, "w", encoding="utf-8") as f:
        f.write(f"daemon off; worker_processes 2; pid {cluster.dir}/nginx.pid; error_log {cluster.dir}/nginx.err;\n"
                "events {worker_connections 512;}\n"
                f"http {{access_log off; keepalive_requests 1000000000; client_body_temp_path {cluster.dir};\n"
                f"server {{listen 127.0.0.1:{port}; default_type application/json; return 200 '{answer}';}}}}\n")
    cluster.processes.append(Process("nginx", [NGINX, "-p", cluster.dir, "-c", conf],
                                     os.path.join(cluster.dir, "nginx.log")))
    wait_for("nginx", lambda: Api(port)("GET", "/").status == 200)
    return port


# A machine that others share slows down and recovers within seconds: short turns,
# each side first in every other one. Nobody reports again while it is measured:
# a report must not grow stale.
@settings(heartbeat="1h")
def test_best_beside_the_bare_library(cluster):
    c = coordinator(cluster, 2)
    answer = c.api("GET", "/v1/workers/best").text
    port, other = bare(cluster, answer), nginx(cluster, answer) if NGINX else None
    for i in range(PAIRS):
        rate = {}
        for side in sorted(("ours", "bare"), reverse=i % 2 == 1):
            if side == "bare":
                rate[side] = wrk(port, "/")[0]
                continue
            used = cpu_seconds(c.pid)
            rate[side], requests = wrk(c.port, "/v1/workers/best")
            row("best-request", "us", f"{(cpu_seconds(c.pid) - used) / requests * 1e6:.4g}")
        row("best-10000", "x", f"{rate['ours'] / rate['bare']:.4g}", 0.95, ">=")
        row("best-rate", "k/s", f"{rate['ours'] / 1e3:.5g}")
        row("best-bare-rate", "k/s", f"{rate['bare'] / 1e3:.5g}")
        if other and i % 3 == 0:
            row("best-nginx-rate", "k/s", f"{wrk(other, '/')[0] / 1e3:.5g}", "# return 200")


# Half of what the slower one can do, for both. One late wake-up of this machine
# is in a round's figure, so there are many rounds, and each has its ratio.
@settings(heartbeat="1h")
def test_the_latest_of_a_thousand(cluster):
    with Cluster(heartbeat="1h") as other:
        both = [(cluster, coordinator(cluster, 2))]
        if OLD:
            other.pelorus = OLD
            both.append((other, coordinator(other, 2)))
        highest = [statistics.median(wrk(c.port, "/v1/workers/best")[0] for _ in range(3)) for _, c in both]
        row("best-tail-rate", "k/s", f"{min(highest) / 2e3:.5g}")
        for i in range(ROUNDS):
            late = {}
            for side in sorted(range(len(both)), reverse=i % 2 == 1):
                late[side] = tail(both[side][0], both[side][1].port, min(highest) / 2)
            row("best-tail", "us", f"{late[0]:.5g}", "# p99.9 at half of the highest rate")
            if OLD:
                row("best-tail-old", "us", f"{late[1]:.5g}")
                row("best-tail-ratio", "x", f"{late[0] / late[1]:.4g}", 1, "<=")


@settings(heartbeat="1h")
def test_four_threads_beside_one(cluster):
    if os.cpu_count() < 8:
        print("     too few cores for four threads and who asks them: make bench computes what they would do")
        return
    one, four = coordinator(cluster, 1), coordinator(cluster, 4)
    for _ in range(PAIRS):
        alone = wrk(one.port, "/v1/workers/best", 4)[0]
        row("threads-4", "x", f"{wrk(four.port, '/v1/workers/best', 4)[0] / alone:.4g}", 3, ">=")


if __name__ == "__main__":
    run(sys.modules[__name__])
