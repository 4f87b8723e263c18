"""The balancer's settings of a group's own, over real HTTP: from the
configuration, from the API for every coordinator, from the command line; each
half of a definition leaves the other, and what openapi.yaml says is so."""

import json
import os
import re
import signal
import sqlite3
import sys

from cluster import ROOT, check, equal, run, settings, wait_for

W1, W2 = "10.0.1.1:1234", "10.0.1.2:1234"
# As a Cluster configures it: nobody is hot but by a group's own settings.
GENERAL = {"cpu_max": 1, "memory_max": 1, "disk_max": 1, "busy": "exclude", "warm_up": "1m", "warm_up_aggression": 1,
           "dynamic_weights": {"cpu_usage": 30, "memory_usage": 30, "task_thread_pool_usage": 40}}
ALL_MEMORY = {"cpu_usage": 0, "memory_usage": 100, "task_thread_pool_usage": 0}


def group(api, name="gpu"):
    """What holds there; that each setting has an origin is checked."""
    a = api.get(f"/v1/groups/{name}")
    check(set(a["balancer"]) == set(a["balancer_from"]), lambda: f"every setting has an origin: {a}")
    equal(set(a["balancer_from"]["dynamic_weights"]), set(a["balancer"]["dynamic_weights"]), "and every weight")
    return a


def put(api, body, expect=200, name="gpu"):
    a = api("PUT", f"/v1/groups/{name}", body)
    equal(a.status, expect, f"{body}: {a.text}")
    return a.json


def hot(api, address, name):
    """Why that worker is hot in that group; None: it is not."""
    found = api.get(f"/v1/workers/best?peek=1&explain=1&group={name}")["candidates"]
    return {c["address"]: c["hot"] for c in found}[address]


def work_hard(api, address, cpu=0.9, **more):
    a = api("PUT", f"/v1/nodes/worker/{address}?ttl=1h",
            {"startupTime": 5, "processId": 1, "slots": 8, "cpuUsage": cpu, "memoryUsage": 0.1, "diskUsage": 0.1, **more})
    check(a.status in (200, 201), a.text)


@settings(heartbeat="1h")
def test_settings_hold_for_every_coordinator(cluster):
    one, two = cluster.coordinator(), cluster.coordinator()
    work_hard(one.api, W1, groups=["gpu"])
    for c in (one, two):
        wait_for("it is in", lambda c=c: c.api("GET", "/v1/groups/gpu").json.get("alive") == [W1])
        equal((group(c.api)["balancer"], hot(c.api, W1, "gpu")), (GENERAL, None), "as in all groups")
    a = put(one.api, {"balancer": {"cpu_max": 0.85, "warm_up": "10s"}}, 201)
    equal(a["balancer"], {**GENERAL, "cpu_max": 0.85, "warm_up": "10s"}, "the answer says what holds")
    equal((a["balancer_from"]["cpu_max"], a["balancer_from"]["disk_max"]), ("api", "general"), "and from where")
    for c in (one, two):
        wait_for("told", lambda c=c: group(c.api)["balancer"] == a["balancer"])
        wait_for("hot here", lambda c=c: hot(c.api, W1, "gpu") == "cpu")
        equal(hot(c.api, W1, "default"), None, "cold there")
        equal(group(c.api, "default")["balancer"], GENERAL, "default")
    pick = one.api.get("/v1/workers/best?group=gpu&peek=1")
    equal((pick.get("degraded"), one.api.get("/v1/workers/best?peek=1").get("degraded")), (True, None), "picks say so")
    put(two.api, {"balancer": {"cpu_max": None}})
    wait_for("taken back", lambda: hot(one.api, W1, "gpu") is None)
    # a policy by PATCH /v1/settings is no business of theirs
    equal(one.api("PATCH", "/v1/settings", {"policy": "ROUND_ROBIN"}).status, 200, "a policy")
    equal(one.api("PATCH", "/v1/settings", {"policy": ""}).status, 200, "and none")
    equal(group(one.api)["balancer"]["warm_up"], "10s", "settings stay")
    # who starts later finds them
    late = cluster.coordinator()
    wait_for("read", lambda: late.api("GET", "/v1/groups/gpu").json["balancer"]["warm_up"] == "10s")
    equal(one.api("DELETE", "/v1/groups/gpu").status, 204, "removed")
    for c in (one, two, late):
        wait_for("gone", lambda c=c: group(c.api)["balancer"] == GENERAL)


