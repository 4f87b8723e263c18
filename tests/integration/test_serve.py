"""pelorus serve as a process: starting, leaving, and registries that cannot be
used, are full, or belong to somebody else."""

import os
import signal
import socket
import sqlite3
import subprocess
import sys
import threading
import time

from cluster import PELORUS, SLOW, Api, Process, check, demo_holds, equal, free_port, run, settings, submit, wait_for
from moves import listed

M1, M2 = "127.0.0.1:5678", "127.0.0.1:5679"


def test_the_demo_holds(_):
    demo_holds()


def gone_at_once(cluster, what, gone):
    """Long before a session would have ended by itself."""
    began = time.monotonic()
    wait_for(what, gone)
    took = time.monotonic() - began
    check(took < cluster.session / 3, f"{what}: after {took:.1f} s, the session has {cluster.session} s")


@settings(session=30)
def test_sigterm_leaves_in_order(cluster):
    c = cluster.coordinator()
    other = cluster.coordinator()
    m = cluster.agent("master", M1)
    cluster.wait_up(c.api, M1)
    index = c.api.get("/v1/nodes")["index"]
    answers = []
    poll = threading.Thread(target=lambda: answers.append(
        Api(c.port)("GET", f"/v1/nodes?index={index}&wait=50s")))
    poll.start()
    wait_for("both coordinators known", lambda: len(other.api.get("/v1/cluster")["coordinators"]) == 2)
    threading.Event().wait(0.3)
    code, seconds = c.terminate()
    equal(code, 0, "exit code")
    check(seconds < 5 * SLOW, f"it took {seconds:.1f} s")
    poll.join(timeout=60 * SLOW)
    equal([a.status for a in answers], [200], "the long poll in flight")
    gone_at_once(cluster, "its entry", lambda: len(other.api.get("/v1/cluster")["coordinators"]) == 1)
    code, seconds = m.terminate()
    equal(code, 0, "exit code of the agent")
    check(seconds < 5 * SLOW, f"the agent took {seconds:.1f} s")
    gone_at_once(cluster, "the node", lambda: not [
        n for n in other.api.get("/v1/nodes")["items"] if n["state"] == "up"])


def answers(process):
    """Its API, or for an agent: it is alive."""
    return process.api("GET", "/livez").status == 200 if hasattr(process, "api") else process.alive()


def test_sighup_opens_the_log_anew_and_reads_the_file_again(cluster):
    log = os.path.join(cluster.dir, "pelorus.log")
    base = "failover: {grace: 300ms, reconcile-interval: 1s}\n"
    c = cluster.coordinator(more=base + f"log: {{file: {log}}}\ngroups: {{old: ['{M2}'], kept: ['{M1}']}}\n")
    w = cluster.agent("worker", M1)
    cluster.wait_up(c.api, M1)
    conf = os.path.join(cluster.dir, f"{c.name}.yaml")

    def text():
        with open(log, encoding="utf-8") as f:
            return f.read()

    def again(more):
        cluster.conf(c.name, c.port, base + f"log: {{file: {log}, level: debug}}\n" + more)
        before = text().count("=reload file=") + text().count("!reload reason=")
        os.kill(c.pid, signal.SIGHUP)
        wait_for("read again", lambda: text().count("=reload file=") + text().count("!reload reason=") > before)
        return text()

    check("+pelorus" in text(), "the log is in the file")
    os.rename(log, log + ".1")
    os.kill(c.pid, signal.SIGHUP)
    wait_for("a new file", lambda: os.path.exists(log) and "=reload" in text())
    said = again(f"groups: {{new: ['{M1}'], kept: ['{M1}', '{M2}']}}\nhttp: {{threads: 3}}\n")
    check("=reload key=log.level from=info to=debug" in said and "!reload key=http.threads from=0 to=3" in said, said)
    wait_for("the new groups", lambda: {g["name"] for g in c.api.get("/v1/groups")["items"]} ==
             {"default", "kept", "new"})
    equal(c.api("GET", "/v1/workers/best?group=new").status, 200, "a pick from the new group")
    # cpu-max 0: whoever reports any load is hot
    with open(conf, encoding="utf-8") as f:
        hot = f.read().replace("cpu-max: 1", "cpu-max: 0")
    with open(conf, "w", encoding="utf-8") as f:
        f.write(hot)
    os.kill(c.pid, signal.SIGHUP)
    wait_for("a threshold", lambda: "=reload key=balancer.cpu-max from=1 to=0" in text())
    wait_for("a hot worker", lambda: [n["hot"] for n in c.api.get("/v1/workers/best?explain=1")["candidates"]] == ["cpu"])
    # a mistake changes nothing and is named with its place
    said = again("failover: {brake: {share: 7}}\n")
    check("!reload reason=" in said and f"{c.name}.yaml:" in said, said[-600:])
    # another file, from now on
    other = log + ".other"
    cluster.conf(c.name, c.port, base + f"log: {{file: {other}}}\n")
    os.kill(c.pid, signal.SIGHUP)
    wait_for("the other file", lambda: os.path.exists(other))
    os.kill(w.pid, signal.SIGHUP)
    threading.Event().wait(0.3)
    check(answers(c) and answers(w), "both live on")
    for p in (c, w):
        os.kill(p.pid, signal.SIGQUIT)
        os.kill(p.pid, signal.SIGTERM)
        os.kill(p.pid, signal.SIGTERM)
        equal(p.popen.wait(20 * SLOW), 0, f"{p.name}: exit code of an orderly leave")


