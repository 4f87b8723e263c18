#!/usr/bin/env python3
"""The embedded registry put back to an older state under real processes: live,
while all were stopped, by another file in its place, and by a copy over a file
in use, which damages it. And restarts that lose nothing.

    RESTARTS=200 tests/integration/test_restore_sqlite.py no_alarm

FAILOVERS=N has coordinators taken over from N times under load, beside all that
may be done to a file in use; with PELORUS_BEFORE, an older build of ours, our
processes are replaced by those of now one after the other and back,
UPGRADES=N times.
"""

import contextlib
import itertools
import os
import re
import shutil
import sqlite3
import sys
import threading
import time

import restore
from cluster import Api, check, equal, run, settings, wait_for
from restore import Scene
from steady import MORE, Load, replace_ours

FAILOVERS = int(os.environ.get("FAILOVERS", "0"))
UPGRADES = int(os.environ.get("UPGRADES", "1"))
BEFORE = os.environ.get("PELORUS_BEFORE")


def opened(path):
    return contextlib.closing(sqlite3.connect(path, timeout=20))


def keys(path):
    """Our keys as the file has them now."""
    with opened(path) as db:
        return {k: bytes(v) for k, v in db.execute("SELECT key, value FROM node WHERE owner = 0")
                if "/pelorus/" in k}


def transfer(path, to):
    """What `.backup` and `.restore` of the sqlite3 program do."""
    with opened(path) as db, opened(to) as out:
        db.backup(out)


def remove_log(path):
    for suffix in ("-wal", "-shm"):
        with contextlib.suppress(FileNotFoundError):
            os.unlink(path + suffix)


def begin(cluster):
    """A scene, and a backup of it that lacks the rest of its life."""
    scene = Scene(cluster, keys=lambda: keys(cluster.path))
    copy = cluster.path + ".backup"
    transfer(cluster.path, copy)
    scene.live_on()
    return scene, copy, scene.ledger.mark()


def told_what_was_lost(said):
    """To the person who accepts, by what coordinators and clients remember.
    Whoever said meanwhile that it has finished one is believed."""
    ahead, back, gone = (int(next(iter(re.findall(rf"^  (\d+) {what}$", said, re.M)), 0)) for what in (
        "items whose owners hold a later epoch", "finished ones that came back", "new ones that are gone"))
    check(ahead > 0 and back >= restore.FINISHED and 0 < gone <= restore.NEW, f"{ahead}, {back}, {gone}: {said}")
    for text in (": held by ", ": came back; finished by ", ": gone; it was had by "):
        check(text in said, lambda text=text: f"no '{text}' in: {said}")


@settings(more=restore.MORE)
def test_restored_live(cluster):
    scene, copy, mark = begin(cluster)
    with scene:
        before = keys(copy)
        transfer(copy, cluster.path)
        scene.went_back(mark, before)
        told_what_was_lost(scene.accept())
        scene.shown_by_a_client()


@settings(more=restore.MORE)
def test_another_file_in_its_place(cluster):
    scene, copy, mark = begin(cluster)
    with scene:
        before = keys(copy)
        os.rename(copy, cluster.path)
        remove_log(cluster.path)
        scene.went_back(mark, before)
        scene.accept()


def damaged(process):
    """By a read, by its poll, or when it wanted a session again."""
    return [line for line in process.text().splitlines() if "the file is damaged" in line]


@settings(more=restore.MORE)
def test_copied_over_while_in_use(cluster):
    scene, copy, mark = begin(cluster)
    with scene:
        with opened(cluster.path) as db:    # the log begins anew: it lacks what went before
            wait_for("a checkpoint", lambda: db.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()[0] == 0)
        scene.give([900])
        mark = scene.ledger.mark()
        with open(copy, "rb") as source, open(cluster.path, "wb") as target:
            shutil.copyfileobj(source, target)
        began = time.monotonic()
        wait_for("damage met by all", lambda: all(damaged(p) for p in scene.processes()), restore.NOTICE)
        print(f"     damage met by all after {time.monotonic() - began:.2f} s")
        for p in scene.processes():
            line = damaged(p)[0]
            check(cluster.path in line and "put a backup in its place" in line, line)
        for c in scene.coordinators:
            wait_for("not ready", lambda: Api(c.port)("GET", "/readyz").status == 503)
        for a in scene.attempts():
            check(a.status >= 300, lambda: f"obeyed: {a.status} {a.text}")
        equal(scene.ledger.since(mark), [], "told by a damaged file")
        for words in (["accept-restore", "--yes"], ["backup", copy + ".json"]):
            said = cluster.cli("registry", *words, "-c", cluster.conf("person", 0), expect=1)
            check("the file is damaged" in said, lambda: f"{words}: {said}")
        # it is put back properly, and then it is an older one
        before = keys(copy)
        transfer(copy, cluster.path)
        scene.went_back(mark, before)
        scene.accept()


