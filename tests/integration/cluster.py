"""Real processes for the integration tests: coordinators, agents and a client.

A Cluster has a directory, one embedded registry and any number of processes,
all of which are gone when its `with` block ends, whatever happened in it. Every
wait has a deadline. A test is a function whose name begins with test_; run()
calls each with a fresh Cluster and closes with "N passed, N failed, N skipped".
"""

import http.client
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
import traceback

from proxy import server_port as free_port

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
PELORUS = os.environ.get("PELORUS") or os.path.join(ROOT, "build", "pelorus")
# Sanitized programs are slower; what is timed says so with a factor.
SLOW = {"": 1, "address": 3, "thread": 6}[os.environ.get("SAN", "")]
# A deadline is there for what never comes, and measures nothing: it is long
# enough for a machine that is this many times slower than usual. What is said
# to be quick is measured against something else of the same run, a session's
# timeout, or pace().
PATIENCE = 3


class Failure(AssertionError):
    pass


def check(condition, message):
    if not condition:
        raise Failure(message() if callable(message) else message)


def equal(got, wanted, what):
    check(got == wanted, lambda: f"{what}: {got!r}, expected {wanted!r}")


def pace(clock=time.monotonic):
    """How many times longer the same takes now than on the machine for which
    limits in seconds were set, which had nothing else to do; at least 1. With
    process_time: by the processor alone, whoever else uses it."""
    began = clock()
    for _ in range(10):
        json.dumps(json.loads(json.dumps(list(range(30000)))))
    return max(1, (clock() - began) / 0.08)


def wait_for(what, predicate, seconds=20):
    """The first true value of predicate(), or a failure after the deadline,
    which is a minute at least."""
    seconds = max(seconds, 20) * SLOW * PATIENCE
    by = time.monotonic() + seconds
    problem = None
    while time.monotonic() < by:
        try:
            value = predicate()
            if value:
                return value
            problem = None
        except (OSError, http.client.HTTPException, KeyError) as error:
            problem = error
        threading.Event().wait(0.03)
    raise Failure(f"{what}: not within {seconds} s ({problem})")


def holds(what, predicate, seconds):
    """A failure unless predicate() is true all the time."""
    by = time.monotonic() + seconds
    while time.monotonic() < by:
        check(predicate(), f"{what}: not any more")
        threading.Event().wait(0.05)


class Lateness:
    """By how many seconds this machine let somebody who slept wake up too late,
    at worst, while the block ran."""

    def __enter__(self):
        self.worst, self.ended = 0, threading.Event()
        self.thread = threading.Thread(target=self.watch, daemon=True)
        self.thread.start()
        return self

    def watch(self):
        last = time.monotonic()
        while not self.ended.wait(0.02):
            now = time.monotonic()
            self.worst, last = max(self.worst, now - last - 0.02), now

    def __exit__(self, *_):
        self.ended.set()
        self.thread.join()


def scratch():
    """A directory of our own: in memory where there is room, so that no test
    waits for a disk of the machine that others use, too."""
    try:
        room = os.statvfs("/dev/shm")
        memory = room.f_bavail * room.f_frsize >= 1 << 30
    except OSError:
        memory = False
    return tempfile.mkdtemp(prefix="pelorus-test-", dir="/dev/shm" if memory else None)


