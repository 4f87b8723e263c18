#!/usr/bin/env python3
"""Whole clusters on MariaDB and on PostgreSQL, beside processes of
DolphinScheduler's that speak plain SQL.
"""

import functools
import json
import sys
import threading
import time

from cluster import (SLOW, Bare, Failure, check, cpu_seconds, demo_holds, equal, holds, items_by_owner, pace, run, settings, submit, wait_for)
from moves import listed
from sql import DATABASE, Registry, Server, try_init

MYSQL = functools.partial(Registry, kind="mysql")
POSTGRESQL = functools.partial(Registry, kind="postgresql")


class Node:
    """A process of DolphinScheduler's: its heartbeat row, beaten by a thread,
    and its data row with the heartbeat's JSON."""

    def __init__(self, registry, kind, address, number, timeout_ms=2000):
        self.registry, self.kind, self.address, self.id = registry, kind, address, number
        self.key = f"/nodes/{kind}/{address}"
        self.started = int(time.time() * 1000)
        self.alive = True
        registry.run(
            "INSERT INTO t_ds_jdbc_registry_client_heartbeat(id, client_name, last_heartbeat_time, "
            f"connection_config) VALUES({number}, 'h_{number}', {self.now()}, "
            f"'{{\"sessionTimeout\":{timeout_ms}}}');"
            "INSERT INTO t_ds_jdbc_registry_data(data_key, data_value, data_type, client_id) "
            f"VALUES('{self.key}', '{self.value()}', 'EPHEMERAL', {number});"
            "INSERT INTO t_ds_jdbc_registry_data_change_event(event_type, jdbc_registry_data) VALUES('ADD', '{}')")
        self.thread = threading.Thread(target=self.beat, daemon=True)
        self.thread.start()

    @staticmethod
    def now():
        return int(time.time() * 1000)

    def value(self):
        host, port = self.address.split(":")
        return json.dumps({"startupTime": self.started, "reportTime": self.now(), "processId": self.id,
                           "cpuUsage": 0.1, "memoryUsage": 0.2, "jvmCpuUsage": 0.1, "jvmMemoryUsage": 0.1,
                           "diskUsage": 0.1, "serverStatus": "NORMAL", "host": host, "port": int(port),
                           "workerHostWeight": 100, "threadPoolUsage": 0.1})

    def beat(self):
        while self.alive:
            try:
                self.registry.run(
                    f"UPDATE t_ds_jdbc_registry_client_heartbeat SET last_heartbeat_time = {self.now()} "
                    f"WHERE id = {self.id};"
                    f"UPDATE t_ds_jdbc_registry_data SET data_value = '{self.value()}' WHERE client_id = {self.id}")
            except Failure:
                pass  # the server is away: the next one
            threading.Event().wait(0.3)

    def die(self):
        """As a crash: its rows stay, and nobody writes an event."""
        self.alive = False
        self.thread.join()


def state_of(api, kind, address):
    for n in api.all("/v1/nodes"):
        if (n["kind"], n["address"]) == (kind, address):
            return n["state"]
    return None


def beside_dolphinscheduler(cluster):
    """Its masters and workers are seen, and the work of one that dies moves,
    once, to the other; its tables hold nothing of ours but two rows."""
    registry = cluster.registry
    nodes = [Node(registry, "master", f"10.0.0.{i}:5678", 100 + i, cluster.session * 1000) for i in (1, 2)]
    nodes.append(Node(registry, "worker", "10.0.0.3:1234", 103, cluster.session * 1000))
    c = cluster.coordinator()
    try:
        cluster.wait_up(c.api, *(n.address for n in nodes))
        equal(c.api.get("/v1/workers/best")["address"], "10.0.0.3:1234", "the best worker")
        submit(c.port, [f"w-{i}" for i in range(40)])
        listed(c.api, (f"w-{i}" for i in range(40)))
        before = items_by_owner(c.api)
        check(len(before) == 2, f"owners: {list(before)}")
        nodes[0].die()
        wait_for("the move", lambda: set(items_by_owner(c.api)) == {"10.0.0.2:5678"}, 30)
        moved = [i for i in items_by_owner(c.api)["10.0.0.2:5678"] if i["epoch"] == 2]
        equal(len(moved), len(before["10.0.0.1:5678"]), "moved items")
        ours = registry.run("SELECT count(*) FROM t_ds_jdbc_registry_client_heartbeat WHERE id NOT IN (101, 102, 103)")
        equal(ours, [["1"]], "our heartbeats")
        equal(registry.run("SELECT count(*) FROM t_ds_jdbc_registry_data WHERE client_id NOT IN (101, 102, 103)"),
              [["0"]], "our data")
        equal(registry.run("SELECT count(*) FROM t_ds_jdbc_registry_data_change_event"), [["3"]], "events")
    finally:
        for n in nodes:
            if n.alive:
                n.die()


