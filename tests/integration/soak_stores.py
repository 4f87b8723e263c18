"""A soak's stores: how each is started so that it forgets what it may forget,
and what it holds: keys (rows, nodes) but for the changes of late, of which the
SQL stores keep 50,000, bytes of data and bytes on the disk.
"""

import base64
import os
import sqlite3

import etcd
import sql
import zookeeper
from cluster import Sqlite, cpu_seconds


CHANGES = ("pelorus_change", "data_change_event")   # tables' names end so


def disk_bytes(*directories):
    """Of all files below; those that vanish meanwhile do not count."""
    total = 0
    for directory in directories:
        for where, _, names in os.walk(directory):
            for name in names:
                try:
                    total += os.lstat(os.path.join(where, name)).st_blocks * 512
                except OSError:
                    pass
    return total


def family_cpu(pid):
    """Of a server and of its children, PostgreSQL's."""
    total = cpu_seconds(pid)
    for name in os.listdir("/proc"):
        try:
            with open(f"/proc/{name}/stat", encoding="ascii", errors="replace") as f:
                if int(f.read().rsplit(")", 1)[1].split()[1]) == pid:
                    total += cpu_seconds(int(name))
        except (OSError, IndexError, ValueError):
            pass
    return total


class SqliteStore(Sqlite):
    def cpu(self):
        return 0

    def sizes(self):
        with sqlite3.connect(f"file:{self.cluster.path}?mode=ro", uri=True, timeout=20) as db:
            tables = [r[0] for r in db.execute("SELECT name FROM sqlite_master WHERE type = 'table' AND name <> 'change'")]
            keys = sum(db.execute(f'SELECT count(*) FROM "{t}"').fetchone()[0] for t in tables)
            page, pages, free = (db.execute(f"PRAGMA {p}").fetchone()[0]
                                 for p in ("page_size", "page_count", "freelist_count"))
        db.close()
        disk = sum(os.path.getsize(p) for p in (self.cluster.path, self.cluster.path + "-wal") if os.path.exists(p))
        return {"keys": keys, "data": page * (pages - free), "disk": disk}


class EtcdStore(etcd.Registry):
    """Compacted every minute, as the real ones every hour."""

    def __init__(self, cluster):
        start = etcd.Server.start

        def compacted(server):
            server.more = ["--auto-compaction-mode", "periodic", "--auto-compaction-retention", "1m"]
            return start(server)
        etcd.Server.start = compacted
        try:
            super().__init__(cluster)
        finally:
            etcd.Server.start = start

    def cpu(self):
        return sum(family_cpu(s.process.pid) for s in self.servers)

    def sizes(self):
        server = self.servers[0]
        status = server.post("/v3/maintenance/status", {}, 30)
        end = base64.b64encode(b"\0").decode()
        count = server.post("/v3/kv/range", {"key": end, "range_end": end, "count_only": True}, 30)
        return {"keys": int(count.get("count", 0)), "data": int(status["dbSizeInUse"]), "disk": disk_bytes(server.data)}


class ZooKeeperStore(zookeeper.Registry):
    """It grants sessions of at most 20 ticks."""

    def __init__(self, cluster):
        super().__init__(cluster, tick=cluster.session * 100)

    def cpu(self):
        return family_cpu(self.servers.process.pid)

    def sizes(self):
        told = dict(line.split("\t", 1) for line in self.servers.ask("mntr", 20).splitlines() if "\t" in line)
        return {"keys": int(told["zk_znode_count"]), "data": int(told["zk_approximate_data_size"]),
                "disk": disk_bytes(os.path.join(self.servers.dir, "version-2"))}


class SqlStore(sql.Registry):
    def cpu(self):
        return family_cpu(self.server.process.pid)

    def sizes(self):
        if self.server.kind == "mysql":
            schema = f"table_schema = '{sql.DATABASE}'"
            size = f"SELECT SUM(data_length + index_length) FROM information_schema.tables WHERE {schema}"
        else:
            schema = "table_schema = 'public'"
            size = ("SELECT SUM(pg_total_relation_size(quote_ident(table_name)::regclass)) "
                    f"FROM information_schema.tables WHERE {schema}")
        tables = [r[0] for r in self.run(f"SELECT table_name FROM information_schema.tables WHERE {schema}")]
        keys = self.run("SELECT " + " + ".join(f"(SELECT COUNT(*) FROM {t})" for t in tables if not t.endswith(CHANGES)))
        return {"keys": int(keys[0][0]), "data": int(self.run(size)[0][0]), "disk": disk_bytes(self.server.data)}


STORES = {
    "sqlite": SqliteStore,
    "etcd": EtcdStore,
    "zookeeper": ZooKeeperStore,
    "mysql": lambda cluster: SqlStore(cluster, "mysql"),
    "postgresql": lambda cluster: SqlStore(cluster, "postgresql"),
}
