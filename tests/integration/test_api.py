"""The REST API, resource by resource, against real coordinators: what each
route answers to what it is meant for, and to what it is not. Work items and
long polls: test_api_work.py."""

import os
import re
import sqlite3
import sys
import threading
import time
import urllib.parse

from cluster import ROOT, SLOW, check, equal, run, settings, submit, wait_for
from moves import finished, gone_from

M1, M2, W1, W2, W3 = "10.0.0.1:5678", "10.0.0.2:5678", "10.0.1.1:1234", "10.0.1.2:1234", "10.0.1.3:1234"
METHODS = ("GET", "PUT", "POST", "DELETE", "PATCH")


def put(api, kind, address, ttl="30s", expect=(200, 201), **body):
    """A heartbeat; one process per address unless the test says otherwise."""
    beat = {"startupTime": 1700000000000, "processId": 7, **body}
    a = api("PUT", f"/v1/nodes/{kind}/{address}?ttl={ttl}", beat)
    check(a.status in expect, lambda: f"PUT {kind} {address}: {a.status} {a.text}")
    return a


def up(cluster, api, *nodes):
    for kind, address in nodes:
        put(api, kind, address)
    cluster.wait_up(api, *(address for _, address in nodes))


def problem(answer, status, code):
    """An RFC 9457 problem with this status and code; returns its members."""
    equal((answer.status, answer.headers["Content-Type"]), (status, "application/problem+json"),
          answer.text[:300])
    members = answer.json
    equal((members["status"], members["code"]), (status, code), answer.text[:300])
    check(members["title"] and members["type"], f"title and type: {members}")
    return members


def documented():
    """{(method, path with {}): statuses} of openapi.yaml."""
    routes, path, method = {}, None, None
    with open(os.path.join(ROOT, "http", "openapi.yaml"), encoding="utf-8") as f:
        text = f.read()
    for line in text[text.index("\npaths:"):text.index("\ncomponents:")].splitlines():
        if m := re.match(r"  (/\S*):$", line):
            path = re.sub(r"{\w+}", "{}", m.group(1))
        elif m := re.match(r"    (get|put|post|delete|patch):$", line):
            method = m.group(1).upper()
            routes[method, path] = set()
        elif m := re.match(r'        "(\d{3})":', line):
            routes[method, path].add(int(m.group(1)))
    return routes


def documented_parameters():
    """{(method, path with {}): names of query parameters} of openapi.yaml."""
    with open(os.path.join(ROOT, "http", "openapi.yaml"), encoding="utf-8") as f:
        text = f.read()
    shared = {m.group(1): m.group(2) for m in re.finditer(r"(?m)^    (\w+): {name: ([\w-]+), in: query", text)}
    found, path, method = {}, None, None
    for line in text[text.index("\npaths:"):text.index("\ncomponents:")].splitlines():
        if m := re.match(r"  (/\S*):$", line):
            path = re.sub(r"{\w+}", "{}", m.group(1))
        elif m := re.match(r"    (get|put|post|delete|patch):$", line):
            method = m.group(1).upper()
            found[method, path] = set()
        elif m := re.match(r"        - {name: ([\w-]+), in: query", line):
            found[method, path].add(m.group(1))
        elif (m := re.match(r'        - \$ref: "#/components/parameters/(\w+)"', line)) and m.group(1) in shared:
            found[method, path].add(shared[m.group(1)])
    return found


def parameters_in_the_table():
    """The same of routes.c."""
    with open(os.path.join(ROOT, "http", "routes.c"), encoding="utf-8") as f:
        text = f.read()
    words = dict(re.findall(r'#define (PAGE|POLL) "([^"]*)"', text))
    table = text[text.index("routes[] = {"):text.index("\n};")]
    found = {}
    for path, handlers in re.findall(r'\{"(/[^"]*)",(.*?)\}\}', table, re.S):
        path = re.sub(r"{\w+}", "{}", path)
        for method, names in re.findall(r'\[HTTP_(\w+)\] =\s*{\w+,\s*\w+,\s*(?:NULL|"[^"]*"(?:\s*"[^"]*")*),([^}]*)', handlers):
            names = re.sub(r"PAGE|POLL", lambda m: f' {words[m.group(0)]} ', names)
            found[method, path] = set(names.replace('"', " ").split())
    return found


def in_the_table():
    """{(method, path)} of routes.c."""
    with open(os.path.join(ROOT, "http", "routes.c"), encoding="utf-8") as f:
        table = f.read()
    table = table[table.index("routes[] = {"):table.index("\n};")]
    return {(method, re.sub(r"{\w+}", "{}", path)) for path, handlers in re.findall(r'\{"(/[^"]*)",(.*?)\}\}', table, re.S)
            for method in re.findall(r"\[HTTP_(\w+)\]", handlers)}


# --- the contract ------------------------------------------------------------

def test_the_contract_and_the_program_have_the_same_routes(cluster):
    equal(set(documented()), in_the_table(), "openapi.yaml and routes.c")
    equal(documented_parameters(), parameters_in_the_table(), "their query parameters")
    c = cluster.coordinator()
    with open(os.path.join(ROOT, "http", "openapi.yaml"), encoding="utf-8") as f:
        equal(c.api("GET", "/openapi.yaml").text, f.read(), "the document served")


