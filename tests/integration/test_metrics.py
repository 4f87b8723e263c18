"""GET /metrics: every line as Prometheus' text format 0.0.4 wants it, and the
figures true to what happened, against real coordinators."""

import math
import re
import signal
import sys
import threading

from cluster import Api, Coordinator, check, equal, run, settings, submit, wait_for

W = [f"10.0.1.{i}:1234" for i in range(1, 5)]
TYPE = "text/plain; version=0.0.4; charset=utf-8"
NAME = r"[a-zA-Z_][a-zA-Z0-9_]*"
SAMPLE = re.compile(rf"({NAME})(?:\{{(.*)\}})? (\S+)")
LABEL = re.compile(rf'({NAME})="((?:[^"\\\n]|\\[\\"n])*)"(,|$)')
UNITS = ("milliseconds", "_ms", "minutes", "_kb", "kibibytes", "percent")


def labels_of(text):
    found = []
    while text:
        m = LABEL.match(text)
        check(m, f"labels: {text!r}")
        value = re.sub(r'\\([\\"n])', lambda e: "\n" if e.group(1) == "n" else e.group(1), m.group(2))
        found.append((m.group(1), value))
        text = text[m.end():]
    equal(len({k for k, _ in found}), len(found), "labels, each once")
    return tuple(sorted(found))


def parse(text):
    """{(name, labels): value}; a failure unless every line is as it must be."""
    samples, types, helped, family = {}, {}, set(), None
    check(text.endswith("\n"), "the last line ends")
    for line in text[:-1].split("\n"):
        if line.startswith("# HELP "):
            _, _, name, words = line.split(" ", 3)
            check(name not in helped and words, line)
            check(re.search(r"\\(?![\\n])", words) is None, f"escapes: {line}")
            helped.add(name)
            family = name
        elif line.startswith("# TYPE "):
            _, _, name, kind = line.split(" ")
            equal(name, family, f"TYPE behind its HELP: {line}")
            check(name not in types and kind in ("counter", "gauge", "histogram"), line)
            equal(name.endswith("_total"), kind == "counter", f"the name of a {kind}: {name}")
            types[name] = kind
        else:
            m = SAMPLE.fullmatch(line)
            check(m, f"a sample: {line!r}")
            name, labels, value = m.group(1), labels_of(m.group(2) or ""), float(m.group(3))
            parts = [family + part for part in ("_bucket", "_sum", "_count")]
            check(name in (parts if types.get(family) == "histogram" else [family]), f"samples stand with their family: {line}")
            check(family in types, f"typed first: {line}")
            check(name.startswith("pelorus_"), f"ours: {line}")
            check(not any(u in name for u in UNITS), f"base units: {line}")
            check((name, labels) not in samples, f"once: {line}")
            check(math.isfinite(value) and (types[family] == "gauge" or value >= 0), line)
            samples[name, labels] = value
    equal(helped, set(types), "HELP and TYPE of each")
    return samples


def metrics(api):
    a = api("GET", "/metrics")
    equal((a.status, a.headers["Content-Type"]), (200, TYPE), a.text[:200])
    equal(a.headers["Cache-Control"], "no-store", "Cache-Control")
    return parse(a.text)


def value(api, name, **labels):
    return metrics(api).get((name, tuple(sorted(labels.items()))))


def put(api, address, kind="worker", ttl="60s", **body):
    a = api("PUT", f"/v1/nodes/{kind}/{address}?ttl={ttl}", {"startupTime": 1700000000000, "processId": 7, **body})
    check(a.status in (200, 201), lambda: f"PUT {address}: {a.status} {a.text}")


def up(cluster, api, addresses, **body):
    for address in addresses:
        put(api, address, **body)
    cluster.wait_up(api, *addresses)


def test_format_head_and_what_is_not_taken(cluster):
    c = cluster.coordinator()
    full, head = c.api("GET", "/metrics"), c.api("HEAD", "/metrics")
    equal((head.status, head.text, head.headers["Content-Type"]), (200, "", TYPE), "HEAD")
    check(abs(int(head.headers["Content-Length"]) - len(full.text)) < 100, "the length that GET has")
    equal(c.api("GET", "/metrics?name=x").status, 400, "a parameter")
    equal(c.api("POST", "/metrics").status, 405, "POST")
    first = parse(full.text)
    equal(first["pelorus_build_info", (("registry", "sqlite"), ("version", "0.1.0"))], 1, "build info")
    equal(first["pelorus_ready", ()], 1, "ready")
    equal(sum(v for (n, _), v in first.items() if n == "pelorus_registry_state"), 1, "one state of the registry")
    for name in ("pelorus_picks_total", "pelorus_picks_unknown_total", "pelorus_log_lines_dropped_total"):
        equal(first[name, ()], 0, f"{name}, before anything")


