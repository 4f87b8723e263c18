#!/usr/bin/env python3
"""PostgreSQL and MariaDB that lose what they had acknowledged, under real
processes: a backup is put back, a standby is promoted without its tail, an old
primary comes back beside the new one. And fail-overs that lose nothing.

RESTORE_LONG=1 runs all ways on both, and RESTORE_RESTARTS=N restarts of each.
"""

import contextlib
import http.client
import os
import shutil
import signal
import socket
import subprocess
import sys
import time

import restore
from cluster import SLOW, Failure, check, equal, holds, run, settings, wait_for
from galera import Galera
from restore import Scene
from sql import DATABASE, Servers, init, url_of

LONG = bool(os.environ.get("RESTORE_LONG"))
RESTARTS = int(os.environ.get("RESTORE_RESTARTS", "20" if LONG else "3"))


class Store(Servers):
    """One server, or several in their order."""

    def make(self):
        init(self.server("a").make_database(), self.cluster.dir)

    def position(self, server=None):
        return int((server or self.writer).run("SELECT revision FROM pelorus_meta")[0][0])

    def crash(self, server):
        """At once, without a word to anybody."""
        if self.kind == "postgresql":   # killed it would leave its children
            server.process.signal(signal.SIGQUIT)
            server.process.popen.wait(timeout=20 * SLOW)
        server.kill()

    def up(self, server):
        server.start()
        server.wait()

    def tables(self):
        where = "schemaname = 'public'" if self.kind == "postgresql" else f"table_schema = '{DATABASE}'"
        columns = "tablename FROM pg_tables" if self.kind == "postgresql" else "table_name FROM information_schema.tables"
        found = [name for name, in self.run(f"SELECT {columns} WHERE {where}")]
        return sorted(found, key=lambda name: name != "pelorus_meta")   # the counter first: nobody writes

    def copy_tables(self):
        """What a dump holds, in one transaction."""
        self.run(f"CREATE {'SCHEMA' if self.kind == 'postgresql' else 'DATABASE'} copied")
        for table in self.tables():
            self.run(f"CREATE TABLE copied.{table} AS SELECT * FROM {table} WHERE 1 = 0")
        self.run("BEGIN; SELECT revision FROM pelorus_meta WHERE id = 1 FOR UPDATE; " + "; ".join(
            f"INSERT INTO copied.{t} SELECT * FROM {t}" for t in self.tables()) + "; COMMIT")

    def put_tables_back(self):
        """While it is used. Of Galera's nodes another one may be first."""
        sql = "BEGIN; " + "; ".join(f"DELETE FROM {t}; INSERT INTO {t} SELECT * FROM copied.{t}"
                                    for t in self.tables()) + "; COMMIT"
        for n in range(20):
            try:
                self.run(sql)
                return
            except Failure:
                if n == 19:
                    raise

    def copy(self):
        raise NotImplementedError

    def put_back(self, copy, between=lambda: None):
        """The server's files as they were; `between`: while it does not run."""
        self.crash(self.writer)
        between()
        shutil.rmtree(self.writer.data)
        os.rename(copy, self.writer.data)
        self.up(self.writer)


class Postgresql(Store):
    kind = "postgresql"

    def keys(self):
        rows = self.run("SELECT encode(name, 'escape'), encode(value, 'hex') FROM pelorus_registry WHERE owner = 0")
        return {name: value for name, value in rows if "/pelorus/" in name}

    def copy(self):
        to = self.writer.file("backup")
        done = subprocess.run([*self.writer.sure, "--", self.writer.programs("pg_basebackup"), "-h", "127.0.0.1", "-p",
                               str(self.writer.port), "-U", "pelorus", "-D", to, "-X", "stream", "-c", "fast",
                               "--no-sync"], capture_output=True, text=True, timeout=120 * SLOW, check=False, cwd="/")
        check(done.returncode == 0, lambda: f"pg_basebackup: {done.stderr}")
        return to


class PostgresqlPair(Postgresql):
    def make(self):
        super().make()
        self.server("b", of=self.servers[0])

    def cut(self):
        """From now on the standby receives nothing."""
        self.crash(self.servers[1])

    def fail_over(self):
        """The primary dies, and the standby has what it has."""
        a, b = self.servers
        self.crash(a)
        if not b.process.alive():
            self.up(b)
        b.run("SELECT pg_promote()", database=None)
        self.writer = b

    def hand_over(self):
        """Nothing is lost: an orderly end waits until the standby has all."""
        self.servers[0].process.signal(signal.SIGINT)
        self.servers[0].process.popen.wait(timeout=30 * SLOW)
        self.servers[0].process.file.close()
        self.servers[1].run("SELECT pg_promote()", database=None)
        self.writer = self.servers[1]


class Mysql(Store):
    kind = "mysql"

    def keys(self):
        rows = self.run("SELECT name, hex(value) FROM pelorus_registry WHERE owner = 0")
        return {name: value for name, value in rows if "/pelorus/" in name}

    def copy(self):
        """Of all files at one moment, as if it had been killed there."""
        to = self.writer.file("backup")
        self.writer.stop()
        try:
            shutil.copytree(self.writer.data, to)
        finally:
            self.writer.resume()
        return to


