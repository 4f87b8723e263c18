"""A ZooKeeper server without the others: its clients are told what only it
believes, while a majority ends their sessions.

Three servers on ZooKeeper's own timing (ticks of 2 s, 10 s until a server
notices that it is alone). A master with a command speaks to one of them, the
coordinator to the two others. When its server is cut off the master's work
moves; by then its command must have been stopped. The heartbeat's interval is
long, so that none falls into the time after the cut by chance.
"""

import os
import sys
import time
from datetime import datetime
from functools import partial

from cluster import SLOW, check, equal, holds, pace, run, settings, submit, wait_for
from moves import finished, gone_from, ids_at
from zookeeper import Registry

M1, M2 = (f"10.30.0.{n}:5678" for n in (1, 2))
alone = partial(settings, heartbeat="60s",
                registry=partial(Registry, tick=2000, servers=3, wired=True, limits=(5, 5)))


def stamping(path):
    """A command that writes the time for as long as it lives."""
    return ["sh", "-c", f"while :; do date +%s.%N; sleep 0.05; done >>{path}"]


def stamps(path):
    with open(path, encoding="ascii") as f:
        return [float(line) for line in f.read().splitlines(keepends=True) if line.endswith("\n")]


class World:
    """The master M1 with work and a command, at a server that pick() takes of
    all; the others elsewhere."""

    def __init__(self, cluster, pick):
        self.servers = cluster.registry.servers
        self.path = os.path.join(cluster.dir, "stamps")
        wait_for("a leader and two followers", lambda: self.servers.leader() and
                 len(self.servers.followers()) == 2)
        self.server, self.agent = pick(self, cluster)
        cluster.registry.at = [s for s in self.servers.servers if s is not self.server]
        self.c = cluster.coordinator()
        cluster.agent("master", M2)
        cluster.wait_up(self.c.api, M1, M2)
        submit(self.c.port, [f"w-{n}" for n in range(20)])
        self.mine = wait_for("work of the first master", lambda: ids_at(self.c.api, M1))
        wait_for("its command runs", lambda: os.path.exists(self.path) and stamps(self.path))

    def stopped_before_the_move(self):
        began = time.time()
        wait_for("its work elsewhere", gone_from(self.c.api, M1), 60)
        moved = time.time()
        record = wait_for("the record", finished(self.c.api, M1))[0]
        fenced = datetime.fromisoformat(record["fenced_at"].replace("Z", "+00:00")).timestamp()
        time.sleep(0.5)
        last = max(s for s in stamps(self.path))
        while time.time() - last < 1:  # it runs on: until when?
            check(time.time() - moved < 30, "the old owner's command never stops")
            time.sleep(0.2)
            last = max(stamps(self.path))
        print(f"     fenced {fenced - began:.1f} s after the cut, moved at {moved - began:.1f} s; "
              f"the command's last sign at {last - began:.1f} s")
        check(last < fenced, lambda: f"its command worked for {last - moved:.1f} s beside the new owner's")


def with_agent(server, w, cluster):
    cluster.registry.at = [server]
    return server, cluster.agent("master", M1, command=stamping(w.path))


def at_a_follower(w, cluster):
    return with_agent(w.servers.followers()[0], w, cluster)


def at_the_leader(w, cluster):
    return with_agent(w.servers.leader(), w, cluster)


def at_whichever_follower(w, cluster):
    """It is told of all servers, and begins at any."""
    while True:
        agent = cluster.agent("master", M1, command=stamping(w.path))
        line = wait_for("a session", lambda: agent.lines("+session"))[0]
        for s in w.servers.followers():
            if s.connect in line:
                return s, agent
        agent.end()


@alone(session=4)
def test_a_cut_off_follower_keeps_no_work_of_4_s(cluster):
    w = World(cluster, at_a_follower)
    w.servers.cut(w.server)
    w.stopped_before_the_move()


@alone(session=12)
def test_a_cut_off_follower_keeps_no_work_of_12_s(cluster):
    w = World(cluster, at_a_follower)
    w.servers.cut(w.server)
    w.stopped_before_the_move()


@alone(session=4)
def test_a_deserted_leader_keeps_no_work(cluster):
    """Its followers know at once, and follow another; it does not."""
    w = World(cluster, at_the_leader)
    w.servers.desert(w.server)
    w.stopped_before_the_move()


