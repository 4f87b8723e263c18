"""`pelorus doctor`, what /v1/cluster and /metrics say of the store, and
`registry vacuum`: each warning is made on a real server, and is not there
before."""

import base64
import json
import os
import sqlite3
import subprocess
import sys
import threading
import time

from cluster import PELORUS, SLOW, check, equal, free_port, run, settings, submit, wait_for
from etcd import Registry as Etcd
from etcd import Server as EtcdServer
from sql import Registry as Sql
from sql import block
from test_metrics import metrics, put
from zookeeper import Registry as Zookeeper


class Doctor:
    """What it printed as JSON."""

    def __init__(self, *words, exit_code=None):
        done = subprocess.run([PELORUS, "doctor", "--json", *words], capture_output=True, text=True,
                              timeout=90 * SLOW, check=False)
        check(done.returncode in (0, 1), lambda: f"doctor {words}: {done.returncode} {done.stderr}")
        said = json.loads(done.stdout)
        self.all = said["findings"]
        self.code = done.returncode
        for verdict, total in (("problem", "problems"), ("warning", "warnings"), ("unknown", "unknown"), ("ok", "ok")):
            equal(said[total], sum(f["verdict"] == verdict for f in self.all), total)
        equal(done.returncode, 1 if said["problems"] else 0, f"exit code of {self.bad()}")
        if exit_code is not None:
            equal(self.code, exit_code, f"exit code: {self.bad()}")

    def bad(self):
        return [f for f in self.all if f["verdict"] != "ok"]

    def __getitem__(self, name):
        found = [f for f in self.all if f["name"] == name]
        check(found, lambda: f"{name} among {[f['name'] for f in self.all]}")
        return max(found, key=lambda f: ["ok", "unknown", "warning", "problem"].index(f["verdict"]))

    def says(self, name, verdict, text="", advice=""):
        f = self[name]
        equal(f["verdict"], verdict, f"{f}")
        check(text in f["text"] and advice in (f["advice"] or ""), f)
        if verdict in ("warning", "problem"):
            check(f["where"], f)
        if verdict == "unknown":
            check("not known" in f["text"], f)
        return f


def fact(api, name):
    store = api.get("/v1/cluster")["registry"]["store"]
    return next((f for f in store["facts"] if f["name"] == name), None) if store else None


def shown(c, name, verdict):
    """By a running coordinator in all places: API, metrics, log, doctor --url."""
    wait_for(f"{name} is {verdict}", lambda: (fact(c.api, name) or {}).get("verdict") == verdict, 90)
    equal(metrics(c.api)["pelorus_registry_fact", (("fact", name), ("verdict", verdict))], 1, "metric")
    if verdict in ("warning", "problem"):
        check(any(f"fact={name}" in line for line in c.lines("!store-fact")), c.text()[-800:])
    Doctor("--url", f"http://127.0.0.1:{c.port}").says(name, verdict)


# --- this host, words ----------------------------------------------------------

def test_words_and_exit_codes(cluster):
    conf = cluster.conf("d", 0)
    for words in (["x"], ["--nope"], ["--url", "no url"], ["-c"]):
        cluster.cli("doctor", *words, expect=2)
    check("Exit codes: 0 no problem" in cluster.cli("doctor", "--help"), "help")
    check("doctor" in cluster.cli("help"), "in the list")
    text = cluster.cli("doctor", "-c", conf)
    check("ok       configuration" in text and text.splitlines()[-1].startswith("problems 0,"), text)
    check(not os.path.exists(cluster.path), "a look makes no registry")
    nobody = Doctor("--url", f"http://127.0.0.1:{free_port()}", exit_code=1)
    nobody.says("coordinator", "problem", "does not answer", "pelorus serve")


