"""ZooKeeper behind TLS as docs/zookeeper-tls.md has it: three servers of 3.9.5
that ask for certificates, Debian's stunnel on packaging/stunnel's file, and us
on stunnel's ports.

Of the guide's lines and of the file only ports and directories are replaced;
the names in the certificates are those that the file checks.
"""

import os
import re
import subprocess
import sys
import time

HERE = os.path.dirname(os.path.abspath(__file__))
ROOT = os.path.dirname(os.path.dirname(HERE))
sys.path.insert(0, os.path.join(ROOT, "tests", "integration"))
JARS = os.path.abspath(os.path.join(os.environ.get("BUILD", "build"), "interop", "zookeeper"))
os.environ["ZOOKEEPER_CLASSPATH"] = f"{JARS}/*"

# pylint: disable=wrong-import-position
from cluster import PELORUS, Api, Process, check, equal, run, settings, submit, wait_for  # noqa: E402
from moves import all_moved_once, finished, gone_from  # noqa: E402
from proxy import server_port  # noqa: E402
from zookeeper import NAMESPACE, Ensemble  # noqa: E402

M1, M2 = "10.30.0.1:5678", "10.30.0.2:5678"


def read(*path):
    with open(os.path.join(ROOT, *path), encoding="utf-8") as f:
        return f.read()


def certificates(directory):
    """An authority, its servers' (key and certificate in one file) and its
    client's; and one that nobody knows, with a client of its own."""
    def openssl(*words):
        subprocess.run(["openssl", *words], check=True, capture_output=True, cwd=directory)

    def signed(name, ca, host):
        ext = os.path.join(directory, f"{name}.ext")
        with open(ext, "w", encoding="ascii") as f:
            f.write(f"subjectAltName=DNS:{host}\nextendedKeyUsage=serverAuth,clientAuth\n")
        openssl("req", "-newkey", "rsa:2048", "-nodes", "-subj", f"/CN={name}", "-keyout", f"{name}.key", "-out",
                f"{name}.csr")
        openssl("x509", "-req", "-in", f"{name}.csr", "-CA", f"{ca}.crt", "-CAkey", f"{ca}.key", "-CAcreateserial",
                "-days", "2", "-extfile", ext, "-out", f"{name}.crt")

    os.makedirs(directory)
    for ca in ("ca", "other-ca"):
        openssl("req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", f"/CN={ca}", "-keyout",
                f"{ca}.key", "-out", f"{ca}.crt")
    for n in (1, 2, 3):
        signed(f"zk{n}", "ca", f"zk{n}.example.org")
        with open(os.path.join(directory, f"zk{n}.pem"), "w", encoding="ascii") as f:
            for part in ("key", "crt"):
                with open(os.path.join(directory, f"zk{n}.{part}"), encoding="ascii") as g:
                    f.write(g.read())
    signed("client", "ca", "pelorus.example.org")
    signed("stranger", "other-ca", "pelorus.example.org")


class Behind:
    """A Cluster's registry: the servers, and stunnel before each."""

    def __init__(self, cluster):
        self.cluster = cluster
        self.tls = os.path.join(cluster.dir, "tls")
        certificates(self.tls)
        self.ensemble = Ensemble(os.path.join(cluster.dir, "zookeeper"), tick=500)
        self.secure = {n: server_port() for n in (1, 2, 3)}
        self.accept = {n: server_port() for n in (1, 2, 3)}
        guide = re.search(r"((?:    .*\n)*    secureClientPort.*\n(?:    .*\n)*)", read("docs", "zookeeper-tls.md"))
        for n, server in enumerate(self.ensemble.servers, 1):
            with open(server.conf, "a", encoding="ascii") as f:
                f.write(guide.group(1).replace("    ", "").replace("2281", str(self.secure[n]))
                        .replace("/etc/zookeeper/server.pem", f"{self.tls}/zk{n}.pem")
                        .replace("/etc/zookeeper/", f"{self.tls}/"))
        self.stunnel = None
        try:
            self.ensemble.start().wait()
            self.tunnel()
        except BaseException:
            self.end()
            raise

    def tunnel(self, edit=lambda text: text):
        """Start stunnel, or another with an edited file."""
        self.cut()
        text = read("packaging", "stunnel", "pelorus-zookeeper.conf").replace("/etc/pelorus/tls", self.tls)
        for n in (1, 2, 3):
            text = text.replace(f"127.0.0.1:2181{n}", f"127.0.0.1:{self.accept[n]}")
            text = text.replace(f"zk{n}.example.org:2281", f"127.0.0.1:{self.secure[n]}")
        path = os.path.join(self.cluster.dir, "pelorus-zookeeper.conf")
        with open(path, "w", encoding="utf-8") as f:
            f.write(edit(text))
        self.stunnel = Process("stunnel", ["setpriv", "--pdeathsig", "KILL", "--", "stunnel4", path],
                               os.path.join(self.cluster.dir, "stunnel.log"))
        self.said = len(self.stunnel.text())
        return self.stunnel

    def cut(self):
        if self.stunnel:
            self.stunnel.kill()
            self.stunnel.file.close()
            self.stunnel = None

    def block(self):
        ports = ",".join(f"127.0.0.1:{p}" for p in self.accept.values())
        return (f"registry:\n  type: zookeeper\n  zookeeper:\n    namespace: {NAMESPACE}\n"
                f"    connect-string: {ports}\n    session-timeout: {self.cluster.session}s\n")

    def end(self):
        self.cut()
        self.ensemble.end()


