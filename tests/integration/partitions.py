"""Networks that are cut at random under real processes, on any registry: from
coordinators, agents and HTTP masters to what they need, between the members of
the registry, in both directions or one, for times around the session's timeout.

    make partitions RUNS=25 [SEED=n] [REGISTRIES=zookeeper,etcd]

Run k is of seed SEED + k on the registries in turn. Each process stands behind
proxies of its own. What is judged, by what owners were told (Ledger) and by
their own signs of life:

 - no (id, epoch) is told to two owners, and what was finished moves no more;
 - the next owner is told when the one before lives no more: an agent's command
   has written its last sign, an HTTP master's last lease has ended;
 - fence/check says yes to nobody after a higher epoch was told;
 - work of whoever stays cut moves: with only the answers lost within session +
   5 s, else within twice that;
 - after the network is well everybody is, and all coordinators say the same;
 - nobody says that the registry went back.
"""

import collections
import http.client
import itertools
import json
import os
import random
import shutil
import sys
import threading
import time

import etcd
import zookeeper
from cluster import SLOW, Api, Cluster, check, end_when_told, pace, wait_for
from proxy import Proxy
from restore import Ledger, Master, Scene
from steady import Load

SESSION = 4
TTL = 4
COORDINATORS, AGENTS, MASTERS = 3, 2, 2
ITEMS, ROUNDS = 40, 6
# Three of so few are soon lost; the brake is not what is looked at here.
MORE = ("failover: {grace: 300ms, reconcile-interval: 1s, settle: 2s, poison-limit: 6, poison-window: 1s, "
        "brake: {window: 5s, min: 5}}\n")
# What is lost: (from whom it is cut, to whom); None: connections break, too.
DIRECTIONS = {"both": (True, True), "answers": (False, True), "requests": (True, False), "refused": None}
SIGNS = """
import os, sys, time
process = os.environ["PELORUS_PROCESS"].split("-")[0]
with open(sys.argv[1], "ab", buffering=0) as f:
    while True:
        f.write(f"{process} {time.monotonic()}\\n".encode())
        time.sleep(0.02)
"""


# --- the registries: servers, and for each process proxies before them ----------
# ways(): new proxies, to all servers that a process is told of; stand_behind():
# the next process does; part(chance): cut members from each other, and say how;
# None where there is one; join(): they are together again.

class ZooKeeper(zookeeper.Registry):
    def __init__(self, cluster):
        super().__init__(cluster, tick=300, servers=3, wired=True, limits=(20, 5))

    def ways(self):
        return [Proxy(s.connect) for s in self.servers.servers]

    def stand_behind(self, ways):
        self.at = ways

    def part(self, chance):
        how, server = chance.choice(["cut", "part", "desert"]), chance.choice(self.servers.servers)
        role = server.mode() or "one on its way"
        getattr(self.servers, how)(server)
        return f"{how} {role}"

    def join(self):
        self.servers.heal()


class Way(Proxy):
    @property
    def endpoint(self):
        return f"http://{self.connect}"


class Etcd(etcd.Registry):
    def __init__(self, cluster):
        super().__init__(cluster, servers=3, wired=True)

    def ways(self):
        return [Way(s.connect) for s in self.servers]

    def stand_behind(self, ways):
        self.at = ways

    def part(self, chance):
        server = chance.choice(self.servers)
        role = "leader" if server.leads() else "follower"
        server.cut_off()
        return f"cut {role}"

    def join(self):
        for s in self.servers:
            s.wire.order(s.wire.barred.clear)
            s.wire.heal()


REGISTRIES = {"zookeeper": ZooKeeper, "etcd": Etcd}


# --- who is cut -------------------------------------------------------------------

def cut(ways, direction):
    for way in ways:
        if DIRECTIONS[direction]:
            way.cut(*DIRECTIONS[direction])
        else:
            way.refuse()


def heal(ways):
    for way in ways:
        way.heal()


