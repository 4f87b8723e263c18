"""failover.hook with real processes: one at a time whoever is stopped or dies,
once per process, also for nodes that never had work of ours."""

import os
import sys
import threading

from cluster import SLOW, check, equal, run, settings, submit, wait_for
from moves import finished, listed

M1, M2, M3, M4, M5 = (f"127.0.0.1:{port}" for port in range(5678, 5683))


def hook_that(cluster, script, name="hook.sh", timeout="6s"):
    """A configuration whose hook is this script."""
    path = os.path.join(cluster.dir, name)
    with open(path, "w", encoding="utf-8") as f:
        f.write(script)
    return (f"failover: {{grace: 300ms, reconcile-interval: 1s, hook: 'sh {path}', "
            f"hook-timeout: {timeout}}}\n")


def beats(cluster):
    """fence -> when its hook, or the daemon that it left, was seen running."""
    seen = {}
    path = os.path.join(cluster.dir, "beats")
    if os.path.exists(path):
        with open(path, encoding="utf-8") as f:
            for line in f:
                if line.endswith("\n") and len(line.split()) == 2:
                    fence, at = line.split()
                    seen.setdefault(int(fence), []).append(float(at))
    return seen


def busy_master(cluster, c):
    victim = cluster.agent("master", M1)
    cluster.wait_up(c.api, M1)
    submit(c.port, ["w"])
    cluster.agent("master", M2)
    cluster.wait_up(c.api, M1, M2)
    return victim


def never_two_at_once(cluster, end):
    """The hook of a coordinator that `end` stops or kills, and its daemon in a
    session of its own, are over before the next one's begins."""
    beat = f"while :; do echo $PELORUS_FENCE $(date +%s.%N) >>{cluster.dir}/beats; sleep 0.05; done"
    more = hook_that(cluster, f"setsid sh -c '{beat}' &\n{beat}\n")
    first = cluster.coordinator(more=more)
    victim = busy_master(cluster, first)
    victim.kill()
    one = wait_for("the hook's beats", lambda: list(beats(cluster)))[0]
    end(first)
    second = cluster.coordinator(more=more)
    two = wait_for("the next one's hook", lambda: [f for f in beats(cluster) if f > one], 40)[0]
    wait_for("the failover done", finished(second.api, M1), 40)
    seen = beats(cluster)
    over = max(seen[one]) - min(seen[two])
    check(over < 0, f"both ran for {over:.1f} s")
    record = finished(second.api, M1)()[0]
    equal(record["hook_exit"], 124, "the second one's time was over")
    last = {f: len(at) for f, at in seen.items()}
    threading.Event().wait(0.5)
    equal({f: len(at) for f, at in beats(cluster).items()}, last, "nothing of it runs any more")


@settings(session=3)
def test_a_stopped_coordinators_hook_ends_before_the_next_ones(cluster):
    never_two_at_once(cluster, lambda c: c.stop())


@settings(session=3)
def test_a_killed_coordinators_hook_ends_with_it(cluster):
    never_two_at_once(cluster, lambda c: c.kill())


def test_an_orderly_leave_ends_the_hook_before_the_lock_is_free(cluster):
    beat = f"while :; do echo $PELORUS_FENCE $(date +%s.%N) >>{cluster.dir}/beats; sleep 0.02; done"
    more = hook_that(cluster, f"trap '' TERM\nsetsid sh -c 'trap \"\" TERM; {beat}' &\n{beat}\n", timeout="10s")
    first = cluster.coordinator(more=more)
    second = cluster.coordinator(more=more)
    victim = busy_master(cluster, first)
    cluster.wait_up(second.api, M1, M2)
    victim.kill()
    one = wait_for("the hook's beats", lambda: list(beats(cluster)))[0]
    holder = wait_for("its holder", lambda: [c for c in (first, second)
                                             if c.lines("+failover", M1)])[0]
    code, took = holder.terminate()
    equal(code, 0, "the holder's exit")
    check(took < max(8, 4 * SLOW), f"it took {took:.1f} s to leave: the hook has 10 s")
    two = wait_for("the next one's hook", lambda: [f for f in beats(cluster) if f > one], 40)[0]
    seen = beats(cluster)
    over = max(seen[one]) - min(seen[two])
    check(over < 0, f"both ran for {over:.1f} s")


def runs(cluster):
    """What the hook was told, a line each time that it ran."""
    path = os.path.join(cluster.dir, "runs")
    if not os.path.exists(path):
        return []
    with open(path, encoding="utf-8") as f:
        return f.read().splitlines()


