"""go-mysql-server speaks MySQL's language, takes SELECT ... FOR UPDATE, and
locks nothing: it is refused by a sentence that says so, before it holds
anything of ours but the counter that this is tried with.

Its version, and those of all that it needs, stand in go.mod and go.sum.
"""

import os
import subprocess
import sys
import time

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(os.path.dirname(HERE), "integration"))

# pylint: disable=wrong-import-position
from cluster import PELORUS, Api, Process, check, equal, free_port, run, settings, wait_for  # noqa: E402
from daemon import Daemon  # noqa: E402
from sql import DATABASE, try_init, url_of  # noqa: E402

PROGRAM = os.path.abspath(os.path.join(os.environ.get("BUILD", "build"), "interop", "go-mysql-server"))


class Server(Daemon):
    kind = "go-mysql-server"
    user = "root"

    def __init__(self, directory):
        self.dir = directory
        self.port = free_port()

    def start(self):
        self.process = Process(self.kind, [PROGRAM, DATABASE, str(self.port)],
                               os.path.join(self.dir, f"{self.kind}.log"))
        return self

    def serves(self):
        return self.run("SELECT 1") == ["1"]

    def run(self, sql):
        done = subprocess.run(["mariadb", "--no-defaults", "-h", "127.0.0.1", "-P", str(self.port), "-u", self.user,
                               "-N", "-B", "--skip-ssl", DATABASE], input=sql, capture_output=True, text=True,
                              timeout=20, check=False)
        return done.stdout.split() if done.returncode == 0 else None

    def url(self):
        return url_of("mysql", self.port)


class Given:
    """A Cluster's registry: this server."""

    def __init__(self, cluster):
        self.server = Server(cluster.dir)
        self.server.start().wait()

    def block(self):
        return (f"registry:\n  type: jdbc\n  session-timeout: 4s\n  heartbeat-refresh-interval: 1000ms\n  hikari-config:\n"
                f"    jdbc-url: \"{self.server.url()}\"\n    username: root\n")

    def end(self):
        self.server.end()


def refused_by(cluster, name, text):
    """What a coordinator says in the four places."""
    c = cluster.coordinator(wait=False)

    def ready():
        a = Api(c.port)("GET", "/readyz")
        return a.text if a.text.startswith(f"registry_{name}:") else None
    wait_for(f"/readyz: {name}", ready)
    trouble = c.api.get("/v1/cluster")["registry"]["trouble"]
    equal(trouble["name"], name, "/v1/cluster")
    check(text in trouble["detail"], trouble)
    a = c.api("PUT", "/v1/groups/g", {"addresses": ["127.0.0.1:1"]})
    equal((a.status, a.code), (503, f"registry_{name}"), "a write")
    wait_for("a line of the log", lambda: [x for x in c.lines("!store") if f"trouble={name} " in x and text in x])
    print(f"     {trouble['detail']}")
    c.kill()


@settings(session=4, registry=Given)
def test_a_server_that_locks_nothing_is_refused(cluster):
    server = cluster.registry.server
    # nothing can be tried with, and the sentence says what to think of
    refused_by(cluster, "refused", "keep no row locks")
    equal(server.run("SHOW TABLES"), [], "tables made by serve")
    done = try_init(server, cluster.dir)
    equal(done.returncode, 1, "registry init")
    check("this server keeps no row locks" in done.stderr and "InnoDB" in done.stderr, done.stderr)
    equal(server.run("SHOW TABLES"), ["pelorus_meta"], "tables made by registry init")
    refused_by(cluster, "no_row_locks", "this server keeps no row locks")


def build():
    """Go's own client of its module proxy, which checks every sum."""
    env = {**os.environ, "GOFLAGS": "-mod=readonly", "GOTOOLCHAIN": "local"}
    began = time.monotonic()
    done = subprocess.run(["go", "build", "-o", PROGRAM, "."], cwd=os.path.join(HERE, "go-mysql-server"), env=env,
                          capture_output=True, text=True, check=False)
    check(done.returncode == 0, lambda: f"go build: {done.stderr[-2000:]}")
    print(f"go-mysql-server: built in {time.monotonic() - began:.0f} s")


if __name__ == "__main__":
    check(os.access(PELORUS, os.X_OK), f"{PELORUS} is not there: make")
    build()
    run(sys.modules[__name__])