class Owner(Master):
    """`ways`: to what keeps its lease. A life is a process, address@startupTime."""

    def __init__(self, world, address, ways, ttl=None):
        self.ways = ways
        self.until = collections.Counter()  # by process: when its lease ends, or its last sign
        super().__init__(world, address, ttl)

    def show(self):
        """May it still?"""
        chance, apis = random.Random(self.address), {}
        while not self.dead.wait(0.1):
            held = self.scene.ledger.held(self.address)
            if not held:
                continue
            item, epoch = chance.choice(held)
            asked, port = time.monotonic(), chance.choice(self.scene.ports)
            try:
                api = apis.setdefault(port, Api(port))
                if api("POST", "/v1/fence/check", {"work": item, "epoch": epoch}, timeout=2).status == 200:
                    self.scene.allowed.append((asked, item, epoch))
            except (OSError, http.client.HTTPException, ValueError):
                apis.pop(port, None)

    def life(self):
        raise NotImplementedError

    def lives(self):
        return self.until


class Agent(Owner):
    def __init__(self, world, address, ways):
        self.signs = os.path.join(world.cluster.dir, f"signs-{address}")
        super().__init__(world, address, ways)
        shower = threading.Thread(target=self.show, daemon=True)
        self.threads.append(shower)
        shower.start()

    def begin(self):
        self.scene.cluster.registry.stand_behind(self.ways)
        return self.scene.cluster.agent("master", self.address, command=[sys.executable, "-S", "-c", SIGNS, self.signs])

    def read(self):
        if not os.path.exists(self.signs):
            return []
        with open(self.signs, encoding="ascii") as f:
            return [line.split() for line in f if line.endswith("\n")]

    def life(self):
        return next((process for process, _ in reversed(self.read())), None)

    def lives(self):
        return {f"{self.address}@{process}": float(at) for process, at in self.read()}


class HttpMaster(Owner):
    """Its PUTs go through its ways; its lease is ttl less a margin after the
    last one was sent that was accepted. When that is over it is another process."""

    MARGIN = 0.3

    def life(self):
        return str(self.startup)

    def beat(self):
        while not self.dead.is_set():
            me = f"{self.address}@{self.startup}"
            way, sent = random.choice(self.ways), time.monotonic()
            accepted = gone = False
            c = http.client.HTTPConnection(way.address, way.port, timeout=1)
            try:
                c.request("PUT", f"/v1/nodes/master/{self.address}?ttl={self.ttl}s",
                          f'{{"startupTime": {self.startup}, "processId": 7}}', {"Content-Type": "application/json"})
                reply = c.getresponse()
                text = reply.read()
                accepted = reply.status in (200, 201)
                gone = reply.status == 409 and b'"fenced"' in text
            except (OSError, http.client.HTTPException):
                pass
            finally:
                c.close()
            if accepted:
                self.until[me] = max(self.until[me], sent + self.ttl - self.MARGIN)
            if gone or (self.until[me] and time.monotonic() > self.until[me]):
                self.until[me] = min(self.until[me], time.monotonic())
                self.startup += 1
            self.dead.wait(self.ttl / 8 if accepted else 0.1)