def test_configuration_and_modes(cluster):
    path = os.path.join(cluster.dir, "wrong.yaml")
    with open(path, "w", encoding="utf-8") as f:
        f.write("registry: {type: sqlite, pth: x}\nwrok: {keep: 1s}\n")
    d = Doctor("-c", path, exit_code=1)
    check(sum(f["verdict"] == "problem" for f in d.all) >= 2, d.all)
    Doctor("-c", path + ".not", exit_code=1).says("configuration", "problem")
    with open(path, "w", encoding="utf-8") as f:
        f.write("registry:\n  type: etcd\n  endpoints: http://127.0.0.1:1\n  user: u\n  password: geheim\n"
                "  connection-timeout: 1s\n")
    os.chmod(path, 0o644)
    d = Doctor("-c", path, exit_code=1)
    d.says("configuration_mode", "warning", "0644", "chmod 600")
    d.says("registry", "problem", "no session")
    d.says("etcd_members", "unknown", "0 of 1")
    os.chmod(path, 0o600)
    Doctor("-c", path).says("configuration_mode", "ok")
    check(not any("geheim" in json.dumps(f) for f in d.all), "a secret is told nobody")


def test_coordinators_and_a_pause(cluster):
    c = cluster.coordinator()
    conf = cluster.conf("d", 0)
    d = Doctor("-c", conf, "--url", f"http://127.0.0.1:{c.port}", exit_code=0)
    d.says("coordinator", "ok")
    d.says("registry_history", "ok")
    d.says("pause", "ok")
    cluster.cli("pause", "--who", "somebody", url=f"http://127.0.0.1:{c.port}")
    for words in (["-c", conf], ["--url", f"http://127.0.0.1:{c.port}"]):
        Doctor(*words, exit_code=0).says("pause", "warning", "by somebody", "pelorus resume")


# --- SQLite --------------------------------------------------------------------

def fill_and_free(path, mib):
    """So many free pages, by deleting what another program wrote, a little at a
    time: nobody has to wait for it."""
    with sqlite3.connect(path, isolation_level=None, timeout=60) as db:
        db.execute("PRAGMA synchronous = OFF")
        db.execute("CREATE TABLE junk(x BLOB)")
        for _ in range(mib * 2):
            db.execute("INSERT INTO junk VALUES(zeroblob(520000))")
        db.execute("DROP TABLE junk")
    db.close()


@settings(session=10)
def test_sqlite_free_pages_and_vacuum(cluster):
    c = cluster.coordinator()
    conf = cluster.conf("d", 0)
    put(c.api, "10.0.1.1:5678", kind="master", ttl="1h")
    cluster.wait_up(c.api, "10.0.1.1:5678")
    submit(c.port, (f"w-{n}" for n in range(20)))
    shown(c, "sqlite_free_pages", "ok")
    before = Doctor("-c", conf, exit_code=0)
    before.says("sqlite_free_pages", "ok")
    fill_and_free(cluster.path, 40)
    Doctor("-c", conf, exit_code=0).says("sqlite_free_pages", "warning", "MiB", "registry vacuum")
    shown(c, "sqlite_free_pages", "warning")
    check(metrics(c.api)["pelorus_registry_size_bytes", ()] > 30 << 20, "size")
    session = c.api.get("/v1/cluster")["registry"]
    said = cluster.cli("registry", "vacuum", "-c", conf)
    check("MiB before" in said, said)
    wait_for("small again", lambda: os.path.getsize(cluster.path) < 4 << 20)
    Doctor("-c", conf, exit_code=0).says("sqlite_free_pages", "ok")
    # Nobody was harmed: the same session, and all that was there.
    submit(c.port, ["after"])
    equal(len(c.api.all("/v1/work")), 21, "items")
    check(not c.lines("-session") and not c.lines("!registry-file"), c.text()[-1500:])
    equal(c.api.get("/v1/cluster")["registry"]["place"].split(":")[0], session["place"].split(":")[0], "incarnation")
    shown(c, "sqlite_free_pages", "ok")


