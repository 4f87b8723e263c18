"""A person at the registry: a backup is taken and put back, and a store with
ten thousand items is accepted, on real processes and every kind of server."""

import contextlib
import functools
import json
import os
import pty
import sqlite3
import subprocess
import sys
import time

import etcd
import sql
import zookeeper
from cluster import PELORUS, SLOW, Cluster, Failure, Sqlite, check, equal, pace, run, settings, submit, wait_for
from restore import MORE, Scene

MANY = 10000
WITHIN = 10     # seconds for as many


def registry(conf, *words, expect=0):
    began = time.monotonic()
    done = subprocess.run([PELORUS, "registry", *words, "-c", conf], capture_output=True, text=True,
                          stdin=subprocess.DEVNULL, timeout=120 * SLOW, check=False)
    equal(done.returncode, expect, f"registry {' '.join(words)}: {done.stdout}{done.stderr} exit")
    return done.stdout + done.stderr, time.monotonic() - began


def state_of(items):
    return {k: (i["state"] == "done", i["payload"], i["policy"]) for k, i in items.items()}


def put_back_alive(cluster):
    """The coordinators stop by themselves, and go on with what the backup says."""
    with Scene(cluster) as scene:
        conf, file = cluster.conf("keeper", 0), os.path.join(cluster.dir, "backup.json")
        registry(conf, "backup", file)
        with open(file, encoding="utf-8") as f:
            check("pelorus-backup" in json.loads(f.readline()), "the first line does not say what it is")
        before = state_of(scene.items())
        scene.live_on()
        said, _ = registry(conf, "restore", file, "--yes", expect=1)
        check("--live" in said and "/pelorus/coordinators/" in said, f"refused: {said}")
        said, _ = registry(conf, "restore", file, "--live", expect=1)
        check("--yes" in said, f"nobody to ask: {said}")
        equal(scene.ledger.twice(), {}, "(id, epoch) told to two")
        scene.accept("--live", verb=("restore", file), seconds=30)
        after = state_of({k: i for k, i in scene.items().items() if k in before})
        equal(after, before, "the items of the backup")
        check(f"item-{60}" not in scene.items(), "an item that the backup does not have is there")


@settings(more=MORE)
def test_a_backup_is_put_back_under_a_live_cluster(cluster):
    put_back_alive(cluster)


@settings(more=MORE, registry=etcd.Registry)
def test_a_backup_is_put_back_under_a_live_cluster_on_etcd(cluster):
    put_back_alive(cluster)


def on_a_terminal(conf, *words, answer):
    """What it says and how it exits, answered by somebody at a terminal."""
    ours, theirs = pty.openpty()
    try:
        with subprocess.Popen([PELORUS, "registry", *words, "-c", conf], stdin=theirs,
                              stdout=subprocess.PIPE, stderr=subprocess.STDOUT) as p:
            said = b""
            while b"[y/N] " not in said:
                more = p.stdout.read1()
                check(more, lambda: f"it did not ask: {said.decode()}")
                said += more
            os.write(ours, answer)
            said += p.stdout.read()
            return said.decode(), p.wait()
    finally:
        os.close(ours)
        os.close(theirs)


def test_a_person_is_asked(cluster):
    conf = cluster.conf("person", 0)
    for answer in b"n\n", b"\x04":
        said, code = on_a_terminal(conf, "accept-restore", answer=answer)
        check(code == 1 and "nothing was changed" in said, f"{answer}: {code}, {said}")
    for answer in b"y\n", b"YES\n":
        said, code = on_a_terminal(conf, "accept-restore", answer=answer)
        check(code == 0 and "done:" in said, f"{answer}: {code}, {said}")
    said, _ = registry(conf, "accept-restore", expect=1)
    check("--yes" in said, f"without a terminal: {said}")
    for words in (["accept-restore", "x"], ["backup"], ["restore", "--apply", "f"], ["init", "--yes"], ["accept"],
                  ["accept-restore", "--epoch-floor", "-1"]):
        said, _ = registry(conf, *words, expect=2)
        check("usage: pelorus registry" in said, f"{words}: {said}")


