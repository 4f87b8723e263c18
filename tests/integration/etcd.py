"""etcd for the integration tests: servers, and etcdctl, which speaks to them as
other programs do.

A server is a process on free loopback ports with a directory of its own.
Registry is what a Cluster takes: its servers, its proxy and whatever etcdctl
still runs are gone with the cluster.

The variable ETCD names the server's binary, where it is not to be the
installed one, ETCDCTL another etcdctl, and ETCDUTL the program that restores its snapshots (etcdctl
does so before 3.6).

As a program, `etcd.py DIRECTORY` runs one server in the foreground and prints
its endpoint once it serves.
"""

import base64
import json
import os
import re
import shutil
import signal
import socket
import struct
import subprocess
import sys
import urllib.error
import urllib.request

from cluster import SLOW, Process, check, wait_for
from daemon import Daemon
from proxy import Proxy, server_port

NAMESPACE = "dolphinscheduler"
BINARY = os.environ.get("ETCD") or "etcd"
NETLINK_SOCK_DIAG, SOCK_DIAG_BY_FAMILY, NLM_F_REQUEST = 4, 20, 1    # linux/sock_diag.h, netlink.h
ETCDCTL = os.environ.get("ETCDCTL") or "etcdctl"
RESTORES = os.environ.get("ETCDUTL") or ETCDCTL


def inode_of(port, to):
    """Of the connection from `port` to `to`, both here; 0: there is none. The
    kernel is asked for just that one: /proc/net/tcp is slow to read where
    thousands stand in it."""
    here = socket.inet_aton("127.0.0.1") + bytes(12)
    sockid = struct.pack("!HH", port, to) + here + here + struct.pack("=III", 0, 0xffffffff, 0xffffffff)
    ask = struct.pack("=BBBBI", socket.AF_INET, socket.IPPROTO_TCP, 0, 0, 0xffffffff) + sockid
    with socket.socket(socket.AF_NETLINK, socket.SOCK_DGRAM, NETLINK_SOCK_DIAG) as s:
        s.send(struct.pack("=IHHII", 16 + len(ask), SOCK_DIAG_BY_FAMILY, NLM_F_REQUEST, 0, 0) + ask)
        answer = s.recv(8192)
    if struct.unpack_from("=H", answer, 4)[0] != SOCK_DIAG_BY_FAMILY:
        return 0
    return struct.unpack_from("=I", answer, 16 + 4 + 48 + 16)[0]


def has(pid, inode):
    """Is it the process's?"""
    try:
        fds = os.listdir(f"/proc/{pid}/fd")
    except OSError:
        return False  # it ended meanwhile
    for fd in fds:
        try:
            if os.readlink(f"/proc/{pid}/fd/{fd}") == f"socket:[{inode}]":
                return True
        except OSError:
            pass  # closed meanwhile
    return False


class Wire(Proxy):
    """Before a member's port for its peers: what comes from some of them can be
    kept away, whatever the others send. Once anybody is barred, who is not
    known to be one of the others does not get through either."""

    def __init__(self, target, peers):
        self.peers, self.barred = peers, []
        super().__init__(target)

    def bar(self, server):
        def gone():
            self.barred.append(server)
            self.drop_barred([p.source for p in self.pipes.values() if p.to_server])
        self.order(gone)

    def drop_barred(self, clients):
        welcome = [s.process.pid for s in self.peers if s not in self.barred]
        for s in clients:
            try:
                port = s.getpeername()[1]
            except OSError:
                continue  # it ended, and is noticed soon
            inode = inode_of(port, self.port)
            if not any(has(pid, inode) for pid in welcome):
                self.drop(s)

    def accept(self):
        before = set(self.pipes)
        super().accept()
        if self.barred:
            self.drop_barred([s for s in set(self.pipes) - before if self.pipes[s].to_server])


class Server(Daemon):
    """One member; it can be killed, stopped (SIGSTOP) and started again on its
    ports and data, and, if its peers are wired, cut off from the others."""

    kind = "etcd"

    def __init__(self, directory, name="m1", peers=None, wired=False):
        self.dir = directory
        self.name = name
        self.port = server_port()
        self.listens = self.peer_port = server_port()
        self.peers = peers if peers is not None else [self]
        self.wire = Wire(f"127.0.0.1:{self.listens}", self.peers) if wired else None
        if wired:
            self.peer_port = self.wire.port
        self.connect = f"127.0.0.1:{self.port}"
        self.endpoint = f"http://{self.connect}"
        self.binary, self.more = BINARY, []
        self.process = None
        self.more = []  # options of the next start
        os.makedirs(self.dir, exist_ok=True)

    def start(self):
        """Start it, without waiting until it serves. It dies with us, however we
        die: nobody else knows of it."""
        peer = f"http://127.0.0.1:{self.listens}"
        self.process = Process(
            "etcd", ["setpriv", "--pdeathsig", "KILL", "--", self.binary, "--name", self.name,
                     "--data-dir", self.data, "--logger", "zap",
                     "--log-level", "error", "--listen-client-urls", self.endpoint,
                     "--advertise-client-urls", self.endpoint, "--listen-peer-urls", peer,
                     *self.membership(), *self.more,
                     # Short elections, but where others than we decide them.
                     "--heartbeat-interval", "100" if self.wire else "50",
                     "--election-timeout", "1000" if self.wire else "500", *self.more],
            os.path.join(self.dir, "log"))
        return self

    @property
    def data(self):
        return os.path.join(self.dir, "data")

    def membership(self):
        everybody = ",".join(f"{p.name}=http://127.0.0.1:{p.peer_port}" for p in self.peers)
        return ["--initial-advertise-peer-urls", f"http://127.0.0.1:{self.peer_port}",
                "--initial-cluster", everybody]

    def put_back(self, snapshot, *options):
        """It does not run: its data becomes what the snapshot holds."""
        shutil.rmtree(self.data)
        done = subprocess.run([RESTORES, "snapshot", "restore", snapshot, "--name", self.name, "--data-dir", self.data,
                               *self.membership(), *options], env={**os.environ, "ETCDCTL_API": "3"},
                              capture_output=True, text=True, timeout=30 * SLOW, check=False)
        check(done.returncode == 0, f"restore: {done.stdout}{done.stderr}")

    def serves(self):
        with urllib.request.urlopen(self.endpoint + "/health", timeout=5) as reply:
            return json.load(reply)["health"] == "true"

    def post(self, path, body, timeout=5):
        """As any client; None if it does not answer or refuses."""
        try:
            with urllib.request.urlopen(urllib.request.Request(
                    self.endpoint + path, json.dumps(body).encode()), timeout=timeout) as reply:
                return json.load(reply)
        except (OSError, urllib.error.URLError):
            return None

    def id(self):
        return self.post("/v3/maintenance/status", {})["header"]["member_id"]

    def leads(self):
        said = self.post("/v3/maintenance/status", {})
        return bool(said) and said.get("leader") == said["header"]["member_id"]

    def cut_off(self):
        """From its peers, not from its clients."""
        self.wire.refuse()
        for s in self.peers:
            if s is not self:
                s.wire.bar(self)

    def end(self):
        super().end()
        if self.wire:
            self.wire.end()


