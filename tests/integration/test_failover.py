"""Failover with real processes: killed, stopped, restarted, raced.

Each test ends by looking at every single item: where it is, at which epoch,
and that its history names one move, not two.
"""

import json
import sqlite3
import sys
import threading

from cluster import Api, SLOW, check, equal, items_by_owner, pace, run, submit, wait_for
from moves import all_moved_once, finished, given_out, gone_from, ids_at, listed, moved_in

M1, M2, M3 = "127.0.0.1:5678", "127.0.0.1:5679", "127.0.0.1:5680"
MANY = 10000


def test_ten_thousand_items_move_in_time(cluster):
    c = cluster.coordinator()
    victim = cluster.agent("master", M1)
    cluster.wait_up(c.api, M1)
    submit(c.port, (f"w-{n}" for n in range(MANY)))
    cluster.agent("master", M2)
    cluster.agent("master", M3)
    cluster.wait_up(c.api, M2, M3)
    victim.kill()
    wait_for("all of it gone", gone_from(c.api, M1), 60)
    record = wait_for("the record done", finished(c.api, M1))[0]
    equal(record["moved"], MANY, "moved by the record")
    all_moved_once(c.api, M1, [f"w-{n}" for n in range(MANY)], [])
    took, slow = moved_in(record), pace()
    print(f"     {MANY} items moved in {took:.2f} s, on a machine that is {slow:.1f} times slower")
    check(took <= 1.5 * SLOW * slow, f"moving took {took:.2f} s, more than 1.5 s x {slow:.1f}")
    owners = items_by_owner(c.api)
    check(all(0.35 * MANY < len(v) < 0.65 * MANY for v in owners.values()),
          f"spread: { {k: len(v) for k, v in owners.items()} }")


def test_a_coordinator_killed_in_the_middle_is_finished_by_another(cluster):
    first = cluster.coordinator(env={"PELORUS_FAILPOINT": "engine-mid-move:kill@4000"})
    second = cluster.coordinator(env={"PELORUS_FAILPOINT": ""})
    victim = cluster.agent("master", M1)
    cluster.wait_up(second.api, M1)
    submit(second.port, (f"w-{n}" for n in range(MANY)))
    cluster.agent("master", M2)
    cluster.agent("master", M3)
    cluster.wait_up(first.api, M2, M3)
    cluster.wait_up(second.api, M2, M3)
    # Whoever is first by rank would act; both orders must end well, but the
    # point is a death in the middle: hold the other one back until it happened.
    second.stop()
    victim.kill()
    wait_for("the first coordinator dead at its failpoint", lambda: not first.alive(), 60)
    second.resume()
    wait_for("all of it gone", gone_from(second.api, M1), 60)
    record = wait_for("the record done", finished(second.api, M1))[0]
    check(record["resumed"] >= 1, f"resumed {record['resumed']} times")
    all_moved_once(second.api, M1, [f"w-{n}" for n in range(MANY)], [])


def test_a_coordinator_stopped_with_the_lock_writes_nothing_late(cluster):
    first = cluster.coordinator(env={"PELORUS_FAILPOINT": "engine-before-batch:stop"})
    second = cluster.coordinator(env={"PELORUS_FAILPOINT": ""})
    victim = cluster.agent("master", M1)
    cluster.wait_up(second.api, M1)
    submit(second.port, (f"w-{n}" for n in range(2000)))
    cluster.agent("master", M2)
    cluster.agent("master", M3)
    cluster.wait_up(first.api, M2, M3)
    second.stop()
    victim.kill()
    wait_for("the first coordinator stopped with a batch in its hands", first.stopped, 60)
    second.resume()
    wait_for("all of it gone", gone_from(second.api, M1), 60)
    wait_for("the record done", finished(second.api, M1))
    threading.Event().wait(3 * cluster.session)
    ids = [f"w-{n}" for n in range(2000)]
    before = {i["id"]: (i["owner"], i["epoch"]) for i in listed(second.api, ids).values()}
    first.resume()
    wait_for("the first coordinator with a new session",
             lambda: Api(first.port)("GET", "/readyz").status == 200, 30)
    threading.Event().wait(cluster.session)
    after = {i["id"]: (i["owner"], i["epoch"]) for i in listed(second.api, ids).values()}
    equal(after, before, "items after the late one woke up")
    all_moved_once(second.api, M1, list(after), [])


