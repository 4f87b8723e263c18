"""What a store refuses has one name in all places: /readyz, /v1/cluster, the
answer to a write, and the log. Each refusal is made on a real server.

One server of each kind serves several tests; a coordinator is started for each
refusal, most of them in vain.
"""

import os
import resource
import socket
import sqlite3
import struct
import subprocess
import sys
import threading
import time

from cluster import SLOW, Api, check, equal, free_port, holds, run, settings, wait_for
from disk import Disk
from etcd import Registry as Etcd
from sql import DATABASE, init, try_init
from sql import Server as SqlServer
from zookeeper import JAVA, Server, class_path


class Given:
    """A Cluster's registry: a block of the configuration that a test sets."""

    def __init__(self, cluster):
        self.text = ""

    def block(self):
        return self.text

    def end(self):
        pass


def write(c):
    return c.api("PUT", "/v1/groups/g-refused", {"addresses": ["127.0.0.1:1234"]})


def seen(c, name, state=None, by_writing=False, write=write):
    """The coordinator shows this trouble in all four places."""
    code = "registry_" + name

    def named():
        if by_writing:
            write(c)
        answer = Api(c.port)("GET", "/readyz")
        check(c.alive(), lambda: c.text()[-800:])
        return answer.text if answer.status == 503 and answer.text.startswith(code + ":") else None
    began = time.monotonic()
    ready = wait_for(f"readyz names {code}", named, 30)
    trouble = c.api.get("/v1/cluster")["registry"]["trouble"]
    equal(trouble["name"], name, "/v1/cluster")
    check(trouble["title"] in ready and trouble["detail"] and trouble["advice"] and trouble["since"], trouble)
    if state:
        equal(c.api.get("/v1/cluster")["registry"]["state"], state, "the state")

    def refused():
        a = write(c)
        return a if a.status != 504 and (a.status >= 300 or not by_writing) else None
    a = wait_for("an answer", refused)
    equal((a.status, a.code, a.json["title"]), (503, code, trouble["title"]), f"a write ({a.text})")
    check(int(a.headers["Retry-After"]) >= 1, "Retry-After")
    wait_for("a line of the log", lambda: [x for x in c.lines("!store") if f"trouble={name} " in x])
    print(f"     {name}: after {time.monotonic() - began:.1f} s: {trouble['detail'][:140]}")
    return trouble


def fails(cluster, name, block=None, **more):
    """A coordinator that does not come up because of it."""
    if block is not None:
        cluster.registry.text = block
    c = cluster.coordinator(wait=False)
    wait_for("it listens", lambda: Api(c.port)("GET", "/livez").status == 200)
    trouble = seen(c, name, **more)
    c.kill()
    return trouble


def ready_again(c, name):
    wait_for("ready again", lambda: Api(c.port)("GET", "/readyz").status == 200, 40)
    equal(c.api.get("/v1/cluster")["registry"]["trouble"], None, "/v1/cluster afterwards")
    wait_for("the log says that it is over", lambda: [x for x in c.lines("+store") if f"trouble={name} " in x])


class Pages:
    """Writes that each take a page of their own; they must all be there
    afterwards that were acknowledged."""

    n = 0

    def __init__(self, c, kilobytes=3):
        self.c = c
        self.addresses = [f"host-{n}-{'x' * 180}:1234" for n in range(5 * kilobytes)]
        self.acknowledged = set()

    def __call__(self, c):
        Pages.n += 1
        name = f"page-{Pages.n}"
        a = c.api("PUT", f"/v1/groups/{name}", {"addresses": self.addresses})
        if a.status == 201:
            self.acknowledged.add(name)
        return a

    def all_there(self):
        check(self.acknowledged, "none was acknowledged")

        def there():
            whole = {g["name"] for g in self.c.api.all("/v1/groups") if len(g["addresses"]) == len(self.addresses)}
            return self.acknowledged <= whole
        wait_for(f"all that was acknowledged: {sorted(self.acknowledged)}", there)