@settings(heartbeat="1h")
def test_each_half_leaves_the_other(cluster):
    c = cluster.coordinator(more=f"groups: {{CONF: ['{W1}']}}\n")
    put(c.api, {"addresses": [W1]}, 201)
    equal(put(c.api, {"balancer": {"disk_max": 0.5}})["addresses"], [W1], "addresses stay")
    a = put(c.api, {"addresses": [W2]})
    equal((a["addresses"], a["balancer"]["disk_max"]), ([W2], 0.5), "settings stay")
    a = put(c.api, {"addresses": [], "balancer": {"dynamic_weights": ALL_MEMORY}})
    equal((a["addresses"], a["balancer"]), ([], {**GENERAL, "disk_max": 0.5, "dynamic_weights": ALL_MEMORY}), "both")
    equal(put(c.api, {"balancer": {"dynamic_weights": None}})["balancer"], {**GENERAL, "disk_max": 0.5}, "a block goes")
    equal(put(c.api, {"balancer": None})["balancer"], GENERAL, "all go")
    # configured addresses are not taken away by settings, nor found under capitals alone
    equal(put(c.api, {"balancer": {"cpu_max": 0.5}}, 201, "CONF")["addresses"], [W1], "as configured")
    wait_for("told", lambda: group(c.api, "conf")["balancer"]["cpu_max"] == 0.5)
    work_hard(c.api, W1, 0.6)
    wait_for("it joined", lambda: hot(c.api, W1, "conf") == "cpu")
    equal(c.api("GET", "/v1/workers/best?group=Conf").json["address"], W1, "a pick by any spelling")
    equal(c.api("DELETE", "/v1/groups/conf").status, 204, "what the API defined")
    wait_for("as configured", lambda: (group(c.api, "conf")["balancer"], group(c.api, "conf")["addresses"]) == (GENERAL, [W1]))


@settings(heartbeat="1h")
def test_wrong_settings_are_refused_and_named(cluster):
    c = cluster.coordinator()
    put(c.api, {"balancer": {"cpu_max": 0.5}}, 201)
    for body, status, code, words in (
            ({}, 400, "invalid_json", "addresses"),
            ({"balancer": 1}, 400, "invalid_json", "balancer: "),
            ({"balancer": {"cpu_max": "0.5"}}, 400, "invalid_json", "balancer.cpu_max: a number"),
            ({"balancer": {"cpu_max": True}}, 400, "invalid_json", "balancer.cpu_max: a number"),
            ({"balancer": {"busy": "maybe"}}, 422, "invalid_value", "balancer.busy: \"maybe\" is unknown; choose exclude or last"),
            ({"balancer": {"warm_up_aggression": 11}}, 422, "invalid_value", "choose from 0.1 to 10"),
            ({"balancer": {"warm_up": 10}}, 400, "invalid_json", "balancer.warm_up: a string"),
            ({"balancer": {"cpu-max": 0.5}}, 400, "invalid_json", "balancer.cpu-max: no such setting of a group; there are cpu_max,"),
            ({"balancer": {"policy": "RANDOM"}}, 400, "invalid_json", "balancer.policy: no such setting"),
            ({"balancer": {"cpu_max": 1.5}}, 422, "invalid_value", "balancer.cpu_max: 1.5 is out of range; choose from 0 to 1"),
            ({"balancer": {"cpu_max": -0.1}}, 422, "invalid_value", "balancer.cpu_max: -0.1 is out of range"),
            ({"balancer": {"warm_up": "2h"}}, 422, "invalid_value", "balancer.warm_up: 2h is out of range; choose from 0s to 1h"),
            ({"balancer": {"warm_up": "10"}}, 422, "invalid_value", "balancer.warm_up: "),
            ({"balancer": {"dynamic_weights": {"cpu_usage": 10}}}, 422, "invalid_value", "only 1 of three"),
            ({"balancer": {"dynamic_weights": {**ALL_MEMORY, "cpu_usage": 1}}}, 422, "invalid_value", "sum to 101"),
            ({"balancer": {"dynamic_weights": {**ALL_MEMORY, "x": 1}}}, 400, "invalid_json", "balancer.dynamic_weights.x: "),
            ({"addresses": ["x"], "balancer": {"cpu_max": 0.9}}, 422, "invalid_value", "x"),
            ({"addresses": [W1], "balancer": {"cpu_max": 9}}, 422, "invalid_value", "balancer.cpu_max")):
        a = c.api("PUT", "/v1/groups/gpu", body)
        equal((a.status, a.code), (status, code), f"{body}: {a.text}")
        check(words in a.json["detail"], f"{body}: {a.text}")
    equal(c.api("PUT", "/v1/groups/default", {"balancer": {"cpu_max": 0.5}}).status, 422, "default is as all")
    a = put(c.api, {"balancer": {}})
    equal((a["addresses"], a["balancer"]), ([], {**GENERAL, "cpu_max": 0.5}), "nothing of it was taken")