def test_all_connections_taken_is_said(cluster):
    """Few open files: fewer connections, and a line; all taken: another one."""
    port = free_port()
    conf = cluster.conf("few", port)
    log = os.path.join(cluster.dir, "few.log")
    few = Process("few", ["sh", "-c", f"ulimit -n 136; exec {PELORUS} serve -c {conf}"], log)
    cluster.processes.append(few)
    wait_for("ready", lambda: Api(port)("GET", "/readyz").status == 200)
    check("max=4096 used=72 open_files=136" in few.text(), few.text())
    api = Api(port)
    equal(api("GET", "/readyz").status, 200, "readyz")
    held = []
    try:
        for _ in range(100):
            held.append(socket.create_connection(("127.0.0.1", port)))
        wait_for("a line", lambda: few.lines("!connections"))
        equal(api("GET", "/readyz").status, 503, "readyz on a connection of before")
        equal(api.get("/v1/cluster")["http"], {"connections": 72, "max_connections": 72}, "counted")
    finally:
        for s in held:
            s.close()
    wait_for("ready again", lambda: Api(port)("GET", "/readyz").status == 200)
    equal(len(few.lines("!connections")), 1, "lines")


@settings(session=30)
def test_a_restart_loses_nothing(cluster):
    c = cluster.coordinator()
    cluster.agent("master", M1)
    cluster.wait_up(c.api, M1)
    submit(c.port, (f"w-{n}" for n in range(300)), payload={"text": "ü\n\"quoted\""})
    listed(c.api, (f"w-{n}" for n in range(300)))
    before = c.api.all("/v1/work")
    c.kill()
    began = time.monotonic()
    c = cluster.coordinator(port=c.port)
    took = time.monotonic() - began
    check(took < cluster.session / 3, f"ready after {took:.1f} s: it waited for the session of the process before")
    equal(c.api.all("/v1/work"), before, "work after SIGKILL and restart")
    equal(c.api("POST", "/v1/work", {"id": "w-0", "kind": "master",
                                     "payload": {"text": "ü\n\"quoted\""}}).status, 200, "repeated")
    equal(c.api("POST", "/v1/work", {"id": "w-0", "kind": "master"}).code, "id_conflict", "other body")


def refused(cluster, conf):
    done = subprocess.run([PELORUS, "serve", "-c", conf], capture_output=True, text=True,
                          timeout=30 * SLOW, check=False)
    check(done.returncode == 1, f"exit {done.returncode}: {done.stderr}")
    return done.stderr


def test_files_that_cannot_be_the_registry_are_refused_clearly(cluster):
    conf = cluster.conf("c", free_port())
    db = sqlite3.connect(cluster.path)
    db.execute("CREATE TABLE somebody_elses(x)")
    db.commit()
    db.close()
    before = open(cluster.path, "rb").read()
    text = refused(cluster, conf)
    check("registry.db" in text and ("another program" in text.lower() or
                                     "not a pelorus" in text.lower()), text)
    check(open(cluster.path, "rb").read() == before, "a foreign file was written to")
    with open(cluster.path, "wb") as f:
        f.write(os.urandom(8192))
    text = refused(cluster, conf)
    check("registry.db" in text, text)
    os.remove(cluster.path)
    os.mkdir(cluster.path)
    text = refused(cluster, conf)
    check("registry.db" in text, text)
    os.rmdir(cluster.path)