def full_disk(c, disk, keeps=True):
    """It is full, stays full, and then there is room. `keeps`: what is renewed
    takes no room."""
    pages = Pages(c)
    equal(pages(c).status, 201, "with room")
    disk.fill()
    session = c.api.get("/v1/cluster")["registry"]["state"]
    seen(c, "full", by_writing=True, write=pages)
    if keeps:
        equal(c.api.get("/v1/cluster")["registry"]["state"], session, "who only reads and renews keeps its session")
    for _ in range(20):
        pages(c)
    equal(len(c.lines("!store")), 1, f"how often it is said in the first minute ({c.lines('!store')})")
    disk.make_room()
    wait_for("written as soon as there is room", lambda: pages(c).status == 201)
    ready_again(c, "full")
    pages.all_there()


def no_descriptors(c, again):
    """The connection is lost while this process can have no other. Who asks has
    one already. `again`: the server is started anew."""
    api = Api(c.port)
    soft, hard = resource.prlimit(c.pid, resource.RLIMIT_NOFILE)
    api.get("/v1/cluster")
    resource.prlimit(c.pid, resource.RLIMIT_NOFILE, (3, hard))
    code = "registry_no_descriptors"
    try:
        again()

        def ready():
            a = api("GET", "/readyz")
            return a.text if a.text.startswith(f"{code}:") else None
        wait_for(f"readyz names {code}", ready, 40)
        trouble = api.get("/v1/cluster")["registry"]["trouble"]
        equal(trouble["name"], "no_descriptors", "/v1/cluster")

        def refused():
            a = api("PUT", "/v1/groups/g-refused", {"addresses": ["127.0.0.1:1234"]})
            return a if a.status != 504 else None
        a = wait_for("an answer", refused)
        equal((a.status, a.code), (503, code), f"a write ({a.text})")
        wait_for("a line of the log", lambda: [x for x in c.lines("!store") if "trouble=no_descriptors " in x])
        print(f"     no_descriptors: {trouble['detail'][:140]}")
    finally:
        resource.prlimit(c.pid, resource.RLIMIT_NOFILE, (soft, hard))
    ready_again(c, "no_descriptors")


# --- etcd ---------------------------------------------------------------------

def etcd_block(endpoint, more=""):
    return (f"registry:\n  type: etcd\n  endpoints: \"{endpoint}\"\n  namespace: dolphinscheduler\n"
            f"  ttl: 4s\n{more}")


@settings(session=4, registry=Etcd)
def test_etcd_that_is_full(cluster):
    registry = cluster.registry
    server, etcdctl = registry.servers[0], registry.etcdctl
    server.kill()
    server.more = ["--quota-backend-bytes", str(2 << 20)]
    server.start().wait()
    c = cluster.coordinator()
    session = c.api.get("/v1/cluster")["registry"]
    blob = "x" * 120000
    for n in range(40):
        if subprocess.run(etcdctl.argv("put", "filler", blob), capture_output=True, env=etcdctl.env,
                          check=False).returncode != 0:
            break
    check("alarm:NOSPACE" in etcdctl("alarm", "list"), "it is full")
    seen(c, "full")
    time.sleep(cluster.session)  # for longer than the session would last unproven
    equal(c.api.get("/v1/cluster")["registry"]["state"], session["state"], "who reads keeps its session")
    equal(c.lines("-session"), [], "lost sessions")
    revision = int(etcdctl("get", "x", "-w", "json").split('"revision":')[1].split(",")[0].split("}")[0])
    etcdctl("compact", str(revision))
    etcdctl("defrag")
    etcdctl("alarm", "disarm")
    ready_again(c, "full")
    no_descriptors(c, lambda: (server.kill(), server.start().wait()))