@settings(heartbeat="1h")
def test_the_configuration_is_followed_while_it_runs(cluster):
    base = f"groups: {{GPU: ['{W1}']}}\n"
    c = cluster.coordinator(more=base + "balancer.groups.GPU.cpu-max: 0.85\n")
    work_hard(c.api, W1)

    def reload(more):
        cluster.conf(c.name, c.port, base + more)
        os.kill(c.pid, signal.SIGHUP)

    wait_for("configured", lambda: hot(c.api, W1, "gpu") == "cpu")
    a = group(c.api)
    equal((a["balancer"]["cpu_max"], a["balancer_from"]["cpu_max"]), (0.85, "configuration"), "its origin")
    reload("balancer.groups.gpu.cpu-max: 0.95\n")
    wait_for("another value", lambda: hot(c.api, W1, "gpu") is None)
    changed = [line.split(" ", 2)[2].strip() for line in c.lines("=reload") if " key=" in line]
    equal([line[line.index("key="):] for line in changed], ["key=balancer.groups.gpu.cpu-max from=0.85 to=0.95"], "one line a key")
    put(c.api, {"balancer": {"cpu_max": 0.99}}, 201)
    wait_for("told", lambda: group(c.api)["balancer_from"]["cpu_max"] == "api")
    reload("balancer.groups.gpu.cpu-max: 0.5\nbalancer.groups.gpu.disk-max: 0.05\n")
    wait_for("the API comes first, and what it does not say", lambda: hot(c.api, W1, "gpu") == "disk")
    for what in ("cpu-max from=0.95 to=0.5", 'disk-max from="" to=0.05'):
        check(f"key=balancer.groups.gpu.{what}" in c.text(), c.text()[-900:])
    wait_for("each from its place", lambda: group(c.api)["balancer"] == {**GENERAL, "cpu_max": 0.99, "disk_max": 0.05})
    with open(cluster.conf(c.name, c.port, base), encoding="utf-8") as f:
        text = f.read()
    with open(os.path.join(cluster.dir, f"{c.name}.yaml"), "w", encoding="utf-8") as f:
        f.write(text.replace("memory-max: 1", "memory-max: 0.07"))
    os.kill(c.pid, signal.SIGHUP)
    wait_for("what nobody says of it", lambda: group(c.api)["balancer"] == {**GENERAL, "cpu_max": 0.99, "memory_max": 0.07})
    wait_for("and in picks", lambda: (hot(c.api, W1, "gpu"), hot(c.api, W1, "default")) == ("memory", "memory"))
    before = len(c.lines("!reload"))
    reload("balancer.groups.gpu.cpu-max: 7\n")
    wait_for("a mistake is said", lambda: len(c.lines("!reload")) > before)
    check("balancer.groups.gpu.cpu-max: 7 is out of range" in c.text(), c.text()[-500:])
    equal(group(c.api)["balancer"]["memory_max"], 0.07, "and changes nothing")
    reload(f"groups.cpu: ['{W2}']\n".replace("groups.cpu", '"groups.cpu"'))
    wait_for("a new group, and no settings", lambda: len([a for a in c.text().splitlines() if "key=groups.cpu" in a]) == 1)
    check('key=balancer.groups.gpu.disk-max from=0.05 to=""' in c.text(), c.text()[-900:])
    said = cluster.cli("check-config", "-c", cluster.conf("said", 0, base + "balancer.groups.GPU.warm-up: 5s\n"))
    check('"balancer.groups.gpu.warm-up": 5s\n' in said, said)


