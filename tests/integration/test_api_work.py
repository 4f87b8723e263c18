"""The REST API for work items from their birth to their end, lists page by
page, and long polls."""

import json
import sys
import threading
import time

from cluster import PATIENCE, SLOW, Api, check, equal, run, settings, submit, wait_for
from test_api import M1, M2, W1, W2, node, problem, put, up

def test_work_from_its_birth_to_its_end(cluster):
    c = cluster.coordinator()
    body = {"id": "job-1", "kind": "master", "payload": {"n": [1, None, "\u00e9"]}}
    problem(c.api("POST", "/v1/work", body), 503, "group_empty")
    problem(c.api("POST", "/v1/work", {"kind": "worker", "group": "nope"}), 404, "group_not_found")
    up(cluster, c.api, ("master", M1), ("worker", W1))
    a = c.api("POST", "/v1/work", body)
    equal((a.status, a.headers["Location"]), (201, "/v1/work/job-1"), a.text)
    item = {k: v for k, v in a.json.items() if k != "index"}
    equal((item["owner"], item["epoch"], item["state"], item["payload"]), (M1, 1, "assigned", body["payload"]), "the item")
    again = c.api("POST", "/v1/work", body)
    equal((again.status, {k: v for k, v in again.json.items() if k != "index"}), (200, item), "the same id and body")
    a = problem(c.api("POST", "/v1/work", {**body, "payload": 1}), 409, "id_conflict")
    equal((a["id"], a["owner"], a["epoch"]), ("job-1", M1, 1), "who has it")
    made = c.api("POST", "/v1/work", {"kind": "worker"})
    equal((made.status, made.json["owner"]), (201, W1), "an id made up")
    equal(c.api.get(f"/v1/work/{made.json['id']}")["id"], made.json["id"], "found by it")
    # done
    problem(c.api("DELETE", "/v1/work/job-1"), 400, "epoch_required")
    problem(c.api("DELETE", "/v1/work/job-1?epoch=0"), 400, "invalid")
    a = c.api("POST", "/v1/fence/check", {"work": "job-1", "epoch": 1})
    equal((a.status, a.json["at_least"]), (200, 1), "the fence holds")
    problem(c.api("POST", "/v1/fence/check", {"work": "job-1"}), 400, "invalid_json")
    for _ in range(2):
        a = c.api("DELETE", "/v1/work/job-1?epoch=1")
        equal((a.status, a.json["state"]), (200, "done"), "done, and again")
    equal(c.api("POST", "/v1/work", body).json["state"], "done", "a late retry meets the finished item")
    a = problem(c.api("POST", "/v1/fence/check", {"work": "job-1", "epoch": 1}), 409, "stale_epoch")
    equal((a["owner"], a["epoch"], a["at_least"]), (M1, 1, 1), "the last owner, and the epoch")


PAYLOAD = '{ "n":9007199254740993, "x":1.10, "e":1e400, "big":18446744073709551617,\n "a":1, "a":2, "s":"\\u00e9\\/" }'