@settings(session=4, registry=Etcd)
def test_etcd_that_does_not_let_us_in(cluster):
    registry, server = cluster.registry, cluster.registry.servers[0]
    etcdctl, endpoint = registry.etcdctl, server.endpoint
    cluster.registry = given = Given(cluster)
    try:
        etcdctl("user", "add", "root:secret")
        etcdctl("user", "grant-role", "root", "root")
        etcdctl("role", "add", "other")
        etcdctl("role", "grant-permission", "other", "readwrite", "other/", "--prefix")
        etcdctl("user", "add", "some:body")
        etcdctl("user", "grant-role", "some", "other")
        etcdctl("auth", "enable")
        fails(cluster, "authentication_required", etcd_block(endpoint))
        fails(cluster, "authentication_refused", etcd_block(endpoint, "  user: some\n  password: wrong\n"))
        fails(cluster, "forbidden", etcd_block(endpoint, "  user: some\n  password: body\n"))
        fails(cluster, "tls_failed", etcd_block(endpoint.replace("http:", "https:")))
        server.kill()
        fails(cluster, "unavailable", etcd_block(endpoint))
        server.more = ["--enable-grpc-gateway=false"]
        server.start()
        wait_for("it listens", lambda: socket.create_connection(("127.0.0.1", server.port), 1).close() is None)
        fails(cluster, "gateway_off", etcd_block(endpoint))
        server.kill()
        make_certificate(cluster.dir)
        server.more = [f"--cert-file={cluster.dir}/cert", f"--key-file={cluster.dir}/key"]
        server.endpoint = endpoint.replace("http:", "https:")
        server.start()
        wait_for("it listens", lambda: socket.create_connection(("127.0.0.1", server.port), 1).close() is None)
        fails(cluster, "tls_required", etcd_block(endpoint))
        fails(cluster, "tls_failed", etcd_block(server.endpoint))
        equal(given.end(), None, "the end")
    finally:
        registry.end()


def make_certificate(directory):
    subprocess.run(["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-keyout",
                    f"{directory}/key", "-out", f"{directory}/cert", "-subj", "/CN=localhost"],
                   check=True, capture_output=True)


# --- ZooKeeper ----------------------------------------------------------------

def zookeeper_block(server, namespace="dolphinscheduler", more=""):
    return (f"registry:\n  type: zookeeper\n  zookeeper:\n    namespace: {namespace}\n"
            f"    connect-string: \"{server.connect}\"\n    session-timeout: 4s\n{more}")


def zookeeper_cli(server, *commands):
    """ZooKeeper's own command line, which sets quotas and ACLs."""
    done = subprocess.run([*JAVA, "-Xmx96m", "-cp", class_path(("zookeeper.jar", "slf4j-nop.jar", "commons-cli.jar")),
                           "org.apache.zookeeper.ZooKeeperMain", "-server", server.connect],
                          input="\n".join([*commands, "quit", ""]), capture_output=True, text=True,
                          timeout=60 * SLOW, check=False)
    return done.stdout + done.stderr


class Jvm(Server):
    """A server with more lines in its configuration."""

    def configure(self, *lines):
        with open(self.conf, "a", encoding="ascii") as f:
            f.write("".join(f"{line}\n" for line in lines))
        return self


@settings(session=4, registry=Given)
def test_zookeeper_that_refuses(cluster):
    server = Jvm(os.path.join(cluster.dir, "zk"), java=("-Dzookeeper.enforceQuota=true",))
    try:
        server.start().wait()
        cluster.registry.text = zookeeper_block(server)
        c = cluster.coordinator()
        said = zookeeper_cli(server, "setquota -N 3 /dolphinscheduler", "addauth digest we:are",
                             "create /theirs x", "setAcl /theirs auth:we:are:cdrwa")
        seen(c, "quota", state="connected", by_writing=True)
        check("-125" not in c.text(), said)
        zookeeper_cli(server, "delquota -N /dolphinscheduler")
        ready_again(c, "quota")
        no_descriptors(c, lambda: (server.kill(), server.start().wait()))
        c.kill()
        fails(cluster, "forbidden", zookeeper_block(server, "theirs"))
        server.kill()
        server.java = ("-Dzookeeper.enforce.auth.enabled=true", "-Dzookeeper.enforce.auth.schemes=digest")
        server.start().wait()
        cluster.registry.text = zookeeper_block(server)
        c = cluster.coordinator(wait=False)
        wait_for("it listens", lambda: Api(c.port)("GET", "/livez").status == 200)
        seen(c, "authentication_required")
        tries = server.process.text().count("enforce")
        c.kill()
        cluster.registry.text = zookeeper_block(server, more="    digest: some:body\n")
        cluster.coordinator().kill()
        check(tries < 40, f"{tries} tries")
        server.kill()
        fails(cluster, "unavailable", zookeeper_block(server))
        # The other connection begins no session, and may stay that way for as long as the test takes.
        server.configure("maxClientCnxns=1", "nio.sessionlessCnxnTimeout=3600000")
        server.java = ()
        server.start()
        others = wait_for("it listens", lambda: socket.create_connection(("127.0.0.1", server.port), 2))
        fails(cluster, "too_many_connections", zookeeper_block(server))
        others.close()
    finally:
        server.end()