def test_every_route_answers_as_documented_and_other_methods_are_405(cluster):
    c = cluster.coordinator()
    up(cluster, c.api, ("master", M1), ("worker", W1))
    submit(c.port, ["w-1"])
    values = {"kind": "master", "address": M1, "name": "default", "id": "w-1", "pick": "0" * 15 + "1"}
    with open(os.path.join(ROOT, "http", "openapi.yaml"), encoding="utf-8") as f:
        paths = re.findall(r"^  (/\S*):$", f.read(), re.M)
    for path in paths:
        route = re.sub(r"{\w+}", "{}", path)
        concrete = re.sub(r"{(\w+)}", lambda m: values[m.group(1)], path)
        allowed = {m for m, p in documented() if p == route}
        for method in METHODS:
            a = c.api(method, concrete)
            if method in allowed:
                check(a.status in documented()[method, route],
                      f"{method} {concrete}: {a.status} is not documented: {a.text[:200]}")
                continue
            problem(a, 405, "method_not_allowed")
            equal(set(a.headers["Allow"].split(", ")), allowed | {"OPTIONS"} | ({"HEAD"} if "GET" in allowed else set()),
                  f"Allow of {concrete}")
        if "GET" in allowed:
            full, head = c.api("GET", concrete), c.api("HEAD", concrete)
            equal((head.status, head.text), (full.status, ""), f"HEAD {concrete}")
            equal(head.headers["Content-Type"], full.headers["Content-Type"], f"type of {concrete}")
    problem(c.api("GET", "/v1/nothing"), 404, "not_found")
    problem(c.api("BREW", "/v1/nodes"), 405, "method_not_allowed")


# --- picks -------------------------------------------------------------------

def granted(api, address):
    a = api.get("/v1/workers/best?peek=1&explain=1")
    return next(x["granted"] for x in a["candidates"] if x["address"] == address)


def test_best_in_all_its_forms(cluster):
    c = cluster.coordinator()
    problem(c.api("GET", "/v1/workers/best?group=nope"), 404, "group_not_found")
    a = c.api("GET", "/v1/workers/best")
    problem(a, 503, "group_empty")
    check(int(a.headers["Retry-After"]) >= 1, "Retry-After")
    up(cluster, c.api, *(("worker", w) for w in (W1, W2, W3)))
    a = c.api("GET", "/v1/workers/best")
    equal((a.status, a.headers["Cache-Control"]), (200, "no-store"), "best")
    one = a.json
    equal(set(one), {"group", "address", "pick", "score", "alternates", "as_of", "stale"}, "members")
    equal({one["address"], *one["alternates"]}, {W1, W2, W3}, "the pick and its alternates")
    equal((one["group"], one["stale"]), ("default", False), "group and stale")
    many = c.api.get("/v1/workers/best?count=30")
    equal(len(many["picks"]), 30, "count=30")
    equal({p["address"] for p in many["picks"]}, {W1, W2, W3}, "spread over")
    equal(len({p["pick"] for p in many["picks"]}), 30, "each pick its own")
    before = [granted(c.api, w) for w in (W1, W2, W3)]
    equal(sum(before), 31, "assignments counted")
    equal(c.api.get("/v1/workers/best?peek=1")["pick"], None, "peek")
    equal(c.api.get("/v1/workers/best?peek&count=5")["picks"][0]["pick"], None, "peek without a value")
    equal(c.api("HEAD", "/v1/workers/best").status, 200, "HEAD")
    equal([granted(c.api, w) for w in (W1, W2, W3)], before, "peek and HEAD count nothing")
    keys = {k: {c.api.get(f"/v1/workers/best?peek=1&affinity={k}")["address"] for _ in range(5)} for k in "abcdefgh"}
    check(all(len(found) == 1 for found in keys.values()), f"affinity: {keys}")
    equal(c.api.get(f"/v1/workers/best?exclude={W1},{W2}")["address"], W3, "exclude with a comma")
    equal(c.api.get(f"/v1/workers/best?exclude={W1}&exclude={W3}")["address"], W2, "exclude twice")
    a = c.api("GET", f"/v1/workers/best?exclude={W1},{W2},{W3}")
    equal({x["why_not"] for x in problem(a, 503, "all_busy")["candidates"]}, {"excluded"}, "why not")
    check(int(a.headers["Retry-After"]) >= 1, "Retry-After")
    for query in ("count=0", "count=1001", "count=x", "peek=2", "explain=maybe", "group=a%2Fb", "peek=",
                  "peek=true", "explain=false", "count=1&count=1", "peek=1&PEEK=1", "group=a&group=b",
                  "exclude=" + ",".join("a" * 3 for _ in range(65))):
        problem(c.api("GET", f"/v1/workers/best?{query}"), 400, "invalid")


