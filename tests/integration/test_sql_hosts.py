#!/usr/bin/env python3
"""Several servers behind one URL, or behind one name, of which one writes: a
real hot standby of PostgreSQL, a MariaDB replica, roles that are exchanged.
"""

import os
import subprocess
import sys

from cluster import PELORUS, SLOW, check, equal, run, settings, submit, wait_for
from moves import listed
from proxy import Proxy, server_port
from sql import DATABASE, Server, Servers, block, init, url_of

MASTERS = ["127.0.0.1:5678", "127.0.0.1:5679", "127.0.0.1:5680"]


class Pair(Servers):
    """Two, the first of which writes. In the URL the second stands first."""

    def in_the_url(self):
        return self.servers[::-1]


class Postgresql(Pair):
    kind = "postgresql"

    def make(self):
        primary = self.server("primary").make_database()
        init(primary, self.cluster.dir)
        self.server("standby", of=primary)

    def demote(self):
        """As before a switchover: connections stay, and nobody writes."""
        old, new = self.servers
        old.run("ALTER SYSTEM SET default_transaction_read_only = on", database=None)
        old.run("SELECT pg_reload_conf()", database=None)
        at = old.run("SELECT pg_current_wal_lsn()")[0][0]
        wait_for("the standby has caught up", lambda: new.run(
            f"SELECT pg_last_wal_replay_lsn() >= '{at}'") == [["t"]], 20)

    def promote(self):
        self.servers[1].run("SELECT pg_promote()", database=None)
        self.writer = self.servers[1]


class Mysql(Pair):
    kind = "mysql"

    def make(self):
        primary = self.server("primary", more=["--log-bin", "--server-id=1"])
        replica = self.server("replica", more=["--log-bin", "--server-id=2", "--read-only"])
        replica.run(f"CHANGE MASTER TO master_host = '127.0.0.1', master_port = {primary.port}, "
                    "master_user = 'root', master_use_gtid = slave_pos; START SLAVE", database=None)
        primary.make_database()
        init(primary, self.cluster.dir)
        self.caught_up()

    def caught_up(self):
        at = self.servers[0].run("SELECT @@gtid_binlog_pos", database=None)[0][0]
        wait_for("the replica has caught up", lambda: self.servers[1].run(
            f"SELECT MASTER_GTID_WAIT('{at}', 0.1)", database=None) == [["0"]], 20)

    def demote(self):
        """Our user is one who may write all the same."""
        self.servers[0].run("SET GLOBAL read_only = 1", database=None)
        self.caught_up()

    def promote(self):
        self.servers[1].run("STOP SLAVE; SET GLOBAL read_only = 0", database=None)
        self.writer = self.servers[1]


def roles_are_exchanged(cluster, before=lambda: None):
    """60 items; nothing of a living master moves, and work goes on. `before`
    the other one is promoted nobody writes."""
    pair = cluster.registry
    coordinators = [cluster.coordinator() for _ in range(2)]
    agents = [cluster.agent("master", a) for a in MASTERS]
    cluster.wait_up(coordinators[0].api, *MASTERS)
    submit(coordinators[0].port, [f"a-{i}" for i in range(60)])
    began = [len(c.text().splitlines()) for c in coordinators]
    pair.demote()
    revision = pair.run("SELECT revision FROM pelorus_meta")
    before()
    # one line, whatever is tried meanwhile
    for c in coordinators:
        wait_for("no host writes", lambda c=c: c.lines("-registry"), 20)
    pair.promote()
    for c in coordinators:
        wait_for("the other writes", lambda c=c: c.lines("+registry"), 20)
    submit(coordinators[1].port, [f"b-{i}" for i in range(60)])
    items = listed(coordinators[0].api, (f"{run}-{i}" for run in "ab" for i in range(60)))
    check(all(i["epoch"] == 1 for i in items.values()), "something moved")
    equal(coordinators[0].api.get("/v1/failovers")["items"], [], "failovers")
    equal([bool(a.lines("-session")) for a in (*agents, *coordinators)], [False] * 5, "lost sessions")
    check(all(a.alive() for a in agents), "an agent gave up")
    for c, line in zip(coordinators, began):
        lines = [text for text in c.text().splitlines()[line:] if " -registry " in text or " -server " in text]
        check(len(lines) <= 4, lambda lines=lines: f"told again and again: {lines}")
    equal(pair.servers[0].run("SELECT revision FROM pelorus_meta"), revision, "what was written to the old one")
    return coordinators