def test_counters_follow_what_happens(cluster):
    c = cluster.coordinator()
    up(cluster, c.api, W[:3], slots=8)
    put(c.api, W[3], slots=8)
    before = metrics(c.api)
    picks = [c.api.get("/v1/workers/best")["pick"] for _ in range(5)]
    picks += [p["pick"] for p in c.api.get("/v1/workers/best?count=7")["picks"]]
    c.api.get("/v1/workers/best?peek=1")
    for pick in picks[:3]:
        equal(c.api("POST", f"/v1/picks/{pick}/done").status, 204, "done")
    c.api("POST", f"/v1/picks/{picks[0]}/done")
    c.api("POST", f"/v1/picks/{picks[3]}/refused")
    equal(c.api("GET", "/v1/workers/best?group=nope").status, 404, "no such group")
    after = metrics(c.api)

    def rose(name, **labels):
        key = (name, tuple(sorted(labels.items())))
        return after[key] - before[key]

    equal(rose("pelorus_picks_total"), 12, "picks, without the peek")
    equal(rose("pelorus_picks_done_total"), 3, "done")
    equal(rose("pelorus_picks_refused_total"), 1, "refused")
    equal(rose("pelorus_picks_unknown_total"), 1, "said twice")
    equal(rose("pelorus_pick_requests_failed_total", code="group_not_found"), 1, "nobody")
    check(rose("pelorus_http_answers_total", code="200") >= 8, "answers")
    held = "pelorus_balancer_lock_hold_seconds"
    buckets = [v for (n, _), v in after.items() if n == f"{held}_bucket"]
    equal(buckets, sorted(buckets), "buckets add up")
    equal(after[f"{held}_bucket", (("le", "+Inf"),)], after[f"{held}_count", ()], "the last one holds all")
    check(after[f"{held}_sum", ()] > 0, "the lock was held")
    equal(after["pelorus_http_answers_total", (("code", "404"),)], 1, "one 404")


def test_nodes_groups_and_their_names(cluster):
    c = cluster.coordinator(more='groups: {gpu: ["10.0.1.1:1234"]}\n')
    up(cluster, c.api, W[:2], slots=8)
    put(c.api, W[2], slots=4, serverStatus="BUSY")
    a = c.api("PUT", "/v1/groups/" + "a%22b", {"addresses": [W[0], W[1]]})
    odd = 'a"b' if a.status in (200, 201) else None
    if odd is None:  # a quote is no part of a name: nothing to escape
        equal(a.status, 422, a.text)
    submit(c.port, ["x-1", "x-2"], kind="worker")
    wait_for("owned", lambda: value(c.api, "pelorus_work_items_owned", kind="worker") == 2)
    m = metrics(c.api)
    equal(m["pelorus_nodes", (("kind", "worker"), ("state", "up"))], 3, "up")
    equal(m["pelorus_nodes", (("kind", "master"), ("state", "up"))], 0, "no master")
    equal(m["pelorus_nodes_busy", (("kind", "worker"),)], 1, "busy")
    equal(m["pelorus_workers_slots", ()], 20, "slots")
    equal(m["pelorus_group_workers", (("group", "default"),)], 3, "default")
    equal(m["pelorus_group_workers", (("group", "gpu"),)], 1, "gpu")
    if odd is not None:
        equal(m["pelorus_group_workers", (("group", odd),)], 2, "escaped")
    equal(sum(v for (n, _), v in m.items() if n == "pelorus_workers_reports"), 3, "reports")


def test_renewals_by_how_they_were_written(cluster):
    """In groups, and each by itself; both are told by /v1/cluster, too."""
    def how(api):
        return {h: value(api, "pelorus_renewals_total", how=h) for h in ("window", "alone", "memory")}

    def renewed(c, address):
        one = {"startupTime": 1700000000000, "processId": 7}
        for load in (0.1, 0.3, 0.5, 0.7):
            a = c.api("PUT", f"/v1/nodes/worker/{address}?ttl=60s", {**one, "cpuUsage": load})
            check(a.status in (200, 201), lambda: f"PUT {address}: {a.status} {a.text}")
            one["instance"] = a.json["instance"]

    def mode(c, word):
        told = c.api.get("/v1/cluster")
        return told["renewals"] == word and [o["renewals"] for o in told["coordinators"]] == [word] and \
            value(c.api, "pelorus_renewals_grouped") == (word == "grouped")

    c = cluster.coordinator(more="renewals: single\n")
    wait_for("single", lambda: mode(c, "single"))
    renewed(c, W[0])
    wait_for("three, each by itself", lambda: how(c.api) == {"window": 0, "alone": 3, "memory": 0})
    equal(value(c.api, "pelorus_renewal_windows_total"), 0, "windows")
    cluster.conf(c.name, c.port, "renewals: grouped\n")
    c.signal(signal.SIGHUP)
    wait_for("grouped", lambda: mode(c, "grouped"))
    renewed(c, W[1])
    wait_for("three more", lambda: sum(how(c.api).values()) == 6)
    windows = how(c.api)["window"]
    check(windows >= 1, lambda: f"in windows: {how(c.api)}")  # who comes early again and again is one that is written by itself
    equal(value(c.api, "pelorus_renewal_windows_total"), windows, "windows of one each")
    equal(value(c.api, "pelorus_renewal_window_write_seconds_count"), windows, "whose writes were measured")
    equal(value(c.api, "pelorus_renewal_window_write_seconds_bucket", le="+Inf"), windows, "in all buckets")
    equal((value(c.api, "pelorus_renewals_named_total"), value(c.api, "pelorus_renewals_failed_total")), (0, 0), "named, failed")