def test_no_parameter_is_given_twice_on_any_route(cluster):
    c = cluster.coordinator()
    node = f"/v1/nodes/worker/{W1}"
    for method, path in (("GET", "/v1/nodes?limit=1&limit=2"), ("GET", f"{node}?x&x"),
                         ("PUT", f"{node}?instance=a&instance=b"), ("PUT", f"{node}?ttl=5s&ttl=6s"),
                         ("DELETE", f"{node}?startupTime=1&startupTime=2"), ("PUT", f"{node}/cordon?who=a&who=b"),
                         ("PUT", f"{node}/drain?for=1m&for=2m"), ("GET", "/v1/work?kind=worker&kind=master"),
                         ("DELETE", "/v1/work/x?epoch=1&epoch=2"), ("POST", "/v1/work?a=1&a=2"),
                         ("GET", "/v1/groups?cursor=a&cursor=b"), ("GET", "/v1/failovers?wait=1s&wait=2s"),
                         ("GET", "/livez?a=1&a=1")):
        a = c.api(method, path, {} if method in ("PUT", "POST") else None)
        check("more than once" in problem(a, 400, "invalid")["detail"], f"{path}: {a.text}")
    for takeover in ("true", "false", "yes", ""):
        problem(c.api("PUT", f"{node}?takeover={takeover}", {}), 400, "invalid")
    equal(c.api("PUT", f"{node}?takeover=0", {}).status, 201, "takeover=0")


def test_what_nobody_knows_is_refused_alike_everywhere(cluster):
    c = cluster.coordinator()
    up(cluster, c.api, ("master", M1), ("worker", W1))
    submit(c.port, ["w-1"])
    values = {"kind": "master", "address": M1, "name": "g", "id": "w-1", "pick": "0" * 15 + "1"}
    for method, route in documented():
        names = iter({"/v1/nodes": ("kind", "address"), "/v1/group": ("name",), "/v1/picks": ("pick",)}.get(route[:9], ("id",)))
        path = re.sub("{}", lambda _: values[next(names)], route)
        a = c.api(method, f"{path}?gruop=gpu", {} if method in ("PUT", "POST", "PATCH") else None)
        check("gruop" in problem(a, 400, "invalid")["detail"], f"{method} {path}: {a.text}")
        if "{}" in route:  # longer than any name, wherever it stands
            problem(c.api(method, route.replace("{}", "a" * 300), {} if method in ("PUT", "POST") else None), 400, "invalid")
    # No value is not the same as no parameter: "DELETE ...?startupTime" is not "whoever stands there".
    for method, path, names in (
            ("GET", "/v1/workers/best", "group count affinity exclude"), ("GET", f"/v1/nodes/worker/{W1}", "watch index wait"),
            ("GET", "/v1/nodes", "kind group state status watch limit cursor index wait"), ("PUT", f"/v1/nodes/worker/{W1}", "ttl instance"),
            ("DELETE", f"/v1/nodes/worker/{W1}", "startupTime instance"), ("GET", "/v1/work", "kind owner state limit cursor index wait"),
            ("DELETE", "/v1/work/w-1", "epoch"), ("POST", "/v1/work/w-1/release", "epoch"), ("PUT", f"/v1/nodes/worker/{W1}/cordon", "reason who"),
            ("DELETE", f"/v1/nodes/worker/{W1}/drain", "reason who"), ("PUT", f"/v1/nodes/worker/{W1}/restart", "for reason who"),
            ("GET", "/v1/groups", "limit cursor"), ("GET", "/v1/failovers", "limit cursor")):
        for name in names.split():
            for nothing in (name, f"{name}=", f"{name}=%ff"):
                a = c.api(method, f"{path}?{nothing}", {} if method in ("PUT", "POST") else None)
                check(name in problem(a, 400, "invalid")["detail"], f"{method} {path}?{nothing}: {a.text}")
    equal(len(c.api.get("/v1/nodes?state=up")["items"]), 2, "nobody left")
    for exclude in ("exclude", "EXCLUDE"):
        problem(c.api("GET", f"/v1/workers/best?{exclude}={W1}"), 503, "all_busy")
    for path in ("/v1/workers/best?group=", "/v1/workers/best?group=%20", "/v1/nodes?group=", "/v1/groups/%20",
                 "/v1/nodes?wait=soon", f"/v1/nodes/master/{M1}?wait=soon", "/v1/work?wait=1", "/v1/groups?cursor=a%2Fb",
                 "/v1/nodes?cursor=0/x", "/v1/work?cursor=", "/v1/failovers?cursor=a%20b", "/v1/work/a%20b", "/v1/failovers/a%20b"):
        problem(c.api("GET", path), 400, "invalid")
    problem(c.api("GET", "/v1/failovers?cursor=master-1-0"), 410, "cursor_gone")
    problem(c.api("PUT", f"/v1/nodes/worker/{W1}?instance=a%20b", {}), 400, "invalid")
    problem(c.api("DELETE", f"/v1/nodes/worker/{W1}?instance=a%20b"), 400, "invalid")
    problem(c.api("DELETE", f"/v1/nodes/worker/{W1}?startupTime=0"), 400, "invalid")
    for state in ("ASSIGNED", "assigned"):
        equal(len(c.api.get(f"/v1/work?state={state}")["items"]), 1, f"state={state}")
    equal(len(c.api.get("/v1/nodes?state=UP&status=normal")["items"]), 2, "state=UP")
    claim = {"kind": "master", "owner": M1}
    for method, path, good in (("POST", "/v1/work", {"kind": "master"}), ("PUT", "/v1/work/c-1", claim), ("PUT", "/v1/groups/g", {"addresses": []}),
                               ("POST", "/v1/fence/check", {"work": "w-1", "epoch": 1}), ("PATCH", "/v1/settings", {"paused": False}),
                               ("POST", "/v1/failovers", {"kind": "master", "address": M1, "dry_run": True})):
        problem(c.api(method, path, {**good, "gruop": "gpu"}), 400, "invalid_json")
        for name in good:
            problem(c.api(method, path, {**good, name: None}), 400, "invalid_json")
        problem(c.api(method, path, str(good).replace("'", '"'), {"Content-Type": ""}), 415, "unsupported_media_type")
    for extra in ({"id": None}, {"group": None}, {"policy": None}):
        problem(c.api("POST", "/v1/work", {"kind": "master", **extra}), 400, "invalid_json")
    problem(c.api("PUT", "/v1/work/c-1", {**claim, "startupTime": None}), 400, "invalid_json")
    problem(c.api("POST", "/v1/work", {"kind": "master", "group": ""}), 422, "invalid_value")
    for method, path in (("PUT", f"/v1/nodes/master/{M1}/drain"), ("DELETE", "/v1/groups/g"), ("POST", "/v1/work/w-1/release"),
                         ("POST", f"/v1/picks/{values['pick']}/done")):
        check("takes no body" in problem(c.api(method, path, {"for": "1m"}), 400, "invalid")["detail"], path)
    equal(c.api("POST", f"/v1/picks/{values['pick']}/done", {}).status, 204, "{} says nothing")