def test_a_full_disk_is_said_and_survived(cluster):
    disk = os.path.join(cluster.dir, "disk")
    os.mkdir(disk)
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=4m", "tmpfs", disk], check=True)
    try:
        cluster.path = os.path.join(disk, "registry.db")
        c = cluster.coordinator()
        cluster.agent("master", M1)
        cluster.wait_up(c.api, M1)
        submit(c.port, ["before"])
        with open(os.path.join(disk, "ballast"), "wb", buffering=0) as f:
            try:
                while True:
                    f.write(b"x" * 4096)
            except OSError:
                pass

        def refused_for_space():
            a = c.api("POST", "/v1/work", {"kind": "master", "payload": "y" * 30000})
            return a if a.status == 503 else None
        a = wait_for("a write refused", refused_for_space, 20)
        check(a.code.startswith("registry_") or a.code in ("session_lost", "group_empty"), a.text)
        # long enough for its session to end, which nobody can renew
        threading.Event().wait(2.5 * cluster.session)
        check(c.alive(), "it must not end")
        equal(c.api("GET", "/livez").status, 200, "livez")
        check(c.api.get("/v1/nodes")["stale"], "answers are marked stale")
        os.remove(os.path.join(disk, "ballast"))
        wait_for("writes go on, without a restart", lambda: c.api(
            "POST", "/v1/work", {"id": "after", "kind": "master"}).status in (200, 201), 40)
        equal(c.api.get("/v1/work/before")["state"], "assigned", "what was there before")
    finally:
        for p in reversed(cluster.processes):
            p.end()
        subprocess.run(["umount", disk], check=False)


def test_the_port_is_taken(cluster):
    c = cluster.coordinator()
    text = refused(cluster, cluster.conf("second", c.port))
    check(str(c.port) in text and "another" in text, text)


def listens_to(cluster, port, *addresses):
    """A file that listens to a name of these addresses, and what a process must
    be started through to find it."""
    hosts, path = os.path.join(cluster.dir, "hosts"), cluster.conf("named", port)
    with open(hosts, "w", encoding="ascii") as f:
        f.write("".join(f"{a} coordinator.test\n" for a in addresses))
    with open(path, encoding="utf-8") as f:
        text = f.read().replace("listen: 127.0.0.1:", "listen: coordinator.test:")
    with open(path, "w", encoding="utf-8") as f:
        f.write(text)
    return path, ["unshare", "--mount", *([] if os.geteuid() == 0 else ["--map-root-user"]), "sh", "-c",
                  f'mount --bind {hosts} /etc/hosts && exec "$@"', "sh"]


def test_a_name_is_listened_to_on_all_its_addresses(cluster):
    port = free_port()
    path, through = listens_to(cluster, port, "127.0.0.1", "127.0.0.2", "127.0.0.1", "2001:db8::7")

    def run_once(command):
        return subprocess.run([*through, PELORUS, command, "-c", path], capture_output=True, text=True, check=False,
                              timeout=60 * SLOW)
    first, second = (Api(port, host=host) for host in ("127.0.0.1", "127.0.0.2"))
    with socket.create_server(("127.0.0.2", port)):
        done = run_once("serve")
        check(done.returncode == 1 and f"127.0.0.2:{port}, one of the 3 addresses of coordinator.test" in done.stderr, done.stderr)
        check("is another coordinator running there?" in done.stderr, done.stderr)
        check("1 are taken" in run_once("check-config").stderr, "check-config tells")
    c = Process("named", [*through, PELORUS, "serve", "-c", path], os.path.join(cluster.dir, "named.log"))
    cluster.processes.append(c)
    for api in (first, second):
        wait_for("both serve", lambda: api("GET", "/readyz").status == 200)
    # One that this host does not have is said, there and by check-config.
    check(f"!listen name=coordinator.test address=[2001:db8::7]:{port}" in c.text(), c.text())
    done = run_once("check-config")
    check(done.returncode == 0 and f"listen: [2001:db8::7]:{port}" in done.stderr and "taken" not in done.stderr, done.stderr)
    equal(c.terminate()[0], 0, "left in order")
    path, through = listens_to(cluster, port, "2001:db8::7", "2001:db8::8")
    done = run_once("serve")
    check(done.returncode == 1 and "no address of this host" in done.stderr, done.stderr)