@settings(more="failover: {grace: 200ms, reconcile-interval: 1s}\n")
def test_a_failover_is_counted(cluster):
    c = cluster.coordinator()
    for address in W[:2]:
        put(c.api, address, kind="master", ttl="1h")
    cluster.wait_up(c.api, *W[:2])
    gone = W[2]
    put(c.api, gone, kind="master", ttl="1s")
    cluster.wait_up(c.api, gone)
    equal(value(c.api, "pelorus_node_downs_total", kind="master"), 0, "nobody is lost")
    claim = c.api("PUT", "/v1/work/lost", {"kind": "master", "owner": gone, "startupTime": 1700000000000})
    check(claim.status in (200, 201), claim.text)
    wait_for("ended", lambda: value(c.api, "pelorus_failovers_done_total", kind="master") == 1, 30)
    m = metrics(c.api)
    equal(m["pelorus_node_downs_total", (("kind", "master"),)], 1, "lost")
    equal(m["pelorus_failovers_begun_total", (("kind", "master"),)], 1, "begun")
    equal(m["pelorus_failover_items_moved_total", (("kind", "master"),)], 1, "moved")
    equal(m["pelorus_failovers_begun_total", (("kind", "worker"),)], 0, "of the other kind")
    equal(c.api("PATCH", "/v1/settings", {"paused": True}).status, 200, "pause")
    wait_for("paused", lambda: value(c.api, "pelorus_failover_paused") == 1)


def agreement(api, policy):
    m = metrics(api)
    return tuple(m["pelorus_shadow_picks_total", (("agreed", yes), ("policy", policy))] for yes in ("yes", "no"))


@settings(heartbeat="1h")
def test_a_shadow_is_set_asked_changed_and_ended(cluster):
    c = cluster.coordinator()
    up(cluster, c.api, W[:1], slots=8, threadPoolUsage=0.875)
    up(cluster, c.api, W[1:2], slots=8, threadPoolUsage=0)
    equal(c.api.get("/v1/settings")["shadow"], None, "as configured")
    equal(c.api.get("/v1/cluster")["balancer"]["shadow"], None, "off by default")
    equal(c.api("PATCH", "/v1/settings", {"shadow": "best"}).status, 422, "no such policy")
    equal(c.api("PATCH", "/v1/settings", {"shadow": 1}).status, 400, "no text")
    a = c.api("PATCH", "/v1/settings", {"shadow": "round-robin", "who": "me"})
    equal((a.status, a.json["shadow"]), (200, "round-robin"), a.text)
    wait_for("it shadows", lambda: value(c.api, "pelorus_shadow_info", policy="ROUND_ROBIN") == 1)
    for _ in range(6):  # the ledger gives all to the empty one
        equal(c.api.get("/v1/workers/best")["address"], W[1], "the ledger's choice")
    # After a pick of the one it is the other's turn, always; of the first it is not known.
    wait_for("all asked", lambda: sum(agreement(c.api, "ROUND_ROBIN")) == 6)
    check(agreement(c.api, "ROUND_ROBIN")[1] >= 5, lambda: f"differs: {agreement(c.api, 'ROUND_ROBIN')}")

    equal(c.api("PATCH", "/v1/settings", {"shadow": "ledger"}).status, 200, "another one")
    wait_for("changed", lambda: value(c.api, "pelorus_shadow_info", policy="ledger") == 1)
    c.api.get("/v1/workers/best?count=40")
    wait_for("it agrees with itself", lambda: agreement(c.api, "ledger") == (40, 0))
    of = c.api.get("/v1/cluster")["balancer"]
    equal(of["policy"], "ledger", "in use")
    equal(of["shadow"], {"policy": "ledger", "agreed": 40, "differed": 0, "nobody": 0}, "/v1/cluster")

    url = f"http://127.0.0.1:{c.port}"
    text = cluster.cli("status", url=url)
    check(re.search(r"^balancer +ledger\n +shadow ledger: it would have named the same worker for 40 of 40 picks$", text, re.M), text)
    text = cluster.cli("settings", "--help")
    check("--shadow off: none" in text and "'' is the configured one" in text, text)
    cluster.cli("settings", "--shadow", "off", url=url)
    wait_for("off", lambda: value(c.api, "pelorus_shadow_info", policy="ledger") is None)
    c.api.get("/v1/workers/best")
    equal(c.api.get("/v1/settings")["shadow"], "off", "off")
    equal(agreement(c.api, "ledger"), (40, 0), "what was counted stays")
    check("shadow" not in cluster.cli("status", url=url), "status without a shadow")


