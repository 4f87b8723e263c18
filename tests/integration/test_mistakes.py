"""What operators mistype, and the words of the answer that take them further:
the thing, its place, and what to type instead. One coordinator for all of it;
configurations have their table in tests/unit/test_conf_mistakes.c.
"""

import os
import subprocess
import sys

from cluster import PELORUS, check, equal, run, wait_for

W, NOBODY = "10.0.1.1:1234", "10.9.9.9:9"
HERE = f"/v1/nodes/worker/{W}"
BEAT = {"startupTime": 1732000000000, "processId": 42, "slots": 8, "cpuUsage": 0.2}


def told(what, answer, status, words):
    equal(answer.status, status, f"{what}: {answer.text[:300]}")
    for word in words:
        check(word in answer.text, lambda: f"{what}: no {word!r} in {answer.text[:400]}")


CALLS = (
    # heartbeats
    ("PUT", HERE, {**BEAT, "cpuUsage": 20}, 422, ("cpuUsage: 20", "from 0 to 1")),
    ("PUT", HERE, {**BEAT, "slots": "8"}, 422, ("slots", "whole number")),
    ("PUT", HERE, {**BEAT, "groups": "gpu"}, 422, ("groups", "array of names")),
    ("PUT", HERE, {**BEAT, "serverStatus": "OK"}, 422, ("serverStatus", "NORMAL")),
    ("PUT", HERE, {**BEAT, "startupTime": 1731999999999}, 409, ("startupTime 1732000000000", "takeover=1")),
    ("PUT", HERE + "?ttl=30", BEAT, 400, ("ttl", "the unit is missing", "30s")),
    ("PUT", HERE + "?ttl=2d", BEAT, 400, ("ttl: 2d", "1s to 1h")),
    ("PUT", HERE + "?lease=9s", BEAT, 400, ("lease", "ttl instance takeover")),
    ("PUT", "/v1/nodes/worker/10.0.0.9", BEAT, 400, ("10.0.0.9", "write host:port")),
    ("PUT", "/v1/nodes/workers/" + W, BEAT, 404, ("workers", "master, worker")),
    # paths, methods, parameters
    ("GET", "/nodes", None, 404, ("/nodes", "did you mean /v1/nodes?")),
    ("GET", "/V1//Nodes", None, 404, ("did you mean /v1/nodes?",)),
    ("GET", "/healthz", None, 404, ("/livez and /readyz",)),
    ("GET", "/statistics", None, 404, ("/statistics", "/openapi.yaml")),
    ("POST", HERE, BEAT, 405, ("POST", "GET, PUT, DELETE")),
    ("GET", "/v1/nodes?kind=workers", None, 400, ("kind: workers", "there are master")),
    ("GET", "/v1/nodes?state=alive", None, 400, ("state: alive", "suspect")),
    ("GET", "/v1/workers/best?gruop=gpu", None, 400, ("gruop", "group")),
    ("GET", "/v1/workers/best?exclude=10.0.0.9", None, 400, ("exclude", "10.0.0.9", "host:port")),
    ("GET", "/v1/workers/best?exclude=a:1;b:2", None, 400, ("exclude", "a:1;b:2")),
    ("GET", "/v1/workers/best?group=nosuch", None, 404, ("nosuch", "/v1/groups")),
    ("GET", "/v1/workers/best?count=0", None, 400, ("count: 0", "1 to 1000")),
    ("PUT", HERE + "/drain", {"for": "10m"}, 400, ("no body", "query", "for")),
    ("PUT", HERE + "/drain?for=100d", None, 400, ("for: 100d", "30d")),
    ("PUT", f"/v1/nodes/worker/{NOBODY}/cordon", None, 404, (NOBODY, "never had work")),
    # bodies
    ("POST", "/v1/work", {"kind": "slave"}, 422, ("slave", "master or a worker")),
    ("POST", "/v1/work", {"foo": 1}, 400, ("foo", "kind, group")),
    ("GET", "/v1/work/nosuch", None, 404, ("no work nosuch",)),
    ("DELETE", "/v1/work/nosuch?epoch=x", None, 400, ("epoch", "x", "from 1")),
    ("PATCH", "/v1/settings", {"paused_for": "10m"}, 422, ("paused_for", "beside")),
    ("PATCH", "/v1/settings", {"paused": False, "paused_for": "10m"}, 422, ("paused_for",)),
    ("PATCH", "/v1/settings", {"policy": "fast"}, 422, ("policy", "fast", "ROUND_ROBIN")),
    ("PATCH", "/v1/settings", {"brake_override": "9h"}, 422, ("brake_override: 9h", "1h")),
    ("PUT", "/v1/groups/gpu", {"workers": [W]}, 400, ("workers", "there are addresses")),
    ("PUT", "/v1/groups/gpu", {"addresses": ["foo"]}, 422, ("foo", "write host:port")),
    ("POST", "/v1/failovers", {"kind": "worker", "address": W}, 409, (W, "force")),
)