def switchover(cluster):
    coordinators = roles_are_exchanged(cluster)
    text = "".join(c.text() for c in coordinators)
    check("none of 2 hosts writes" in text, lambda: f"not said: {text[-2000:]}")


def switchover_behind_one_address(cluster):
    """A proxy or an address that is moved: who does not write is left, however
    well he answers."""
    pair = cluster.registry
    pair.behind_a_proxy(pair.servers[1])
    pair.proxy.target = ("127.0.0.1", pair.servers[0].port)
    roles_are_exchanged(cluster, before=lambda: setattr(
        pair.proxy, "target", ("127.0.0.1", pair.servers[1].port)))


def init_walks_the_hosts(cluster):
    pair = cluster.registry
    pair.run("DROP TABLE pelorus_lock")
    path = os.path.join(cluster.dir, "init.yaml")
    with open(path, "w", encoding="utf-8") as f:
        f.write(pair.block())
    cluster.cli("registry", "init", "--apply", "-c", path)
    equal(pair.run("SELECT count(*) FROM pelorus_lock"), [["0"]], "the table")


@settings(registry=Postgresql, session=15)
def test_switchover_to_a_hot_standby(cluster):
    switchover(cluster)


@settings(registry=Mysql, session=15)
def test_switchover_to_a_replica(cluster):
    switchover(cluster)


@settings(registry=Postgresql, session=15)
def test_switchover_behind_one_address_on_postgresql(cluster):
    switchover_behind_one_address(cluster)


@settings(registry=Mysql, session=15)
def test_switchover_behind_one_address_on_mysql(cluster):
    switchover_behind_one_address(cluster)


@settings(registry=Postgresql)
def test_init_walks_the_hosts_on_postgresql(cluster):
    init_walks_the_hosts(cluster)


@settings(registry=Mysql)
def test_init_walks_the_hosts_on_mysql(cluster):
    init_walks_the_hosts(cluster)


def the_only_host_is_promoted(cluster):
    """Until then nothing is believed of what it tells; then it is used, and
    nobody had to be started again."""
    pair = cluster.registry
    pair.address = url_of(pair.kind, pair.servers[1].port)
    c = cluster.coordinator(wait=False)
    wait_for("it is said", lambda: [line for line in c.lines("-registry") if "read only" in line], 20)
    equal(c.api("GET", "/readyz").status, 503, "readyz")
    pair.demote()
    pair.promote()
    c.wait_ready()
    cluster.agent("master", MASTERS[0])
    cluster.wait_up(c.api, MASTERS[0])
    submit(c.port, ["a"])
    equal(len(c.lines("-registry")), 1, "lines about it")


@settings(registry=Postgresql)
def test_the_only_host_is_promoted_on_postgresql(cluster):
    the_only_host_is_promoted(cluster)


@settings(registry=Mysql)
def test_the_only_host_is_promoted_on_mysql(cluster):
    the_only_host_is_promoted(cluster)


def names(cluster, text):
    """What a process must be started through to find these names, and no
    others, in /etc/hosts."""
    path = os.path.join(cluster.dir, "hosts")
    with open(path, "w", encoding="ascii") as f:
        f.write(text)
    return ["unshare", "--mount", *([] if os.geteuid() == 0 else ["--map-root-user"]), "sh", "-c",
            f'mount --bind {path} /etc/hosts && exec "$@"', "sh"]


def init_at(cluster, server, address, before=(), env=None):
    path = os.path.join(cluster.dir, "init.yaml")
    with open(path, "w", encoding="utf-8") as f:
        f.write(block(server, 10, address))
    return subprocess.run([*before, PELORUS, "registry", "init", "--apply", "-c", path], capture_output=True,
                          text=True, timeout=60 * SLOW, check=False, env={**os.environ, **(env or {})})