@alone(session=4)
def test_a_cut_off_holder_of_the_lock_runs_no_hook_beside_the_next(cluster):
    servers = cluster.registry.servers
    wait_for("two followers", lambda: servers.leader() and len(servers.followers()) == 2)
    lonely = servers.followers()[0]
    others = [s for s in servers.servers if s is not lonely]
    path, script = (os.path.join(cluster.dir, n) for n in ("beats", "hook.sh"))
    with open(script, "w", encoding="ascii") as f:
        f.write(f"while :; do echo $PELORUS_FENCE $(date +%s.%N) >>{path}; sleep 0.05; done\n")
    more = f"failover: {{grace: 300ms, reconcile-interval: 1s, hook: 'sh {script}'}}\n"

    def beats():
        """When the hook was seen at work, by the lock's number."""
        seen = {}
        if os.path.exists(path):
            with open(path, encoding="ascii") as f:
                for line in f:
                    if line.endswith("\n") and len(line.split()) == 2:
                        seen.setdefault(int(line.split()[0]), []).append(float(line.split()[1]))
        return seen
    cluster.registry.at = [lonely]
    first = cluster.coordinator(more=more)
    cluster.registry.at = others
    victim = cluster.agent("master", M1)
    cluster.wait_up(first.api, M1)
    submit(first.port, ["w"])
    cluster.agent("master", M2)
    cluster.wait_up(first.api, M1, M2)
    victim.kill()
    one = wait_for("the hook at work", lambda: list(beats()))[0]
    cluster.coordinator(more=more)
    servers.cut(lonely)
    began = time.time()
    two = wait_for("the next holder's hook", lambda: [f for f in beats() if f > one], 40)[0]
    holds("it goes on", lambda: True, 2)
    seen = beats()
    while time.time() - max(seen[one]) < 1:  # it runs on: until when?
        check(time.time() - began < 60, "the first one's hook never stops")
        time.sleep(0.2)
        seen = beats()
    print(f"     the first one's last sign {max(seen[one]) - began:.1f} s after the cut, the next one's "
          f"first at {min(seen[two]) - began:.1f} s")
    over = max(seen[one]) - min(seen[two])
    check(over < 0, lambda: f"two hooks at once for {over:.1f} s")


@alone(session=4)
def test_a_leader_that_freezes_ends_a_session_that_is_shorter_than_its_followers_wait(cluster):
    ensemble = cluster.registry.servers
    leader = wait_for("a leader", ensemble.leader)
    cluster.registry.at = ensemble.followers()
    c = cluster.coordinator()
    line = wait_for("it says so", lambda: c.lines("!session-timeout"))
    check(len(line) == 1 and f"timeout_ms={4000 * SLOW} servers_wait_ms={10000 * SLOW} " in line[0], line)
    leader.stop()
    wait_for("the session is over", lambda: [x for x in c.lines("=registry") if "state=disconnected" in x])
    leader.resume()


@alone(session=12)
def test_what_a_cut_off_follower_has_not_heard_of_is_not_called_missing(cluster):
    """404 is taken for done by who finishes work."""
    servers = cluster.registry.servers
    wait_for("two followers", lambda: servers.leader() and len(servers.followers()) == 2)
    lonely = servers.followers()[0]
    cluster.registry.at = [lonely]
    first = cluster.coordinator()
    cluster.registry.at = [s for s in servers.servers if s is not lonely]
    second = cluster.coordinator()
    cluster.agent("master", M1)
    cluster.wait_up(second.api, M1)
    cluster.wait_up(first.api, M1)
    servers.cut(lonely)
    submit(second.port, ["late"])
    answer = first.api("GET", "/v1/work/late")
    equal(answer.status, 503, f"what it says of it ({answer.text[:200]})")


@alone(session=12)
def test_a_client_of_a_cut_off_follower_goes_to_another(cluster):
    """It knows the other servers: the session, and the work, stay."""
    w = World(cluster, at_whichever_follower)
    w.servers.cut(w.server)
    wait_for("the server left", lambda: w.agent.lines("!server"))
    holds("nothing happens", lambda: not w.agent.lines("!lease") and not w.c.lines("+failover"),
          cluster.session * 1.5)
    equal((len(w.agent.lines("+command")), len(w.agent.lines("+session"))), (1, 1),
          "commands and sessions begun")
    equal(w.c.lines("!session-timeout"), [], "a session longer than the servers wait for their leader")


@settings(session=4, registry=partial(Registry, tick=200, servers=3, wired=True, limits=(10, 5),
                                      java=("-Dreadonlymode.enabled=true",)))
def test_a_read_only_server_is_not_where_we_stay(cluster):
    """It takes clients that only read, and none of us."""
    servers = cluster.registry.servers
    wait_for("two followers", lambda: servers.leader() and len(servers.followers()) == 2)
    lonely = servers.followers()[0]
    servers.part(lonely)
    lonely.kill()  # one that was a follower now and then never begins to serve again
    lonely.start()
    wait_for("it is read-only", lambda: lonely.mode() == "read-only")
    cluster.registry.at = [lonely]
    stuck = cluster.coordinator(wait=False)
    cluster.registry.at = None
    for _ in range(3):  # whichever server it begins at
        began = time.monotonic()
        c = cluster.coordinator()
        check(lonely.connect not in c.lines("+session")[0], "a session at the read-only server")
        check(time.monotonic() - began < 5 * SLOW * pace(), "it stayed at the read-only server")
    wait_for("a word about it", lambda: stuck.lines("!registry"), 30)
    equal((len(stuck.lines("!registry")), stuck.lines("+session")), (1, []), "words, sessions")
    servers.heal()
    stuck.wait_ready()


if __name__ == "__main__":
    run(sys.modules[__name__])