def test_vacuum_is_refused_where_it_would_cost_sessions(cluster):
    conf = cluster.conf("d", 0)
    c = cluster.coordinator()
    with sqlite3.connect(cluster.path, isolation_level=None, timeout=60) as db:  # 90 MiB that stay in use
        db.execute("PRAGMA synchronous = OFF")
        db.execute("CREATE TABLE junk(x BLOB)")
        for _ in range(90 * 2 * SLOW):
            db.execute("INSERT INTO junk VALUES(zeroblob(520000))")
    db.close()
    check("--live" in cluster.cli("registry", "vacuum", "-c", conf, expect=1), "refused")
    check("before" in cluster.cli("registry", "vacuum", "--live", "-c", conf), "told to")
    c.terminate()
    check("before" in cluster.cli("registry", "vacuum", "-c", conf), "nobody is there")
    check("takes no --live" in cluster.cli("registry", "init", "--live", "-c", conf, expect=2), "usage")


# --- etcd ----------------------------------------------------------------------

class SmallEtcd(Etcd):
    """16 MiB, as a disk of a person who did not read of quotas."""

    def __init__(self, cluster):
        super().__init__(cluster)
        server = self.servers[0]
        server.kill()
        server.more = ["--quota-backend-bytes", str(16 << 20)]
        server.start().wait()


class Writes:
    """So many revisions a second, of 400 bytes."""

    def __init__(self, server, each_s):
        self.server, self.each_s, self.n, self.over = server, each_s, 0, False
        self.began, self.seconds = time.monotonic(), 0
        self.thread = threading.Thread(target=self.go, daemon=True)
        self.thread.start()

    def go(self):
        key = base64.b64encode(b"somebody/else").decode()
        value = base64.b64encode(b"x" * 400).decode()
        began = time.monotonic()
        while not self.over:
            while self.n < (time.monotonic() - began) * self.each_s and not self.over:
                if self.server.post("/v3/kv/put", {"key": key, "value": value}):
                    self.n += 1
            time.sleep(.01)

    def rate(self):
        """A minute, as it was reached."""
        return 60 * self.n / self.seconds

    def end(self):
        self.seconds = time.monotonic() - self.began
        self.over = True
        self.thread.join()


@settings(registry=SmallEtcd, session=10)
def test_etcd_quota_rate_and_compaction(cluster):
    server = cluster.registry.servers[0]
    conf = cluster.conf("d", 0)
    first = Doctor("-c", conf, exit_code=0)
    first.says("etcd_size", "ok", "16.0 MiB")
    first.says("etcd_compaction", "unknown", "not known yet", "auto-compaction-retention")
    first.says("etcd_members", "ok")
    first.says("clock_difference", "ok")
    c = cluster.coordinator()
    writes = Writes(server, 50)
    try:
        wait_for("rates", lambda: c.api.get("/v1/cluster")["registry"]["store"]
                 and c.api.get("/v1/cluster")["registry"]["store"]["full_in_seconds"], 60)
        store = c.api.get("/v1/cluster")["registry"]["store"]
        at = writes.n
        d = Doctor("-c", conf)
    finally:
        writes.end()
    rate = store["revisions_per_minute"]
    check(writes.rate() / 3 < rate < writes.rate() * 3, f"{rate} revisions a minute, {writes.rate()} were written")
    # some 500 bytes each, a page at most now and then
    left = store["quota_bytes"] - store["used_bytes"]
    check(left / (rate / 60 * 3000) < store["full_in_seconds"] < left / (rate / 60 * 200), store)
    full = d["etcd_full_in"]
    check(full["verdict"] in ("warning", "problem") and "full in" in full["text"]
          and "auto-compaction-mode" in full["advice"], full)
    check(at > 0, "written")
    m = metrics(c.api)
    equal(m["pelorus_registry_quota_bytes", ()], 16 << 20, "quota")
    for name in ("size_bytes", "used_bytes", "full_in_seconds", "revisions_per_minute", "history_revisions"):
        check(m["pelorus_registry_" + name, ()] > 0, name)

    # More than ten thousand, and none compacted.
    key = base64.b64encode(b"somebody/else").decode()
    puts = [{"request_put": {"key": base64.b64encode(b"somebody/%d" % n).decode(), "value": key}} for n in range(1)]
    while int(server.post("/v3/kv/range", {"key": key})["header"]["revision"]) < 10100:
        burst(server, puts, 1000)
    Doctor("-c", conf).says("etcd_compaction", "warning", "compaction is absent", "auto-compaction")
    revision = int(server.post("/v3/kv/range", {"key": key})["header"]["revision"])
    cluster.registry.etcdctl("compact", str(revision))
    Doctor("-c", conf).says("etcd_compaction", "ok", f"up to revision {revision}")