@settings(heartbeat="1h")
def test_a_configured_shadow_hears_all_from_the_start(cluster):
    c = cluster.coordinator()
    c.terminate()
    path = cluster.conf("own", c.port)
    with open(path, encoding="utf-8") as f:
        text = f.read()
    with open(path, "w", encoding="utf-8") as f:
        f.write(text.replace("cpu-max: 1,", "cpu-max: 1, shadow: ledger, regret: false,"))
    c = Coordinator(cluster, "own", c.port, path, None)
    cluster.processes.append(c)
    c.wait_ready()
    up(cluster, c.api, W, slots=8)
    picks = c.api.get("/v1/workers/best?count=100")["picks"]
    for p in picks[::2]:
        c.api("POST", f"/v1/picks/{p['pick']}/done")
    c.api.get("/v1/workers/best?count=100")
    wait_for("agreed", lambda: agreement(c.api, "ledger") == (200, 0))
    equal(c.api.get("/v1/cluster")["balancer"]["regret"], None, "not counted")
    with open(path, "w", encoding="utf-8") as f:
        f.write(text.replace("cpu-max: 1,", "cpu-max: 1, shadow: RANDOM,"))
    c.signal(signal.SIGHUP)
    wait_for("read again", lambda: value(c.api, "pelorus_shadow_info", policy="RANDOM") == 1)
    check(c.api.get("/v1/cluster")["balancer"]["regret"] is not None, "counted now")


@settings(heartbeat="500ms")
def test_regret_of_what_the_next_report_shows(cluster):
    c = cluster.coordinator()
    stop = threading.Event()
    usage = {W[0]: 0.0, W[1]: 0.0}

    def beat():
        api = Api(c.port)
        while not stop.wait(0.25):
            for address, pool in list(usage.items()):
                put(api, address, slots=10, threadPoolUsage=pool)

    beating = threading.Thread(target=beat)
    beating.start()
    try:
        cluster.wait_up(c.api, *usage)
        wait_for("judged", lambda: c.api.get("/v1/workers/best")["pick"] and
                 value(c.api, "pelorus_pick_regret_judged_total") > 0)
        # Reports that jump from one to the other worker: who was best is not any more.
        def jump():
            usage[W[0]], usage[W[1]] = (0.9, 0.0) if usage[W[0]] == 0 else (0.0, 0.9)
            for _ in range(3):
                c.api.get("/v1/workers/best")
            return value(c.api, "pelorus_pick_regret_total") > 0
        wait_for("regretted", jump)
        m = metrics(c.api)
        check(m["pelorus_pick_regret_judged_total", ()] >= m["pelorus_pick_regret_total", ()], "a part of them")
        check(m["pelorus_picks_total", ()] >= m["pelorus_pick_regret_judged_total", ()] +
              m["pelorus_pick_regret_unjudged_total", ()], "each once")
        of = c.api.get("/v1/cluster")["balancer"]["regret"]
        check(0 < of["elsewhere"] <= of["judged"], of)
    finally:
        stop.set()
        beating.join()


def test_as_long_for_a_thousand_nodes_as_for_one(cluster):
    c = cluster.coordinator()
    up(cluster, c.api, W[:1])
    wait_for("all facts of the store, and rates", lambda: value(c.api, "pelorus_registry_revisions_per_minute") is not None, 60)
    few = len(c.api("GET", "/metrics").text)
    for i in range(300):
        put(c.api, f"10.1.{i // 200}.{i % 200 + 1}:1234", ttl="1h")
    wait_for("all up", lambda: value(c.api, "pelorus_nodes", kind="worker", state="up") == 301)
    check(len(c.api("GET", "/metrics").text) < few + 200, "no line for each node")


if __name__ == "__main__":
    run(sys.modules[__name__])