def test_an_ipv6_host_stands_in_brackets(cluster):
    c = cluster.coordinator()
    for method, path, body, status in (
            ("PUT", "/v1/nodes/worker/::1:5", {}, 400), ("GET", "/v1/nodes/worker/::1:5", None, 400),
            ("DELETE", "/v1/nodes/worker/fe80::1:5", None, 400), ("PUT", "/v1/nodes/worker/::1:5/drain", {}, 400),
            ("GET", "/v1/work?kind=worker&owner=::1:5", None, 400),
            ("POST", "/v1/failovers", {"kind": "master", "address": "::1:5"}, 422),
            ("PUT", "/v1/work/x", {"kind": "worker", "owner": "::1:5"}, 422),
            ("PUT", "/v1/groups/g", {"addresses": ["2001:db8::1:2:3:4:1234"]}, 422)):
        a = c.api(method, path, body)
        check(a.status == status and "brackets" in a.json["detail"], f"{method} {path}: {a.status} {a.text}")
    equal(c.api("PUT", "/v1/nodes/worker/[::1]:5", {}).status, 201, "with brackets")
    # However it is written, it is one node.
    statuses = [c.api("PUT", f"/v1/nodes/worker/[{host}]:7", {"groups": ["v6"]}).status
                for host in ("2001:DB8:0:0::7", "2001:0db8::0007", "2001:db8::7")]
    equal(statuses, [201, 200, 200], "three spellings")
    cluster.wait_up(c.api, "[2001:db8::7]:7")
    equal([n["address"] for n in c.api.get("/v1/nodes?group=v6")["items"]], ["[2001:db8::7]:7"], "one node")
    equal(c.api.get("/v1/nodes/worker/[2001:db8:0::7]:7")["address"], "[2001:db8::7]:7", "by another one")
    equal(c.api("PUT", "/v1/groups/six", {"addresses": ["[2001:DB8::7]:7"]}).json["addresses"], ["[2001:db8::7]:7"],
          "a group's")
    wait_for("it joined", lambda: c.api("GET", "/v1/groups/six").json.get("alive") == ["[2001:db8::7]:7"])
    a = c.api("GET", "/v1/workers/best?group=six&exclude=[2001:db8:0:0:0::7]:7")
    problem(a, 503, "all_busy")
    equal(c.api("PUT", "/v1/nodes/worker/[2001:DB8::7]:7/cordon").json["address"], "[2001:db8::7]:7", "a cordon")
    equal(c.api("PUT", "/v1/work/six", {"kind": "worker", "owner": "[2001:DB8::7]:7"}).status, 409, "it is cordoned")
    equal(c.api("DELETE", "/v1/nodes/worker/[2001:0DB8::7]:7").status, 204, "leave")


def test_a_worker_that_says_busy_gets_nothing(cluster):
    c = cluster.coordinator()
    up(cluster, c.api, ("worker", W1))
    put(c.api, "worker", W1, serverStatus="BUSY")
    wait_for("busy", lambda: c.api("GET", "/v1/workers/best").status == 503)
    a = problem(c.api("GET", "/v1/workers/best"), 503, "all_busy")
    equal([x["why_not"] for x in a["candidates"]], ["busy"], "why not")