def test_what_is_wrong_is_told(cluster):
    """Nothing is written before the whole file was found to be right."""
    conf, file = cluster.conf("person", 0), os.path.join(cluster.dir, "backup.json")
    said, _ = registry(conf, "restore", file, "--yes", expect=1)
    check(file in said and "No such file" in said, said)
    registry(conf, "backup", file)
    with open(file, "r+b") as f:
        f.truncate(os.path.getsize(file) - 2)
    said, _ = registry(conf, "restore", file, "--yes", expect=1)
    check(f"{file}:2: the file was cut off here" in said, said)
    said, _ = registry(conf, "backup", "/nowhere/at/all", expect=1)
    check("/nowhere/at/all.tmp" in said and "No such file" in said, said)


def test_a_damaged_key_is_told(cluster):
    """What the registry says of itself is not guessed."""
    conf, file = cluster.conf("person", 0), os.path.join(cluster.dir, "backup.json")
    registry(conf, "accept-restore", "--yes")
    registry(conf, "backup", file)
    with open(file, encoding="utf-8") as f:
        history = json.dumps(json.loads(f.readline())["history"])

    def say(text):
        with contextlib.closing(sqlite3.connect(cluster.path, timeout=20)) as db, db:
            done = db.execute("UPDATE node SET value = ?, version = version + 1 WHERE key LIKE "
                              "'%/pelorus/history/incarnation'", (text.encode(),))
            equal(done.rowcount, 1, "keys")
    say("{")
    for words in (("accept-restore", "--yes"), ("restore", file, "--yes"), ("backup", file)):
        said, _ = registry(conf, *words, expect=1)
        check("/pelorus/history/incarnation" in said and "cannot be read" in said and "going-back.md" in said,
              f"{words}: {said}")
        check("is it up" not in said, f"{words}: {said}")
    say(history)
    said, _ = registry(conf, "accept-restore", "--yes")
    check("done:" in said, said)


SERVERS = {"sqlite": Sqlite, "etcd": etcd.Registry, "zookeeper": zookeeper.Registry,
           "mysql": functools.partial(sql.Registry, kind="mysql"),
           "postgresql": functools.partial(sql.Registry, kind="postgresql")}


def known_again(c, epoch):
    """By a coordinator, which takes another session for it."""
    def all_there():
        try:
            items = c.api.all("/v1/work?kind=master")
        except Failure:
            return False
        return len(items) == MANY and {i["epoch"] for i in items} == {epoch}
    wait_for(f"the items at epoch {epoch}", all_there, 30)


@settings(session=10)
def test_ten_thousand_items_are_given_again(cluster):
    """From one registry's backup into each: put back, then accepted."""
    c = cluster.coordinator()
    equal(c.api("PUT", "/v1/nodes/master/10.7.0.1:5678?ttl=1h", {"startupTime": 1, "processId": 1}).status, 201,
          "registered")
    wait_for("the master is up", lambda: c.api.all("/v1/nodes?state=up"))
    submit(c.port, [f"w-{n}" for n in range(MANY)], payload={"n": "x" * 100})
    file = os.path.join(cluster.dir, "backup.json")
    _, took = registry(cluster.conf("keeper", 0), "backup", file)
    print(f"     backup of {MANY}: {took:.1f} s, {os.path.getsize(file) >> 10} KiB", flush=True)
    for name, server in SERVERS.items():
        with Cluster(session=10, registry=server) as other:
            conf = other.conf("person", 0)
            said, put = registry(conf, "restore", file, "--yes")
            check(f"{MANY} items given again" in said, f"{name}: {said}")
            reader = other.coordinator(more="failover: {enabled: false}\n")
            began = time.monotonic()
            said, took = registry(conf, "accept-restore", "--yes")
            check(f"{MANY} items given again" in said, f"{name}: {said}")
            check(reader.alive(), f"{name}: the coordinator has ended")
            known_again(reader, int(said.split("at epoch ")[1].split(";")[0]))
            total = time.monotonic() - began
            print(f"     {name}: put back {put:.1f} s, accepted {took:.1f} s, known {total:.1f} s", flush=True)
            check(took <= WITHIN * SLOW * pace(), f"{name}: accepted after {took:.1f} s")


if __name__ == "__main__":
    run(sys.modules[__name__])