class Flood:
    """Other clients of a server, each with many writes under way. Those that
    were throttled are counted."""

    DEPTH = 250
    ERROR = struct.Struct(">iqi")

    def __init__(self, server, path, clients=4):
        self.port, self.path = server.port, path.encode()
        self.throttled, self.running = 0, True
        self.threads = [threading.Thread(target=self.flood) for _ in range(clients)]
        for t in self.threads:
            t.start()

    @staticmethod
    def packed(data):
        return struct.pack(">i", len(data)) + data

    def flood(self):
        with socket.create_connection(("127.0.0.1", self.port), 20 * SLOW) as s, s.makefile("rb") as answers:
            def read():
                return answers.read(struct.unpack(">i", answers.read(4))[0])
            s.sendall(self.packed(struct.pack(">iqiq", 0, 0, 4000, 0) + self.packed(bytes(16))))
            read()
            write = self.packed(self.path) + self.packed(b"x") + struct.pack(">i", -1)
            writes = b"".join(self.packed(struct.pack(">ii", n, 5) + write) for n in range(self.DEPTH))  # setData
            while self.running:
                s.sendall(writes)
                for _ in range(self.DEPTH):
                    self.throttled += self.ERROR.unpack_from(read())[2] == -127

    def end(self):
        self.running = False
        for t in self.threads:
            t.join()


@settings(session=4, registry=Given)
def test_zookeeper_that_throttles(cluster):
    # One request is served at a time; what waits for too long is refused.
    server = Server(os.path.join(cluster.dir, "zk"), java=(
        "-Dzookeeper.throttled_op_wait_time=50", "-Dzookeeper.request_throttle_max_requests=1",
        "-Dzookeeper.request_throttle_stall_time=20"))
    flood = None
    try:
        server.start().wait()
        cluster.registry.text = zookeeper_block(server)
        c = cluster.coordinator()
        said = zookeeper_cli(server, "create /load x")
        check("Created /load" in said, said)
        flood = Flood(server, "/load")
        seen(c, "throttled", state="connected", by_writing=True)
        check("-127" not in c.text() and flood.throttled > 0, flood.throttled)
        equal(c.lines("-session"), [], "it keeps its session")
        flood.end()
        ready_again(c, "throttled")
        wait_for("it writes again", lambda: write(c).status in (200, 201))
    finally:
        if flood:
            flood.end()
        server.end()


@settings(session=4, registry=Given)
def test_zookeeper_without_a_majority_or_behind_tls(cluster):
    ports = [(free_port(), free_port()) for _ in range(3)]
    members = [(n + 1, f"127.0.0.1:{a}:{b}") for n, (a, b) in enumerate(ports)]
    alone = Jvm(os.path.join(cluster.dir, "alone"), members=members, number=1)
    secure = Jvm(os.path.join(cluster.dir, "secure"))
    try:
        alone.start()
        make_certificate(cluster.dir)
        subprocess.run(["openssl", "pkcs12", "-export", "-in", f"{cluster.dir}/cert", "-inkey", f"{cluster.dir}/key",
                        "-out", f"{cluster.dir}/store.p12", "-passout", "pass:secret"],
                       check=True, capture_output=True)
        with open(secure.conf, encoding="ascii") as f:
            text = f.read().replace("clientPort=", "secureClientPort=").replace("clientPortAddress",
                                                                              "secureClientPortAddress")
        with open(secure.conf, "w", encoding="ascii") as f:
            f.write(text + "serverCnxnFactory=org.apache.zookeeper.server.NettyServerCnxnFactory\n"
                    f"ssl.keyStore.location={cluster.dir}/store.p12\nssl.keyStore.password=secret\n"
                    "ssl.clientAuth=none\n")
        secure.start()
        for s in (alone, secure):
            wait_for("it listens", lambda s=s: socket.create_connection(("127.0.0.1", s.port), 2).close() is None, 40)
        fails(cluster, "no_quorum", zookeeper_block(alone))
        fails(cluster, "tls_required", zookeeper_block(secure))
    finally:
        alone.end()
        secure.end()