@settings(heartbeat="30m")  # a refusal holds for 4.5 s
def test_picks_end(cluster):
    c = cluster.coordinator()
    up(cluster, c.api, ("worker", W1), ("worker", W2))
    picks = c.api.get("/v1/workers/best?count=10")["picks"]
    for p in picks:
        equal(c.api("POST", f"/v1/picks/{p['pick']}/done").status, 204, "done")
    for again in (picks[0]["pick"], "00000000000000aa"):
        equal(c.api("POST", f"/v1/picks/{again}/done").status, 204, "unknown picks are counted, not refused")
    first = c.api.get(f"/v1/workers/best?exclude={W2}")
    a = c.api("POST", f"/v1/picks/{first['pick']}/refused")
    equal((a.status, a.text, a.headers.get("Content-Type")), (204, "", None), "refused")
    equal({c.api.get("/v1/workers/best")["address"] for _ in range(5)}, {W2}, "who refused gets nothing now")
    for bad in ("zz", "1", "-000000000000001", "0x00000000000001", "0" * 16):
        problem(c.api("POST", f"/v1/picks/{bad}/done"), 400, "invalid")


# --- nodes -------------------------------------------------------------------

def node(api, kind, address):
    return api.get(f"/v1/nodes/{kind}/{address}")


def test_nodes_come_renew_and_go(cluster):
    c = cluster.coordinator()
    first = put(c.api, "worker", W1, expect=(201,), slots=8, cpuUsage=0.25).json
    equal((first["ttl"], first["ttl_ms"], first["renew_after_ms"], first["state"], first["warnings"]),
          ("30s", 30000, 1000, "up", []), "the answer")
    registry = c.api.get("/v1/cluster")["registry"]
    check(registry["session_timeout_ms"] >= 1000 and "s" in registry["session_timeout"], registry)
    cluster.wait_up(c.api, W1)
    n = node(c.api, "worker", W1)
    equal((n["kind"], n["address"], n["slots"], n["cpu"], n["memory"], n["status"], n["degraded"], n["owned"],
           n["groups"], n["gate"]), ("worker", W1, 8, 0.25, None, "NORMAL", False, 0, ["default"], None), "the node")
    put(c.api, "worker", W1, expect=(200,), slots=8, cpuUsage=0.5)
    wait_for("the new load", lambda: node(c.api, "worker", W1)["cpu"] == 0.5)
    # A value out of range is refused with its name, a member that nobody reads is said.
    wrong = problem(c.api("PUT", f"/v1/nodes/worker/{W1}", {"cpuUsage": 7, "slots": "8"}), 422, "invalid_value")
    check("cpuUsage, slots: cpuUsage: 7 where" in wrong["detail"], wrong["detail"])
    for nameless in ({"group": ""}, {"groups": ["gpu", " "]}):  # of a variable that was not set
        wrong = problem(c.api("PUT", f"/v1/nodes/worker/{W1}", nameless), 422, "invalid_value")
        check("name is empty; leave it out" in wrong["detail"], wrong["detail"])
    equal((n["cpu"], n["degraded"], n["problems"]), (0.25, False, []), "nothing of it was taken")
    warned = c.api("PUT", f"/v1/nodes/worker/{W1}", {"cpuusage": 0.1, "cpuUsage": 0.5, "slots": 8}).json["warnings"]
    equal(len(warned), 1, "a warning")
    check("did you mean cpuUsage" in warned[0], warned)
    # Without startupTime the registration is the identity.
    a = c.api("PUT", f"/v1/nodes/worker/{W2}", {})
    b = c.api("PUT", f"/v1/nodes/worker/{W2}")
    equal((a.status, b.status), (201, 200), "no body and an empty one")
    check(a.json["process"]["startupTime"] > 0, a.text)
    equal(a.json["process"]["startupTime"], b.json["process"]["startupTime"], "the same process")
    equal(c.api("DELETE", f"/v1/nodes/worker/{W2}").status, 204, "leave")
    problem(c.api("DELETE", f"/v1/nodes/worker/{W2}"), 404, "not_found")
    # Another process at the address.
    put(c.api, "worker", W1, startupTime=1700000000999)
    wait_for("replaced", lambda: node(c.api, "worker", W1)["process"]["startupTime"] == 1700000000999)
    # A ttl that runs out.
    put(c.api, "worker", W3, ttl=f"{3 * SLOW}s")
    cluster.wait_up(c.api, W3)
    wait_for("its ttl is over", lambda: node(c.api, "worker", W3)["state"] == "down")
    equal([n["address"] for n in c.api.get("/v1/nodes?kind=worker&state=up")["items"]], [W1], "who is up")