def one_name_of_two_servers(cluster):
    """At one port of two addresses; the one that writes is the second. The
    first one answers as well."""
    pair = cluster.registry
    port = server_port()
    listeners = [Proxy(f"127.0.0.1:{server.port}", address=address, port=port)
                 for server, address in zip(reversed(pair.servers), ("127.0.0.2", "127.0.0.3"))]
    try:
        pair.run("DROP TABLE pelorus_lock")
        hosts = names(cluster, "127.0.0.1 localhost\n127.0.0.2 db.test\n127.0.0.3 db.test\n")
        done = init_at(cluster, pair.servers[0], f"jdbc:{pair.kind}://db.test:{port}/{DATABASE}", hosts)
        equal(done.returncode, 0, f"{done.stderr}: exit")
        equal(pair.run("SELECT count(*) FROM pelorus_lock"), [["0"]], "the table")
    finally:
        for p in listeners:
            p.end()


@settings(registry=Postgresql)
def test_one_name_of_two_servers_on_postgresql(cluster):
    one_name_of_two_servers(cluster)


@settings(registry=Mysql)
def test_one_name_of_two_servers_on_mysql(cluster):
    one_name_of_two_servers(cluster)


def test_localhost_is_reached_by_tcp(cluster):
    """Not by the socket of whichever server that is, and at its port."""
    wrong, right = servers = [Server("mysql", os.path.join(cluster.dir, name)) for name in ("wrong", "right")]
    try:
        for s in servers:
            s.start().wait().make_database()
        socket = {"MYSQL_UNIX_PORT": f"{wrong.data_dir}/socket", "MYSQL_TCP_PORT": str(wrong.port)}
        done = init_at(cluster, right, right.url().replace("127.0.0.1", "localhost"), env=socket)
        equal(done.returncode, 0, f"{done.stderr}: exit")
        equal([bool(s.run("SHOW TABLES")) for s in servers], [False, True], "tables in the wrong, in the right one")
        done = init_at(cluster, right, right.url().replace("127.0.0.1", f"host=127.0.0.1;port={wrong.port}"))
        check(done.returncode != 0 and "jdbc-url" in done.stderr and "'='" in done.stderr, lambda: done.stderr)
        equal(bool(wrong.run("SHOW TABLES")), False, "tables in the wrong one")
    finally:
        for s in servers:
            s.end()


def test_the_environment_leads_nowhere_else(cluster):
    """What libpq reads from it is not what the URL says."""
    wrong, right = servers = [Server("postgresql", os.path.join(cluster.dir, name)) for name in ("wrong", "right")]
    try:
        for s in servers:
            s.start().wait().make_database()
        service = os.path.join(cluster.dir, "service")
        with open(service, "w", encoding="ascii") as f:
            f.write(f"[x]\nhostaddr=127.0.0.1\nport={wrong.port}\ntarget_session_attrs=standby\n"
                    "options=-c search_path=elsewhere\n")
        for env in ({"PGHOST": "127.0.0.1", "PGHOSTADDR": "127.0.0.9", "PGPORT": str(wrong.port), "PGUSER": "nobody",
                     "PGDATABASE": "postgres", "PGTARGETSESSIONATTRS": "standby"},
                    {"PGOPTIONS": "-c search_path=elsewhere -c default_transaction_read_only=on"},
                    {"PGSERVICE": "x", "PGSERVICEFILE": service}):
            done = init_at(cluster, right, None, env=env)
            equal(done.returncode, 0, f"{env}: {done.stderr}: exit")
        tables = "SELECT count(*) FROM pg_tables WHERE schemaname = 'public'"
        equal([s.run(tables)[0][0] == "0" for s in servers], [True, False], "no tables in the wrong, in the right one")
    finally:
        for s in servers:
            s.end()


if __name__ == "__main__":
    run(sys.modules[__name__])