LINES = (
    (("node",), 2, ("no subcommand node", "pelorus help")),
    (("start",), 2, ("did you mean serve?",)),
    (("serve", "-c", "a", "-c", "b"), 2, ("-c is given twice", "a and b")),
    (("serve", "--listen", "x"), 2, ("--listen", "stands in FILE")),
    (("check-config", "-c", "-"), 1, ("/dev/stdin",)),
    (("work", "finish", "o1", "1"), 2, ("work finish", "done")),
    (("work", "done", "o1"), 2, ("EPOCH is missing", "work done ID EPOCH")),
    (("work", "add", "--payload", "{bad"), 2, ("--payload", "'bad'")),
    (("drain",), 2, ("drain", "missing", "KIND ADDRESS")),
    (("drain", W), 2, (W, "KIND ADDRESS")),
    (("uncordon", "worker", NOBODY), 4, (NOBODY, "nothing", "pelorus nodes")),
    (("undrain", "worker", NOBODY), 4, (NOBODY, "nothing", "pelorus nodes")),
    (("cordon", "worker", W, "--for", "10m"), 2, ("takes no --for",)),
    (("fence", "o1", "x"), 2, ("x is no epoch",)),
    (("pause", "--for", "10"), 2, ("the unit is missing",)),
    (("status", "--url", "127.0.0.1:7077"), 2, ("127.0.0.1:7077", "begins with http://")),
    (("agent", "--kinds", "worker"), 2, ("--kinds",)),
    (("agent", "--kind", "worker", "--address", "0.0.0.0:1"), 2, ("others reach it",)),
)


def test_calls_that_are_wrong_are_told_what_is_right(cluster):
    c = cluster.coordinator()
    equal(c.api("PUT", HERE, BEAT).status, 201, "a node")
    wait_for("it is known", lambda: c.api("GET", HERE).status == 200)
    for method, path, body, status, words in CALLS:
        told(f"{method} {path} {body}", c.api(method, path, body), status, words)
    for argv, code, words in LINES:
        said = subprocess.run([PELORUS, *argv], capture_output=True, text=True, check=False, timeout=60,
                              env={**os.environ, "PELORUS_URL": f"http://127.0.0.1:{c.port}"})
        what = f"pelorus {' '.join(argv)}: {said.stderr}"
        equal(said.returncode, code, what)
        for word in words:
            check(word in said.stderr, lambda: f"no {word!r} in {what}")
    a = c.api("PUT", "/v1/nodes/worker/10.0.1.9:1", {"startupTime": 1732000000, "cpu": 0.5, "host": "10.0.1.8"})
    told("an unlikely heartbeat", a, 201, ("seconds?", "did you mean cpuUsage?", "host, port: not those of 10.0.1.9:1"))


def test_a_coordinator_that_cannot_start_says_what_to_change(cluster):
    cases = (("listen: no-such-host.invalid:7077", ("no-such-host.invalid", "an address of this host")),
             ("listen: 192.0.2.1:7077", ("192.0.2.1:7077", "no address of this host")),
             ("log: {file: /tmp}", ("log.file: /tmp", "name a file")),
             ("state-dir: /no/such/dir", ("state-dir: /no/such/dir", "make it")),
             ("registry: {path: /no/such/x.db}", ("/no/such", "registry.path")))
    for i, (text, words) in enumerate(cases):
        path = os.path.join(cluster.dir, f"wrong{i}.yaml")
        with open(path, "w", encoding="utf-8") as f:
            f.write(text + "\n" + ("" if text.startswith("listen") else "listen: 127.0.0.1:0\n")
                    + ("" if text.startswith("registry") else f"registry: {{path: {path}.db}}\n"))
        said = subprocess.run([PELORUS, "serve", "-c", path], capture_output=True, text=True, check=False, timeout=60)
        equal(said.returncode, 1, f"{text}: {said.stderr}")
        for word in words:
            check(word in said.stderr, lambda: f"{text}: no {word!r} in {said.stderr}")


if __name__ == "__main__":
    run(sys.modules[__name__])