def test_a_payload_comes_back_byte_for_byte(cluster):
    c = cluster.coordinator()
    up(cluster, c.api, ("master", M1))
    mine = f'"payload":{PAYLOAD}'
    posted = f'{{"kind":"master","id":"p-1", "payload" : {PAYLOAD} }}'
    claimed = f'{{"payload":{PAYLOAD},"kind":"master","owner":"{M1}"}}'
    for a, status in ((c.api("POST", "/v1/work", posted), 201), (c.api("POST", "/v1/work", posted), 200),
                      (c.api("PUT", "/v1/work/p-2", claimed), 201), (c.api("PUT", "/v1/work/p-2", claimed), 200),
                      (c.api("GET", "/v1/work/p-1"), 200), (c.api("GET", "/v1/work?kind=master"), 200),
                      (c.api("GET", f"/v1/work?kind=master&owner={M1}"), 200),
                      (c.api("POST", "/v1/work", posted.replace("payload", "pa\\u0079load").replace("p-1", "p-3")), 201)):
        equal((a.status, mine in a.text), (status, True), a.text)
    problem(c.api("POST", "/v1/work", posted.replace("740993", "740992")), 409, "id_conflict")
    problem(c.api("POST", "/v1/work", posted.replace("1.10", "1.1")), 409, "id_conflict")
    url = f"http://127.0.0.1:{c.port}"
    check(PAYLOAD in cluster.cli("work", "get", "p-1", "--json", url=url), "the command line, one item")
    cluster.cli("work", "add", "--id", "p-4", "--payload", PAYLOAD, url=url)
    submit(c.port, (f"q-{n}" for n in range(1001)))
    text = cluster.cli("work", "--json", url=url)
    equal((text.count(mine), len(json.loads(text)["items"])), (4, 1005), "the command line, several pages")
    up(cluster, c.api, ("master", M2))
    a = c.api("POST", "/v1/work/p-1/handover?epoch=1")
    equal((a.status, a.json["owner"], mine in a.text), (200, M2, True), a.text)
    a = c.api("DELETE", "/v1/work/p-1?epoch=2")
    equal((a.status, a.json["state"], mine in a.text), (200, "done", True), a.text)


def test_a_claim_repeated_with_another_body_is_a_conflict(cluster):
    c = cluster.coordinator()
    up(cluster, c.api, ("master", M1))
    claim = {"kind": "master", "owner": M1, "payload": {"a": 1}, "group": "g1"}
    equal(c.api("PUT", "/v1/work/c-1", claim).status, 201, "claimed")
    equal(c.api("PUT", "/v1/work/c-1", claim).status, 200, "and again")
    for other in ({"payload": {"a": 2}}, {"payload": None}, {"policy": "hold"}, {"group": "g2"}):
        a = problem(c.api("PUT", "/v1/work/c-1", {**claim, **other}), 409, "id_conflict")
        equal((a["owner"], a["epoch"]), (M1, 1), "who has it")
    equal(c.api.get("/v1/work/c-1")["payload"], {"a": 1}, "what stands")
    equal(c.api("DELETE", "/v1/work/c-1?epoch=1").status, 200, "done")
    equal(c.api("PUT", "/v1/work/c-1", claim).json["state"], "done", "a late retry meets the finished item")
    problem(c.api("PUT", "/v1/work/c-1", {**claim, "payload": 2}), 409, "id_conflict")


def test_numbers_are_taken_as_they_are_or_refused(cluster):
    c = cluster.coordinator()
    up(cluster, c.api, ("master", M1))
    for epoch in ("9007199254740993.5", "1e400", "1.5", "0", "-1", "null", "true", '"x"', '"18446744073709551616"'):
        problem(c.api("POST", "/v1/fence/check", f'{{"work":"w","epoch":{epoch}}}'), 400, "invalid_json")
    for epoch in ("9007199254740993", '"9007199254740993"', "9007199254740993.0"):
        a = problem(c.api("POST", "/v1/fence/check", f'{{"work":"w","epoch":{epoch}}}'), 422, "invalid_value")
        check("9007199254740993" in a["detail"], f"it says which: {a}")
    problem(c.api("DELETE", "/v1/work/w?epoch=1000000000000000000"), 422, "invalid_value")
    equal(c.api("GET", "/readyz").status, 200, "a mistake is no evidence")
    for body in ('{"kind":"master","kind":"worker"}', '{"kind":"master","payload":1,"p\\u0061yload":2}'):
        check("twice" in problem(c.api("POST", "/v1/work", body), 400, "invalid_json")["detail"], body)