class MysqlPair(Mysql):
    def make(self):
        a = self.server("a", more=["--log-bin", "--server-id=1"])
        b = self.server("b", more=["--log-bin", "--server-id=2", "--read-only"])
        b.run(f"CHANGE MASTER TO master_host = '127.0.0.1', master_port = {a.port}, master_user = 'root', "
              "master_use_gtid = slave_pos; START SLAVE", database=None)
        init(a.make_database(), self.cluster.dir)
        self.caught_up()

    def caught_up(self):
        at = self.servers[0].run("SELECT @@gtid_binlog_pos", database=None)[0][0]
        wait_for("the replica has caught up", lambda: self.servers[1].run(
            f"SELECT MASTER_GTID_WAIT('{at}', 0.1)", database=None) == [["0"]], 20)

    def cut(self):
        self.servers[1].run("STOP SLAVE", database=None)

    def fail_over(self):
        self.crash(self.servers[0])
        self.servers[1].run("STOP SLAVE; RESET SLAVE ALL; SET GLOBAL read_only = 0", database=None)
        self.servers[1].more.remove("--read-only")
        self.writer = self.servers[1]

    def hand_over(self):
        self.servers[0].run("SET GLOBAL read_only = 1", database=None)
        self.caught_up()
        self.fail_over()


class GaleraNodes(Galera, Mysql):
    """Three that all write: the tables of all are put back at one."""

    @property
    def writer(self):
        return self.nodes[0]


def scene_of(cluster):
    return Scene(cluster, keys=cluster.registry.keys)


# --- a backup is put back -----------------------------------------------------

def restored_live(cluster, tables=False):
    """By its files, which it is stopped for, or by its tables alone."""
    store = cluster.registry
    with scene_of(cluster) as scene:
        copy = store.copy_tables() if tables else store.copy()
        scene.live_on()
        mark, known = scene.ledger.mark(), store.position()
        if tables:
            store.put_tables_back()
        else:
            store.put_back(copy)
        began = time.monotonic()
        check(store.position() < known, "it did not go back")
        scene.went_back(mark, store.keys(), began)
        scene.accept()
        scene.shown_by_a_client()


def restored_while_stopped(cluster):
    """The coordinators were; an agent remembers."""
    store = cluster.registry
    with scene_of(cluster) as scene:
        copy = store.copy()
        scene.live_on()
        scene.stop_coordinators()
        mark = scene.ledger.mark()
        store.put_back(copy)
        before, began = store.keys(), time.monotonic()
        scene.start_coordinators()
        scene.went_back(mark, before, began)
        scene.accept()


# --- two servers --------------------------------------------------------------

def promoted_without_its_tail(cluster):
    store = cluster.registry
    with scene_of(cluster) as scene:
        store.cut()
        scene.live_on()
        mark, known = scene.ledger.mark(), store.position()
        store.fail_over()
        check(store.position() < known, "no tail was lost")
        scene.went_back(mark, store.keys(), time.monotonic())
        scene.accept()
        if LONG:    # what was lost comes back beside what was accepted
            store.up(store.servers[0])
            rolling_restart(scene)
            stays_with(scene, store.servers[0])


def goes_on(scene):
    """Each coordinator writes again."""
    def writes(c):
        with contextlib.suppress(OSError, http.client.HTTPException, ValueError):
            return c.api("POST", "/v1/work", {"id": f"goes-on-{c.port}", "kind": "master"}).status in (200, 201)
    for c in scene.coordinators:
        wait_for(f"{c.name} goes on", lambda c=c: writes(c), 30)


def rolling_restart(scene):
    for n, c in enumerate(scene.coordinators):
        c.kill()
        c.file.close()
        scene.coordinators[n] = scene.cluster.coordinator(port=c.port)


def stays_with(scene, old, never_noticed=False):
    """Everybody uses the newer one; nobody writes to `old`."""
    store = scene.cluster.registry
    position = store.position(old)
    scene.wait_known(len(scene.unfinished()))
    scene.give(range(2000, 2010))
    equal(store.position(old), position, "the old primary was written to")
    equal(scene.ledger.twice(), {}, "(id, epoch) told to two")
    if never_noticed:
        scene.never_noticed()


def two_primaries(cluster):
    """The one that failed over stands first in the URL, and comes back as it
    was; nobody but a rolling restart looks at it."""
    store = cluster.registry
    with scene_of(cluster) as scene:
        store.hand_over()
        goes_on(scene)
        scene.never_noticed()
        scene.live_on()
        store.up(store.servers[0])
        rolling_restart(scene)
        stays_with(scene, store.servers[0], never_noticed=True)