def test_nodes_that_are_none_are_refused_with_reasons(cluster):
    c = cluster.coordinator()
    for method, path, body, status, code in (
            ("PUT", "/v1/nodes/worker/10.0.0.1", {}, 400, "invalid"),
            ("PUT", f"/v1/nodes/worker/{W1}?ttl=5", {}, 400, "invalid"),
            ("PUT", f"/v1/nodes/worker/{W1}?ttl=2h", {}, 400, "invalid"),
            ("PUT", f"/v1/nodes/worker/{W1}", "[1]", 400, "invalid_json"),
            ("PUT", f"/v1/nodes/worker/{W1}", "{", 400, "invalid_json"),
            ("PUT", f"/v1/nodes/servant/{W1}", {}, 404, "not_found"),
            ("GET", f"/v1/nodes/worker/{W1}", None, 404, "not_found"),
            ("GET", "/v1/nodes?kind=servant", None, 400, "invalid"),
            ("GET", "/v1/nodes?state=gone", None, 400, "invalid"),
            ("GET", "/v1/nodes?status=idle", None, 400, "invalid"),
            ("GET", "/v1/nodes?limit=1001", None, 400, "invalid"),
            ("GET", "/v1/nodes?cursor=x", None, 400, "invalid"),
            ("GET", "/v1/nodes?index=1-1&wait=soon", None, 400, "invalid"),
            ("PUT", f"/v1/nodes/alert-server/{W1}/cordon", None, 422, "invalid_value"),
            ("DELETE", f"/v1/nodes/alert-server/{W1}/gate", None, 422, "invalid_value"),
            ("DELETE", f"/v1/nodes/worker/{W1}/gate", None, 404, "not_found"),
            ("PUT", f"/v1/nodes/worker/{W1}/cordon", None, 404, "no_owner"),
            ("PUT", f"/v1/nodes/worker/{W1}/cordon?for=1h", None, 400, "invalid"),
            ("PUT", f"/v1/nodes/worker/{W1}/drain?for=31d", None, 400, "invalid")):
        check(problem(c.api(method, path, body), status, code).get("detail"), f"{method} {path}: a detail")


def test_a_process_whose_work_was_taken_over_is_refused(cluster):
    c = cluster.coordinator()
    put(c.api, "master", M1, ttl=f"{4 * SLOW}s")
    cluster.wait_up(c.api, M1)
    submit(c.port, ["a", "b"])
    put(c.api, "master", M2)
    wait_for("moved", lambda: {i["owner"] for i in c.api.all("/v1/work?kind=master")} == {M2})
    problem(put(c.api, "master", M1, expect=(409,)), 409, "fenced")
    equal(put(c.api, "master", M1, expect=(201,), startupTime=1700000000999).status, 201, "another process")
    cluster.wait_up(c.api, M1)
    record = wait_for("the record done", finished(c.api, M1))[0]
    equal((record["kind"], record["address"], record["state"], record["moved"]), ("master", M1, "done", 2), "the record")
    equal(c.api.get(f"/v1/failovers/{record['id']}")["id"], record["id"], "by its id")


@settings(heartbeat="1h")
def test_a_gate_that_nobody_needs_is_forgotten(cluster):
    c = cluster.coordinator()
    gate = f"/v1/nodes/worker/{W1}/gate"
    up(cluster, c.api, ("worker", W1), ("worker", W2))
    first = c.api("PUT", "/v1/work/first", {"kind": "worker", "owner": W1}).json["epoch"]
    problem(c.api("DELETE", gate), 409, "alive")
    equal(c.api("DELETE", f"/v1/nodes/worker/{W1}").status, 204, "it leaves")
    wait_for("moved", lambda: c.api.get("/v1/work/first")["owner"] == W2)
    moved = c.api.get("/v1/work/first")["epoch"]
    check(moved > first, "its work was moved")
    wait_for("it is over", lambda: all(f["state"] in ("done", "aborted") for f in c.api.get("/v1/failovers")["items"]))
    wait_for("forgotten", lambda: c.api("DELETE", gate + "?who=ann&reason=scaled").status == 204)
    problem(c.api("DELETE", gate), 404, "not_found")
    wait_for("nobody is there", lambda: c.api("GET", f"/v1/nodes/worker/{W1}").status == 404)
    up(cluster, c.api, ("worker", W1))
    again = c.api("PUT", "/v1/work/again", {"kind": "worker", "owner": W1})
    equal(again.status, 201, again.text)
    check(again.json["epoch"] > moved, "a new life is above all before")


@settings(heartbeat="1h")
def test_orders_at_the_gate(cluster):
    c = cluster.coordinator()
    up(cluster, c.api, ("worker", W1), ("worker", W2))
    gate = c.api("PUT", f"/v1/nodes/worker/{W1}/cordon?reason=disks&who=ann")
    equal((gate.status, gate.json["state"], gate.json["who"], gate.json["reason"]), (200, "cordoned", "ann", "disks"), gate.text)
    wait_for("seen", lambda: (node(c.api, "worker", W1)["gate"] or {}).get("state") == "cordoned")
    wait_for("no picks", lambda: {c.api.get("/v1/workers/best")["address"] for _ in range(6)} == {W2})
    a = problem(c.api("GET", f"/v1/workers/best?exclude={W2}"), 503, "all_busy")
    equal({x["address"]: x["why_not"] for x in a["candidates"]}, {W1: "closed", W2: "excluded"}, "why not")
    equal(c.api("DELETE", f"/v1/nodes/worker/{W1}/cordon").json["state"], "open", "uncordoned")
    wait_for("picked again", lambda: c.api("GET", f"/v1/workers/best?exclude={W2}").status == 200)
    for order in ("drain", "restart"):
        gate = c.api("PUT", f"/v1/nodes/worker/{W1}/{order}?for=5m")
        equal((gate.status, gate.json["state"]), (200, order + "ing"), gate.text)
        equal(c.api("DELETE", f"/v1/nodes/worker/{W1}/{order}").json["state"], "open", f"{order} taken back")