class Api:
    """A client with one connection that is kept alive."""

    def __init__(self, port, host="127.0.0.1"):
        self.host, self.port = host, port
        self.connection = None

    def __call__(self, method, path, body=None, headers=None, timeout=30):
        data = json.dumps(body) if isinstance(body, (dict, list)) else body
        head = {"Content-Type": "application/json"} if data is not None else {}
        head.update(headers or {})
        for attempt in (0, 1):
            fresh = self.connection is None
            if fresh:
                self.connection = http.client.HTTPConnection(
                    self.host, self.port, timeout=timeout * SLOW * PATIENCE)
            try:
                self.connection.request(method, path, data, head)
                reply = self.connection.getresponse()
                text = reply.read()
                break
            except (http.client.RemoteDisconnected, BrokenPipeError, ConnectionResetError):
                # An idle connection may have been closed; a fresh one may not.
                self.connection.close()
                self.connection = None
                if fresh or attempt:
                    raise
            except OSError:
                self.connection.close()
                self.connection = None
                raise
        answer = Answer(reply.status, reply.headers, text)
        if reply.headers.get("Connection", "").lower() == "close":
            self.connection.close()
            self.connection = None
        return answer

    def get(self, path):
        answer = self("GET", path)
        equal(answer.status, 200, f"GET {path} ({answer.text[:200]})")
        return answer.json

    def all(self, path):
        """Every item of a list, page by page."""
        items, cursor = [], None
        while True:
            page = self.get(path + ("&" if "?" in path else "?") + "limit=1000" +
                            (f"&cursor={cursor}" if cursor else ""))
            items += page["items"]
            cursor = page["next"]
            if cursor is None:
                return items


def documented_problems():
    """{code: (status, retry)} of openapi.yaml."""
    with open(os.path.join(ROOT, "http", "openapi.yaml"), encoding="utf-8") as f:
        rows = re.findall(r"^        (\w+): {status: (\d+), retry: (\w+), title: ", f.read(), re.M)
    return {code: (int(status), retry) for code, status, retry in rows}


PROBLEMS = documented_problems()


class Answer:
    def __init__(self, status, headers, text):
        self.status = status
        self.headers = headers
        self.text = text.decode("utf-8", "replace")
        if self.text and headers.get("Content-Type") == "application/problem+json":
            self.check_problem()

    def check_problem(self):
        """Whatever is tested: a code has its own status, and Retry-After if it may be sent again."""
        expected, retry = PROBLEMS[self.code]
        equal((self.status, self.json["status"]), (expected, expected), f"status of {self.code}")
        equal("Retry-After" in self.headers, retry != "never", f"Retry-After of {self.code}")

    @property
    def json(self):
        return json.loads(self.text)

    @property
    def code(self):
        return self.json["code"]


class Process:
    def __init__(self, name, argv, log, env=None):
        self.name = name
        self.log = log
        self.file = open(log, "ab")
        self.popen = subprocess.Popen(argv, stdin=subprocess.DEVNULL, stdout=self.file,
                                      stderr=self.file, env={**os.environ, **(env or {})})
        self.pid = self.popen.pid

    def signal(self, number):
        self.popen.send_signal(number)

    def kill(self):
        self.signal(signal.SIGKILL)
        self.popen.wait()

    def stop(self):
        self.signal(signal.SIGSTOP)

    def resume(self):
        self.signal(signal.SIGCONT)

    def alive(self):
        return self.popen.poll() is None

    def stopped(self):
        """Did it stop itself, or was it stopped (state T)?"""
        with open(f"/proc/{self.pid}/stat", encoding="ascii", errors="replace") as f:
            return f.read().rsplit(")", 1)[1].split()[0] in "Tt"

    def terminate(self, seconds=5):
        """SIGTERM; returns (exit code, seconds it took)."""
        began = time.monotonic()
        self.resume()
        self.signal(signal.SIGTERM)
        code = self.popen.wait(timeout=(seconds + 5) * SLOW * PATIENCE)
        return code, time.monotonic() - began

    def text(self):
        with open(self.log, encoding="utf-8", errors="replace") as f:
            return f.read()

    def lines(self, event, address=""):
        """The lines of its log about an event, of one address or all."""
        return [line for line in self.text().splitlines()
                if f" {event} " in line and (not address or f"address={address} " in line + " ")]

    def end(self):
        if self.alive():
            self.resume()
            self.signal(signal.SIGTERM)
            try:
                self.popen.wait(timeout=8 * SLOW)
            except subprocess.TimeoutExpired:
                self.kill()
        self.file.close()