def back_to_the_old_one(cluster):
    """One address, which moves back to the old primary."""
    store = cluster.registry
    store.behind_a_proxy(store.writer)
    with scene_of(cluster) as scene:
        store.hand_over()
        store.proxy.target = ("127.0.0.1", store.servers[1].port)
        store.proxy.reset()
        goes_on(scene)
        scene.live_on()
        scene.never_noticed()
        store.up(store.servers[0])
        store.writer, mark = store.servers[0], scene.ledger.mark()
        before = store.keys()
        store.proxy.target = ("127.0.0.1", store.servers[0].port)
        store.proxy.reset()
        scene.went_back(mark, before, time.monotonic())
        scene.accept()


def until_the_right_one_is_back(cluster):
    """It restarts while the old primary stands beside it: whoever comes there
    believes nothing, and leaves by himself when the right one is back."""
    store = cluster.registry
    with scene_of(cluster) as scene:
        store.hand_over()
        goes_on(scene)
        scene.live_on()
        a, b = store.servers
        store.up(a)
        mark = scene.ledger.mark()
        store.writer = a
        before = store.keys()
        store.crash(b)
        scene.went_back(mark, before, time.monotonic())
        store.up(b)
        store.writer = b
        goes_on(scene)
        for p in scene.processes():
            wait_for(f"{p.name} is back", lambda p=p: p.lines("registry_returned"), 20)
        stays_with(scene, a)


# --- and nothing is lost ------------------------------------------------------

def restarts(cluster):
    """Killed and started again under writes, more than once."""
    store = cluster.registry
    with scene_of(cluster) as scene:
        for n in range(RESTARTS):
            scene.give([3000 + n])
            store.crash(store.writer)
            store.up(store.writer)
            goes_on(scene)
            scene.never_noticed()
        holds("nobody notices anything", lambda: scene.never_noticed() or True, 1)
        scene.wait_known(len(scene.unfinished()))
        equal(scene.ledger.twice(), {}, "(id, epoch) told to two")


def a_host_that_is_silent(cluster):
    """It accepts and says nothing: whoever begins waits for it once, whichever
    place it has in the URL. (The timeout to connect is half of the session's.)"""
    store = cluster.registry
    with socket.create_server(("127.0.0.1", 0)) as silent:
        ports = [store.writer.port, silent.getsockname()[1]]
        for order in (ports, ports[::-1]):
            store.address = url_of(store.kind, *order)
            began = time.monotonic()
            cluster.coordinator().terminate()
            took = time.monotonic() - began
            check(took < cluster.session / 2 + 2.5 * SLOW, lambda: f"{took:.1f} s to start")


def given(registry):
    return settings(registry=registry, more=restore.MORE)


@given(PostgresqlPair)
def test_promoted_without_its_tail_on_postgresql(cluster):
    promoted_without_its_tail(cluster)


@given(PostgresqlPair)
def test_two_primaries_on_postgresql(cluster):
    two_primaries(cluster)


@given(Mysql)
def test_tables_restored_live_on_mysql(cluster):
    restored_live(cluster, tables=True)


@given(Mysql)
def test_restored_while_stopped_on_mysql(cluster):
    restored_while_stopped(cluster)


if LONG:
    @given(Postgresql)
    def test_restored_live_on_postgresql(cluster):
        restored_live(cluster)

    @given(Postgresql)
    def test_tables_restored_live_on_postgresql(cluster):
        restored_live(cluster, tables=True)

    @given(Postgresql)
    def test_restored_while_stopped_on_postgresql(cluster):
        restored_while_stopped(cluster)

    @given(PostgresqlPair)
    def test_back_to_the_old_one_on_postgresql(cluster):
        back_to_the_old_one(cluster)

    @given(PostgresqlPair)
    def test_until_the_right_one_is_back_on_postgresql(cluster):
        until_the_right_one_is_back(cluster)

    @settings(registry=Postgresql, session=6)
    def test_a_host_that_is_silent_on_postgresql(cluster):
        a_host_that_is_silent(cluster)

    @settings(registry=Mysql, session=6)
    def test_a_host_that_is_silent_on_mysql(cluster):
        a_host_that_is_silent(cluster)

    @given(Postgresql)
    def test_restarts_on_postgresql(cluster):
        restarts(cluster)

    @given(GaleraNodes)
    def test_tables_restored_live_on_galera(cluster):
        restored_live(cluster, tables=True)

    @given(Mysql)
    def test_restored_live_on_mysql(cluster):
        restored_live(cluster)

    @given(MysqlPair)
    def test_promoted_without_its_tail_on_mysql(cluster):
        promoted_without_its_tail(cluster)

    @given(MysqlPair)
    def test_two_primaries_on_mysql(cluster):
        two_primaries(cluster)

    @given(MysqlPair)
    def test_back_to_the_old_one_on_mysql(cluster):
        back_to_the_old_one(cluster)

    @given(MysqlPair)
    def test_until_the_right_one_is_back_on_mysql(cluster):
        until_the_right_one_is_back(cluster)

    @given(Mysql)
    def test_restarts_on_mysql(cluster):
        restarts(cluster)


if __name__ == "__main__":
    run(sys.modules[__name__])