def test_claims_handovers_and_releases(cluster):
    c = cluster.coordinator()
    up(cluster, c.api, ("master", M1))
    claim = {"kind": "master", "owner": M1, "payload": 1}
    equal(c.api("PUT", "/v1/work/c-1", claim).status, 201, "claimed")
    equal(c.api("PUT", "/v1/work/c-1", claim).status, 200, "by the same process")
    problem(c.api("PUT", "/v1/work/c-2", {**claim, "owner": M2}), 409, "owner_not_up")
    up(cluster, c.api, ("master", M2))
    a = c.api("PUT", "/v1/work/c-1", {**claim, "owner": M2})
    equal((a.status, a.json["owner"]), (409, M1), a.text)
    problem(c.api("PUT", "/v1/work/c-3", {"kind": "master"}), 400, "invalid_json")
    problem(c.api("PUT", "/v1/work/c-3", {**claim, "id": "other"}), 422, "invalid_value")
    problem(c.api("PUT", "/v1/work/c-3", {**claim, "kind": "alert-server"}), 422, "invalid_value")
    problem(c.api("POST", "/v1/work", {**claim, "id": "c-4"}), 422, "invalid_value")
    problem(c.api("POST", "/v1/work", {"kind": "master", "policy": "panic"}), 422, "invalid_value")
    problem(c.api("POST", "/v1/work", {"kind": "master", "id": "a b"}), 422, "invalid_value")
    problem(c.api("POST", "/v1/work", {"kind": "master", "payload": "x" * 70000}), 413, "too_large")
    problem(c.api("POST", "/v1/work/c-1/handover"), 400, "epoch_required")
    problem(c.api("POST", "/v1/work/c-1/release"), 409, "not_held")
    a = c.api("POST", "/v1/work/c-1/handover?epoch=1")
    equal((a.status, a.json["owner"], a.json["epoch"]), (200, M2, 2), a.text)
    problem(c.api("DELETE", "/v1/work/c-1?epoch=1"), 409, "stale_epoch")
    problem(c.api("POST", "/v1/work/c-1/release?epoch=1"), 409, "stale_epoch")
    problem(c.api("POST", "/v1/work/c-1/release?epoch=x"), 400, "invalid")


def test_an_epoch_that_was_never_given_here_stops_everything(cluster):
    """And no coordinator does anything until a person has looked."""
    one, two = cluster.coordinator(), cluster.coordinator()
    up(cluster, one.api, ("master", M1), ("worker", W1))
    equal(one.api("PUT", "/v1/work/e-1", {"kind": "master", "owner": M1}).json["epoch"], 1, "claimed")
    a = one.api("POST", "/v1/fence/check", {"work": "e-1", "epoch": 3})
    problem(a, 503, "registry_went_back")
    check(int(a.headers["Retry-After"]) > 0, "Retry-After")
    wait_for("both know", lambda: [c.api.get("/v1/cluster")["registry"]["state"] for c in (one, two)] == ["went_back"] * 2)
    for c in (one, two):
        back = c.api.get("/v1/cluster")["registry"]["went_back"]
        equal(back["by"], f"127.0.0.1:{one.port}", "who noticed")
        check("e-1" in back["why"] and back["since"] and back["known"].count(":") == 2 and back["now"], f"{back}")
        equal((c.api("GET", "/livez").status, c.api("GET", "/readyz").status), (200, 503), "health")
        best = c.api("GET", "/v1/workers/best?peek=1")
        equal((best.status, best.json["stale"], best.json["address"]), (200, True, W1), "picks go on")
        for method, path, body in (("POST", "/v1/work", {"kind": "master"}), ("GET", "/v1/work/e-1", None),
                                   ("GET", "/v1/work", None), ("GET", f"/v1/work?kind=master&owner={M1}", None),
                                   ("PUT", "/v1/work/e-2", {"kind": "master", "owner": M1}),
                                   ("DELETE", "/v1/work/e-1?epoch=1", None), ("POST", "/v1/work/e-1/handover?epoch=1", None),
                                   ("POST", "/v1/work/e-1/release", None), ("POST", "/v1/fence/check", {"work": "e-1", "epoch": 1}),
                                   ("PUT", f"/v1/nodes/master/{M1}", {"startupTime": 1}), ("DELETE", f"/v1/nodes/master/{M1}", None),
                                   ("PUT", f"/v1/nodes/master/{M1}/cordon", None), ("DELETE", f"/v1/nodes/master/{M1}/drain", None),
                                   ("PUT", "/v1/groups/g", {"addresses": [W1]}), ("DELETE", "/v1/groups/g", None),
                                   ("GET", "/v1/settings", None), ("PATCH", "/v1/settings", {"paused": True}),
                                   ("POST", "/v1/failovers", {"kind": "master", "address": M1, "force": True}),
                                   ("GET", "/v1/failovers", None), ("GET", "/v1/failovers/x", None), ("DELETE", "/v1/failovers/x", None)):
            problem(c.api(method, path, body), 503, "registry_went_back")
    check(one.lines("registry_went_back") and two.lines("registry_went_back"), "one line each")