def test_a_whole_cluster_restarts_while_no_coordinator_runs(cluster):
    c = cluster.coordinator()
    masters = [cluster.agent("master", m) for m in (M1, M2)]
    cluster.wait_up(c.api, M1, M2)
    submit(c.port, (f"w-{n}" for n in range(200)))
    code, _ = c.terminate()
    equal(code, 0, "exit of the coordinator")
    for m in masters:
        m.kill()
    threading.Event().wait(cluster.session * 1.5)
    for m in (M1, M2):
        cluster.agent("master", m)
    c = cluster.coordinator()
    cluster.wait_up(c.api, M1, M2)

    def all_at_new():
        items = c.api.all("/v1/work?kind=master")
        return len(items) == 200 and all(i["epoch"] == 2 and i["state"] == "assigned" for i in items)
    wait_for("every item at a live process", all_at_new, 40)

    def identity(p):
        return p["startupTime"], p["processId"]

    def at_the_live_ones():
        live = {n["address"]: identity(n["process"]) for n in c.api.all("/v1/nodes?kind=master")}
        return all(identity(i["process"]) == live[i["owner"]]
                   for i in c.api.all("/v1/work?kind=master"))
    wait_for("the owners' processes are the registered ones", at_the_live_ones)
    for item in c.api.all("/v1/work?kind=master"):
        equal(len(item["history"]), 1, f"moves of {item['id']}")
    threading.Event().wait(2)
    check(all_at_new(), "it moved again")


def test_a_quick_restart_at_the_same_address_is_another_process(cluster):
    c = cluster.coordinator()
    victim = cluster.agent("master", M1)
    cluster.agent("master", M2)
    cluster.wait_up(c.api, M1, M2)
    submit(c.port, (f"w-{n}" for n in range(40)))
    given_out(c.api, 40, M1, M2)
    mine = ids_at(c.api, M1)
    check(len(mine) >= 10, "the first master got its share")
    code, _ = victim.terminate()
    equal(code, 0, "exit of the agent")
    cluster.agent("master", M1)
    wait_for("its items at epoch 2", lambda: all(
        i["epoch"] == 2 for i in c.api.all("/v1/work?kind=master") if i["id"] in mine), 30)
    for i in c.api.all("/v1/work?kind=master"):
        equal(i["epoch"], 2 if i["id"] in mine else 1, f"epoch of {i['id']}")


def test_a_registration_back_before_the_second_read_keeps_its_work(cluster):
    c = cluster.coordinator(env={"PELORUS_FAILPOINT": "engine-after-intent:stop"})
    put = {"startupTime": 1732000000000, "processId": 77}
    node = f"/v1/nodes/master/{M1}"
    equal(c.api("PUT", node + "?ttl=30s", put).status, 201, "registered")
    cluster.agent("master", M2)
    cluster.wait_up(c.api, M1, M2)
    submit(c.port, (f"w-{n}" for n in range(30)))
    given_out(c.api, 30, M1, M2)
    mine = ids_at(c.api, M1)
    check(len(mine) >= 5, "it got its share")
    # It vanishes; the coordinator writes INTENT and stops; by way of another
    # coordinator the very same process registers again, before the second read.
    other = cluster.coordinator(env={"PELORUS_FAILPOINT": ""})
    other.stop()
    equal(c.api("DELETE", node).status, 204, "left")
    wait_for("stopped after INTENT", c.stopped, 40)
    put_back(cluster, node, put)
    c.resume()
    other.resume()
    wait_for("the failover aborted", finished(other.api, M1, "aborted"), 40)
    for i in other.api.all(f"/v1/work?kind=master&owner={M1}"):
        equal(i["epoch"], 1, f"epoch of {i['id']}")
    equal(sorted(ids_at(other.api, M1)), sorted(mine), "its work")


