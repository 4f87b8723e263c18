"""A registry that goes back in time under real processes, whichever it is.

A Scene has two coordinators, three masters (one an agent, two over HTTP) and
sixty items. What owners were ever told stands in its Ledger: each master asks
every coordinator for its work all the time, so that one that lies is heard.

    scene = Scene(cluster, keys=...)     # everything runs
    ... a backup ...
    scene.live_on()                      # a failover, 10 finished, 10 new
    ... the registry goes back ...
    scene.went_back()                    # noticed by all; nothing moves
    scene.accept()                       # and after it each has one owner

`keys()` reads our keys from the store itself ({key: value}), beside any
process: what must stand still is compared there, too.
"""

import http.client
import subprocess
import threading
import time

from cluster import PELORUS, SLOW, Api, check, equal, wait_for

T = 1_700_000_000_000
ITEMS, FINISHED, NEW = 60, 10, 10
NOTICE = 10     # seconds; it takes less than two, on a machine that is not busy
MORE = "failover: {grace: 300ms, reconcile-interval: 1s, settle: 2s, brake: {window: 5s}}\n"


class Ledger:
    """Every (id, epoch, owner) that an owner was ever told, in order. An owner
    is a process: address@startupTime."""

    def __init__(self):
        self.lock = threading.Lock()
        self.told = []              # (id, epoch, owner, by whom), each once
        self.seen = {}              # and when it was
        self.highest = {}           # id -> epoch
        self.finished = {}          # id -> the epoch that was answered with 200

    def tell(self, item, epoch, owner, by):
        with self.lock:
            if (item, epoch, owner) not in self.seen:
                self.seen[item, epoch, owner] = time.monotonic()
                self.told.append((item, epoch, owner, by))
                self.highest[item] = max(epoch, self.highest.get(item, 0))

    def held(self, address):
        """(id, epoch) of which this address was told last."""
        with self.lock:
            last = {item: (epoch, owner) for item, epoch, owner, _ in self.told}
        return sorted((k, epoch) for k, (epoch, owner) in last.items()
                      if owner.split("@")[0] == address and k not in self.finished)

    def mark(self):
        with self.lock:
            return len(self.told)

    def since(self, mark):
        with self.lock:
            return self.told[mark:]

    def knows(self, item, epoch, owner):
        with self.lock:
            return (item, epoch, owner) in self.seen

    def twice(self):
        """(id, epoch) that two owners were told."""
        owners = {}
        for item, epoch, owner, _ in self.since(0):
            owners.setdefault((item, epoch), set()).add(owner)
        return {pair: sorted(o) for pair, o in owners.items() if len(o) > 1}


class Master:
    """Its work is asked for at every coordinator; whatever the kind, what it is
    told goes into the ledger."""

    def __init__(self, scene, address, ttl=None):
        """`ttl`: seconds, over HTTP; None: an agent."""
        self.scene = scene
        self.address = address
        self.ttl = ttl
        self.startup = T
        self.dead = threading.Event()
        self.process = None if ttl else self.begin()
        jobs = [self.beat, self.show] if ttl else []
        jobs += [lambda port=port: self.ask(port) for port in scene.ports]
        self.threads = [threading.Thread(target=job, daemon=True) for job in jobs]
        for t in self.threads:
            t.start()

    def beat(self):
        """At any coordinator that answers; fenced: as the next process."""
        n = 0
        while not self.dead.is_set():
            port, n = self.scene.ports[n % len(self.scene.ports)], n + 1
            try:
                a = Api(port)("PUT", f"/v1/nodes/master/{self.address}?ttl={self.ttl}s",
                              {"startupTime": self.startup, "processId": 7}, timeout=2)
                if a.status == 409:
                    self.startup += 1
            except (OSError, http.client.HTTPException, ValueError):
                pass
            self.dead.wait(min(self.ttl / 6, 0.5))

    def show(self):
        """What it holds, again and again: may it still?"""
        n = 0
        while not self.dead.wait(0.1):
            n += 1
            try:
                for k, epoch in self.scene.ledger.held(self.address)[n % 5::5]:
                    Api(self.scene.ports[n % len(self.scene.ports)])(
                        "POST", "/v1/fence/check", {"work": k, "epoch": epoch}, timeout=2)
            except (OSError, http.client.HTTPException, ValueError):
                pass

    def ask(self, port):
        api, index = Api(port), None
        path = f"/v1/work?kind=master&owner={self.address}&limit=1000"
        while not self.dead.is_set():
            try:
                a = api("GET", path + (f"&index={index}&wait=300ms" if index else ""), timeout=5)
                if a.status == 200:
                    index = a.json["index"]
                    self.take(a.json["items"], port)
                    continue
            except (OSError, http.client.HTTPException, ValueError, KeyError):
                pass
            index = None
            self.dead.wait(0.1)

    def take(self, items, by):
        for i in items:
            if i["owner"] == self.address and i["state"] in ("assigned", "running") and not self.dead.is_set():
                self.scene.ledger.tell(i["id"], i["epoch"], f"{self.address}@{i['process']['startupTime']}", by)

    def begin(self):
        return self.scene.cluster.agent("master", self.address, *self.scene.agent_options)

    def start_again(self):
        """An agent, as a service does it."""
        self.process = self.begin()

    def die(self):
        self.dead.set()
        if self.process:
            self.process.kill()
        for t in self.threads:
            t.join()