def notes(cluster):
    return hook_that(cluster, f"echo $PELORUS_KIND $PELORUS_ADDRESS $PELORUS_PROCESS "
                              f">>{cluster.dir}/runs\n")


def process_of(api, address):
    p = api.get(f"/v1/nodes/master/{address}")["process"]
    return f"{p['startupTime']}-{p['processId']}"


def test_a_dead_node_that_never_had_work_is_hooked_once(cluster):
    first = cluster.coordinator(more=notes(cluster))
    second = cluster.coordinator(more=notes(cluster))
    victim = cluster.agent("master", M1)
    cluster.agent("master", M2)
    cluster.agent("master", M3)
    worker = cluster.agent("worker", "127.0.0.1:1234")
    for c in (first, second):
        cluster.wait_up(c.api, M1, M2, M3)
    process = process_of(first.api, M1)
    victim.kill()
    worker.kill()
    wait_for("the hook", lambda: runs(cluster), 30)
    record = wait_for("its record", finished(second.api, M1), 30)[0]
    equal((record["cause"], record["hook_exit"], record["moved"]), ("down", 0, 0), "the record")
    wait_for("the worker down", lambda: first.lines("-node-down", "127.0.0.1:1234"))
    # The next one at the address is let in, and takes work.
    cluster.agent("master", M1)
    wait_for("let in", lambda: (first.api.get(f"/v1/nodes/master/{M1}")["gate"] or {}).get(
        "state") == "open")
    threading.Event().wait(3)
    equal(runs(cluster), [f"master {M1} {process}"], "when the hook ran")
    submit(first.port, (f"x-{n}" for n in range(12)))
    owners = {i["owner"] for i in listed(first.api, (f"x-{n}" for n in range(12))).values()}
    equal(owners, {M1, M2, M3}, "who was given work")
    # a coordinator that starts now finds it dealt with
    third = cluster.coordinator(more=notes(cluster))
    cluster.wait_up(third.api, M1, M2, M3)
    threading.Event().wait(3)
    equal(len(runs(cluster)), 1, "how often the hook ran")


def test_who_died_while_no_coordinator_ran_is_hooked_once(cluster):
    first = cluster.coordinator(more=notes(cluster))
    victim = cluster.agent("master", M1)
    cluster.agent("master", M2)
    cluster.agent("master", M3)
    cluster.wait_up(first.api, M1, M2, M3)
    process = process_of(first.api, M1)
    wait_for("its gate", lambda: first.api.get(f"/v1/nodes/master/{M1}")["gate"])
    check(not first.lines("+failover"), "a failover of the living")
    first.terminate()
    victim.kill()
    threading.Event().wait(3)
    second = cluster.coordinator(more=notes(cluster))
    third = cluster.coordinator(more=notes(cluster))
    wait_for("the hook", lambda: runs(cluster), 40)
    record = wait_for("its record", finished(third.api, M1), 30)[0]
    equal((record["cause"], record["hook_exit"], record["moved"]), ("down", 0, 0), "the record")
    threading.Event().wait(3)
    for c in (second, third):
        c.terminate()
    fourth = cluster.coordinator(more=notes(cluster))
    cluster.wait_up(fourth.api, M2, M3)
    threading.Event().wait(5)
    equal(runs(cluster), [f"master {M1} {process}"], "when the hook ran")
    equal([f["address"] for f in fourth.api.all("/v1/failovers")], [M1], "who was failed over")


def test_a_dead_node_without_work_is_failed_over_by_order_alone(cluster):
    c = cluster.coordinator()
    url = f"http://127.0.0.1:{c.port}"
    victim = cluster.agent("master", M1)
    for m in (M2, M3):
        cluster.agent("master", m)
    cluster.wait_up(c.api, M1, M2, M3)
    victim.kill()
    wait_for("it is down", lambda: c.lines("-node-down", M1))
    threading.Event().wait(2)
    equal(c.api.all("/v1/failovers"), [], "failovers by themselves, without a hook")
    cluster.cli("failover", "start", "master", M1, url=url)
    record = wait_for("its record", finished(c.api, M1), 30)[0]
    equal((record["cause"], record["hook_exit"]), ("order", None), "the record")