@settings(heartbeat="1h")
def test_the_command_line_shows_and_sets_them(cluster):
    c = cluster.coordinator()
    url = f"http://127.0.0.1:{c.port}"

    def groups(*words, expect=0):
        return cluster.cli("groups", *words, url=url, expect=expect)

    groups("set", "gpu", W1, "--balancer", "cpu-max=0.95", "--balancer", "warm-up=10s")
    said = groups("set", "gpu", W2)
    check(re.search(r"^balancer\.cpu_max +0\.95  \(api\)$", said, re.M), said)
    wait_for("both halves", lambda: (group(c.api)["addresses"], group(c.api)["balancer"]["warm_up"]) == ([W2], "10s"))
    check(re.search(rf"^gpu .*{W2} +cpu_max=0\.95, warm_up=10s *$", groups(), re.M), groups())
    check(re.search(r"^balancer\.disk_max +1  \(general\)$", groups("show", "gpu"), re.M), groups("show", "gpu"))
    groups("set", "gpu", "--balancer", "cpu-max=")
    equal(json.loads(groups("set", "gpu", "--balancer", "disk_max=0.5", "--json"))["balancer"],
          {**GENERAL, "disk_max": 0.5, "warm_up": "10s"}, "one taken back, one set")
    groups("set", "gpu", "--balancer", "none")
    wait_for("all taken back", lambda: (group(c.api)["balancer"], group(c.api)["addresses"]) == (GENERAL, [W2]))
    for words, reason in (((), "ADDRESS is missing"), (("--balancer", "cpu-max"), "KEY=VALUE is expected"),
                          (("--balancer", "cpu-max=2"), "cpu-max: 2 is out of range; choose from 0 to 1"),
                          (("--balancer", "colour=red"), "colour: no such setting of a group; there are cpu-max,")):
        check(reason in groups("set", "gpu", *words, expect=2), f"{words}: {reason}")


@settings(heartbeat="1h")
def test_what_older_versions_stored_is_read(cluster):
    c = cluster.coordinator()
    put(c.api, {"addresses": [W1]}, 201)
    with sqlite3.connect(cluster.path) as db:
        stored = [v for k, v in db.execute("SELECT key, value FROM node") if k.endswith("/pelorus/groups/gpu")]
    equal([json.loads(v) for v in stored], [{"addresses": [W1]}], "without settings it is as it always was")


def test_the_contract_names_every_setting(cluster):
    c = cluster.coordinator()
    there = group(c.api, "default")["balancer"]
    with open(os.path.join(ROOT, "http", "openapi.yaml"), encoding="utf-8") as f:
        text = f.read()
    for schema in ("GroupSettings", "GroupSettingsFrom", "GroupSettingsChange"):
        part = text[text.index(f"\n    {schema}:"):]
        part = part[:re.search(r"\n    \w", part[1:]).start() + 1]
        for name in there:
            check(re.search(rf"^        {name}:", part, re.M), f"{schema} has {name}: {part}")


if __name__ == "__main__":
    run(sys.modules[__name__])
