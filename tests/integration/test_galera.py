#!/usr/bin/env python3
"""Galera: three nodes that all write, processes that are spread over them, a
node that is cut off and one that lags behind.
"""

import contextlib
import json
import socket
import sys
import threading

import moves
from cluster import check, equal, run, settings, submit, submit_together, wait_for
from galera import Galera
from proxy import server_port
from sql import url_of

MASTERS = [f"127.0.0.1:{p}" for p in (5678, 5679, 5680)]


class Swallower:
    """A proxy that lets the COMMIT of what is written of `key` through and
    nobody see what came of it: the connection breaks, and nobody gets a new
    one."""

    COMMIT = b"\x07\x00\x00\x00\x03COMMIT"

    def __init__(self, port, key):
        self.key = key.encode()
        self.target = ("127.0.0.1", port)
        self.port = server_port()
        self.swallowed = threading.Event()
        self.listener = socket.create_server(("127.0.0.1", self.port))
        threading.Thread(target=self.accept, daemon=True).start()

    def accept(self):
        while not self.swallowed.is_set():
            try:
                client, _ = self.listener.accept()
                server = socket.create_connection(self.target, timeout=5)
            except OSError:
                return
            server.settimeout(None)
            threading.Thread(target=self.carry, args=(client, server), daemon=True).start()
            threading.Thread(target=self.carry_back, args=(server, client), daemon=True).start()

    def carry(self, client, server):
        armed = False
        try:
            while data := client.recv(65536):
                armed |= self.key in data and b"INSERT INTO pelorus_registry" in data
                if armed and data == self.COMMIT and not self.swallowed.is_set():
                    self.swallowed.set()
                    self.listener.close()
                    server.sendall(data)
                    continue
                server.sendall(data)
        except OSError:
            pass
        self.hang_up(server)

    def carry_back(self, server, client):
        try:
            while data := server.recv(65536):
                if self.swallowed.is_set():
                    break
                client.sendall(data)
        except OSError:
            pass
        self.hang_up(client)

    @staticmethod
    def hang_up(end):
        """The other thread may be reading from it."""
        with contextlib.suppress(OSError):
            end.shutdown(socket.SHUT_RDWR)

    def end(self):
        self.listener.close()


def moved(items):
    return [i["id"] for i in items if i["epoch"] != 1]


@settings(registry=Galera, session=12)
def test_nodes_that_are_cut_off_and_that_lag(cluster):
    """360 items; nothing of a living master moves, a dead one's do once."""
    galera = cluster.registry
    coordinators = [cluster.coordinator() for _ in range(3)]  # each at another node
    agents = [cluster.agent("master", a) for a in MASTERS]
    everybody = (*coordinators, *agents)
    for c in coordinators:
        cluster.wait_up(c.api, *MASTERS)
    submit_together({c.port: [f"{n}-{i}" for i in range(100)] for n, c in enumerate(coordinators)})
    ids = [f"{n}-{i}" for n in range(3) for i in range(100)]
    # cut off: who was there goes elsewhere
    away = galera.nodes[2]
    away.isolate(True)
    wait_for("a node outside the primary component", lambda: away.status("cluster_status") != "Primary", 20)
    for n, c in enumerate(coordinators):
        ids += (mine := [f"cut-{n}-{i}" for i in range(10)])
        submit(c.port, mine, threads=1)
    wait_for("somebody left the node", lambda: [p for p in everybody if p.lines("-server")], 20)
    away.isolate(False)
    wait_for("it is back", lambda: away.status("local_state_comment") == "Synced", 40)
    # lags behind: it answers late, or nothing
    galera.slow(galera.nodes[1])
    galera.lag()
    for n, c in enumerate(coordinators):
        ids += (mine := [f"lag-{n}-{i}" for i in range(10)])
        submit(c.port, mine, threads=1)
    items = moves.listed(coordinators[0].api, ids)
    equal(moved(items.values()), [], "moved from a living master")
    equal([p.name for p in everybody if p.lines("-session")], [], "lost sessions")
    before = [i for i in ids if items[i]["owner"] == MASTERS[0]]
    agents[0].kill()
    wait_for("the move", moves.finished(coordinators[1].api, MASTERS[0]), 60)
    others = set(ids) - set(before)
    moves.all_moved_once(coordinators[1].api, MASTERS[0], before, others)


def noted(galera):
    """Which revisions' notes in the feed name a key. A note's names are lines,
    each of which begins with how much it shares with the one before it."""
    notes = {}
    for rev, names in galera.run("SELECT rev, hex(names) FROM pelorus_change"):
        name = ""
        for entry in bytes.fromhex(names).decode().split("\n"):
            if entry:
                name = name[:int(entry[:2], 16)] + entry[2:]
                notes.setdefault(name, []).append(int(rev))
    return notes