class World(Scene):
    """Everything runs, each behind proxies of its own."""

    def __init__(self, cluster):  # not as the Scene's
        self.cluster = cluster
        self.ledger = Ledger()
        self.allowed = []       # (when it was asked for, id, epoch)
        self.ways, self.coordinators, self.masters = {}, [], []
        for _ in range(COORDINATORS):
            ways = cluster.registry.ways()
            cluster.registry.stand_behind(ways)
            c = cluster.coordinator()
            self.ways[c.name] = ways
            self.coordinators.append(c)
        self.ports = [c.port for c in self.coordinators]
        for n in range(AGENTS + MASTERS):
            address = f"10.7.0.{n + 1}:5678"
            if n < AGENTS:
                ways = cluster.registry.ways()
                self.masters.append(Agent(self, address, ways))
            else:
                ways = [Proxy(f"127.0.0.1:{port}") for port in self.ports]
                self.masters.append(HttpMaster(self, address, ways, TTL))
            self.ways[address] = ways
        cluster.wait_up(self.api, *(m.address for m in self.masters))
        self.give(range(ITEMS))

    def __exit__(self, *_):
        super().__exit__()
        for way in itertools.chain(*self.ways.values()):
            way.end()

    def tend(self):
        """An agent that ended is started again, as by a service."""
        for m in self.masters:
            if m.process and not m.process.alive():
                m.start_again()

    def wait(self, seconds):
        by = time.monotonic() + seconds
        while time.monotonic() < by:
            self.tend()
            time.sleep(0.05)


# --- judged ------------------------------------------------------------------------

def by_item(ledger):
    """What was told of each: (epoch, when first, owner), in their order."""
    of = {}
    for (item, epoch, owner), at in ledger.seen.items():
        of.setdefault(item, []).append((epoch, at, owner))
    return {item: sorted(told) for item, told in of.items()}


def judge(ledger, lives, allowed):
    """`lives`: the end of each owner's; `allowed`: (when it was asked for, id,
    epoch). What was wrong, in words."""
    problems, of = [f"told to two: {pair} {owners}" for pair, owners in ledger.twice().items()], by_item(ledger)
    for item, told in of.items():
        for (e1, _, before), (e2, at, after) in itertools.combinations(told, 2):
            if before != after and e1 < e2 and lives.get(before, 0) > at:
                problems.append(f"overlap: {item}: {before} at epoch {e1} lived for {lives[before] - at:.3f} s "
                                f"when {after} was told {e2}")
        done = ledger.finished.get(item)
        if done and told[-1][0] > done:
            problems.append(f"finished: {item} at {done}, then told {told[-1]}")
    for asked, item, epoch in allowed:
        for e, at, _ in of.get(item, ()):
            if e > epoch and at < asked:
                problems.append(f"allowed: {item} at {epoch}, asked for {asked - at:.3f} s after {e} was told")
    return problems


# --- one run ------------------------------------------------------------------------

