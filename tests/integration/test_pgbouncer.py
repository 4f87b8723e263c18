#!/usr/bin/env python3
"""PostgreSQL behind pgbouncer, which hands one server session to many clients:
per transaction or per session. What one of them has set, another one meets.
"""

import functools
import os
import subprocess
import sys
import threading

from cluster import Process, check, equal, run, settings, submit_together, wait_for
from daemon import Daemon
from proxy import server_port
from sql import DATABASE, Registry, block, url_of
from test_jdbc import a_coordinator_killed_while_it_moves

PROGRAM = next((p for p in ("/usr/sbin/pgbouncer", "/usr/bin/pgbouncer") if os.path.exists(p)), "pgbouncer")


class Pooler(Daemon):
    kind = "pgbouncer"

    def __init__(self, server, mode, size):
        self.server = server
        self.port = server_port()
        self.ini = server.file("pgbouncer.ini")
        with open(server.file("users"), "w", encoding="ascii") as f:
            f.write(f'"{server.user}" ""\n')
        with open(self.ini, "w", encoding="ascii") as f:
            f.write(f"[databases]\n* = host=127.0.0.1 port={server.port}\n[pgbouncer]\n"
                    f"listen_addr = 127.0.0.1\nlisten_port = {self.port}\nunix_socket_dir =\n"
                    f"auth_type = trust\nauth_file = {server.file('users')}\n"
                    f"pool_mode = {mode}\ndefault_pool_size = {size}\nmax_client_conn = 200\n"
                    "query_wait_timeout = 20\n")

    def start(self):
        # its dying with us is arranged as the server's, whose user it is
        self.process = Process("pgbouncer", [*self.server.sure, "--", PROGRAM, self.ini],
                               os.path.join(self.server.dir, "pgbouncer.log"))
        return self

    def psql(self, sql):
        return subprocess.run([self.server.programs("psql"), "-X", "-q", "-t", "-A", "-h", "127.0.0.1", "-p",
                               str(self.port), "-U", self.server.user, DATABASE], input=sql, capture_output=True,
                              text=True, timeout=20, check=False)

    def serves(self):
        return self.psql("SELECT 1").returncode == 0


class Pooled(Registry):
    """A server and a pooler before it; `schema` is what block() names."""

    def __init__(self, cluster, mode, size):
        super().__init__(cluster, "postgresql")
        self.schema = None
        self.pooler = Pooler(self.server, mode, size)
        try:
            self.pooler.start().wait()
        except BaseException:
            self.end()
            raise

    def block(self):
        url = url_of("postgresql", self.pooler.port) + (f"?currentSchema={self.schema}" if self.schema else "")
        return block(self.server, self.cluster.session, url)

    def end(self):
        self.pooler.end()
        super().end()


BY_TRANSACTION = functools.partial(Pooled, mode="transaction", size=3)
BY_SESSION = functools.partial(Pooled, mode="session", size=30)


def names(registry, schema):
    """The items that a schema's table holds."""
    rows = registry.run(f"SELECT convert_from(name, 'UTF8') FROM {schema}.pelorus_registry")
    return {name.rsplit("/", 1)[1] for (name,) in rows if "/pelorus/work/" in name}


@settings(registry=BY_TRANSACTION, session=10)
def test_two_schemas_behind_one_pool(cluster):
    """And a third client, which leaves its settings behind in every session."""
    registry = cluster.registry
    registry.run("CREATE SCHEMA other")
    registry.schema = "Other, public"  # as PostgreSQL reads it: in lower case
    conf = cluster.conf("init", 0)
    cluster.cli("registry", "init", "--apply", "-c", conf)
    equal(registry.run("SELECT count(*) FROM other.pelorus_meta"), [["1"]], "tables in the other schema")
    done = threading.Event()

    def leave_settings():
        while not done.wait(0.02):
            registry.pooler.psql("SET search_path = other; SET bytea_output = 'escape'; SET lock_timeout = 1; "
                                 "SET statement_timeout = 200; SET default_transaction_isolation = 'serializable'; "
                                 "SET standard_conforming_strings = off")
    noise = threading.Thread(target=leave_settings, daemon=True)
    noise.start()
    try:
        coordinators = {}
        for schema in ("public", "other"):
            registry.schema = schema if schema != "public" else None
            coordinators[schema] = cluster.coordinator()
            cluster.agent("master", "127.0.0.1:5678" if schema == "public" else "127.0.0.1:5679")
        for c in coordinators.values():
            wait_for("a master", lambda c=c: len(c.api.all("/v1/nodes?state=up")) >= 1, 20)
        submit_together({c.port: [f"{s}-{i}" for i in range(150)] for s, c in coordinators.items()})
        for schema, c in coordinators.items():
            equal(names(registry, schema), {f"{schema}-{i}" for i in range(150)}, f"items in {schema}")
            equal({n["address"] for n in c.api.all("/v1/nodes")},
                  {"127.0.0.1:5678" if schema == "public" else "127.0.0.1:5679"}, f"nodes in {schema}")
            check(not c.lines("-session"), f"{schema}: a session was lost")
    finally:
        done.set()
        noise.join()


@settings(registry=BY_TRANSACTION)
def test_a_failover_behind_a_pool_by_transaction(cluster):
    a_coordinator_killed_while_it_moves(cluster)
    check("not linked" not in cluster.registry.pooler.process.text(), "somebody listens in a pooled session")


@settings(registry=BY_SESSION)
def test_a_failover_behind_a_pool_by_session(cluster):
    a_coordinator_killed_while_it_moves(cluster)


if __name__ == "__main__":
    run(sys.modules[__name__])