@settings(registry=Galera, session=12)
def test_three_coordinators_that_write_at_once(cluster):
    """Each at a node of its own, which gives way to the others' transactions in
    the middle of its own. All is accepted, and nothing of a try that failed
    stands: what has no note in the feed nobody hears of."""
    galera = cluster.registry
    coordinators = [cluster.coordinator() for _ in range(3)]
    cluster.agent("master", MASTERS[0])
    for c in coordinators:
        cluster.wait_up(c.api, MASTERS[0])
    submit_together({c.port: [f"{n}-{i}" for i in range(1000)] for n, c in enumerate(coordinators)})
    galera.in_step()
    items = dict(galera.run("SELECT name, version FROM pelorus_registry WHERE name LIKE '%/pelorus/work/%'"))
    equal(len(items), 3000, "items")
    notes = noted(galera)
    equal([n for n in items if len(notes.get(n, [])) != 1 or notes[n][0] < int(items[n])], [], "items without one note")
    for c in coordinators:
        moves.listed(c.api, [f"{n}-{i}" for n in range(3) for i in range(1000)])
        equal(c.lines("-session"), [], "lost sessions")


@settings(registry=Galera, session=20)
def test_a_lost_commit_asked_of_a_node_that_lags(cluster):
    """The node that knows is gone; the other one has not heard of it yet. What
    we say of the commit is true."""
    galera = cluster.registry
    swallower = Swallower(galera.nodes[0].port, "/pelorus/work/lost")
    try:
        galera.slow(galera.nodes[1])
        galera.address = url_of("mysql", galera.nodes[2].port)
        agent = cluster.agent("master", MASTERS[0])
        galera.address = url_of("mysql", swallower.port, galera.nodes[1].port)
        for _ in range(5):  # one whose first try takes too long goes to the other
            c = cluster.coordinator()
            if not c.lines("+server"):
                break
            c.terminate()
        cluster.wait_up(c.api, MASTERS[0])
        galera.lag()
        answer = c.api("POST", "/v1/work", {"id": "lost", "kind": "master"})
        check(swallower.swallowed.is_set(), "no COMMIT was lost")
        there = galera.run("SELECT count(*) FROM pelorus_registry WHERE name LIKE '%/pelorus/work/lost'")
        equal(there, [["1"]], "items")  # it had been sent
        check(answer.status in (201, 504), lambda: f"it stands, and we said {answer.status} {answer.text}")
        wait_for("a word of who asked", lambda: c.lines("=commit"))
        check(agent.alive(), "the agent gave up")
    finally:
        swallower.end()


@settings(registry=Galera, session=12)
def test_a_guard_at_a_node_that_lags(cluster):
    """A process of DolphinScheduler's sweeps our lock away and takes it, at a
    node whose news are late at ours: not one item moves any more."""
    galera = cluster.registry
    galera.slow(galera.nodes[1])
    galera.address = url_of("mysql", galera.nodes[1].port)
    c = cluster.coordinator(env={"PELORUS_FAILPOINT": "engine-before-batch:stop"})
    agents = [cluster.agent("master", a) for a in MASTERS[:1]]
    cluster.wait_up(c.api, MASTERS[0])
    submit(c.port, [f"g-{i}" for i in range(20)])
    agents.append(cluster.agent("master", MASTERS[1]))
    cluster.wait_up(c.api, MASTERS[1])
    agents[0].terminate()
    wait_for("the lock is held and nothing moved yet", c.stopped, 60)
    before = galera.run("SELECT id, lock_key FROM t_ds_jdbc_registry_lock")
    equal([key for _, key in before], ["/lock/master-failover"], "locks")
    galera.lag()
    galera.run("INSERT INTO t_ds_jdbc_registry_client_heartbeat(id, client_name, last_heartbeat_time, "
               "connection_config) VALUES(7, 'h_7', 1, '{}');"
               "DELETE FROM t_ds_jdbc_registry_lock;"
               "INSERT INTO t_ds_jdbc_registry_lock(lock_key, lock_owner, client_id) "
               "VALUES('/lock/master-failover', 'h_7_thread', 7)")
    c.resume()
    galera.in_step()
    galera.run("DO SLEEP(1)")
    values = galera.run("SELECT convert(value USING utf8mb4) FROM pelorus_registry WHERE name LIKE '%/pelorus/work/g-%'")
    equal(len(values), 20, "items")
    equal({(json.loads(v)["owner"], json.loads(v)["epoch"]) for (v,) in values}, {(MASTERS[0], 1)}, "owner and epoch")


if __name__ == "__main__":
    run(sys.modules[__name__])