class Run:
    def __init__(self, seed, kind):
        self.seed, self.kind = seed, kind
        self.chance = random.Random(seed)
        self.faults = collections.Counter()
        self.moved = {}         # how it was cut -> seconds, the longest
        self.problems = []
        self.healed_in = 0

    def duration(self):
        return self.chance.choice([0.3, 0.7, 1, 1, 1.3, 2]) * SESSION * self.chance.uniform(0.8, 1.2)

    def some_ways(self, ways):
        """To all of them, or to some."""
        return ways if self.chance.random() < 0.7 else self.chance.sample(ways, self.chance.randint(1, len(ways)))

    def fault(self, kind):
        """Begin it; how it is ended."""
        w, direction = self.world, self.chance.choice(list(DIRECTIONS))
        if kind == "members":
            how = w.cluster.registry.part(self.chance)
            self.faults[f"members {how}"] += 1
            return w.cluster.registry.join
        if kind == "coordinators":
            victims = self.chance.sample([c.name for c in w.coordinators], self.chance.choice([1, 1, 2, 3]))
        elif kind == "all":
            victims = [name for name in w.ways if name not in [m.address for m in w.masters[AGENTS:]]]
        else:
            among = w.masters[:AGENTS] if kind == "agent" else w.masters[AGENTS:]
            victims = [self.chance.choice(among).address]
        ways = [way for v in victims for way in self.some_ways(w.ways[v])]
        self.faults[f"{kind} {direction}"] += 1
        cut(ways, direction)
        return lambda: heal(ways)

    def some_faults(self):
        kinds = ["coordinators", "agent", "http", "members", "all"]
        if not hasattr(self.world.cluster.registry, "part"):
            kinds.remove("members")
        ends = [self.fault(kind) for kind in self.chance.sample(kinds, self.chance.choice([1, 1, 2]))]
        for end in ends:
            self.world.wait(self.duration())
            end()

    def stays_cut(self, kind, direction, coordinators=0):
        """A master, and as many coordinators with it: its work moves."""
        w = self.world
        wait_for("all are well", lambda: w.tend() or self.all_up(), 30)
        victim = self.chance.choice(w.masters[:AGENTS] if kind == "agent" else w.masters[AGENTS:])
        among = self.chance.sample(w.coordinators, coordinators)
        others = [c for c in w.coordinators if c not in among]
        ways = [way for name in [victim.address, *(c.name for c in among)] for way in w.ways[name]]
        life = victim.life()

        def its_work():
            """None: that is not known just now."""
            a = others[0].api("GET", f"/v1/work?kind=master&owner={victim.address}&limit=1000")
            return None if a.status == 503 else [i for i in a.json["items"] if i["state"] not in ("done", "dropped") and
                                                 str(i["process"]["startupTime"]) == life]
        wait_for("work of who is cut", its_work)
        how = f"{kind}{' and coordinator' if among else ''} {direction}"
        self.faults[f"stays: {how}"] += 1
        began, began_at = time.monotonic(), time.strftime("%H:%M:%S", time.gmtime())
        cut(ways, direction)
        try:
            wait_for("its work elsewhere", lambda: its_work() == [], 30)
        except AssertionError as error:
            self.problems.append(f"{how}: {error}")
        took = time.monotonic() - began
        self.moved[how] = max(took, self.moved.get(how, 0))
        limit = (SESSION + 5) * (2 if among or direction != "answers" else 1) * SLOW
        if took > limit:
            self.problems.append(f"slow: {how}: {victim.address} at {began_at}: moved after {took:.1f} s (all was "
                                 f"{pace():.1f} times slower than on an idle machine)")
        w.wait(self.chance.uniform(0, SESSION))
        heal(ways)

    def all_up(self):
        w = self.world
        up = {(n["address"], str(n["process"]["startupTime"])) for n in w.api.all("/v1/nodes") if n["state"] == "up"}
        return all(Api(port)("GET", "/readyz").status == 200 for port in w.ports) and \
            all((m.address, m.life()) in up for m in w.masters)

    def well_again(self, began):
        """Everybody, and all coordinators say the same."""
        w = self.world
        state = {}

        def known():
            w.tend()
            state["late"] = f"{time.monotonic() - began:.1f} s: nodes or readyz"
            if not self.all_up():
                return False
            state["late"] = f"{time.monotonic() - began:.1f} s: items"
            lives = {f"{m.address}@{m.life()}" for m in w.masters}
            seen = []
            for port in w.ports:
                seen.append({i["id"]: (f"{i['owner']}@{i['process']['startupTime']}", i["epoch"], i["state"])
                             for i in Api(port).all("/v1/work?kind=master") if i["state"] not in ("done", "dropped")})
            state["odd"] = [(k, *v) for k, v in seen[0].items() if v[0] not in lives or v[2] != "assigned" or
                            not w.ledger.knows(k, v[1], v[0])][:5]
            return not state["odd"] and seen.count(seen[0]) == len(seen)
        try:
            wait_for("everybody is well", known, 30)
            self.healed_in = time.monotonic() - began
            w.give(range(ITEMS, ITEMS + 5))
        except AssertionError as error:
            self.problems.append(f"not well again: {error} {state}")

    def carry_out(self):
        w = self.world
        whole = [self.some_faults] * (ROUNDS - 2)
        whole.append(lambda: self.stays_cut("agent", "answers"))
        whole.append(lambda: self.stays_cut(*self.chance.choice([
            ("agent", "both"), ("agent", "requests"), ("agent", "refused"), ("agent", "both", 1), ("agent", "answers", 1),
            ("http", "both"), ("http", "requests"), ("http", "answers"), ("http", "both", 1), ("http", "refused", 1)])))
        self.chance.shuffle(whole)
        with Load(w, pause=0.3) as self.load:
            for step in whole:
                step()
                w.wait(self.chance.uniform(0, 2))
            healed = time.monotonic()
        self.well_again(healed)
        for m in w.masters:
            m.die()
        self.judge()

    def judge(self):
        w, lives = self.world, {}
        for m in w.masters:
            lives.update(m.lives())
        of = by_item(w.ledger)
        self.problems += judge(w.ledger, lives, w.allowed)
        for p in w.cluster.processes:
            if p.lines("registry_went_back"):
                self.problems.append(f"alarm: {p.name}: {p.lines('registry_went_back')[0]}")
        owners = {item: {o for _, _, o in told} for item, told in of.items()}
        self.figures = {"faults": self.faults.total(), "items": len(of), "told": len(w.ledger.seen),
                        "moves": sum(len(o) - 1 for o in owners.values()), "checks allowed": len(w.allowed),
                        "given": self.load.given.total(), "finished": self.load.finished.total(),
                        "lives": len(lives)}

    def __call__(self):
        began, self.figures = time.monotonic(), {}
        with Cluster(session=SESSION, more=MORE, registry=REGISTRIES[self.kind]) as cluster:
            with World(cluster) as self.world:
                self.carry_out()
            if self.problems:
                self.keep()
        moved = ", ".join(f"{how} {took:.1f}" for how, took in self.moved.items())
        print(f"{'FAIL' if self.problems else 'ok  '} seed {self.seed} {self.kind}: "
              f"{', '.join(f'{n} {what}' for what, n in self.figures.items())}; moved after s: {moved}; "
              f"all well after {self.healed_in:.1f} s ({time.monotonic() - began:.0f} s)\n     "
              f"{', '.join(f'{n} {what}' for what, n in sorted(self.faults.items()))}", flush=True)
        for p in self.problems[:10]:
            print(f"     {p}", flush=True)
        return self.problems

    def keep(self):
        where = os.path.join(os.environ.get("BUILD", "build"), "partitions", f"{self.kind}-{self.seed}")
        shutil.rmtree(where, ignore_errors=True)
        os.makedirs(where)
        for p in self.world.cluster.processes:
            shutil.copy(p.log, where)
        for m in self.world.masters[:AGENTS]:
            shutil.copy(m.signs, where)
        with open(os.path.join(where, "told.json"), "w", encoding="utf-8") as f:
            json.dump(sorted((*key, at) for key, at in self.world.ledger.seen.items()), f, indent=0)
        print(f"     see {where}", flush=True)


def main():
    end_when_told()
    runs = int(os.environ.get("RUNS", 4))
    seed = int(os.environ.get("SEED", 0)) or random.SystemRandom().randrange(1, 10 ** 6)
    kinds = os.environ.get("REGISTRIES", ",".join(REGISTRIES)).split(",")
    check(all(k in REGISTRIES for k in kinds), f"REGISTRIES: one of {', '.join(REGISTRIES)}")
    failed, total, moved = 0, collections.Counter(), {}
    for k in range(runs):
        one = Run(seed + k, kinds[k % len(kinds)])
        try:
            failed += bool(one())
        except Exception as error:  # noqa: the next run may say more
            failed += 1
            print(f"FAIL seed {one.seed} {one.kind}: {type(error).__name__}: {error}", flush=True)
        total.update(one.figures)
        for how, took in one.moved.items():
            moved.setdefault(how, []).append(took)
    print(f"in all: {', '.join(f'{n} {what}' for what, n in total.items())}")
    for how, took in sorted(moved.items()):
        print(f"        {how}: moved {len(took)} times, longest after {max(took):.1f} s")
    print(f"{runs - failed} passed, {failed} failed, 0 skipped")
    sys.exit(failed > 0)


if __name__ == "__main__":
    main()