@settings(heartbeat="1h")
def test_groups_are_what_they_are_now(cluster):
    c = cluster.coordinator(more="groups: {gpu: [\"10.0.1.1:1234\"]}\n")
    equal([g["name"] for g in c.api.get("/v1/groups")["items"]], ["default", "gpu"], "configured")
    a = c.api("PUT", "/v1/groups/Late", {"addresses": [W2, W3]})
    equal((a.status, a.json["name"]), (201, "late"), a.text)
    equal(c.api("PUT", "/v1/groups/late", {"addresses": [W2]}).status, 200, "changed")
    up(cluster, c.api, ("worker", W1), ("worker", W2))
    equal(c.api.get("/v1/workers/best?group=LATE")["address"], W2, "it joined a group defined before it came")
    equal(c.api("PUT", "/v1/groups/later", {"addresses": [W1]}).status, 201, "defined after it came")
    wait_for("it joined", lambda: c.api("GET", "/v1/workers/best?group=later").status == 200)
    put(c.api, "worker", W2, groups=["own", "gpu"])
    wait_for("its own word counts", lambda: node(c.api, "worker", W2)["groups"] == ["default", "gpu", "late", "own"])
    equal(c.api.get("/v1/groups/gpu"), {**c.api.get("/v1/groups/gpu"), "name": "gpu", "addresses": [W1], "alive": [W1, W2]}, "gpu")
    equal([n["address"] for n in c.api.get("/v1/nodes?group=gpu")["items"]], [W1, W2], "nodes of a group")
    names = [g["name"] for g in c.api.all("/v1/groups")]
    equal(names, ["default", "gpu", "late", "later", "own"], "by name, default first")
    cursor, paged = None, []
    while cursor or not paged:
        page = c.api.get("/v1/groups?limit=2" + (f"&cursor={cursor}" if cursor else ""))
        paged += [g["name"] for g in page["items"]]
        cursor = page["next"]
    equal(paged, names, "page by page")
    equal(c.api("DELETE", "/v1/groups/later").status, 204, "removed")
    problem(c.api("DELETE", "/v1/groups/later"), 404, "group_not_found")
    wait_for("gone", lambda: c.api("GET", "/v1/groups/later").status == 404)
    # Any name that DolphinScheduler has: UTF-8, percent-encoded.
    chinese = urllib.parse.quote("测试组")
    equal(c.api("PUT", f"/v1/groups/{chinese}", {"addresses": [W1]}).json["name"], "测试组", "its name")
    put(c.api, "worker", W2, groups=["GPU pool"])
    wait_for("they joined", lambda: (c.api("GET", f"/v1/groups/{chinese}").json.get("alive"),
                                     node(c.api, "worker", W2)["groups"]) == ([W1], ["default", "gpu pool", "late"]))
    equal(c.api.get(f"/v1/workers/best?group={chinese}")["address"], W1, "a pick")
    equal(c.api.get("/v1/workers/best?group=gpu+pool")["group"], "gpu pool", "another")
    for path, body, status, code in (("/v1/groups/x", {"addresses": ["10.0.0.1"]}, 422, "invalid_value"),
                                     ("/v1/groups/x", {"addresses": [1]}, 400, "invalid_json"),
                                     ("/v1/groups/x", {}, 400, "invalid_json"),
                                     ("/v1/groups/default", {"addresses": []}, 422, "invalid_value"),
                                     ("/v1/groups/a%0Ab", {"addresses": []}, 400, "invalid")):
        problem(c.api("PUT", path, body), status, code)


# --- the rest ----------------------------------------------------------------

