#!/usr/bin/env python3
"""PostgreSQL, MariaDB and Galera that fail over and lose nothing, again and
again under load: nobody may say that the registry went back.

    FAILOVERS=200 python3 tests/integration/steady_sql.py [name]

With PELORUS_BEFORE, an older build of ours, our processes are replaced by those
of now one after the other and back, UPGRADES=N times.
"""

import collections
import os
import shutil
import signal
import sys

import restore
from cluster import SLOW, Failure, check, equal, run, settings, wait_for
from restore import Scene
from sql import init
from steady import MORE, Load, replace_ours
from test_restore_sql import GaleraNodes, Mysql, Postgresql

FAILOVERS = int(os.environ.get("FAILOVERS", "3"))
UPGRADES = int(os.environ.get("UPGRADES", "1"))
BEFORE = os.environ.get("PELORUS_BEFORE")


class Pair:
    """A server that writes, and one that has all it has acknowledged. In each
    of HOWS they exchange their parts:

    orderly  the old one ends or rests first
    crash    it is killed, and comes back as a copy of the other
    rolling  both are restarted, one after the other
    """

    HOWS = ("orderly", "crash", "rolling")

    @property
    def other(self):
        return next(s for s in self.servers if s is not self.writer)

    def end_of(self, server):
        """In order."""
        server.process.signal(signal.SIGINT if self.kind == "postgresql" else signal.SIGTERM)
        server.process.popen.wait(timeout=60 * SLOW)
        server.process.file.close()

    def exchange(self, how):
        old, new = self.writer, self.other
        if how == "rolling":
            self.restart_standby(new)
        self.hand_over(old, new, how)
        self.writer = new
        if self.proxy:
            self.proxy.target = ("127.0.0.1", new.port)
            self.proxy.reset()

    def restart_standby(self, server):
        self.guard(False)
        self.end_of(server)
        self.up(server)
        self.guard(True)


class PostgresqlPair(Pair, Postgresql):
    def make(self):
        init(self.server("a").make_database(), self.cluster.dir)
        self.writer = self.servers[0]
        self.server("b", of=self.writer)
        self.guard(True)

    def guard(self, yes, server=None):
        """Does a commit wait for the standby? Where there is one."""
        server = server or self.writer
        server.run(f"ALTER SYSTEM SET synchronous_standby_names = '{'*' if yes else ''}'; SELECT pg_reload_conf()",
                   database=None)
        if yes:
            wait_for("a synchronous standby", lambda: server.run(
                "SELECT 1 FROM pg_stat_replication WHERE state = 'streaming' AND sync_state = 'sync'", database=None), 60)

    def hand_over(self, old, new, how):
        (self.crash if how == "crash" else self.end_of)(old)
        self.guard(False, new)
        new.run("SELECT pg_promote()", database=None)

    def join(self, server, how):
        if how == "crash":
            shutil.rmtree(server.data)
            server.of = self.writer
            server.init()
        else:
            with open(os.path.join(server.data, "postgresql.auto.conf"), "a", encoding="ascii") as f:
                f.write(f"primary_conninfo = 'host=127.0.0.1 port={self.writer.port} user=pelorus'\n")
            with open(os.path.join(server.data, "standby.signal"), "w", encoding="ascii"):
                pass
        self.up(server)
        self.guard(True)

    def place(self):
        return "timeline " + self.writer.run("SELECT substr(pg_walfile_name(pg_current_wal_lsn()), 1, 8)",
                                             database=None)[0][0]


class PostgresqlAddress(PostgresqlPair):
    """One address, which moves."""

    def make(self):
        super().make()
        self.behind = True