def restored_while_stopped(scene, copy, path):
    for m in scene.masters:
        if m.process:
            m.process.kill()
    scene.stop_coordinators()
    remove_log(path)
    shutil.copyfile(copy, path)


@settings(more=restore.MORE)
def test_a_client_remembers_when_all_were_stopped(cluster):
    """A master over HTTP, which shows what it holds: neither of the coordinators
    has seen anything."""
    scene, copy, mark = begin(cluster)
    with scene:
        before = keys(copy)
        restored_while_stopped(scene, copy, cluster.path)
        scene.start_coordinators()
        scene.went_back(mark, before, seconds=30)
        scene.masters[0].start_again()
        scene.accept(seconds=40)


def test_the_state_file_remembers_when_all_were_stopped(cluster):
    """Nobody else is left who has seen anything."""
    state = os.path.join(cluster.dir, "state")
    os.mkdir(state)
    cluster.more = restore.MORE + f"state-dir: {state}\n"
    scene, copy, mark = begin(cluster)
    with scene:
        before = keys(copy)
        for m in scene.masters[:-1]:
            m.die()
        restored_while_stopped(scene, copy, cluster.path)
        scene.start_coordinators()
        scene.went_back(mark, before, seconds=30)


@settings(more=restore.MORE)
def test_restarts_are_no_alarm(cluster):
    with Scene(cluster, keys=lambda: keys(cluster.path)) as scene:
        for n in range(int(os.environ.get("RESTARTS", "10"))):
            if n % 2:
                scene.stop_coordinators()
            else:
                for c in scene.coordinators:
                    c.terminate()
            scene.start_coordinators(wait=True)
            if n % 5 == 0:
                scene.give([5000 + n])
        threading.Event().wait(1)
        scene.never_noticed()
        scene.wait_known(len(scene.unfinished()))


def vacuum(path):
    with opened(path) as db:
        db.execute("VACUUM")


def checkpoint(path, mode):
    with opened(path) as db:
        db.execute(f"PRAGMA wal_checkpoint({mode})")


def copy_files(path):
    """Of the file and its log, as a snapshot of the disk has them; looked at."""
    for suffix in ("", "-wal"):
        with contextlib.suppress(FileNotFoundError):
            shutil.copyfile(path + suffix, path + ".copy" + suffix)
    with contextlib.suppress(sqlite3.Error):   # it may be of two times
        keys(path + ".copy")


HARMLESS = [vacuum, lambda path: transfer(path, path + ".backup"), copy_files,
            *(lambda path, mode=mode: checkpoint(path, mode) for mode in ("PASSIVE", "FULL", "RESTART", "TRUNCATE"))]

if FAILOVERS:
    @settings(more=restore.MORE)
    def test_coordinators_that_die_are_no_alarm(cluster):
        what = itertools.cycle(HARMLESS)
        with Scene(cluster, keys=lambda: keys(cluster.path)) as scene, Load(scene) as load:
            for n in range(FAILOVERS):
                one = scene.coordinators[n % 2]
                one.terminate() if n % 3 == 2 else one.kill()
                one.file.close()
                next(what)(cluster.path)
                scene.coordinators[n % 2] = cluster.coordinator(port=one.port)
                next(what)(cluster.path)
                load.goes_on()
            strange = [line for p in cluster.processes for line in p.text().splitlines()
                       if "!registry-file" in line or "damaged" in line]
            equal(strange, [], "told of the file")
            load.settle(f"{FAILOVERS} coordinators killed or ended, and 2 x {FAILOVERS} things done to the file")

if BEFORE:
    @settings(more=MORE)
    def test_our_processes_of_another_version_and_back_are_no_alarm(cluster):
        cluster.pelorus = BEFORE
        with Scene(cluster, keys=lambda: keys(cluster.path)) as scene, Load(scene) as load:
            replace_ours(scene, load, BEFORE, UPGRADES)


if __name__ == "__main__":
    run(sys.modules[__name__])