class Etcdctl:
    """Another program on the same store."""

    def __init__(self, endpoint):
        self.endpoint = endpoint
        self.running = []
        self.env = {**os.environ, "ETCDCTL_API": "3"}

    def argv(self, *words):
        return [ETCDCTL, "--endpoints", self.endpoint, *words]

    def __call__(self, *words):
        done = subprocess.run(self.argv(*words), capture_output=True, text=True, env=self.env,
                              timeout=30 * SLOW, check=False)
        check(done.returncode == 0, f"etcdctl {' '.join(words)[:200]}: {done.stdout}{done.stderr}")
        return done.stdout

    def background(self, *words):
        """One that goes on: keep-alive, lock, watch. kill() or terminate() it."""
        p = subprocess.Popen(self.argv(*words), stdin=subprocess.DEVNULL, env=self.env,
                             stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        self.running.append(p)
        return p

    def lease(self, seconds):
        """A lease and who keeps it alive: killed, it runs out."""
        lease = re.match(r"lease (\w+) granted", self("lease", "grant", str(seconds))).group(1)
        return lease, self.background("lease", "keep-alive", lease)

    def put(self, key, value, lease=None):
        """A key of ours, with the namespace before it."""
        self("put", *(["--lease", lease] if lease else []), "--", NAMESPACE + key, value)

    def tree(self, prefix=NAMESPACE):
        """Every key below: (created, modified, lease, value)."""
        found = json.loads(self("get", "--prefix", prefix, "-w", "json"))
        return {base64.b64decode(kv["key"]).decode():
                (kv["create_revision"], kv["mod_revision"], kv.get("lease", 0),
                 base64.b64decode(kv.get("value", "")).decode(errors="backslashreplace")) for kv in found.get("kvs", [])}

    def end(self):
        for p in self.running:
            if p.poll() is None:
                p.kill()
            p.wait()
            p.stdout.close()


class Registry:
    """A Cluster's registry: one server or several, and a proxy before the one if
    asked for, behind which the coordinators and agents of the cluster stand.
    etcdctl speaks to the servers directly."""

    def __init__(self, cluster, servers=1, proxied=False, wired=False):
        self.cluster = cluster
        self.servers = []
        self.at = self.servers  # those that the next process is told of
        for n in range(servers):
            self.servers.append(Server(os.path.join(cluster.dir, f"etcd-{n}"), f"m{n}",
                                       self.servers, wired))
        self.proxy = None
        self.etcdctl = Etcdctl(",".join(s.connect for s in self.servers))
        try:
            for s in self.servers:
                s.start()
            for s in self.servers:
                s.wait()
            if proxied:
                self.proxy = Proxy(self.servers[0].connect)
        except BaseException:
            self.end()
            raise

    def leader(self):
        return wait_for("a leader", lambda: [s for s in self.servers if s.leads()])[0]

    def block(self):
        """DolphinScheduler's own, as it is pasted in."""
        endpoints = [f"http://{self.proxy.connect}"] if self.proxy else [s.endpoint for s in self.at]
        return (f"registry:\n  type: etcd\n  endpoints: \"{', '.join(endpoints)}\"\n"
                f"  namespace: {NAMESPACE}\n  connection-timeout: 9s\n  retry-delay: 60ms\n"
                "  retry-max-delay: 300ms\n  retry-max-duration: 1500ms\n  cert-file: \"\"\n"
                "  key-cert-chain-file: \"\"\n  key-file: \"\"\n  user: \"\"\n  password: \"\"\n"
                f"  authority: \"\"\n  load-balancer-policy: \"\"\n  ttl: {self.cluster.session}s\n")

    def end(self):
        self.etcdctl.end()
        if self.proxy:
            self.proxy.end()
        for s in self.servers:
            s.end()


def main():
    server = Server(sys.argv[1])
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    try:
        server.start().wait()
        print(server.endpoint, flush=True)
        server.process.popen.wait()
    finally:
        server.end()


if __name__ == "__main__":
    main()