def test_held_work_goes_on_when_a_person_says_so(cluster):
    c = cluster.coordinator()
    put(c.api, "master", M1, ttl=f"{4 * SLOW}s")
    cluster.wait_up(c.api, M1)
    equal(c.api("PUT", "/v1/work/h-1", {"kind": "master", "owner": M1, "policy": "hold"}).status, 201, "claimed")
    put(c.api, "master", M2, ttl=f"{30 * SLOW}s")
    wait_for("held", lambda: [i["id"] for i in c.api.get("/v1/work?state=held")["items"]] == ["h-1"])
    a = c.api("POST", "/v1/work/h-1/release")
    equal((a.status, a.json["state"], a.json["owner"]), (200, "assigned", M2), a.text)
    problem(c.api("POST", "/v1/work/h-1/release"), 409, "not_held")


@settings(session=4)
def test_lists_are_paged(cluster):
    c = cluster.coordinator()
    up(cluster, c.api, ("master", M1), ("master", M2))
    ids = [f"i-{n:04}" for n in range(2500)]
    submit(c.port, ids, threads=8)
    wanted, seen, pages, cursor = 137, [], 0, None
    while pages == 0 or cursor is not None:
        page = c.api.get(f"/v1/work?kind=master&limit={wanted}" + (f"&cursor={cursor}" if cursor else ""))
        check(len(page["items"]) <= wanted, "no more than asked for")
        seen += [i["id"] for i in page["items"]]
        cursor, pages = page["next"], pages + 1
    equal(sorted(seen), ids, "every item once")
    equal(len(c.api.get("/v1/work")["items"]), 100, "100 unless asked otherwise")
    own = {m: {i["id"] for i in c.api.all(f"/v1/work?kind=master&owner={m}")} for m in (M1, M2)}
    equal((own[M1] | own[M2], own[M1] & own[M2]), (set(ids), set()), "by owner")
    wait_for("counted", lambda: sum(node(c.api, "master", m)["owned"] for m in (M1, M2)) == 2500)
    equal(c.api.get("/v1/cluster")["work"]["assigned"], 2500, "in the cluster")
    for query in ("limit=0", "limit=1001", "state=lost", "kind=boss", f"owner={M1}"):
        problem(c.api("GET", f"/v1/work?{query}"), 400, "invalid")
    for n in range(240):
        put(c.api, "worker", f"10.9.{n // 200}.{n % 200}:1")
    wait_for("all up", lambda: len(c.api.all("/v1/nodes?kind=worker&state=up")) == 240)
    seen, cursor = [], None
    while cursor or not seen:
        page = c.api.get("/v1/nodes?limit=7" + (f"&cursor={cursor}" if cursor else ""))
        seen += [n["address"] for n in page["items"]]
        cursor = page["next"]
    equal((len(seen), len(set(seen))), (242, 242), "every node once")


def address_list(c, query):
    """Of all pages; each is as long as was asked for, but for the last."""
    seen, cursor = [], None
    while cursor or not seen:
        page = c.api.get(f"/v1/nodes?{query}" + (f"&cursor={cursor}" if cursor else ""))
        seen += [n["address"] for n in page["items"]]
        cursor = page["next"]
        if not cursor:
            return seen
    return seen