class Coordinator(Process):
    def __init__(self, cluster, name, port, conf, env):
        self.port = port
        self.api = Api(port)
        super().__init__(name, [cluster.pelorus, "serve", "-c", conf],
                         os.path.join(cluster.dir, f"{name}.log"), env)

    def wait_ready(self):
        def ready():
            check(self.alive(), lambda: f"{self.name} exited: {self.text()[-800:]}")
            return Api(self.port)("GET", "/readyz").status == 200
        wait_for(f"{self.name} ready", ready, 30)
        return self


class Sqlite:
    """A Cluster's registry unless it is given another: a file in its directory.
    Another one is likewise made for a cluster, names itself in block(), and is
    gone after end()."""

    def __init__(self, cluster):
        self.cluster = cluster

    def block(self):
        return (f"registry: {{type: sqlite, path: {self.cluster.path}, "
                f"session-timeout: {self.cluster.session}s}}\n")

    def end(self):
        pass


class Cluster:
    def __init__(self, session=3, grace="300ms", more="", heartbeat="1s", registry=Sqlite):
        self.session = session * SLOW
        self.grace = grace
        self.heartbeat = heartbeat
        self.more = more
        self.dir = scratch()
        self.path = os.path.join(self.dir, "registry.db")
        self.pelorus = PELORUS  # what the next process runs
        self.processes = []
        self.n = 0
        self.registry = registry(self)

    def __enter__(self):
        return self

    def __exit__(self, kind, value, trace):
        for p in reversed(self.processes):
            p.end()
        if kind is not None:
            for p in self.processes:
                if isinstance(p, Coordinator):
                    print(f"--- {p.name}\n{p.text()[-3000:]}")
        self.registry.end()
        shutil.rmtree(self.dir, ignore_errors=True)

    def conf(self, name, port, more=""):
        path = os.path.join(self.dir, f"{name}.yaml")
        with open(path, "w", encoding="utf-8") as f:
            f.write(f"listen: 127.0.0.1:{port}\n{self.registry.block()}"
                    f"balancer: {{heartbeat-interval: {self.heartbeat}, cpu-max: 1, memory-max: 1, disk-max: 1}}\n" + (more or self.more or
                    f"failover: {{grace: {self.grace}, reconcile-interval: 1s}}\n"))
        return path

    def coordinator(self, env=None, more="", wait=True, port=None):
        self.n += 1
        name = f"coordinator-{self.n}"
        port = port or free_port()
        c = Coordinator(self, name, port, self.conf(name, port, more), env)
        self.processes.append(c)
        return c.wait_ready() if wait else c

    def agent(self, kind, address, *options, url=None, command=()):
        self.n += 1
        name = f"{kind}-{address.split(':')[-1]}-{self.n}"
        where = ["--url", url] if url else ["-c", self.conf(name, 0)]
        p = Process(name, [self.pelorus, "agent", "--kind", kind, "--address", address, *options, *where,
                           *(["--", *command] if command else [])],
                    os.path.join(self.dir, f"{name}.log"))
        self.processes.append(p)
        return p

    def wait_up(self, api, *addresses, state="up"):
        def up():
            found = {n["address"] for n in api.all("/v1/nodes") if n["state"] == state}
            return found >= set(addresses)
        wait_for(f"{addresses} {state}", up, 20)

    def cli(self, *words, url=None, expect=0):
        env = {**os.environ, **({"PELORUS_URL": url} if url else {})}
        done = subprocess.run([PELORUS, *words], capture_output=True, text=True, env=env,
                              timeout=60 * SLOW * PATIENCE, check=False)
        equal(done.returncode, expect, f"pelorus {' '.join(words)}: {done.stderr}{done.stdout} exit")
        return done.stdout if expect == 0 else done.stderr


def submit(port, ids, kind="master", threads=4, **fields):
    """Give out many items; every one must be accepted."""
    ids = list(ids)
    problems = []

    def some(mine):
        api = Api(port)
        try:
            for i in mine:
                a = api("POST", "/v1/work", {"id": i, "kind": kind, **fields})
                if a.status not in (200, 201):
                    problems.append(f"{i}: {a.status} {a.text}")
                    return
        except Exception as error:  # noqa: a thread must not lose it
            problems.append(f"{type(error).__name__}: {error}")
    workers = [threading.Thread(target=some, args=(ids[k::threads],)) for k in range(threads)]
    for w in workers:
        w.start()
    for w in workers:
        w.join()
    check(not problems, lambda: f"submit: {problems[:3]}")