def a_server_that_restarts(cluster):
    """Killed and started again within the session: nothing fails over, work
    goes on; and a write under way is answered truly."""
    server = cluster.registry.server
    c = cluster.coordinator()
    agents = [cluster.agent("master", f"127.0.0.1:{p}") for p in (5678, 5679)]
    cluster.wait_up(c.api, "127.0.0.1:5678", "127.0.0.1:5679")
    submit(c.port, [f"a-{i}" for i in range(20)])
    server.restart()
    # until its first request after the break it knows nothing of it
    wait_for("a write", lambda: c.api("POST", "/v1/work", {"id": "first", "kind": "master"}).status in (200, 201), 30)
    submit(c.port, [f"b-{i}" for i in range(20)])
    items = listed(c.api, ["first", *(f"{run}-{i}" for run in "ab" for i in range(20))])
    check(all(i["epoch"] == 1 for i in items.values()), "something moved")
    equal(c.api.get("/v1/failovers")["items"], [], "failovers")
    check(all(a.alive() for a in agents), "an agent gave up")


def a_coordinator_killed_while_it_moves(cluster):
    """2,000 items of a dead master, and the coordinator is killed in the middle:
    another one finishes, nothing is moved twice."""
    first = cluster.coordinator()
    victim = cluster.agent("master", "127.0.0.1:5678")
    cluster.wait_up(first.api, "127.0.0.1:5678")
    submit(first.port, [f"m-{i:04}" for i in range(2000)])
    cluster.agent("master", "127.0.0.1:5679")
    cluster.wait_up(first.api, "127.0.0.1:5679")
    second = cluster.coordinator()
    victim.kill()
    wait_for("the move begins", lambda: "127.0.0.1:5679" in items_by_owner(second.api), 30)
    first.kill()
    wait_for("all moved", lambda: set(items_by_owner(second.api)) == {"127.0.0.1:5679"}, 60)
    items = listed(second.api, (f"m-{i:04}" for i in range(2000))).values()
    equal({(i["owner"], i["epoch"]) for i in items}, {("127.0.0.1:5679", 2)}, "owners and epochs")