# --- MariaDB and PostgreSQL ---------------------------------------------------

def sql_block(server, user=None, password=None, parameters=""):
    return (f"registry:\n  type: jdbc\n  session-timeout: 4s\n  heartbeat-refresh-interval: 1000ms\n"
            f"  hikari-config:\n    jdbc-url: \"{server.url()}{parameters}\"\n    username: {user or server.user}\n" +
            (f"    password: {password}\n" if password else ""))


def refusing(cluster, kind):
    """A server, before our tables are made; what it refuses then."""
    server = SqlServer(kind, cluster.dir, disk=96)
    cluster.servers = [server]
    server.start().wait()
    fails(cluster, "tables_missing", sql_block(server))
    server.make_database()
    fails(cluster, "tables_missing", sql_block(server))
    init(server, cluster.dir)
    return server


@settings(session=4, registry=Given)
def test_mariadb_that_refuses(cluster):
    cluster.servers = []
    try:
        server = refusing(cluster, "mysql")
        server.run("CREATE USER poor@'127.0.0.1' IDENTIFIED BY 'secret'; CREATE USER one@'127.0.0.1';"
                   f"GRANT ALL ON {DATABASE}.* TO one@'127.0.0.1' WITH MAX_STATEMENT_TIME 0.000001;"
                   f"GRANT SELECT ON {DATABASE}.pelorus_meta TO poor@'127.0.0.1'")
        fails(cluster, "authentication_refused", sql_block(server, "poor", "wrong"))
        fails(cluster, "forbidden", sql_block(server, "poor", "secret"))
        # Who looks at the limit comes too late for some statements.
        fails(cluster, "statement_limit", sql_block(server, "one"), by_writing=True)
        for table in ("registry", "lock"):
            server.run(f"ALTER TABLE pelorus_{table} MODIFY name varbinary(400) NOT NULL")
        narrow = fails(cluster, "tables_outdated", sql_block(server))["detail"]
        check("400 bytes" in narrow and narrow in try_init(server, cluster.dir).stderr, narrow)
        server.run(narrow[narrow.index("ALTER TABLE"):])
        cluster.registry.text = sql_block(server)
        c = cluster.coordinator()
        server.run("SET GLOBAL read_only = 1")
        seen(c, "read_only")
        server.run("SET GLOBAL read_only = 0")
        ready_again(c, "read_only")
        c.kill()
        c = cluster.coordinator()
        full_disk(c, server.disk)
        no_descriptors(c, server.restart)
        server.run("DROP TABLE pelorus_change")
        seen(c, "tables_missing", state="connected", by_writing=True)
        c.kill()
        init(server, cluster.dir)
        server.run("CREATE USER none@'127.0.0.1' WITH MAX_USER_CONNECTIONS 1;"
                   f"GRANT ALL ON {DATABASE}.* TO none@'127.0.0.1'")
        cluster.registry.text = sql_block(server, "none")
        c = cluster.coordinator()
        fails(cluster, "too_many_connections")
        c.kill()
        server.run("SET GLOBAL require_secure_transport = 1; SELECT 1")
        # MariaDB says so by the number of a wrong password (MySQL by one of its own).
        trouble = fails(cluster, "authentication_refused", sql_block(server, parameters="?useSSL=false"))
        check("useSSL=true" in trouble["detail"], trouble)
        server.kill()
        fails(cluster, "unavailable", sql_block(server))
    finally:
        for s in cluster.servers:
            s.end()


