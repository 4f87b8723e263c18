"""MariaDB and PostgreSQL for the integration tests: servers, and statements as
DolphinScheduler's processes make them.

A server has a free loopback port and a directory of its own; nothing of a
server that the system may run is used. The variables MARIADB_HOME and
POSTGRESQL_HOME name the directories of others than the installed ones. Registry
is what a Cluster takes.

As a program, `sql.py mysql DIRECTORY` (or postgresql) runs one server in the
foreground and prints its jdbc URL once it serves.
"""

import contextlib
import glob
import os
import pwd
import shutil
import signal
import subprocess
import sys
import tempfile

from cluster import PELORUS, SLOW, Failure, Process, check, wait_for
from daemon import Daemon
from disk import Disk
from proxy import Proxy, server_port

DATABASE = "dolphinscheduler"
HOMES = {"mysql": "MARIADB_HOME", "postgresql": "POSTGRESQL_HOME"}


def url_of(kind, *ports):
    return f"jdbc:{kind}://{','.join(f'127.0.0.1:{port}' for port in ports)}/{DATABASE}"


class Server(Daemon):
    """One server; it can be killed, stopped (SIGSTOP) and started again on its
    port and data."""

    start_seconds = 60
    env = None  # added to its environment

    def __init__(self, kind, directory, tls=False, more=(), of=None, disk=0):
        """`more`: options for its command line; `of`: it is a standby of
        another server of PostgreSQL; `disk`: all its data are on a Disk of so
        many MiB."""
        self.kind = kind
        self.tls = tls
        self.more = list(more)
        self.of = of
        self.dir = directory
        self.port = server_port()
        self.process = None
        self.user = "root" if kind == "mysql" else "pelorus"
        os.makedirs(directory, exist_ok=True)
        # memory is the cheapest disk, and any user reaches it
        self.data_dir = tempfile.mkdtemp(prefix="test_sql_", dir="/dev/shm" if os.path.isdir("/dev/shm") else None)
        self.disk = Disk(self.data_dir, disk) if disk else None
        self.data = os.path.join(self.data_dir, "data")
        self.sure = ["setpriv", "--pdeathsig", "KILL"]
        if kind == "postgresql" and os.geteuid() == 0:
            try:
                user = pwd.getpwnam("postgres")
            except KeyError:
                user = pwd.getpwnam("nobody")
            os.chown(self.data_dir, user.pw_uid, user.pw_gid)
            # the change of user forgets whom to die with
            self.sure = ["setpriv", f"--reuid={user.pw_uid}", f"--regid={user.pw_gid}", "--clear-groups",
                         "--", "setpriv", "--pdeathsig", "KILL"]
        self.init()
        if tls:
            self.make_certificates()

    def make_certificates(self):
        """An authority's, the server's, and one of another authority."""
        def openssl(*words):
            subprocess.run(["openssl", *words], cwd=self.data_dir, check=True, capture_output=True)
        new = ["-newkey", "rsa:2048", "-nodes", "-days", "2"]
        openssl("req", "-x509", *new, "-keyout", "ca.key", "-out", "ca.crt", "-subj", "/CN=ca")
        openssl("req", "-x509", *new, "-keyout", "other.key", "-out", "other.crt", "-subj", "/CN=other")
        openssl("req", *new[:-2], "-keyout", "server.key", "-out", "server.csr", "-subj", "/CN=localhost")
        with open(os.path.join(self.data_dir, "ext"), "w", encoding="ascii") as f:
            f.write("subjectAltName=DNS:localhost,IP:127.0.0.1\n")
        openssl("x509", "-req", "-in", "server.csr", "-CA", "ca.crt", "-CAkey", "ca.key", "-CAcreateserial",
                "-days", "2", "-out", "server.crt", "-extfile", "ext")
        owner = os.stat(self.data_dir)
        for name in ("server.key", "server.crt", "ca.crt"):
            path = os.path.join(self.data_dir, name)
            os.chmod(path, 0o600 if name.endswith("key") else 0o644)
            os.chown(path, owner.st_uid, owner.st_gid)
        if self.kind == "postgresql":
            with open(os.path.join(self.data, "pg_hba.conf"), "w", encoding="ascii") as f:
                f.write("hostssl all all 127.0.0.1/32 trust\n")

    def file(self, name):
        return os.path.join(self.data_dir, name)

    def tls_options(self):
        if not self.tls:
            return []
        if self.kind == "mysql":
            return [f"--ssl-cert={self.file('server.crt')}", f"--ssl-key={self.file('server.key')}",
                    "--require-secure-transport=ON"]
        return ["-c", "ssl=on", "-c", f"ssl_cert_file={self.file('server.crt')}",
                "-c", f"ssl_key_file={self.file('server.key')}"]

    def programs(self, name):
        """Those of the directory that a variable names; what it has not is the
        installed one's. Debian keeps PostgreSQL's programs out of PATH."""
        home = os.environ.get(HOMES[self.kind])
        paths = [os.path.join(home, d, name) for d in ("bin", "scripts", "sbin")] if home else []
        paths += sorted(glob.glob(f"/usr/lib/postgresql/*/bin/{name}"), reverse=True) + [f"/usr/sbin/{name}"]
        return next((p for p in paths if os.access(p, os.X_OK)), name)

    def based(self):
        home = os.environ.get(HOMES[self.kind])
        return [f"--basedir={home}"] if home else []

    def init(self):
        if self.kind == "mysql":
            argv = [self.programs("mariadb-install-db"), "--no-defaults", *self.based(), "--auth-root-authentication-method=normal",
                    "--skip-test-db", "--skip-name-resolve", "--innodb-log-file-size=16M",
                    "--innodb-flush-log-at-trx-commit=0", f"--datadir={self.data}", f"--tmpdir={self.data_dir}"]
            argv += ["--user=root"] if os.geteuid() == 0 else []
        elif self.of:
            argv = [self.programs("pg_basebackup"), "-h", "127.0.0.1", "-p", str(self.of.port), "-U", "pelorus",
                    "-D", self.data, "-R", "-X", "stream", "-c", "fast", "--no-sync"]
        else:
            argv = [self.programs("initdb"), "--pgdata", self.data, "--username=pelorus", "--auth=trust",
                    "--encoding=UTF8", "--locale=C", "--no-sync"]
        done = subprocess.run([*self.sure, "--", *argv], capture_output=True, text=True, timeout=120 * SLOW,
                              check=False, cwd="/")
        check(done.returncode == 0, lambda: f"{argv[0]}: {done.stdout[-500:]}{done.stderr[-500:]}")

    def start(self):
        if self.kind == "mysql":
            argv = [self.programs("mariadbd"), "--no-defaults", *self.based(), "--bind-address=127.0.0.1", "--skip-name-resolve",
                    "--innodb-flush-log-at-trx-commit=2", "--innodb-log-file-size=16M",
                    "--innodb-buffer-pool-size=64M", "--innodb-flush-method=nosync",
                    f"--datadir={self.data}", f"--tmpdir={self.data_dir}", f"--port={self.port}",
                    f"--socket={self.data_dir}/socket", f"--pid-file={self.data_dir}/pid"]
            argv += ["--user=root"] if os.geteuid() == 0 else []
        else:
            argv = [self.programs("postgres"), "-D", self.data, "-h", "127.0.0.1", "-p", str(self.port), "-F",
                    "-k", "", "-c", "full_page_writes=off", "-c", "shared_buffers=64MB",
                    "-c", "max_connections=100", "-c", "dynamic_shared_memory_type=mmap"]
        self.process = Process(self.kind, [*self.sure, "--", *argv, *self.tls_options(), *self.more],
                               os.path.join(self.dir, f"{self.kind}-{self.port}.log"), self.env)
        return self

    def run(self, sql, database=DATABASE, timeout=20):
        """Rows of the last statement that has any, as lists of texts."""
        if self.kind == "mysql":
            argv = ["mariadb", "--no-defaults", "-h", "127.0.0.1", "-P", str(self.port), "-u", "root", "-N", "-B",
                    "--ssl" if self.tls else "--skip-ssl", database or "mysql"]
        else:
            argv = [self.programs("psql"), "-X", "-q", "-t", "-A", "-F", "\t", "-v", "ON_ERROR_STOP=1", "-h",
                    "127.0.0.1", "-p", str(self.port), "-U", "pelorus", database or "postgres"]
        done = subprocess.run(argv, input=sql, capture_output=True, text=True, timeout=timeout * SLOW, check=False)
        if done.returncode != 0:
            raise Failure(f"{sql[:200]}: {done.stderr.strip()}")
        return [line.split("\t") for line in done.stdout.splitlines() if line]

    def try_run(self, sql, database=DATABASE):
        try:
            self.run(sql, database=database)
            return True
        except (Failure, subprocess.TimeoutExpired):
            return False

    def serves(self):
        return self.try_run("SELECT 1", database=None)

    def url(self, port=None):
        return url_of(self.kind, port or self.port)

    def make_database(self):
        self.run(f"CREATE DATABASE {DATABASE}", database=None)
        return self

    def restart(self):
        """Killed and started again. PostgreSQL does not start while one of the
        processes of the one before still stands: then once more."""
        def up():
            if not self.process.alive():
                self.process.file.close()
                self.start()
            return self.serves()
        self.kill()
        self.start()
        wait_for(f"{self.kind} serving again", up, 60)

    def end(self):
        """At once: nobody needs its data any more. PostgreSQL killed leaves
        its shared memory behind, and so is told to quit."""
        if self.process and self.process.alive():
            self.process.resume()
            if self.kind == "postgresql":
                self.process.signal(signal.SIGQUIT)
                with contextlib.suppress(subprocess.TimeoutExpired):
                    self.process.popen.wait(timeout=10 * SLOW)
            self.kill()
        if self.disk:
            self.disk.end()
        shutil.rmtree(self.data_dir, ignore_errors=True)