def ten_thousand_workers(cluster, name):
    """Each reports every 10 s: the coordinator needs at most 15 % of a core."""
    n, run_sql = 10000, cluster.registry.run
    value = ("concat('{{\"startupTime\":1,\"reportTime\":', {now}, ',\"processId\":', {id}, ',\"cpuUsage\":0.1,"
             "\"memoryUsage\":0.2,\"jvmCpuUsage\":0.1,\"jvmMemoryUsage\":0.1,\"diskUsage\":0.1,"
             "\"serverStatus\":\"NORMAL\",\"workerHostWeight\":100,\"threadPoolUsage\":0.1}}')")
    now = lambda: int(time.time() * 1000)  # noqa
    for at in range(0, n, 1000):
        ids = range(at + 1, at + 1001)
        run_sql("INSERT INTO t_ds_jdbc_registry_client_heartbeat(id, client_name, last_heartbeat_time, "
                "connection_config) VALUES" + ",".join(f"({i},'h_{i}',{now()},'{{\"sessionTimeout\":60000}}')"
                                                       for i in ids) +
                ";INSERT INTO t_ds_jdbc_registry_data(data_key, data_value, data_type, client_id) VALUES" +
                ",".join(f"('/nodes/worker/10.{i >> 8}.{i & 255}.1:1234','','EPHEMERAL',{i})" for i in ids))
    run_sql(f"UPDATE t_ds_jdbc_registry_data SET data_value = {value.format(now=now(), id='client_id')}")
    stop, problems = threading.Event(), []

    def report():
        try:
            report_on()
        except Exception as error:  # noqa: a thread must not lose it
            problems.append(error)

    def report_on():
        tick = 0
        while not stop.wait(1):
            tick += 1
            run_sql(f"UPDATE t_ds_jdbc_registry_data SET data_value = {value.format(now=now(), id='client_id')} "
                    f"WHERE client_id % 10 = {tick % 10};"
                    f"UPDATE t_ds_jdbc_registry_client_heartbeat SET last_heartbeat_time = {now()} "
                    f"WHERE id <= {n} AND id % 3 = {tick % 3};"
                    "INSERT INTO t_ds_jdbc_registry_data_change_event(event_type, jdbc_registry_data) "
                    "VALUES('UPDATE', '{}')", )
    reporter = threading.Thread(target=report, daemon=True)
    reporter.start()
    try:
        c = cluster.coordinator()
        wait_for("all up", lambda: len(c.api.all("/v1/nodes?state=up")) == n, 60)
        seconds = 20
        server = cluster.registry.server
        bare = Bare(seconds, name, "127.0.0.1", server.port, server.user, "", DATABASE)
        before, began = cpu_seconds(c.pid), time.monotonic()
        threading.Event().wait(seconds)
        share = (cpu_seconds(c.pid) - before) / (time.monotonic() - began)
        print(f"     {n} workers: {share * 100:.1f} % of a core")
        print(f"row heartbeats-{name} % {share * 100:.3g} 2 <=")
        bare.row(f"heartbeats-{name}", share)
        check(share <= 0.15 * SLOW * pace(time.process_time), f"{share * 100:.1f} % of a core")
        equal(len(c.api.all("/v1/nodes?state=up")), n, "still up")
        equal(problems, [], "reports that failed")
    finally:
        stop.set()
        reporter.join()


def who_connector_j_asks_for(server, code):
    """Users and hosts as its URLs name them."""
    server.run("CREATE USER 'p@pe'@'%' IDENTIFIED BY 'geheim /b'; GRANT ALL ON *.* TO 'p@pe'@'%'", database=None)
    where, database = server.url()[len("jdbc:mysql://"):].split("/")
    port = where.split(":")[1]
    right, wrong = "p%40pe:geheim+%2Fb", "p%40pe:geheim%2Bb"
    equal(code("", url=f"jdbc:mysql://{right}@{where}/{database}"), 0, "user:password@host")
    equal(code("", url=f"jdbc:mysql://{wrong}@{where}/{database}"), 1, "a wrong password before the host")
    equal(code("", url=f"jdbc:mysql://{right}@[127.0.0.1:1,(host=127.0.0.1,port={port})]/{database}"), 0,
          "a list of hosts")
    equal(code("", url=f"jdbc:mysql://address=(host=127.0.0.1)(port={port})(user=p%40pe)(password=geheim%20%2Fb)"
                       f"/{database}?useUnicode=true"), 0, "address=(...)")
    equal(code("", url=f"jdbc:mysql://{right}@{where}/{database[0]}%{ord(database[1]):x}{database[2:]}"), 0,
          "a database in %xx")