def put_back(cluster, node, put):
    """Write the registration straight into the registry's file: whoever speaks
    HTTP would be told that the process is fenced."""
    kind, address = node.split("/")[-2:]
    key = f"/dolphinscheduler/pelorus/nodes/{kind}/{address}"
    value = json.dumps({**put, "ttl": 30000, "serverStatus": "NORMAL"}).encode()
    db = sqlite3.connect(cluster.path, timeout=20, isolation_level=None)
    db.execute("BEGIN IMMEDIATE")
    db.execute("UPDATE meta SET revision = revision + 1")
    revision = db.execute("SELECT revision FROM meta").fetchone()[0]
    db.execute("INSERT INTO node(key, value, created, version, owner) VALUES(?, ?, ?, ?, 0)",
               (key, value, revision, revision))
    db.execute("INSERT INTO change(rev, key) VALUES(?, ?)", (revision, key))
    db.execute("COMMIT")
    db.close()


def test_claims_submissions_and_a_failover_race_at_one_owner(cluster):
    c1, c2 = cluster.coordinator(), cluster.coordinator()
    victim = cluster.agent("master", M1)
    cluster.agent("master", M2)
    cluster.agent("master", M3)
    cluster.wait_up(c1.api, M1, M2, M3)
    cluster.wait_up(c2.api, M1, M2, M3)
    accepted, problems, stop = [], [], threading.Event()

    def claimant(*args):
        try:
            claim(*args)
        except Exception as error:  # noqa: a thread must not lose it
            problems.append(error)

    def claim(port, prefix, how):
        api = Api(port)
        n = 0
        while not stop.is_set():
            n += 1
            i = f"{prefix}-{n}"
            if how == "claim":
                a = api("PUT", f"/v1/work/{i}", {"kind": "master", "owner": M1})
            else:
                a = api("POST", "/v1/work", {"id": i, "kind": "master"})
            if a.status in (200, 201):
                accepted.append(i)
            else:
                check(a.status in (409, 503), f"{i}: {a.status} {a.text}")
    threads = [threading.Thread(target=claimant, args=a) for a in (
        (c1.port, "claim1", "claim"), (c2.port, "claim2", "claim"),
        (c1.port, "submit1", "submit"), (c2.port, "submit2", "submit"))]
    for t in threads:
        t.start()
    threading.Event().wait(1.5)
    victim.kill()
    wait_for("its work gone", lambda: finished(c1.api, M1)(), 40)
    threading.Event().wait(1.0)
    stop.set()
    for t in threads:
        t.join()
    check(not problems, lambda: f"claims and submissions: {problems}")
    wait_for("nothing left behind", gone_from(c2.api, M1), 20)
    items = listed(c2.api, accepted)  # what was accepted is stored, and no more
    for i in items.values():
        check(i["state"] == "assigned" and i["owner"] in (M2, M3), f"stranded: {i}")
        equal(i["epoch"], 1 + len(i["history"]), f"epoch of {i['id']}")
        check(len(i["history"]) <= 1, f"{i['id']} moved twice")


def test_without_a_candidate_work_waits_and_goes_on_later(cluster):
    c = cluster.coordinator()
    victim = cluster.agent("master", M1)
    cluster.wait_up(c.api, M1)
    submit(c.port, (f"w-{n}" for n in range(20)))
    victim.kill()
    wait_for("all waiting", lambda: len(c.api.all("/v1/work?kind=master&state=waiting")) == 20, 30)
    cluster.agent("master", M2)
    wait_for("all assigned again", lambda: len(
        c.api.all(f"/v1/work?kind=master&owner={M2}")) == 20, 30)
    for i in c.api.all("/v1/work?kind=master"):
        equal(i["epoch"], 3, f"epoch of {i['id']}: waiting is one change, the next owner another")


def test_policies_hold_and_drop_are_kept(cluster):
    c = cluster.coordinator()
    victim = cluster.agent("master", M1)
    cluster.wait_up(c.api, M1)
    submit(c.port, ["keep"], policy="reassign")
    submit(c.port, ["hold"], policy="hold")
    submit(c.port, ["drop"], policy="drop")
    cluster.agent("master", M2)
    cluster.wait_up(c.api, M2)
    victim.kill()
    wait_for("the record done", finished(c.api, M1), 30)
    state = {i["id"]: i["state"] for i in c.api.all("/v1/work")}
    equal(state, {"keep": "assigned", "hold": "held", "drop": "dropped"}, "states")
    a = c.api("POST", "/v1/work/hold/release")
    equal((a.status, a.json["state"], a.json["owner"], a.json["epoch"]),
          (200, "assigned", M2, 3), "released")


if __name__ == "__main__":
    run(sys.modules[__name__])