@settings(session=8, registry=Behind)
def test_the_guide(cluster):
    tls = cluster.registry
    began = time.monotonic()
    c = cluster.coordinator()
    print(f"     ready after {time.monotonic() - began:.1f} s")
    victim = cluster.agent("master", M1)
    cluster.wait_up(c.api, M1)
    items = [f"w-{n}" for n in range(50)]
    submit(c.port, items)
    cluster.agent("master", M2)
    cluster.wait_up(c.api, M2)
    # a server is lost, and a failover is as ever
    tls.ensemble.leader().kill()
    victim.kill()
    wait_for("all of it gone", gone_from(c.api, M1), 60)
    wait_for("the record done", finished(c.api, M1))
    all_moved_once(c.api, M1, items, [])
    # the tunnel ends and comes again, within a session
    wait_for("ready with the others", lambda: Api(c.port)("GET", "/readyz").status == 200)
    before = len(c.lines("!zookeeper-client"))
    tls.cut()
    wait_for("it is missed", lambda: len(c.lines("!zookeeper-client")) > before)
    began = time.monotonic()
    tls.tunnel()
    wait_for("a write", lambda: c.api("PUT", "/v1/groups/g", {"addresses": ["127.0.0.1:1"]}).status in (200, 201))
    wait_for("ready again", lambda: Api(c.port)("GET", "/readyz").status == 200)
    print(f"     ready {time.monotonic() - began:.1f} s after stunnel's restart")
    equal((len(c.lines("+session")), c.lines("-session")), (1, []), "the session goes on")


def refused(cluster, name, detail, said, edit):
    """By us in the places that people look at, by stunnel in its own log."""
    stunnel = cluster.registry.tunnel(edit)
    c = cluster.coordinator(wait=False)

    def named():
        a = Api(c.port)("GET", "/readyz")
        return a.text if a.text.startswith(f"registry_{name}:") else None
    wait_for(f"/readyz: {name}", named, 30)
    trouble = c.api.get("/v1/cluster")["registry"]["trouble"]
    check(detail in trouble["detail"], trouble)
    wait_for("a line of the log", lambda: [x for x in c.lines("!store") if f"trouble={name} " in x and detail in x])
    wait_for(f"stunnel says {said}", lambda: said in stunnel.text()[cluster.registry.said:])
    print(f"     {trouble['detail'][:150]}")
    c.kill()


@settings(session=8, registry=Behind)
def test_what_goes_wrong_says_where_to_look(cluster):
    hung_up, tls = "stunnel", cluster.registry.tls
    refused(cluster, "too_many_connections", hung_up, "Subject checks failed",
            lambda text: text.replace("checkHost = zk", "checkHost = other"))
    refused(cluster, "too_many_connections", hung_up, "unable to get local issuer certificate",
            lambda text: text.replace(f"{tls}/ca.crt", f"{tls}/other-ca.crt"))
    # each service believes its own server alone, not each that the authority signed
    refused(cluster, "too_many_connections", hung_up, "Subject checks failed",
            lambda text: re.sub("checkHost = zk([123])", lambda m: f"checkHost = zk{int(m[1]) % 3 + 1}", text))
    refused(cluster, "too_many_connections", hung_up, "alert certificate unknown",
            lambda text: text.replace(f"{tls}/client.", f"{tls}/stranger."))
    cluster.registry.cut()
    c = cluster.coordinator(wait=False)
    wait_for("without stunnel", lambda: Api(c.port)("GET", "/readyz").text.startswith("registry_unavailable:"), 30)
    cluster.registry.tunnel()
    c.wait_ready()


def fetch():
    """Maven's own client of its central repository."""
    done = subprocess.run(["mvn", "-q", "-B", "-f", os.path.join(HERE, "zookeeper", "pom.xml"),
                           "org.apache.maven.plugins:maven-dependency-plugin:2.8:copy-dependencies",
                           f"-DoutputDirectory={JARS}"], capture_output=True, text=True, check=False)
    check(done.returncode == 0, lambda: f"mvn: {done.stdout[-2000:]}{done.stderr[-2000:]}")


if __name__ == "__main__":
    check(os.access(PELORUS, os.X_OK), f"{PELORUS} is not there: make")
    fetch()
    run(sys.modules[__name__])
