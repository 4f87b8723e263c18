"""The journal of a real coordinator, and what `pelorus replay` makes of it: the
same decisions, through rotations, a reload, kill -9 and a full disk; and other
ones with other settings."""

import glob
import itertools
import json
import os
import random
import signal
import subprocess
import sys
import threading

from cluster import PELORUS, SLOW, Api, check, equal, run, wait_for
from disk import Disk

WORKERS = [f"10.0.0.{i}:1234" for i in range(1, 9)]
SMALL = "journal-size: 64KB\njournal-files: 40\n"
PATIENT = "failover: {grace: 300ms, reconcile-interval: 1s}\n"
GPU = "groups: {gpu: [" + ", ".join(f'"{w}"' for w in WORKERS[:4]) + "]}\n"


def journal_of(cluster, name="journal", more=SMALL):
    return f"journal: {os.path.join(cluster.dir, name)}\n{more}{PATIENT}{GPU}"


def heartbeat(api, rng, address):
    i = WORKERS.index(address)
    body = {"serverStatus": "NORMAL", "workerHostWeight": 100, "workerExecThreadCount": 8 + 4 * i,
            "cpuUsage": round(rng.uniform(0.05, 0.95), 3), "memoryUsage": 0.3, "diskUsage": 0.2,
            "threadPoolUsage": round(rng.random(), 2)}
    answer = api("PUT", f"/v1/nodes/worker/{address}?ttl=30s", body)
    check(answer.status in (200, 201), lambda: f"PUT {address}: {answer.text}")


class Traffic:
    """Workers that report, and clients that pick and end, until it is left."""

    def __init__(self, coordinator, clients=2, many=20):
        self.port, self.many = coordinator.port, many
        self.ended = threading.Event()
        self.picks, self.refused = [0] * clients, [0] * clients
        self.problems = []
        for address in WORKERS:
            heartbeat(coordinator.api, random.Random(1), address)
        wait_for("a first pick", lambda: coordinator.api("GET", "/v1/workers/best?peek=1").status == 200)
        self.threads = [threading.Thread(target=self.guard, args=(self.report,))]
        self.threads += [threading.Thread(target=self.guard, args=(self.pick, i)) for i in range(clients)]

    def guard(self, what, *args):
        try:
            what(*args)
        except Exception as error:  # noqa: a thread must not lose it
            if not self.ended.is_set():
                self.problems.append(f"{type(error).__name__}: {error}")

    def report(self):
        api, rng = Api(self.port), random.Random(2)
        for address in itertools.cycle(WORKERS):
            if self.ended.wait(0.04):
                return
            heartbeat(api, rng, address)

    def pick(self, i):
        api, rng = Api(self.port), random.Random(100 + i)
        while not self.ended.is_set():
            count = rng.randint(2, self.many)
            kind = rng.random()
            path = "/v1/workers/best"
            if kind < 0.6:
                path += f"?count={count}"
            elif kind < 0.7:
                path += f"?group=gpu&count={count}"
            elif kind < 0.8:
                path += f"?affinity={rng.randint(0, 9)}"
            elif kind < 0.9:
                path += f"?exclude={rng.choice(WORKERS)}"
            answer = api("GET", path)
            if answer.status != 200:
                self.refused[i] += 1
                continue
            picks = answer.json.get("picks") or [answer.json]
            self.picks[i] += len(picks)
            for p in picks:
                how = rng.random()
                if how < 0.99:
                    equal(api("POST", f"/v1/picks/{p['pick']}/{'refused' if how < 0.005 else 'done'}").status, 204, "end")

    def __enter__(self):
        for t in self.threads:
            t.start()
        return self

    def __exit__(self, kind, *_):
        self.ended.set()
        for t in self.threads:
            t.join()
        if kind is None:
            check(not self.problems, lambda: f"traffic: {self.problems[:3]}")


