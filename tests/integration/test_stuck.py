"""A coordinator whose loop does not turn any more: nobody believes in it, and
what it held is free. One whose standard error nobody reads goes on.

A thread that is stopped by ptrace is as stuck as one in a call that does not
return, and can be let go again.
"""

import contextlib
import ctypes
import os
import re
import socket
import subprocess
import sys
import threading
import time
from functools import partial

import etcd
import sql
import zookeeper
from cluster import PELORUS, SLOW, Api, check, equal, free_port, run, settings, submit, wait_for

M1, M2 = "127.0.0.1:5678", "127.0.0.1:5679"
SEIZE, INTERRUPT, DETACH, WALL = 0x4206, 0x4207, 17, 0x40000000
libc = ctypes.CDLL(None, use_errno=True)
libc.ptrace.argtypes = [ctypes.c_long, ctypes.c_long, ctypes.c_void_p, ctypes.c_void_p]
libc.ptrace.restype = ctypes.c_long


@contextlib.contextmanager
def stuck(process):
    """Its main thread stands still, all others go on. A tracer is a thread: all
    of this happens in the one that calls."""
    equal(libc.ptrace(SEIZE, process.pid, None, None), 0, f"ptrace ({os.strerror(ctypes.get_errno())})")
    equal(libc.ptrace(INTERRUPT, process.pid, None, None), 0, "ptrace interrupt")
    os.waitpid(process.pid, WALL)
    try:
        yield
    finally:
        libc.ptrace(DETACH, process.pid, None, None)


def coordinators(api):
    return {c["address"]: c["holds_lock"] for c in api.get("/v1/cluster")["coordinators"]}


def others_go_on(cluster):
    a, b = cluster.coordinator(), cluster.coordinator()
    wait_for("both coordinators known", lambda: len(coordinators(b.api)) == 2)
    with stuck(a):
        began = time.monotonic()
        # sqlite, SQL: a third of the timeout may pass before it is not renewed
        wait_for("its session ended", lambda: len(coordinators(b.api)) == 1, cluster.session / SLOW * 3 + 4)
        check(time.monotonic() - began >= cluster.session * 0.6, "its session was ended too early")
        api = Api(a.port)
        wait_for("livez says it", lambda: api("GET", "/livez").status == 503, 10)
        ready = api("GET", "/readyz")
        equal(ready.status, 503, f"readyz ({ready.text})")
        check(api.get("/v1/cluster")["stale"], "the answers of a stuck coordinator are not stale")
    wait_for("alive again", lambda: Api(a.port)("GET", "/livez").status == 200, 20)
    wait_for("ready again", lambda: Api(a.port)("GET", "/readyz").status == 200, 30)
    wait_for("known again", lambda: len(coordinators(b.api)) == 2, 20)


@settings(session=3)
def test_a_stuck_loop_ends_its_session_on_sqlite(cluster):
    others_go_on(cluster)


@settings(session=4, registry=zookeeper.Registry)
def test_a_stuck_loop_ends_its_session_on_zookeeper(cluster):
    others_go_on(cluster)


@settings(session=4, registry=etcd.Registry)
def test_a_stuck_loop_ends_its_session_on_etcd(cluster):
    others_go_on(cluster)


@settings(session=3, registry=partial(sql.Registry, kind="postgresql"))
def test_a_stuck_loop_ends_its_session_on_postgresql(cluster):
    others_go_on(cluster)


@settings(session=3, registry=partial(sql.Registry, kind="mysql"))
def test_a_stuck_loop_ends_its_session_on_mysql(cluster):
    others_go_on(cluster)


@settings(session=4, registry=zookeeper.Registry)
def test_an_agent_with_a_stuck_loop_loses_its_node_on_zookeeper(cluster):
    c = cluster.coordinator()
    stuck_one = cluster.agent("master", M1)
    cluster.agent("master", M2)
    cluster.wait_up(c.api, M1, M2)
    submit(c.port, [f"w-{n}" for n in range(20)])
    with stuck(stuck_one):
        wait_for("its work moved", lambda: {i["owner"] for i in c.api.all("/v1/work?kind=master")} == {M2}, 25)


def test_a_stuck_loop_does_not_feed_the_watchdog(cluster):
    """As systemd would see it: three times in its interval, and never again."""
    path = os.path.join(cluster.dir, "notify")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as s:
        s.bind(path)
        s.settimeout(15 * SLOW)
        c = cluster.coordinator(env={"NOTIFY_SOCKET": path, "WATCHDOG_USEC": "600000"})
        while s.recv(1024) != b"WATCHDOG=1":
            pass
        with stuck(c):
            s.setblocking(False)
            with contextlib.suppress(BlockingIOError):
                while s.recv(1024):
                    pass
            time.sleep(1.5)
            try:
                check(not s.recv(1024), "a stuck loop says that it lives")
            except BlockingIOError:
                pass
        s.settimeout(15 * SLOW)
        equal(s.recv(1024), b"WATCHDOG=1", "after it goes on")