def submit_together(work):
    """Work as {port: ids}, given out at all of these ports at once."""
    problems = []

    def give(port, ids):
        try:
            submit(port, ids)
        except Exception as error:  # noqa: a thread must not lose it
            problems.append(error)
    threads = [threading.Thread(target=give, args=of_port) for of_port in work.items()]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    check(not problems, lambda: "; ".join(str(p) for p in problems))


def items_by_owner(api, kind="master"):
    owners = {}
    for item in api.all(f"/v1/work?kind={kind}"):
        owners.setdefault(item["owner"], []).append(item)
    return owners


def cpu_seconds(pid):
    """What a process has spent since its start, all its threads."""
    with open(f"/proc/{pid}/stat", encoding="ascii", errors="replace") as f:
        fields = f.read().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


class Bare:
    """The registry's client library alone, told the same in the same time: what
    a coordinator could cost at least. Only where `make bench` has built it."""

    def __init__(self, seconds, *words):
        program = os.path.join(os.environ.get("BUILD") or "build", "tests/bench/bench_beats_bare")
        self.process = None
        if os.path.exists(program):
            self.process = subprocess.Popen([program, str(seconds), *map(str, words)], stdout=subprocess.PIPE, text=True)

    def row(self, name, share):
        """`share` is the coordinator's, of 1."""
        if self.process is None:
            return
        said = self.process.communicate(timeout=60)[0]
        equal(self.process.returncode, 0, f"bench_beats_bare: {said}")
        least = float(said.split()[1])
        print(f"     the client library alone: {said.strip()}")
        print(f"row {name}-bare % {least:.3g}")
        print(f"row {name}-ratio x {share * 100 / least:.3g}")


def demo_holds(**env):
    """make demo, by itself, must come to a good end. It is a group of processes
    of its own, all of which are gone if it does not."""
    demo = subprocess.Popen([os.path.join(os.path.dirname(__file__), "demo.sh")],
                            env={**os.environ, "DEMO_EXIT": "1", "PELORUS": PELORUS, **env},
                            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
                            start_new_session=True)
    try:
        said, _ = demo.communicate(timeout=120 * SLOW * PATIENCE)
    except subprocess.TimeoutExpired:
        os.killpg(demo.pid, signal.SIGKILL)
        said = demo.communicate()[0]
    equal(demo.returncode, 0, f"{said[-3000:]}: exit")
    check("\x1b[" not in said, "colours although this is no terminal")


def end_when_told():
    """Told to end (its deadline is over): as by an error, so that no process is
    left behind, which might reach another test's servers on ports of its own."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))


def run(module):
    end_when_told()
    tests = [(n, f) for n, f in vars(module).items() if n.startswith("test_") and callable(f)]
    only = sys.argv[1:]
    passed = failed = 0
    for name, test in tests:
        if only and not any(o in name for o in only):
            continue
        began = time.monotonic()
        try:
            with Cluster(**getattr(test, "cluster", {})) as cluster:
                test(cluster)
            passed += 1
            print(f"ok   {name} ({time.monotonic() - began:.1f} s)", flush=True)
        except Exception as error:  # noqa: every failure is told, the next test runs
            failed += 1
            print(f"FAIL {name} ({time.monotonic() - began:.1f} s): {error}", flush=True)
            if not isinstance(error, Failure):
                traceback.print_exc(file=sys.stdout)
    print(f"{passed} passed, {failed} failed, 0 skipped")
    sys.exit(1 if failed else 0)


def settings(**kwargs):
    """Decorator: arguments of the test's Cluster."""
    def mark(test):
        test.cluster = kwargs
        return test
    return mark