def test_failovers_by_hand(cluster):
    c = cluster.coordinator()
    up(cluster, c.api, ("master", M1))
    submit(c.port, [f"f-{n}" for n in range(5)])
    up(cluster, c.api, ("master", M2))
    order = {"kind": "master", "address": M1}
    wait_for("settled", lambda: c.api.get("/v1/cluster")["failover"]["master"]["brake"] is None)
    problem(c.api("POST", "/v1/failovers", order), 409, "alive")
    plan = c.api("POST", "/v1/failovers", {**order, "dry_run": True, "force": True})
    equal(plan.status, 200, plan.text)
    equal({(p["action"], p["target"]) for p in plan.json["plan"]}, {("move", M2)}, plan.text)
    equal(plan.headers["ETag"], plan.json["etag"], "ETag")
    for body, status, code in (({**order, "dry-run": True}, 400, "invalid_json"),
                               ({**order, "dry_run": "yes"}, 400, "invalid_json"),
                               ({"kind": "master"}, 400, "invalid_json"),
                               ({**order, "kind": "alert-server"}, 422, "invalid_value"),
                               ({**order, "address": "x"}, 422, "invalid_value"),
                               ({**order, "address": "10.9.9.9:1"}, 404, "not_found")):
        problem(c.api("POST", "/v1/failovers", body), status, code)
    submit(c.port, ["f-9"])
    wait_for("one more for the first", lambda: submit(c.port, [f"g-{time.monotonic_ns()}"]) or len(
        c.api.get(f"/v1/work?kind=master&owner={M1}")["items"]) > 5)
    stale = c.api("POST", "/v1/failovers", {**order, "force": True}, {"If-Match": plan.headers["ETag"]}, timeout=60)
    check(problem(stale, 412, "plan_changed")["plan"], "the difference")
    plan = c.api("POST", "/v1/failovers", {**order, "dry_run": True, "force": True})
    a = c.api("POST", "/v1/failovers", {**order, "force": True, "who": "ann", "reason": "test"},
              {"If-Match": plan.headers["ETag"]}, timeout=60)
    equal(a.status, 202, a.text)
    record = wait_for("done", lambda: (r := c.api.get(a.headers["Location"])) and r["state"] == "done" and r)
    equal(record["moved"], len(plan.json["plan"]), "as planned")
    wait_for("nothing is left", gone_from(c.api, M1))
    problem(c.api("GET", "/v1/failovers/none"), 404, "not_found")


def test_settings_hold_for_all_coordinators(cluster):
    c, other = cluster.coordinator(), cluster.coordinator()
    equal(c.api.get("/v1/settings"), {"paused": False, "paused_until": None, "brake_override_until": None,
                                      "policy": None, "shadow": None, "who": None, "reason": None}, "at first")
    a = c.api("PATCH", "/v1/settings", {"paused": True, "paused_for": "1h", "who": "ann", "reason": "upgrade"})
    equal((a.status, a.json["paused"], a.json["who"]), (200, True, "ann"), a.text)
    check(a.json["paused_until"] is not None, "until when")
    wait_for("the other sees it", lambda: other.api.get("/v1/cluster")["failover"]["paused"])
    a = other.api("PATCH", "/v1/settings", {"paused": False, "policy": "ROUND_ROBIN", "brake_override": "10m"}).json
    equal((a["paused"], a["policy"]), (False, "ROUND_ROBIN"), "changed")
    check(a["brake_override_until"] is not None, "the brake is overridden")
    equal(c.api("PATCH", "/v1/settings", {"policy": "", "brake_override": "0s"}).json["brake_override_until"], None, "ended")
    for body, status, code in (({"pause": True}, 400, "invalid_json"), ({"paused": "yes"}, 400, "invalid_json"),
                               ({"policy": "best"}, 422, "invalid_value"), ({"brake_override": "2h"}, 422, "invalid_value"),
                               ({"paused_for": "10"}, 422, "invalid_value")):
        problem(c.api("PATCH", "/v1/settings", body), status, code)
    cluster_now = c.api.get("/v1/cluster")
    equal(sorted(x["address"] for x in cluster_now["coordinators"]), sorted(f"127.0.0.1:{p}" for p in (c.port, other.port)), "both")
    equal((cluster_now["registry"]["type"], cluster_now["registry"]["state"], cluster_now["stale"]),
          ("sqlite", "connected", False), "the registry")


@settings(heartbeat=f"{SLOW}s")
def test_picks_go_on_and_say_so_while_the_registry_is_out_of_reach(cluster):
    c = cluster.coordinator()
    up(cluster, c.api, ("worker", W1), ("master", M1))
    equal(c.api.get("/v1/workers/best")["stale"], False, "at first")
    db = sqlite3.connect(cluster.path, isolation_level=None)
    db.execute("BEGIN EXCLUSIVE")
    try:
        wait_for("not ready", lambda: c.api("GET", "/readyz").status == 503, 30)
        equal(c.api("HEAD", "/readyz").status, 503, "HEAD")
        equal(c.api("GET", "/livez").status, 200, "alive nevertheless")
        threading.Event().wait(4 * SLOW)  # reports are four intervals old: known is known
        best = c.api.get("/v1/workers/best")
        equal((best["address"], best["stale"]), (W1, True), "a pick, marked")
        equal(c.api.get("/v1/nodes")["stale"], True, "the list, marked")
        a = c.api("POST", "/v1/work", {"id": "late", "kind": "master"}, timeout=30)
        check(a.status in (503, 504) and (a.code.startswith("registry_") or a.code in ("session_lost", "outcome_unknown")), a.text)
        check(a.status == 504 or int(a.headers["Retry-After"]) >= 1, "Retry-After")
    finally:
        db.execute("ROLLBACK")
        db.close()
    wait_for("ready again", lambda: c.api("GET", "/readyz").status == 200, 30)
    wait_for("not stale any more", lambda: not c.api.get("/v1/nodes")["stale"])


if __name__ == "__main__":
    run(sys.modules[__name__])