def replay(*words, expect=0):
    done = subprocess.run([PELORUS, "replay", "--json", *words], capture_output=True, text=True,
                          timeout=60 * SLOW, check=False)
    equal(done.returncode, expect, f"replay {' '.join(words)}: {done.stdout[:600]}{done.stderr} exit")
    return json.loads(done.stdout) if expect != 2 else done.stderr


def files(cluster, name="journal"):
    return [f for f in glob.glob(os.path.join(cluster.dir, name + "*")) if not f.endswith(".lock")]


def same(document):
    equal(document["recorded"], document["replayed"], "hash")
    equal(document["differ"], 0, "picks that differ")
    for f in document["files"]:
        equal(f["recorded"], f["replayed"], f"hash of {f['file']}")
        check(f["same_algorithm"] and f["basis_agrees"], lambda: f"{f}")
    return document


def figure(api, name):
    for line in api("GET", "/metrics").text.splitlines():
        if line.startswith(name + " "):
            return float(line.split()[1])
    return None


def test_rotated_and_moved_files_replay_to_the_same_hash(cluster):
    c = cluster.coordinator(more=journal_of(cluster))
    path = os.path.join(cluster.dir, "journal")
    moved = os.path.join(cluster.dir, "moved")
    with Traffic(c) as traffic:
        wait_for("three rotations", lambda: os.path.exists(path + ".3"), 30)
        os.rename(path, moved)
        c.signal(signal.SIGHUP)
        wait_for("a new file", lambda: os.path.exists(path))
        wait_for("two more", lambda: os.path.exists(path + ".5"), 30)
    picks = sum(traffic.picks)
    equal(c.terminate()[0], 0, "exit")
    equal(os.stat(path).st_mode & 0o777, 0o640, "mode")
    check(not c.lines("!journal"), lambda: c.text()[-1000:])
    every = files(cluster) + [moved]
    check(len(every) >= 7, lambda: f"{every}")
    for f in every:
        size = os.path.getsize(f)
        check(size < 200000, f"{f} has {size} bytes")
        document = same(replay(f))
        equal((document["files"][0]["ended"], document["files"][0]["torn_at"], document["files"][0]["missing"]),
              (True, None, 0), f"{f}: ended, torn, missing")
    document = same(replay(*every))
    equal([f["sequence"] for f in document["files"]], list(range(len(every))), "order")
    # and those that were answered with nobody, or a peek
    recorded = sum(s["then"] for s in document["shares"])
    check(picks <= recorded <= picks + 100, f"{recorded} of {picks} picks")
    print(f"{recorded} picks, {sum(map(os.path.getsize, every))} bytes, {len(every)} files")
    other_settings(every)


def other_settings(every):
    document = replay(*every, "--set", "cpu-max=0.5", expect=1)
    first = document["first"]
    check(0 < document["differ"] < document["picks"], lambda: f"{document['differ']}")
    check(first["request"] >= 1 and first["group"] in ("default", "gpu") and first["then"] != first["now"], lambda: f"{first}")
    terms = {c["address"]: c for c in first["candidates"]}
    check({first["then"], first["now"]} <= set(terms), lambda: f"{first}")
    why = " ".join(c["changed"] for c in terms.values())
    check('hot null -> "cpu"' in why or '"full" -> "cpu"' in why, f"why: {first}")
    equal(sum(s["then"] for s in document["shares"]), sum(s["now"] for s in document["shares"]), "shares")
    text = subprocess.run([PELORUS, "replay", *every, "--set", "balancer.cpu-max=0.5"], capture_output=True, text=True,
                          check=False).stdout
    check(f"the first is request {first['request']} at {first['time']}" in text, text)
    check("not as recorded: " in text and first["then"] in text and first["now"] in text, text)
    document = replay(*every, "--set", "groups.gpu.cpu-max=0.4", expect=1)
    equal(document["first"]["group"], "gpu", "group of the first that differs")
    # what it was is no change
    same(replay(*every, "--set", "cpu-max=1"))
    same(replay(*every, "--policy", "ledger"))
    for policy in ("RANDOM", "ROUND_ROBIN", "FIXED_WEIGHTED_ROUND_ROBIN", "DYNAMIC_WEIGHTED_ROUND_ROBIN"):
        document = replay(*every, "--policy", policy, expect=1)
        check(document["differ"] > document["picks"] / 4, lambda: f"{policy}: {document['differ']}")
    said = replay(every[0], "--set", "cpu-max=1.5", expect=2)
    check("balancer.cpu-max" in said and "choose from 0 to 1" in said, said)
    said = replay(every[0], "--set", "cpu-mx=0.5", expect=2)
    check("did you mean balancer.cpu-max" in said, said)
    for key in ("shadow=RANDOM", "balancer.regret=false"):
        said = replay(every[0], "--set", key, expect=2)
        check("no decision rests on it" in said, said)
    said = replay(every[0], every[0], expect=2)
    check("the same file" in said, said)
    said = replay(expect=2)
    check("usage: pelorus replay FILE" in said, said)