def test_an_order_waits_for_the_lock_as_a_record(cluster):
    path = os.path.join(cluster.dir, "slow.sh")
    with open(path, "w", encoding="utf-8") as f:
        f.write(f"echo $PELORUS_ADDRESS >>{cluster.dir}/runs\n"
                f"[ $PELORUS_ADDRESS = {M1} ] && while [ ! -e {cluster.dir}/go ]; do sleep 0.05; done\n"
                "true\n")
    more = (f"failover: {{grace: 300ms, reconcile-interval: 1s, hook: 'sh {path}', "
            "hook-kinds: [], hook-timeout: 10s, brake: {share: 1, min: 50}}\n")
    first = cluster.coordinator(more=more)
    second = cluster.coordinator(more=more)
    url = f"http://127.0.0.1:{second.port}"
    nodes = {m: cluster.agent("master", m) for m in (M1, M2, M3, M4, M5)}
    for c in (first, second):
        cluster.wait_up(c.api, *nodes)
    for m in (M1, M2, M3, M4):
        nodes[m].kill()
        wait_for(f"{m} down", lambda: first.lines("-node-down", m) and second.lines("-node-down", m))

    def order(c, address):
        return c.api("POST", "/v1/failovers", {"kind": "master", "address": address, "who": "ada"})

    def record(failover):
        a = first.api("GET", f"/v1/failovers/{failover}")
        return a.json if a.status == 200 else {}  # not heard of yet
    equal(order(first, M1).status, 202, "the order whose hook has the lock")
    wait_for("its hook", lambda: runs(cluster))
    a = order(second, M2)
    equal((a.status, a.json["state"]), (202, "queued"), "an order behind it")
    equal(a.headers["Location"], f"/v1/failovers/{a.json['id']}", "where it is")
    holder = f"m:127.0.0.1:{first.port}"
    seen = wait_for("whom it waits for", lambda: second.api.get(
        f"/v1/failovers/{a.json['id']}")["waits_for"])
    equal(seen, holder, "who has the lock")
    equal(order(first, M2).json["id"], a.json["id"], "the same order elsewhere")
    equal(order(second, M5).code, "alive", "who lives is told at once")
    taken_back = order(second, M3).json["id"]
    revived = order(second, M4).json["id"]
    listed = cluster.cli("failover", url=url)
    check("queued" in listed, lambda: f"the list: {listed}")
    cluster.cli("failover", "withdraw", taken_back, url=url)
    cluster.cli("failover", "withdraw", taken_back, url=url)  # twice is once
    wait_for("one that was taken back", lambda: record(taken_back).get("why") == "withdrawn")
    done = wait_for("the first one", lambda: [f for f in second.api.all("/v1/failovers") if f["address"] == M1])[0]["id"]
    cluster.cli("failover", "withdraw", done, url=url, expect=1)  # it has begun
    second.kill()
    cluster.agent("master", M4)
    wait_for("back", lambda: [n for n in first.api.all("/v1/nodes")
                              if (n["address"], n["state"]) == (M4, "up")])
    with open(os.path.join(cluster.dir, "go"), "w", encoding="utf-8"):
        pass
    wait_for("the order done by another", lambda: record(a.json["id"]).get("state") == "done", 30)
    wait_for("who lives again is left alone",
             lambda: record(revived).get("state") in ("aborted", "done"), 30)
    equal(record(taken_back)["state"], "aborted", "one that was taken back")
    threading.Event().wait(1)
    ran = runs(cluster)
    equal((ran.count(M1), ran.count(M2), ran.count(M3)), (1, 1, 0), f"hooks that ran: {ran}")


def test_a_drained_host_is_still_drained_after_its_restart(cluster):
    c = cluster.coordinator()
    url = f"http://127.0.0.1:{c.port}"
    victim = busy_master(cluster, c)

    def gate():
        return c.api.get(f"/v1/nodes/master/{M1}")["gate"] or {}
    cluster.cli("drain", "master", M1, "--for", "60s", "--reason", "new disk", url=url)
    victim.kill()
    wait_for("its work moved", finished(c.api, M1), 40)
    cluster.agent("master", M1)
    cluster.wait_up(c.api, M1)
    wait_for("the new process at the gate", lambda: gate()["state"] != "fenced")
    equal((gate()["state"], gate()["reason"]), ("draining", "new disk"), "the gate")
    submit(c.port, (f"x-{n}" for n in range(20)))
    owners = {i["owner"] for i in listed(c.api, ["w", *(f"x-{n}" for n in range(20))]).values()}
    equal(owners, {M2}, "who was given work")
    cluster.cli("drain", "master", M1, "--undo", url=url)
    wait_for("taken back", lambda: gate()["state"] == "open")


if __name__ == "__main__":
    run(sys.modules[__name__])