def test_who_is_gone_comes_last(cluster):
    """The dead and those who left stand behind everybody who is there, whatever
    their addresses; a cursor stays where it is when its node goes."""
    c = cluster.coordinator()
    early, late = [f"10.1.0.{n}:1" for n in range(1, 6)], [f"10.2.0.{n}:1" for n in range(1, 6)]
    for a in early + late:
        put(c.api, "worker", a, groups=["odd"] if int(a.split(".")[3].split(":")[0]) % 2 else [])
    put(c.api, "master", M1)
    wait_for("all up", lambda: len(c.api.all("/v1/nodes?state=up")) == 11)
    for a in early[:3]:
        equal(c.api("DELETE", f"/v1/nodes/worker/{a}").status, 204, "left")
    wait_for("three left", lambda: len(c.api.all("/v1/nodes?state=left")) == 3)
    there, gone = [M1, *early[3:], *late], early[:3]
    for limit in (1, 2, 3, 1000):
        equal(address_list(c, f"limit={limit}"), there + gone, f"pages of {limit}")
    equal(c.api.get("/v1/nodes?limit=1")["next"], f"0/{M1}", "a cursor")
    equal(address_list(c, "limit=1&kind=worker"), there[1:] + gone, "of a kind")
    equal(address_list(c, "limit=2&prefix=10.1."), early[3:] + gone, "that begin so")
    equal(address_list(c, "limit=2&prefix=10.2.0.5:1"), late[4:], "a whole address")
    equal(address_list(c, "limit=2&prefix=10.9."), [], "nobody")
    equal(address_list(c, "limit=1&group=odd"), [early[4], *late[::2], early[0], early[2]], "of a group")
    equal(address_list(c, "limit=1&group=odd&state=left&prefix=10.1.0.3"), [early[2]], "all at once")
    equal(address_list(c, "limit=1&group=default&kind=master"), [], "a master is in no group")
    equal(address_list(c, "limit=1&status=BUSY"), [], "nobody is busy")
    page = c.api.get("/v1/nodes?limit=4")
    equal(page["next"], f"1/{late[0]}", "where it goes on")
    equal(c.api("DELETE", f"/v1/nodes/worker/{late[0]}").status, 204, "its node leaves")
    wait_for("four left", lambda: len(c.api.all("/v1/nodes?state=left")) == 4)
    equal([n["address"] for n in c.api.get(f"/v1/nodes?cursor={page['next']}")["items"]],
          late[1:] + gone + late[:1], "behind it")
    for query in ("prefix=a%20b", "prefix=" + "a" * 300, "cursor=6/10.0.0.1:1", "cursor=1"):
        problem(c.api("GET", f"/v1/nodes?{query}"), 400, "invalid")


# --- long polls --------------------------------------------------------------

class Poll(threading.Thread):
    def __init__(self, port, path):
        super().__init__()
        self.port, self.path, self.answer, self.at = port, path, None, None
        self.began = time.monotonic()
        self.start()

    def run(self):
        self.answer = Api(self.port)("GET", self.path, timeout=90)
        self.at = time.monotonic()

    def end(self, seconds=20):
        self.join(timeout=seconds * SLOW * PATIENCE)
        check(self.answer is not None, f"{self.path}: no answer")
        return self.answer


def still(api, path):
    """An index after which nothing comes any more by itself."""
    def quiet():
        index = api.get(path)["index"]
        return index if Poll(api.port, f"{path}{'&' if '?' in path else '?'}index={index}&wait=600ms").end().json[
            "index"] == index else None
    return wait_for(f"{path} is quiet", quiet)


def woken_after(c, path, change):
    """How long after a change the poll was answered."""
    index = still(c.api, path)
    poll = Poll(c.port, f"{path}{'&' if '?' in path else '?'}index={index}&wait=60s")
    threading.Event().wait(0.3)
    check(poll.answer is None, f"{path}: answered before anything changed: {poll.answer and poll.answer.text[:300]}")
    change()
    changed = time.monotonic()
    a = poll.end()
    equal(a.status, 200, a.text)
    check(a.json["index"] != index and a.headers["X-Pelorus-Index"] == a.json["index"], "another index")
    check(poll.at - poll.began < 50, f"{path}: answered when its wait was over")
    return poll.at - changed