def burst(server, puts, n):
    """Writes through sixteen connections."""
    def some():
        for _ in range(n // 16):
            server.post("/v3/kv/put", puts[0]["request_put"])
    threads = [threading.Thread(target=some) for _ in range(16)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()


@settings(registry=SmallEtcd)
def test_etcd_that_is_full(cluster):
    server = cluster.registry.servers[0]
    conf = cluster.conf("d", 0)
    value = base64.b64encode(b"x" * 500_000).decode()
    for n in range(60):
        if not server.post("/v3/kv/put", {"key": base64.b64encode(b"k%d" % n).decode(), "value": value}):
            break
    d = Doctor("-c", conf, exit_code=1)
    d.says("etcd_size", "problem", "no space left", "disarm")


@settings(registry=Etcd)
def test_etcd_member_that_is_gone(cluster):
    more = EtcdServer(os.path.join(cluster.dir, "other"))
    text = cluster.registry.block().replace('endpoints: "', f'endpoints: "{more.endpoint}, ')
    path = os.path.join(cluster.dir, "two.yaml")
    with open(path, "w", encoding="utf-8") as f:
        f.write(text)
    Doctor("-c", path).says("etcd_members", "warning", "1 of 2", "start it again")


# --- ZooKeeper -----------------------------------------------------------------

@settings(registry=Zookeeper)
def test_zookeeper_tells_little(cluster):
    c = cluster.coordinator()
    d = Doctor("-c", cluster.conf("d", 0), exit_code=0)
    d.says("zookeeper_servers", "ok")
    d.says("zookeeper_autopurge", "unknown", "those of one have", "autopurge.purgeInterval=1")
    d.says("zookeeper_writes", "ok", "writes a minute")
    shown(c, "zookeeper_autopurge", "unknown")
    check(metrics(c.api)["pelorus_registry_log_bytes", ()] > 0, "dirs")
    # A log that grew for long: as large as one, and as empty as its end.
    logs = os.path.join(cluster.registry.servers.dir, "version-2")
    for n in range(3):
        with open(os.path.join(logs, f"log.{n + 0xffff:x}"), "wb") as f:
            f.truncate(1 << 30)
    Doctor("-c", cluster.conf("d", 0)).says("zookeeper_autopurge", "warning", "GiB", "autopurge")


# --- MariaDB, PostgreSQL -------------------------------------------------------

def as_user(cluster, user):
    """A configuration of the same server for somebody with fewer rights."""
    path = os.path.join(cluster.dir, f"{user}.yaml")
    server = cluster.registry.server
    was, server.user = server.user, user
    with open(path, "w", encoding="utf-8") as f:
        f.write(block(server, 10))
    server.user = was
    return path


def on_mysql(cluster):
    """With a binlog that never expires, as it is by default where one is on."""
    registry = Sql(cluster, "mysql")
    registry.server.kill()
    registry.server.more = ["--log-bin=binlog", "--server-id=1"]
    registry.server.start().wait()
    return registry


@settings(registry=on_mysql)
def test_mysql_binlog_and_rights(cluster):
    c = cluster.coordinator()
    conf = cluster.conf("d", 0)
    d = Doctor("-c", conf, exit_code=0)
    d.says("mysql_binlog_expiry", "warning", "never expires", "binlog_expire_logs_seconds")
    for name in ("sql_rights", "sql_layout", "sql_tables", "sql_connections", "clock_difference"):
        d.says(name, "ok")
    shown(c, "mysql_binlog_expiry", "warning")
    check(metrics(c.api)["pelorus_registry_log_bytes", ()] > 1000, "the binlog's size")
    cluster.registry.run("SET GLOBAL expire_logs_days = 1")
    Doctor("-c", conf).says("mysql_binlog_expiry", "ok", "kept for 24.0 hours")
    cluster.registry.run("CREATE USER few@'127.0.0.1'; GRANT SELECT, INSERT, UPDATE ON dolphinscheduler.* TO"
                         " few@'127.0.0.1'; GRANT DELETE ON dolphinscheduler.pelorus_lock TO few@'127.0.0.1'")
    d = Doctor("-c", as_user(cluster, "few"), exit_code=1)
    lacks = d.says("sql_rights", "problem", "DELETE on pelorus_registry", "grant")["text"]
    check("INSERT" not in lacks and "pelorus_lock" not in lacks, lacks)
    d.says("mysql_binlog_size", "unknown", "BINLOG MONITOR")


@settings(registry=lambda cluster: Sql(cluster, "mysql"))
def test_mysql_without_a_binlog(cluster):
    Doctor("-c", cluster.conf("d", 0), exit_code=0).says("mysql_binlog_expiry", "ok", "no binlog")
    cluster.registry.run("DROP TABLE pelorus_meta")
    d = Doctor("-c", cluster.conf("d", 0), exit_code=1)
    d.says("sql_layout", "problem", "missing", "registry init")
    d.says("registry", "problem", "tables_missing")


def on_postgresql(cluster):
    registry = Sql(cluster, "postgresql")
    registry.server.kill()
    registry.server.more = ["-c", "wal_level=replica"]
    registry.server.restart()
    return registry


@settings(registry=on_postgresql)
def test_postgresql_slots_and_rights(cluster):
    c = cluster.coordinator()
    conf = cluster.conf("d", 0)
    d = Doctor("-c", conf, exit_code=0)
    for name in ("postgresql_idle_slots", "postgresql_wal", "postgresql_autovacuum", "sql_rights", "sql_layout",
                 "sql_tables", "sql_connections", "clock_difference"):
        d.says(name, "ok")
    shown(c, "postgresql_idle_slots", "ok")
    cluster.registry.run("SELECT pg_create_physical_replication_slot('standby', true)")
    cluster.registry.run("CREATE TABLE junk AS SELECT repeat('x', 1000) FROM generate_series(1, 4000)")
    d = Doctor("-c", conf, exit_code=0)
    d.says("postgresql_idle_slots", "warning", "standby (", "pg_drop_replication_slot")
    check("MiB" in d["postgresql_idle_slots"]["text"], d["postgresql_idle_slots"])
    shown(c, "postgresql_idle_slots", "warning")
    check(metrics(c.api)["pelorus_registry_held_bytes", ()] > 1 << 20, "held")
    cluster.registry.run("SELECT pg_drop_replication_slot('standby')")
    Doctor("-c", conf).says("postgresql_idle_slots", "ok")
    cluster.registry.run("CREATE USER few; GRANT SELECT, INSERT, UPDATE ON ALL TABLES IN SCHEMA public TO few;"
                         "GRANT DELETE ON pelorus_lock TO few; GRANT USAGE ON pelorus_lock_ticket_seq TO few")
    d = Doctor("-c", as_user(cluster, "few"), exit_code=1)
    lacks = d.says("sql_rights", "problem", "DELETE on pelorus_registry", "grant")["text"]
    check("INSERT" not in lacks and "pelorus_lock" not in lacks, lacks)
    check("USAGE on t_ds_jdbc_registry_lock_id_seq" in lacks and "ticket" not in lacks, lacks)
    d.says("postgresql_wal", "unknown", "", "pg_monitor")


@settings(registry=lambda cluster: Sql(cluster, "mysql"))
def test_vacuum_elsewhere_says_what_to_do(cluster):
    check("OPTIMIZE TABLE" in cluster.cli("registry", "vacuum", "-c", cluster.conf("d", 0), expect=1), "MySQL")


if __name__ == "__main__":
    run(sys.modules[__name__])