def test_kill_9_and_a_second_process(cluster):
    more = journal_of(cluster, more="")
    path = os.path.join(cluster.dir, "journal")
    c = cluster.coordinator(more=more)
    with Traffic(c) as traffic:
        other = cluster.coordinator(more=more, wait=False)
        equal(other.popen.wait(30 * SLOW), 1, "exit of a second process")
        check("another process writes it" in other.text(), other.text())
        wait_for("some picks", lambda: sum(traffic.picks) > 5000, 30)
        traffic.ended.set()
        c.kill()
    document = same(replay(path))
    f = document["files"][0]
    check(not f["ended"], "it has an end")
    check(f["picks"] > 3000, lambda: f"{f}")
    torn(cluster, path, document)
    again = cluster.coordinator(more=more)
    with Traffic(again) as traffic:
        wait_for("some picks", lambda: sum(traffic.picks) > 1000, 30)
    again.terminate()
    document = same(replay(path, path + ".1"))
    equal(len(document["files"]), 2, "files")


def torn(cluster, path, document):
    """Its last block is cut, and one in the middle is damaged."""
    with open(path, "rb") as f:
        data = bytearray(f.read())
    cut = os.path.join(cluster.dir, "cut")
    with open(cut, "wb") as f:
        f.write(data[:-3])
    one = same(replay(cut))
    check(one["files"][0]["torn_at"] is not None, lambda: f"{one['files']}")
    check(0 < one["picks"] < document["picks"], lambda: f"{one['picks']}")
    data[len(data) // 2] ^= 0x10
    with open(cut, "wb") as f:
        f.write(data)
    two = same(replay(cut))
    check(two["files"][0]["torn_at"] <= len(data) // 2, lambda: f"{two['files']}")
    check(0 < two["picks"] < one["picks"], lambda: f"{two['picks']}")
    said = replay(__file__, expect=2)
    check("no journal" in said, said)
    for at in (4, 30, 200):
        other = bytearray(data)
        other[at] ^= 1
        with open(cut, "wb") as f:
            f.write(other)
        check("damaged" in replay(cut, expect=2) or "no journal" in replay(cut, expect=2)
              or "before its basis" in replay(cut, expect=2), f"byte {at}")


def test_files_of_two_coordinators_are_replayed_run_by_run(cluster):
    names, paths = ("a", "b"), {}
    for name in names:
        c = cluster.coordinator(more=journal_of(cluster, name))
        paths[name] = (os.path.join(cluster.dir, name), os.path.join(cluster.dir, name + "-0"), c)
    for part in ("-0", "-1"):
        for path, _, c in paths.values():
            os.rename(path, path + part)
            c.signal(signal.SIGHUP)
            wait_for("a new file", lambda p=path: os.path.exists(p))
    for _, _, c in paths.values():
        equal(c.terminate()[0], 0, "exit")
    every = [os.path.join(cluster.dir, f"{name}{part}") for part in ("", "-1", "-0") for name in names]
    document = same(replay(*every))
    equal([(os.path.basename(f["file"]), f["sequence"]) for f in document["files"]],
          [("a-0", 0), ("a-1", 1), ("a", 2), ("b-0", 0), ("b-1", 1), ("b", 2)], "order")
    equal(len({f["run"] for f in document["files"]}), 2, "runs")
    text = subprocess.run([PELORUS, "replay", every[0], every[1], every[4], every[5]], capture_output=True, text=True,
                          check=True, timeout=60 * SLOW).stdout
    equal((text.count("another run, which begins anew"), text.count("  1 of its run's files before it not given")), (1, 2), text)


def test_what_is_no_journal_is_told_by_what_it_is(cluster):
    path = os.path.join(cluster.dir, "journal")
    c = cluster.coordinator(more=journal_of(cluster))
    equal(c.terminate()[0], 0, "exit")
    others = {"empty": "empty", "directory": "a directory", "pipe": "no regular file"}
    where = {name: os.path.join(cluster.dir, name) for name in others}
    os.close(os.open(where["empty"], os.O_CREAT | os.O_WRONLY))
    os.mkdir(where["directory"])
    os.mkfifo(where["pipe"])
    for name, what in others.items():
        equal(replay(path, where[name], expect=2), f"pelorus: replay: {where[name]}: it is no journal: {what}\n", name)
    # as a shell makes it of journal*: with the lock
    lock = path + ".lock"
    equal(os.stat(lock).st_size, 0, "bytes of the lock")
    equal([f["file"] for f in same(replay(path, lock))["files"]], [path], "files")
    check("only its lock" in replay(lock, expect=2), "the lock alone")
    for words in (("--frob",), ("--set",), ("--policy",)):
        said = replay(path, *words, expect=2)
        check(said.startswith("pelorus: replay: ") and "usage: pelorus replay" in said, said)


def test_a_full_disk_makes_nobody_wait(cluster):
    where = os.path.join(cluster.dir, "disk")
    os.mkdir(where)
    disk = Disk(where, 2)
    path = os.path.join(where, "journal")
    try:
        c = cluster.coordinator(more=f"journal: {path}\n{PATIENT}")
        with Traffic(c) as traffic:
            wait_for("some picks", lambda: sum(traffic.picks) > 1000, 30)
            disk.fill()
            wait_for("it is said", lambda: c.lines("!journal"), 30)
            before = sum(traffic.picks)
            wait_for("more picks", lambda: sum(traffic.picks) > before + 2000, 30)
            equal((figure(c.api, "pelorus_journal_complete"), figure(c.api, "pelorus_journal_gaps_total")), (0, 1),
                  "complete, gaps")
            check(figure(c.api, "pelorus_journal_dropped_total") > 100, "nothing was left out")
            equal(len(c.lines("!journal")), 1, "lines about it")
            disk.make_room()
            wait_for("it is over", lambda: c.lines("=journal"), 40)
            before = sum(traffic.picks)
            wait_for("more picks", lambda: sum(traffic.picks) > before + 1000, 30)
            equal(figure(c.api, "pelorus_journal_complete"), 1, "complete")
            check(figure(c.api, "pelorus_journal_errors_total") >= 1, "no error")
        equal(c.terminate()[0], 0, "exit")
        document = same(replay(path))
        f = document["files"][0]
        check(f["ended"] and f["missing"] > 0 and f["torn_at"] is None, lambda: f"{f}")
        check(2000 < f["picks"] < sum(traffic.picks), lambda: f"{f['picks']} of {sum(traffic.picks)}")
    finally:
        disk.end()


def test_what_stands_there_is_not_moved_away(cluster):
    path = os.path.join(cluster.dir, "journal")
    with open(path, "w", encoding="utf-8") as f:
        f.write("my diary\n")
    c = cluster.coordinator(more=journal_of(cluster), wait=False)
    equal(c.popen.wait(30 * SLOW), 1, "exit")
    check("it is there and no journal" in c.text(), c.text())
    with open(path, encoding="utf-8") as f:
        equal(f.read(), "my diary\n", "the file")
    equal(glob.glob(path + ".[0-9]*"), [], "rotated")


if __name__ == "__main__":
    run(sys.modules[__name__])