def test_long_polls_wake_when_something_changed(cluster):
    c = cluster.coordinator()
    other = cluster.coordinator()
    up(cluster, c.api, ("master", M1))
    for path, change in (
            ("/v1/nodes", lambda i: put(c.api, "worker", f"10.1.0.{i}:1234")),
            ("/v1/nodes?kind=worker&watch=membership", lambda i: put(c.api, "worker", f"10.1.1.{i}:1234")),
            (f"/v1/work?kind=master&owner={M1}", lambda i: submit(c.port, [f"x-{i}"])),
            ("/v1/work?kind=master", lambda i: submit(c.port, [f"y-{i}"])),
            (f"/v1/nodes/master/{M1}", lambda i: c.api("PUT", f"/v1/nodes/master/{M1}/cordon?reason={i}"))):
        # a machine that is busy at one moment is not so all the time
        took = []
        while not took or min(took) >= 0.2 * SLOW and len(took) < 4:
            took.append(woken_after(c, path, lambda: change(len(took))))
        check(min(took) < 0.2 * SLOW, f"{path}: {took} s after the change")
    index = still(c.api, "/v1/nodes")
    poll = Poll(other.port, f"/v1/nodes?index={index}&wait=60s")
    poll.end()
    check(poll.at - poll.began < 30, "an index of another coordinator is answered at once")
    for odd in ("x", "1-", "-1", "zz-1", "1-1-1", "f" * 100):
        equal(Poll(c.port, f"/v1/nodes?index={odd}&wait=30s").end().status, 200, f"index {odd}")
    index = still(c.api, "/v1/nodes")
    poll, longer = (Poll(c.port, f"/v1/nodes?index={index}&wait={s}s") for s in (1, 4 * SLOW))
    for p in (poll, longer):
        equal(p.end().json["index"], index, "nothing changed")
    check(0.9 < poll.at - poll.began, f"the wait took {poll.at - poll.began:.2f} s")
    check(poll.at + 1 < longer.at, f"a wait of 1 s ended {longer.at - poll.at:.2f} s before one of {4 * SLOW} s")


def test_a_long_poll_sleeps_through_what_it_did_not_ask_for(cluster):
    c = cluster.coordinator()
    up(cluster, c.api, ("master", M1), ("worker", W1))
    paths = (f"/v1/nodes/master/{M1}", "/v1/nodes?kind=master", "/v1/nodes?watch=membership", f"/v1/nodes/worker/{W1}?watch=membership",
             f"/v1/nodes/worker/{W2}")
    indexes = [still(c.api, path) for path in paths[:-1]]
    absent = c.api("GET", paths[-1])
    equal(absent.status, 404, "not there yet")
    polls = [Poll(c.port, f"{path}{'&' if '?' in path else '?'}index={index}&wait=60s")
             for path, index in zip(paths, indexes + [absent.headers["X-Pelorus-Index"]])]
    for cpu in (0.2, 0.4):
        before = c.api.get("/v1/nodes")["index"]
        put(c.api, "worker", W1, expect=(200,), cpuUsage=cpu)
        equal(Poll(c.port, f"/v1/nodes?index={before}&wait=60s").end().status, 200, "the whole list")
    equal([p.answer for p in polls], [None] * 5, "a load of another node wakes none of them")
    put(c.api, "worker", W2)
    equal((polls[2].end().status, polls[4].end().status), (200, 200), "a join wakes those who wait for it")
    equal([polls[i].answer for i in (0, 1, 3)], [None] * 3, "and nobody else")
    c.api("PUT", f"/v1/nodes/worker/{W1}/cordon")
    check(polls[3].end().json["gate"]["cordoned"], "its gate wakes who watches its membership")
    c.api("PUT", f"/v1/nodes/master/{M1}/cordon")
    equal(polls[0].end().json["address"], M1, "the node")
    equal(len(polls[1].end().json["items"]), 1, "the kind")


if __name__ == "__main__":
    run(sys.modules[__name__])