def test_check_config_says_where_and_what(cluster):
    path = os.path.join(cluster.dir, "bad.yaml")
    with open(path, "w", encoding="utf-8") as f:
        f.write("listen: 127.0.0.1:1\nfailover:\n  grase: 1s\n  reconcile-interval: 5\n")
    text = cluster.cli("check-config", "-c", path, expect=1)
    check("bad.yaml:3" in text and "grace" in text, text)
    check("bad.yaml:4" in text, text)
    out = cluster.cli("check-config", "-c", cluster.conf("good", 7077))
    check("session-timeout" in out, out)


def test_where_the_registry_stood_is_remembered(cluster):
    """Across a restart of everybody, in state-dir."""
    state = os.path.join(cluster.dir, "state")
    conf = f"state-dir: {state}\nfailover: {{settle: 1s}}\n"
    cluster.more = conf
    c = cluster.coordinator()
    cluster.agent("master", "127.0.0.1:5678")
    cluster.wait_up(c.api, "127.0.0.1:5678")
    equal(c.api("PUT", "/v1/work/s-1", {"kind": "master", "owner": "127.0.0.1:5678"}).status, 201, "claimed")
    place = c.api.get("/v1/cluster")["registry"]["place"]
    names = wait_for("both have a file", lambda: len(n := [n for n in os.listdir(state) if not n.endswith(".tmp")]) == 2 and n)
    c.terminate()
    name = next(n for n in names if n.startswith("coordinator-"))
    path = os.path.join(state, name)
    with open(path, encoding="utf-8") as f:
        kept = f.read()
    check(place.split(":")[0] in kept and kept.startswith("pelorus-place 1 "), f"{name}: {kept}")
    with open(path, "w", encoding="utf-8") as f:
        f.write(kept.replace(place.split(":")[0], "0" * 32))
    c = cluster.coordinator(port=c.port, wait=False)
    wait_for("noticed", lambda: c.lines("registry_went_back"))
    equal((c.api("GET", "/readyz").status, c.api("GET", "/livez").status), (503, 200), "health")
    c.terminate()
    with open(path, "w", encoding="utf-8") as f:
        f.write(kept[:40])
    text = refused(cluster, cluster.conf("third", c.port))
    check(path in text and "delete the file" in text, text)


CLIENTS = {
    "zookeeper: {connect-string: 'h:2181'}": ("zookeeper", "libzookeeper_st.so.2"),
    "endpoints: ['http://h:2379']": ("etcd", "libcurl.so.4"),
    "hikari-config: {jdbc-url: 'jdbc:mysql://h:3306/d'}": ("jdbc", "libmariadb.so.3"),
    "hikari-config: {jdbc-url: 'jdbc:postgresql://h:5432/d'}": ("jdbc", "libpq.so.5"),
}


def test_the_clients_of_other_registries_are_not_loaded(cluster):
    """And one that is needed and cannot be loaded is named, with its package."""
    c = cluster.coordinator()
    with open(f"/proc/{c.pid}/maps", encoding="utf-8") as f:
        maps = f.read()
    check("libsqlite3" in maps, maps)
    for keys, (kind, name) in CLIENTS.items():
        check(name.split(".")[0] not in maps, f"{name} is in a coordinator on SQLite")
        broken = os.path.join(cluster.dir, name.split(".")[0])
        os.mkdir(broken)
        with open(os.path.join(broken, name), "wb"):
            pass
        conf = os.path.join(cluster.dir, "other.yaml")
        with open(conf, "w", encoding="utf-8") as f:
            f.write(f"listen: 127.0.0.1:{free_port()}\nregistry:\n  type: {kind}\n  {keys}\n")
        done = subprocess.run([PELORUS, "serve", "-c", conf], capture_output=True, text=True, check=False,
                              timeout=60 * SLOW, env={**os.environ, "LD_LIBRARY_PATH": broken})
        equal(done.returncode, 1, f"exit code ({done.stderr})")
        check(f"registry.type: {kind}: {name} cannot be loaded" in done.stderr
              and f"apt-get install {name.split('.')[0].replace('_', '-')}" in done.stderr, done.stderr)


if __name__ == "__main__":
    run(sys.modules[__name__])
