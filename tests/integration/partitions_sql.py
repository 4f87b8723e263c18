#!/usr/bin/env python3
"""partitions.py on PostgreSQL, MariaDB, Galera and SQLite.

    RUNS=25 [SEED=n] [REGISTRIES=postgresql,mysql] python3 partitions_sql.py

A server is stopped or killed, too, and nodes of Galera are cut from each other.
Where there is no network, on SQLite, whoever is to be cut is stopped instead,
and the file is locked or kept busy by a writer who is none of ours.
"""

import contextlib
import functools
import sqlite3
import threading

import cluster as processes
import partitions
import sql
from galera import Galera
from proxy import Proxy


class Server(sql.Registry):
    at = None

    def ways(self):
        return [Proxy(f"127.0.0.1:{self.server.port}")]

    def stand_behind(self, ways):
        self.at = ways

    def block(self):
        url = self.server.url(self.at[0].port) if self.at else None
        return sql.block(self.server, self.cluster.session, url)

    def part(self, chance):
        if chance.random() < 0.5:
            self.server.stop()
            self.join = self.server.resume
            return "server stopped"
        if self.server.kind == "postgresql":    # killed it would leave its children
            self.server.process.signal(sql.signal.SIGQUIT)
            self.server.process.popen.wait(timeout=30)
        self.server.kill()
        self.join = lambda: self.server.start().wait()
        return "server killed"


class Nodes(Galera):
    at = None

    def ways(self):
        return [Proxy(f"127.0.0.1:{n.port}") for n in self.nodes]

    def stand_behind(self, ways):
        at, self.turn = self.turn % len(ways), self.turn + 1
        self.at = ways[at:] + ways[:at]

    def block(self):
        if not self.at:
            return super().block()
        return sql.block(self.nodes[0], self.cluster.session, sql.url_of("mysql", *(w.port for w in self.at)))

    def part(self, chance):
        node = chance.choice(self.nodes)
        if chance.random() < 0.5:
            node.stop()
            self.join = node.resume
            return "node stopped"
        node.isolate(True)
        self.join = lambda: node.isolate(False)
        return "node cut"


class Halt:
    """The way of a process to a file: it is stopped."""

    def __init__(self, registry):
        self.registry = registry
        self.number = None

    def stands(self):
        """The next one that is started."""
        self.number = len(self.registry.cluster.processes)

    def signal(self, what):
        with contextlib.suppress(ProcessLookupError):
            getattr(self.registry.cluster.processes[self.number], what)()

    def cut(self, *_):
        self.signal("stop")

    refuse = cut

    def heal(self):
        self.signal("resume")

    end = heal


class File(processes.Sqlite):
    def ways(self):
        return [Halt(self)]

    def stand_behind(self, ways):
        ways[0].stands()

    def part(self, chance):
        """Nobody can write; or but for a moment now and then."""
        over = threading.Event()
        how, held, free = chance.choice([("locked", 60, 0), ("busy", 0.3, 0.03), ("busy", 0.1, 0.01)])
        writer = threading.Thread(target=self.write, args=(over, held, free))
        writer.start()

        def join():
            over.set()
            writer.join()
        self.join = join
        return f"file {how}"

    def write(self, over, held, free):
        with contextlib.closing(sqlite3.connect(self.cluster.path, timeout=1, isolation_level=None)) as db:
            while not over.is_set():
                with contextlib.suppress(sqlite3.OperationalError):     # somebody was stopped while he wrote
                    db.execute("BEGIN IMMEDIATE")
                    over.wait(held)
                    db.execute("ROLLBACK")
                    over.wait(free)


partitions.REGISTRIES = {"postgresql": functools.partial(Server, kind="postgresql"),
                         "mysql": functools.partial(Server, kind="mysql"), "galera": Nodes, "sqlite": File}

if __name__ == "__main__":
    partitions.main()