class Scene:
    def __init__(self, cluster, keys=None, ttl=4, agent_options=()):
        """`ttl` is that of the master that dies in live_on()."""
        self.cluster = cluster
        self.keys = keys or dict
        self.agent_options = agent_options
        self.ledger = Ledger()
        self.coordinators = [cluster.coordinator() for _ in range(2)]
        self.ports = [c.port for c in self.coordinators]
        self.masters = [Master(self, "10.7.0.1:5678"), Master(self, "10.7.0.2:5678", 3600),
                        Master(self, "10.7.0.3:5678", ttl * SLOW)]
        cluster.wait_up(self.api, *(m.address for m in self.masters))
        self.give(range(ITEMS))
        check(all(self.at(m) for m in self.masters), "a master without work")

    def __enter__(self):
        return self

    def __exit__(self, *_):
        for m in self.masters:
            if not m.dead.is_set():
                m.die()

    @property
    def api(self):
        return self.coordinators[0].api

    # --- before --------------------------------------------------------------

    def items(self):
        return {i["id"]: i for i in self.api.all("/v1/work?kind=master")}

    def unfinished(self):
        return {k: i for k, i in self.items().items() if i["state"] not in ("done", "dropped")}

    def at(self, master):
        return [k for k, i in self.unfinished().items() if i["owner"] == master.address]

    def give(self, numbers):
        for n in numbers:
            a = self.api("POST", "/v1/work", {"id": f"item-{n}", "kind": "master"})
            equal(a.status, 201, f"item-{n} given out: {a.text}")
        self.wait_known(len(self.unfinished()))

    def owned_and_known(self):
        """Unfinished items whose owner, alive, was told the epoch they have."""
        alive = {m.address for m in self.masters if not m.dead.is_set()}
        return [k for k, i in self.unfinished().items()
                if i["owner"] in alive and i["state"] == "assigned" and
                self.ledger.knows(k, i["epoch"], f"{i['owner']}@{i['process']['startupTime']}")]

    def wait_known(self, n, seconds=20):
        wait_for(f"{n} items at owners who know their epoch", lambda: len(self.owned_and_known()) == n, seconds)

    def live_on(self):
        """A failover, ten finished and ten new ones: what a backup lacks."""
        victim = self.masters[-1]
        check(self.at(victim), "the master that dies has no work")
        total = len(self.unfinished())
        victim.die()
        wait_for("its work moved", lambda: not self.at(victim), 30)
        self.wait_known(total)
        for k, i in sorted(self.unfinished().items())[:FINISHED]:
            a = self.api("DELETE", f"/v1/work/{k}?epoch={i['epoch']}")
            equal(a.status, 200, f"{k} finished: {a.text}")
            self.ledger.finished[k] = i["epoch"]
        self.give(range(ITEMS, ITEMS + NEW))
        equal(self.ledger.twice(), {}, "before the restore: (id, epoch) told to two")

    def stop_coordinators(self):
        for c in self.coordinators:
            c.kill()
            c.file.close()

    def start_coordinators(self, wait=False):
        """On their ports again; they are not ready when the store is in doubt."""
        self.coordinators = [self.cluster.coordinator(port=c.port, wait=wait) for c in self.coordinators]

    # --- the store went back -------------------------------------------------

    def processes(self):
        return self.coordinators + [m.process for m in self.masters if m.process and m.process.alive()]

    def noticed_by(self, process):
        if not process.lines("registry_went_back"):
            return False
        if process not in self.coordinators:
            return True
        return Api(process.port)("GET", "/readyz").status == 503

    def noticed(self, began=None, seconds=NOTICE):
        """By each process that lives; returns how long it took, by name."""
        began, took = began or time.monotonic(), {}

        def all_have():
            for p in self.processes():
                if p.name not in took and self.noticed_by(p):
                    took[p.name] = round(time.monotonic() - began, 2)
            return len(took) == len(self.processes())
        try:
            wait_for("noticed", all_have, seconds)
        finally:
            print(f"     noticed: {took} of {[p.name for p in self.processes()]}", flush=True)
        return took

    def attempts(self):
        """Whatever would give an item, an epoch or a yes to anybody: the answer
        of each coordinator to it."""
        for c in self.coordinators:
            api = Api(c.port)
            for n, (k, epoch) in enumerate(sorted(self.ledger.highest.items())[::9]):
                yield api("POST", "/v1/fence/check", {"work": k, "epoch": epoch})
                yield api("POST", "/v1/fence/check", {"work": k, "epoch": max(1, epoch - 1)})
                yield api("DELETE", f"/v1/work/{k}?epoch={epoch}")
                yield api("POST", f"/v1/work/{k}/handover?epoch={epoch}")
                yield api("PUT", f"/v1/work/claimed-{n}", {"kind": "master", "owner": self.masters[1].address})
            yield api("POST", "/v1/work", {"id": f"late-{c.port}", "kind": "master"})
            yield api("POST", "/v1/failovers", {"kind": "master", "address": self.masters[0].address, "force": True})

    def still(self, mark, before, seconds=2):
        """Since `mark` nobody is told anything, no call is obeyed, and nothing
        but the history of the store itself is written."""
        end = time.monotonic() + seconds * SLOW
        while time.monotonic() < end:
            obeyed = [a for a in self.attempts() if a.status < 300]
            check(not obeyed, lambda: f"obeyed: {obeyed[0].status} {obeyed[0].text[:300]}")
            for c in self.coordinators:
                check(c.alive(), lambda: f"{c.name} exited")
                equal(Api(c.port)("GET", "/readyz").status, 503, f"readyz of {c.name}")
            threading.Event().wait(0.1)
        equal(self.ledger.since(mark), [], "told to owners in doubt")
        equal(changes(before, self.keys()), {}, "written in doubt")
        equal(self.ledger.twice(), {}, "(id, epoch) told to two")

    def went_back(self, mark, before, began=None, seconds=NOTICE):
        """`mark` and `before`: the ledger, and the keys as they were restored."""
        took = self.noticed(began, seconds)
        self.still(mark, before)
        return took

    # --- and is believed -----------------------------------------------------

    def accept(self, *options, seconds=20, verb=("accept-restore",)):
        """A person confirms it, or puts a backup back (`verb`): then each item
        has one owner who knows its epoch, which is above all that were ever
        told."""
        known = dict(self.ledger.highest)
        conf = self.cluster.conf("person", 0)
        done = subprocess.run([PELORUS, "registry", *verb, "--yes", *options, "-c", conf],
                              capture_output=True, text=True, timeout=60 * SLOW, check=False)
        equal(done.returncode, 0, f"{verb[0]}: {done.stdout}{done.stderr} exit")
        for c in self.coordinators:
            c.wait_ready()

        def all_known():
            unfinished = self.unfinished()
            return unfinished and len(self.owned_and_known()) == len(unfinished)
        wait_for("each item at one owner who knows its epoch", all_known, seconds)
        low = {k: i["epoch"] for k, i in self.unfinished().items() if i["epoch"] <= known.get(k, 0)}
        equal(low, {}, "epochs not above those told before")
        equal(self.ledger.twice(), {}, "(id, epoch) told to two")
        self.give(range(1000, 1003))
        equal(self.ledger.twice(), {}, "(id, epoch) told to two")
        return done.stdout

    def shown_by_a_client(self):
        """An epoch that the registry cannot have given: it is marked, and all
        who live know, whether they see it themselves or not."""
        said = {p.name: len(p.lines("registry_went_back")) for p in self.processes()}
        item, epoch = max((i["epoch"], k) for k, i in self.unfinished().items())[::-1]
        began = time.monotonic()
        a = self.api("POST", "/v1/fence/check", {"work": item, "epoch": epoch + 1})
        equal((a.status, a.json["code"]), (503, "registry_went_back"), f"a later epoch: {a.text}")
        took = {}

        def all_know():
            for p in self.processes():
                if p.name not in took and len(p.lines("registry_went_back")) > said.get(p.name, 0):
                    took[p.name] = round(time.monotonic() - began, 2)
            return len(took) == len(self.processes())
        try:
            wait_for("all know", all_know, NOTICE)
        finally:
            print(f"     known: {took} of {[p.name for p in self.processes()]}", flush=True)

    def never_noticed(self):
        """No false alarm anywhere."""
        for p in self.cluster.processes:
            equal(p.lines("registry_went_back"), [], f"{p.name}: lines")


def changes(before, after):
    """What differs, but for what says itself that the store went back."""
    return {k: (before.get(k), after.get(k)) for k in sorted(before.keys() | after.keys())
            if before.get(k) != after.get(k) and "/pelorus/history/" not in k}