def where_pgjdbc_looks(server, code):
    """The tables stand in the first schema of the search path that exists."""
    server.run('CREATE SCHEMA folded; CREATE SCHEMA "Quoted, one"; CREATE SCHEMA optional')
    for parameters, schema in (("?currentSchema=nowhere,Folded,public", "folded"),
                               ("?currentSchema=%22Quoted,+one%22", '"Quoted, one"'),
                               ("?options=-c%20search_path=optional,public", "optional")):
        equal(code(parameters), 0, parameters)
        equal(len(server.run(f"SELECT revision FROM {schema}.pelorus_meta")), 1, parameters)
    equal(code("?currentSchema=nowhere"), 1, "a schema that is not there")


def who_may_make_no_tables(server, cluster, kind):
    """Needs to make none if all are there, and is told which are missing."""
    if kind == "mysql":
        server.run(f"CREATE USER poor@'%'; GRANT SELECT, INSERT, UPDATE, DELETE, LOCK TABLES ON {DATABASE}.* TO poor@'%'",
                   database=None)
    else:
        server.run("CREATE ROLE poor LOGIN; REVOKE CREATE ON SCHEMA public FROM PUBLIC;"
                   "GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA public TO poor")
    where = server.url()[len(f"jdbc:{kind}://"):]
    url = f"jdbc:mysql://poor:@{where}" if kind == "mysql" else server.url() + "?user=poor"
    done = try_init(server, cluster.dir, url=url)
    equal(done.returncode, 0, f"all tables are there: {done.stderr}")
    server.run("DROP TABLE pelorus_lock")
    done = try_init(server, cluster.dir, url=url)
    equal(done.returncode, 1, "one is missing")
    check("missing: pelorus_lock" in done.stderr and "registry init" not in done.stderr, done.stderr)
    equal(try_init(server, cluster.dir).returncode, 0, "who may make it")
    done = try_init(server, cluster.dir, url=server.url().replace(f"/{DATABASE}", "/nowhere"))
    check("make that database" in done.stderr and "registry init" not in done.stderr, done.stderr)


def a_server_without_row_locks(server, cluster):
    """Tables of another engine take FOR UPDATE and lock nothing."""
    server.run("ALTER TABLE pelorus_meta ENGINE = MyISAM")
    done = try_init(server, cluster.dir)
    equal(done.returncode, 1, "no row locks")
    check("keeps no row locks" in done.stderr and "InnoDB" in done.stderr, done.stderr)
    server.run("ALTER TABLE pelorus_meta ENGINE = InnoDB")
    equal(try_init(server, cluster.dir).returncode, 0, "with row locks again")


def a_server_that_does_not_know_us(cluster):
    """It refuses our settings: whether it keeps row locks is tried without
    them, and said in place of what it said."""
    server = Server("mysql", cluster.dir, more=["--skip-innodb", "--default-storage-engine=Aria", "--sql-mode="])
    try:
        server.start().wait().make_database()
        done = try_init(server, cluster.dir)
        equal(done.returncode, 1, "no InnoDB")
        check("keeps no row locks" in done.stderr and "innodb_lock_wait_timeout" in done.stderr, done.stderr)
        equal(server.run("SHOW TABLES"), [["pelorus_meta"]], "what was made")
    finally:
        server.end()


def tls(cluster, kind):
    """A server that takes nothing but TLS; its certificate is believed if and
    only if our authority signed it."""
    server = Server(kind, cluster.dir, tls=True)
    try:
        server.start().wait().make_database()

        def code(parameters, ca=None, url=None):
            more = f"  cert-file: {server.file(ca)}\n" if ca else ""
            done = try_init(server, cluster.dir, parameters, more, url)
            check("geheim" not in done.stdout + done.stderr, lambda: f"a password is shown: {done.stdout}{done.stderr}")
            return done.returncode
        equal(code(""), 0, "as it comes")
        if kind == "mysql":
            equal(code("?sslMode=DISABLED"), 1, "without TLS")
            equal(code("?useSSL=true&requireSSL=true"), 0, "with TLS")
            equal(code("?sslMode=VERIFY_IDENTITY", "ca.crt"), 0, "with our authority")
            equal(code("?sslMode=VERIFY_IDENTITY", "other.crt"), 1, "with another authority")
            equal(code("?sslMode=VERIFY_CA", "other.crt"), 1, "with another authority")
            who_connector_j_asks_for(server, code)
        else:
            equal(code("?sslmode=disable"), 1, "without TLS")
            equal(code("?sslmode=require"), 0, "with TLS")
            equal(code("?ssl=true", "ca.crt"), 0, "with our authority")
            equal(code("?ssl=true"), 1, "ssl=true without an authority")
            equal(code("?ssl=true", "other.crt"), 1, "with another authority")
            equal(code("?sslmode=verify-ca", "other.crt"), 1, "with another authority")
            where_pgjdbc_looks(server, code)
        equal(len(server.run("SELECT revision FROM pelorus_meta")), 1, "the schema, made twice")
        who_may_make_no_tables(server, cluster, kind)
        if kind == "mysql":
            a_server_without_row_locks(server, cluster)
            a_server_that_does_not_know_us(cluster)
    finally:
        server.end()