def no_room_for_the_log(c, server):
    """PostgreSQL gives up altogether: then nobody is reached, and that is what
    is said; its own log says why."""
    pages = Pages(c)
    equal(pages(c).status, 201, "with room")
    server.disk.fill()

    def gave_up():
        if server.process.alive():
            server.try_run("SELECT pg_logical_emit_message(false, 'a', 'b'); SELECT pg_switch_wal()")
        return not server.process.alive()
    wait_for("PostgreSQL gives up", gave_up)
    check("PANIC" in server.process.text() and "No space left" in server.process.text(), "for want of space")
    trouble = seen(c, "unavailable", write=pages)
    check("refused" in trouble["detail"], trouble)
    server.disk.make_room()
    server.restart()
    ready_again(c, "unavailable")
    equal(pages(c).status, 201, "with room again")
    pages.all_there()


@settings(session=4, registry=Given)
def test_postgresql_that_refuses(cluster):
    cluster.servers = []
    try:
        server = refusing(cluster, "postgresql")
        server.run("CREATE ROLE poor LOGIN; CREATE ROLE single LOGIN CONNECTION LIMIT 1;"
                   "CREATE ROLE nobody LOGIN CONNECTION LIMIT 0; CREATE ROLE locked LOGIN PASSWORD 'secret';"
                   "GRANT ALL ON ALL TABLES IN SCHEMA public TO single, nobody, locked;"
                   "GRANT ALL ON ALL SEQUENCES IN SCHEMA public TO single, nobody, locked")
        fails(cluster, "forbidden", sql_block(server, "poor"))
        fails(cluster, "too_many_connections", sql_block(server, "nobody"))
        # The connection that listens for hints takes no slot that is needed.
        cluster.registry.text = sql_block(server, "single")
        c = cluster.coordinator()
        holds("it stays ready", lambda: Api(c.port)("GET", "/readyz").status == 200, 2)
        c.kill()
        with open(os.path.join(server.data, "pg_hba.conf"), "r+", encoding="ascii") as f:
            before = f.read()
            f.seek(0)
            f.write("host all locked 127.0.0.1/32 scram-sha-256\nhostssl all nobody 127.0.0.1/32 trust\n"
                    "host all nobody 127.0.0.1/32 reject\n" + before)
        server.run("SELECT pg_reload_conf()")
        fails(cluster, "authentication_refused", sql_block(server, "locked", "wrong"))
        fails(cluster, "authentication_required", sql_block(server, "locked"))
        fails(cluster, "tls_required", sql_block(server, "nobody", parameters="?sslmode=disable"))
        cluster.registry.text = sql_block(server)
        c = cluster.coordinator()
        server.run("ALTER SYSTEM SET default_transaction_read_only = on; SELECT pg_reload_conf()")
        seen(c, "read_only")
        server.run("SET default_transaction_read_only = off; ALTER SYSTEM RESET default_transaction_read_only;"
                   "SELECT pg_reload_conf()")
        ready_again(c, "read_only")
        c.kill()
        c = cluster.coordinator()
        full_disk(c, server.disk)
        no_room_for_the_log(c, server)
        no_descriptors(c, server.restart)
        c.kill()
        server.kill()
        fails(cluster, "unavailable", sql_block(server))
    finally:
        for s in cluster.servers:
            s.end()


# --- SQLite -------------------------------------------------------------------

@settings(session=3)
def test_sqlite_that_refuses(cluster):
    c = cluster.coordinator()
    other = sqlite3.connect(cluster.path, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    seen(c, "locked")
    other.execute("ROLLBACK")
    other.close()
    ready_again(c, "locked")
    os.rename(cluster.path, cluster.path + ".moved")
    seen(c, "replaced")
    os.rename(cluster.path + ".moved", cluster.path)
    ready_again(c, "replaced")
    c.kill()
    path = os.path.join(cluster.dir, "disk")
    os.mkdir(path)
    disk = Disk(path, 8)
    try:
        cluster.path = os.path.join(path, "registry.db")
        c = cluster.coordinator()
        full_disk(c, disk, keeps=False)
        c.kill()
    finally:
        disk.end()


if __name__ == "__main__":
    run(sys.modules[__name__])
