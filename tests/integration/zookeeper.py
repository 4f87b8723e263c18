"""ZooKeeper for the integration tests: servers, ensembles, and peers that speak
to them as DolphinScheduler does.

A server is a JVM of its own on a free loopback port with a directory of its
own; nothing of a ZooKeeper that the system may run is used. The variable
ZOOKEEPER_CLASSPATH names the servers' jars, where they are not to be the
installed ones. Registry is what a
Cluster takes: its servers, proxy and peers are gone with the cluster.

As a program, `zookeeper.py DIRECTORY` runs one server in the foreground and
prints its connect string once it serves.
"""

import base64
import collections
import hashlib
import os
import queue
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading

from cluster import PATIENCE, PELORUS, ROOT, SLOW, Failure, Process, check
from daemon import Daemon
from proxy import Proxy, server_port

JARS = "/usr/share/java"
# The jars name what they need in turn, Debian's do.
SERVER_JARS = ("zookeeper.jar", "slf4j-simple.jar", "netty-codec.jar")
PEER_JARS = ("curator-recipes.jar", "curator-framework.jar", "curator-client.jar", "zookeeper.jar",
             "zookeeper-jute.jar", "slf4j-nop.jar")
# A JVM that is up soon and takes little.
JAVA = ["java", "-Xshare:auto", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1"]
NAMESPACE = "dolphinscheduler"


def class_path(jars, *more):
    return ":".join([os.path.join(JARS, j) for j in jars] + list(more))


def server_jars():
    return os.environ.get("ZOOKEEPER_CLASSPATH") or class_path(SERVER_JARS)


class Server(Daemon):
    """One ZooKeeper server: standalone, or one of an ensemble. It can be
    killed, stopped (SIGSTOP) and started again on its port and data."""

    kind = "zookeeper"

    def __init__(self, directory, tick=200, members=(), number=0, limits=(25, 10), java=()):
        self.dir = directory
        self.java = java
        self.number = number
        self.port = server_port()
        self.connect = f"127.0.0.1:{self.port}"
        self.jars = server_jars()
        self.process = None
        os.makedirs(self.dir, exist_ok=True)
        with open(os.path.join(self.dir, "myid"), "w", encoding="ascii") as f:
            f.write(f"{number}\n")
        self.conf = os.path.join(self.dir, "zoo.cfg")
        with open(self.conf, "w", encoding="ascii") as f:
            f.write(f"tickTime={tick}\ninitLimit={limits[0]}\nsyncLimit={limits[1]}\ndataDir={self.dir}\n"
                    f"clientPort={self.port}\nclientPortAddress=127.0.0.1\n"
                    "maxClientCnxns=0\nadmin.enableServer=false\n4lw.commands.whitelist=*\n"
                    + "".join(f"server.{n}={address}\n" for n, address in members))

    def start(self):
        """Start it, without waiting until it serves. It dies with us, however we
        die: nobody else knows of it."""
        self.process = Process(
            "zookeeper", ["setpriv", "--pdeathsig", "KILL", "--", *JAVA, "-Xmx384m",
                          "-Dzookeeper.forceSync=no", *self.java,
                          "-Dorg.slf4j.simpleLogger.defaultLogLevel=warn",
                          "-cp", self.jars,
                          "org.apache.zookeeper.server.quorum.QuorumPeerMain", self.conf],
            os.path.join(self.dir, "log"))
        return self

    def ask(self, word, timeout=2):
        """The answer to a four-letter word, "" from one that does not answer."""
        try:
            with socket.create_connection(("127.0.0.1", self.port), timeout=timeout) as s:
                s.sendall(word.encode())
                return b"".join(iter(lambda: s.recv(65536), b"")).decode("utf-8", "replace")
        except OSError:
            return ""

    def mode(self):
        """standalone, leader, follower or read-only; None when it does not serve."""
        return self.said("Mode")

    def said(self, what, word="srvr"):
        """The value of one line of an answer; None when it does not serve."""
        return next((line[len(what) + 2:] for line in self.ask(word).splitlines()
                     if line.startswith(f"{what}: ")), None)

    def serves(self):
        return self.mode()

    def backup(self, to):
        """A copy of its data as of one moment; it goes on."""
        self.stop()
        shutil.copytree(os.path.join(self.dir, "version-2"), to)
        self.resume()

    def put_back(self, copy):
        """Its data are those of the copy; it is dead."""
        shutil.rmtree(os.path.join(self.dir, "version-2"))
        shutil.copytree(copy, os.path.join(self.dir, "version-2"))


class Ensemble:
    """Three servers, or another number, of which a majority is a registry. With
    `wired` each reaches the others through proxies, so that it can be cut off
    from them, or some of them, while its clients reach it."""

    def __init__(self, directory, tick=200, servers=3, wired=False, limits=(25, 10), java=()):
        numbers = range(1, servers + 1)
        ports = {n: (server_port(), server_port()) for n in numbers}
        self.wires = {}  # (from, to): the proxies to its two ports

        def address(n, to):
            if wired and n != to and (n, to) not in self.wires:
                self.wires[n, to] = [Proxy(f"127.0.0.1:{port}", patience=2) for port in ports[to]]
            way = self.wires.get((n, to))
            return "127.0.0.1:{}:{}".format(*([w.port for w in way] if way else ports[to]))

        self.servers = [Server(os.path.join(directory, str(n)), tick,
                               [(to, address(n, to)) for to in numbers], n, limits, java)
                        for n in numbers]
        self.connect = ",".join(s.connect for s in self.servers)

    def cut(self, server):
        """From all others: what is sent is held."""
        for pair, way in self.wires.items():
            for proxy in way if server.number in pair else ():
                proxy.cut()

    def part(self, server):
        """From all others, and both sides know."""
        for pair, way in self.wires.items():
            for proxy in way if server.number in pair else ():
                proxy.refuse()

    def desert(self, server):
        """Likewise, but the others know at once that their connections to it
        are gone."""
        self.cut(server)
        for (_, to), way in self.wires.items():
            if server.number == to:
                for proxy in way:
                    proxy.strand()

    def heal(self):
        for way in self.wires.values():
            for proxy in way:
                proxy.heal()

    def start(self):
        for s in self.servers:
            s.start()
        return self

    def wait(self):
        for s in self.servers:
            s.wait()
        return self

    def backup(self, to):
        for s in self.servers:
            s.stop()
        for s in self.servers:
            shutil.copytree(os.path.join(s.dir, "version-2"), os.path.join(to, str(s.number)))
        for s in self.servers:
            s.resume()

    def put_back(self, copy):
        for s in self.servers:
            s.put_back(os.path.join(copy, str(s.number)))

    def kill(self):
        for s in self.servers:
            s.kill()

    def leader(self, other_than=None):
        """The server that leads now, or None."""
        return next((s for s in self.servers if s is not other_than and s.process.alive() and
                     s.mode() == "leader"), None)

    def followers(self):
        return [s for s in self.servers if s.process.alive() and s.mode() == "follower"]

    def end(self):
        for s in self.servers:
            s.end()
        for way in self.wires.values():
            for proxy in way:
                proxy.end()


Znode = collections.namedtuple("Znode", "czxid mzxid pzxid version cversion owner data")


class Peer:
    """A JVM with Curator in it; see tests/registry/curator/Peer.java."""

    @staticmethod
    def compile():
        """Where the classes of just these sources are."""
        source = os.path.join(ROOT, "tests", "registry", "curator")
        files = [os.path.join(source, f) for f in sorted(os.listdir(source)) if f.endswith(".java")]
        texts = b""
        for name in files:
            with open(name, "rb") as f:
                texts += f.read()
        target = os.path.join(os.path.dirname(os.path.abspath(PELORUS)), "tests", "registry",
                              "curator-" + hashlib.sha256(texts).hexdigest()[:12])
        if not os.path.isdir(target):
            os.makedirs(os.path.dirname(target), exist_ok=True)
            fresh = tempfile.mkdtemp(dir=os.path.dirname(target))
            subprocess.run(["javac", "-implicit:none", "-d", fresh, "-cp", class_path(PEER_JARS), *files],
                           check=True)
            os.rename(fresh, target)
        return target

    def __init__(self, connect):
        self.connect = connect
        self.n = 0
        self.answers = {}  # number -> queue of one
        self.events = []   # (session, kind, what), as they came
        self.lock = threading.Lock()
        self.popen = subprocess.Popen(
            JAVA + ["-Xmx192m", "-cp", class_path(PEER_JARS, self.compile()), "Peer"],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
            text=True, bufsize=1, encoding="utf-8")
        self.reader = threading.Thread(target=self.read, daemon=True)
        self.reader.start()

    def read(self):
        for line in self.popen.stdout:
            word, *rest = line.rstrip("\n").split("\t")
            if word == "event":
                self.events.append(tuple(rest))
            else:
                self.answers.pop(word).put(rest)
        for waiting in list(self.answers.values()):
            waiting.put(["error", "the JVM ended"])

    def begin(self, verb, session, *arguments):
        """Send a command; its answer is asked for with finish()."""
        with self.lock:
            self.n += 1
            number = str(self.n)
            waiting = self.answers[number] = queue.Queue()
            self.popen.stdin.write("\t".join([number, verb, session, *map(str, arguments)]) + "\n")
            self.popen.stdin.flush()
        return f"{verb} {session} {' '.join(map(str, arguments))[:80]}", waiting

    def finish(self, begun, timeout=30):
        what, waiting = begun
        try:
            result, *words = waiting.get(timeout=timeout * SLOW * PATIENCE)
        except queue.Empty:
            raise Failure(f"the peer does not answer: {what}") from None
        check(result == "ok", lambda: f"{what}: {words}")
        return words

    def __call__(self, verb, session, *arguments):
        return self.finish(self.begin(verb, session, *arguments))

    def open(self, session, timeout=4, connect=None):
        """A session of the peer's, with its number."""
        return self("open", session, connect or self.connect, NAMESPACE,
                    int(timeout * 1000 * SLOW))[0]

    def tree(self, session, path="/"):
        """Every node at and below an absolute path."""
        nodes = {}
        for row in self("tree", session, path):
            *numbers, owner, data, name = row.split(" ", 7)
            nodes[name] = Znode(*map(int, numbers), owner, base64.b64decode(data[1:]))
        return nodes

    def kill(self):
        """As a crash: its sessions are not closed."""
        self.popen.send_signal(signal.SIGKILL)
        self.end()

    def end(self):
        if not self.popen.stdin.closed:
            self.popen.stdin.close()
        try:
            self.popen.wait(timeout=5 * SLOW)
        except subprocess.TimeoutExpired:
            self.popen.kill()
            self.popen.wait()
        self.reader.join()
        self.popen.stdout.close()


class Registry:
    """A Cluster's registry: servers, and a proxy before them if asked for,
    behind which the coordinators and agents of the cluster stand. Peers speak
    to the servers directly."""

    def __init__(self, cluster, tick=200, servers=1, proxied=False, **ensemble):
        self.cluster = cluster
        self.tick = tick * SLOW / 1000
        directory = os.path.join(cluster.dir, "zookeeper")
        self.servers = Server(directory, tick * SLOW) if servers == 1 else \
            Ensemble(directory, tick * SLOW, servers, **ensemble)
        self.at = None  # the servers that the next process is told of; None: all
        self.proxy = None
        self.peers = []
        try:
            self.servers.start().wait()
            if proxied:
                self.proxy = Proxy(self.servers.connect)
        except BaseException:
            self.end()
            raise

    def block(self):
        connect = ",".join(s.connect for s in self.at) if self.at else \
            (self.proxy or self.servers).connect
        return (f"registry:\n  type: zookeeper\n  zookeeper:\n    namespace: {NAMESPACE}\n"
                f"    connect-string: \"{connect}\"\n    session-timeout: {self.cluster.session}s\n")

    def peer(self):
        p = Peer(self.servers.connect)
        self.peers.append(p)
        return p

    def end(self):
        for p in self.peers:
            p.end()
        if self.proxy:
            self.proxy.end()
        self.servers.end()


def main():
    server = Server(sys.argv[1])
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    try:
        server.start().wait()
        print(server.connect, flush=True)
        server.process.popen.wait()
    finally:
        server.end()


if __name__ == "__main__":
    main()