# A minute is long enough for a slow program as well, and work.keep allows no six.
@settings(registry=MYSQL, session=60 // SLOW, heartbeat="10s")
def test_ten_thousand_workers_on_mysql(cluster):
    ten_thousand_workers(cluster, "mysql")


@settings(registry=POSTGRESQL, session=60 // SLOW, heartbeat="10s")
def test_ten_thousand_workers_on_postgresql(cluster):
    ten_thousand_workers(cluster, "postgresql")


def connections(cluster):
    """How many clients but the one that asks have, and how many of them listen for hints."""
    return tuple(map(int, cluster.registry.run(
        "SELECT count(*), count(*) FILTER (WHERE query LIKE 'LISTEN%' OR query LIKE '%superuser_reserved%')"
        " FROM pg_stat_activity WHERE backend_type = 'client backend' AND pid <> pg_backend_pid()")[0]))


# An agent watches nothing: it is not woken by what others write.
@settings(registry=POSTGRESQL, session=10)
def test_who_watches_nothing_is_not_woken_on_postgresql(cluster):
    for port in (1234, 1235, 1236):
        cluster.agent("worker", f"127.0.0.1:{port}")
    wait_for("the agents", lambda: cluster.registry.run("SELECT count(*) FROM pelorus_session") == [["3"]], 30)
    holds("one connection each, and none listens", lambda: connections(cluster) == (3, 0), 2)
    c = cluster.coordinator()
    cluster.wait_up(c.api, *(f"127.0.0.1:{p}" for p in (1234, 1235, 1236)))
    wait_for("the coordinator listens", lambda: connections(cluster) == (5, 1), 30)


def test_tls_to_mysql(cluster):
    tls(cluster, "mysql")


def test_tls_to_postgresql(cluster):
    tls(cluster, "postgresql")


def test_demo_on_mysql(cluster):
    demo_holds(REGISTRY="mysql")


def test_demo_on_postgresql(cluster):
    demo_holds(REGISTRY="postgresql")


@settings(registry=MYSQL, session=6)
def test_beside_dolphinscheduler_on_mysql(cluster):
    beside_dolphinscheduler(cluster)


@settings(registry=POSTGRESQL, session=6)
def test_beside_dolphinscheduler_on_postgresql(cluster):
    beside_dolphinscheduler(cluster)


@settings(registry=MYSQL, session=15)
def test_a_server_that_restarts_on_mysql(cluster):
    a_server_that_restarts(cluster)


@settings(registry=POSTGRESQL, session=15)
def test_a_server_that_restarts_on_postgresql(cluster):
    a_server_that_restarts(cluster)


@settings(registry=MYSQL)
def test_a_coordinator_killed_while_it_moves_on_mysql(cluster):
    a_coordinator_killed_while_it_moves(cluster)


@settings(registry=POSTGRESQL)
def test_a_coordinator_killed_while_it_moves_on_postgresql(cluster):
    a_coordinator_killed_while_it_moves(cluster)


if __name__ == "__main__":
    run(sys.modules[__name__])