class MysqlPair(Pair, Mysql):
    """Semi-synchronous: a commit waits until the other has it. Our user may not
    write to who is read_only, as root may."""

    def make(self):
        for n, name in enumerate("ab"):
            s = self.server(name, more=["--log-bin", "--log-slave-updates", f"--server-id={n + 1}", "--read-only",
                                        "--rpl-semi-sync-slave-enabled", "--rpl-semi-sync-master-timeout=3600000",
                                        "--rpl-semi-sync-master-wait-point=AFTER_SYNC"])
            s.user = "pelorus"
        a, b = self.servers
        a.run("SET GLOBAL read_only = 0", database=None)
        self.writer = a
        self.follow(b)
        a.make_database().run("CREATE USER pelorus@'127.0.0.1'; GRANT ALL ON dolphinscheduler.* TO pelorus@'127.0.0.1'")
        init(a, self.cluster.dir)
        self.guard(True)

    def follow(self, server):
        server.run("SET GLOBAL gtid_slave_pos = @@gtid_binlog_pos; CHANGE MASTER TO master_host = '127.0.0.1', "
                   f"master_port = {self.writer.port}, master_user = 'root', master_use_gtid = slave_pos, "
                   "master_connect_retry = 1; START SLAVE", database=None)

    def guard(self, yes, server=None):
        server = server or self.writer
        server.run(f"SET GLOBAL rpl_semi_sync_master_enabled = {int(yes)}", database=None)
        if yes:
            wait_for("a semi-synchronous replica", lambda: int(server.run(
                "SHOW STATUS LIKE 'Rpl_semi_sync_master_clients'", database=None)[0][1]), 60)
            self.caught_up(self.other)

    def caught_up(self, server):
        at = self.writer.run("SELECT @@gtid_binlog_pos", database=None)[0][0]
        try:
            wait_for("the replica has caught up", lambda: server.run(
                f"SELECT MASTER_GTID_WAIT('{at}', 0.2)", database=None) == [["0"]], 60)
        except Failure as error:
            raise Failure(f"{error}: {at}, {server.run('SHOW SLAVE STATUS', database=None)}") from None

    def hand_over(self, old, new, how):
        if how == "crash":
            old.kill()
            new.run("STOP SLAVE IO_THREAD", database=None)
            wait_for("all that it got is done", lambda: new.run(
                "SELECT 1 FROM information_schema.processlist WHERE state LIKE 'Slave has read all relay log%'",
                database=None), 60)
        else:
            old.run("SET GLOBAL read_only = 1", database=None)
            self.caught_up(new)
            self.guard(False, old)
        new.run("STOP SLAVE; RESET SLAVE ALL; SET GLOBAL read_only = 0", database=None)

    def join(self, server, how):
        if how == "crash":
            copy = self.copy()
            shutil.rmtree(server.data)
            os.rename(copy, server.data)
            self.up(server)
        elif how == "rolling":
            self.end_of(server)
            self.up(server)
        self.follow(server)
        self.guard(True)

    def place(self):
        return "GTID " + self.writer.run("SELECT @@gtid_binlog_pos", database=None)[0][0]


def fail_over(cluster):
    store, done = cluster.registry, collections.Counter()
    if getattr(store, "behind", False):
        store.behind_a_proxy(store.writer)
    with Scene(cluster, keys=store.keys) as scene, Load(scene) as load:
        began, position = store.place(), store.position()
        for n in range(FAILOVERS):
            how, old = store.HOWS[n % 3], store.writer
            store.exchange(how)
            load.goes_on()
            store.join(old, how)
            check(store.position() > position, "the counter of our tables did not rise")
            position = store.position()
            done[how] += 1
        load.goes_on()
        load.settle(f"{done.total()} fail-overs ({dict(done)}), {began} to {store.place()}")


def given(registry):
    return settings(registry=registry, more=restore.MORE)


@given(PostgresqlPair)
def test_fail_overs_are_no_alarm_on_postgresql(cluster):
    fail_over(cluster)


@given(PostgresqlAddress)
def test_an_address_that_moves_is_no_alarm_on_postgresql(cluster):
    fail_over(cluster)


@given(MysqlPair)
def test_fail_overs_are_no_alarm_on_mysql(cluster):
    fail_over(cluster)


@given(GaleraNodes)
def test_nodes_restarted_one_after_the_other_are_no_alarm_on_galera(cluster):
    store = cluster.registry

    def sent():     # whole copies, which here are none
        return sorted(n for n in os.listdir(cluster.dir) if n.startswith("whole-"))
    with Scene(cluster, keys=store.keys) as scene, Load(scene) as load:
        before = sent()
        for n in range(FAILOVERS):
            node = store.nodes[n % len(store.nodes)]
            node.process.terminate(60)
            node.process.file.close()
            load.goes_on()
            node.begin().wait()
            wait_for("a node of Galera in step", lambda s=node: s.status("local_state_comment") == "Synced", 60)
            load.goes_on()
        equal(sent(), before, "not by what they lacked alone")
        load.settle(f"{FAILOVERS} nodes restarted")


if BEFORE:
    def replaced(cluster):
        cluster.pelorus, cluster.more = BEFORE, MORE
        with Scene(cluster, keys=cluster.registry.keys) as scene, Load(scene) as load:
            replace_ours(scene, load, BEFORE, UPGRADES)

    @given(Postgresql)
    def test_our_processes_of_another_version_and_back_are_no_alarm_on_postgresql(cluster):
        replaced(cluster)

    @given(Mysql)
    def test_our_processes_of_another_version_and_back_are_no_alarm_on_mysql(cluster):
        replaced(cluster)

    @given(GaleraNodes)
    def test_our_processes_of_another_version_and_back_are_no_alarm_on_galera(cluster):
        replaced(cluster)


if __name__ == "__main__":
    run(sys.modules[__name__])