def put_nodes(port, numbers, took):
    api = Api(port)
    for n in numbers:
        began = time.monotonic()
        equal(api("PUT", f"/v1/nodes/worker/10.{n // 65536}.{n // 256 % 256}.{n % 256}:1234?ttl=600s", {}).status,
              201, "a node registers")
        took.append(time.monotonic() - began)


def nobody_reads(cluster, name):
    path = os.path.join(cluster.dir, f"{name}.log")
    os.mkfifo(path)
    return os.open(path, os.O_RDONLY | os.O_NONBLOCK)


def test_nobody_reads_standard_error(cluster):
    """64 KiB are in the pipe, then 512 KiB wait, then lines are dropped: all
    the time it works, and when somebody reads, the gap is told."""
    pipe = nobody_reads(cluster, "coordinator-1")
    c = cluster.coordinator()
    took = []
    threads = [threading.Thread(target=put_nodes, args=(c.port, range(k, 7000, 4), took)) for k in range(4)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    equal(len(took), 7000, "nodes registered")
    check(max(took) < 5 * SLOW, lambda: f"a request took {max(took):.1f} s")
    dropped = wait_for("dropped lines are counted", lambda: c.api.get("/v1/cluster")["log"]["dropped"], 20)
    equal(c.api("GET", "/livez").status, 200, "livez")
    equal(c.api("GET", "/readyz").status, 200, "readyz")
    check(not c.api.get("/v1/cluster")["stale"], "stale although nothing is wrong")
    said = b""

    def read():
        nonlocal said
        with contextlib.suppress(BlockingIOError):
            said += os.read(pipe, 1 << 20)
        return re.search(rb"!log dropped=(\d+)", said)
    told = int(wait_for("the gap is told", read, 20).group(1))
    check(told >= dropped, lambda: f"{told} told, {dropped} dropped")
    lines = said.decode().splitlines()
    check(all(re.match(r"\d{4}-\d\d-\d\dT", line) for line in lines), "a line is broken")
    ups = sum(" +node-up " in line for line in lines)
    check(0 < ups < 7000, f"{ups} lines of nodes")
    os.close(pipe)  # and nobody is there at all
    equal(c.api("PUT", "/v1/nodes/worker/10.9.9.9:1234", {}).status, 201, "without any reader")
    equal(c.terminate()[0], 0, "exit code")


def test_it_leaves_although_nobody_reads(cluster):
    pipe = nobody_reads(cluster, "coordinator-1")
    c = cluster.coordinator()
    put_nodes(c.port, range(800), [])
    code, seconds = c.terminate()
    equal(code, 0, "exit code")
    check(seconds < 5 * SLOW, f"it took {seconds:.1f} s")
    os.close(pipe)


def test_lines_that_cannot_be_written_are_counted(cluster):
    port = free_port()
    with open("/dev/full", "w", encoding="ascii") as full:
        p = subprocess.Popen([PELORUS, "serve", "-c", cluster.conf("full", port)],
                             stdin=subprocess.DEVNULL, stderr=full)
    try:
        wait_for("they are counted", lambda: Api(port).get("/v1/cluster")["log"]["dropped"] > 0)
        p.terminate()
        equal(p.wait(10 * SLOW), 0, "exit code")
    finally:
        p.kill()
        p.wait()


def test_standard_streams_may_be_closed(cluster):
    """Nothing of ours takes their place: what is written there goes nowhere,
    and it leaves in order."""
    c = cluster.coordinator()
    began = [cluster.conf("closed", free_port()), cluster.conf("agent", 0)]
    for closed in ("2>&-", "<&- >&- 2>&-"):
        for words in (["serve", "-c", began[0]],
                      ["agent", "--kind", "master", "--address", M1, "-c", began[1]]):
            p = subprocess.Popen(["bash", "-c", f'exec "$@" {closed}', "bash", PELORUS, *words],
                                 stdin=subprocess.DEVNULL)
            try:
                wait_for(f"{words[0]} {closed} is there", lambda: [
                    n for n in c.api.all("/v1/nodes") if n["state"] == "up"] if words[0] == "agent" else
                    len(coordinators(c.api)) == 2)
                equal(os.readlink(f"/proc/{p.pid}/fd/2"), "/dev/null", f"{words[0]} {closed}: 2")
                p.terminate()
                equal(p.wait(10 * SLOW), 0, f"{words[0]} {closed} exit")
            finally:
                p.kill()
                p.wait()
            wait_for("it has left", lambda: len(coordinators(c.api)) == 1 and not [
                n for n in c.api.all("/v1/nodes") if n["state"] == "up"])
    url = f"http://127.0.0.1:{c.port}"
    done = subprocess.run(["bash", "-c", 'exec "$@" >&-', "bash", PELORUS, "nodes", "--url", url],
                          capture_output=True, text=True, timeout=30 * SLOW, check=False)
    check(done.returncode == 1 and done.stderr, lambda: f"a list that nobody got: {done}")


if __name__ == "__main__":
    run(sys.modules[__name__])