def block(server, session, url=None):
    """A registry: block; the session's timeout in seconds."""
    return (f"registry:\n  type: jdbc\n  session-timeout: {session}s\n"
            f"  heartbeat-refresh-interval: {min(3000, int(session * 1000 / 4))}ms\n"
            f"  hikari-config:\n    jdbc-url: \"{url or server.url()}\"\n    username: {server.user}\n")


class Registry:
    """A Cluster's registry: a server with our tables, and a proxy before it if
    asked for. Statements of the test go to the server directly."""

    def __init__(self, cluster, kind, proxied=False):
        self.cluster = cluster
        self.server = Server(kind, cluster.dir)
        self.proxy = None
        try:
            self.server.start().wait().make_database()
            init(self.server, cluster.dir)
            if proxied:
                self.proxy = Proxy(f"127.0.0.1:{self.server.port}")
        except BaseException:
            self.end()
            raise

    def block(self):
        url = self.server.url(self.proxy.port) if self.proxy else None
        return block(self.server, self.cluster.session, url)

    def run(self, sql):
        return self.server.run(sql)

    def end(self):
        if self.proxy:
            self.proxy.end()
        self.server.end()


class Servers:
    """A Cluster's registry: one server or several, which make() makes, behind
    one URL. Who is told to run() is who writes."""

    kind = None

    def __init__(self, cluster):
        self.cluster = cluster
        self.servers = []
        self.proxy = None
        try:
            self.make()
            self.writer = self.servers[0]
            self.address = url_of(self.kind, *(s.port for s in self.in_the_url()))
        except BaseException:
            self.end()
            raise

    def make(self):
        raise NotImplementedError

    def in_the_url(self):
        return self.servers

    def server(self, name, **kwargs):
        self.servers.append(Server(self.kind, os.path.join(self.cluster.dir, name), **kwargs))
        return self.servers[-1].start().wait()

    def behind_a_proxy(self, server):
        """One address for all: whoever connects anew comes to this one."""
        self.proxy = Proxy(f"127.0.0.1:{server.port}")
        self.address = url_of(self.kind, self.proxy.port)

    def block(self):
        return block(self.servers[0], self.cluster.session, self.address)

    def run(self, sql):
        return self.writer.run(sql)

    def end(self):
        if self.proxy:
            self.proxy.end()
        for s in self.servers:
            s.end()


def try_init(server, directory, parameters="", more="", url=None):
    """pelorus registry init --apply"""
    path = os.path.join(directory, "init.yaml")
    with open(path, "w", encoding="utf-8") as f:
        f.write(block(server, 10, (url or server.url()) + parameters) + more)
    return subprocess.run([PELORUS, "registry", "init", "--apply", "-c", path], capture_output=True, text=True,
                          timeout=60 * SLOW, check=False)


def init(server, directory):
    done = try_init(server, directory)
    check(done.returncode == 0, lambda: f"registry init: {done.stdout}{done.stderr}")


def main():
    server = Server(sys.argv[1], sys.argv[2])
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    try:
        server.start().wait().make_database()
        init(server, sys.argv[2])
        print(server.url(), server.user, flush=True)
        server.process.popen.wait()
    finally:
        server.end()


if __name__ == "__main__":
    main()
