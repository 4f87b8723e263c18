"""Chaos: real coordinators, masters and a registry, killed and stopped at
random; judged from the masters' own histories (chaos_judge.py).

    make chaos RUNS=20 [SECONDS=60] [SEED=n] [REGISTRIES=sqlite,zookeeper,etcd,postgresql] [RENEWALS=grouped]

Run k is of seed SEED + k on the registries in turn. A seed decides the faults,
their times and their victims, not how the processes run in between.
"""

import http.client
import json
import os
import random
import shutil
import sys
import threading
import time

import chaos_judge
import chaos_master
import etcd
import sql
import zookeeper
from cluster import Api, Cluster, Failure, Process, Sqlite, check, free_port, wait_for

HERE = os.path.dirname(os.path.abspath(__file__))
COORDINATORS, MASTERS, AGENTS = 3, 6, 2     # the first of the masters are agents' commands
SESSION, TTL = 4, 3
FAILOVER = ("failover: {grace: 300ms, reconcile-interval: 1s, settle: 2s, poison-limit: 6, poison-window: 2s, "
            "brake: {window: 10s}}\n" +
            (f"renewals: {os.environ['RENEWALS']}\n" if "RENEWALS" in os.environ else ""))
REGISTRIES = {
    "sqlite": Sqlite,
    "zookeeper": lambda c: zookeeper.Registry(c),
    "etcd": lambda c: etcd.Registry(c),
    "postgresql": lambda c: sql.Registry(c, "postgresql"),
    "mysql": lambda c: sql.Registry(c, "mysql"),
}


class Master:
    def __init__(self, run, number):
        self.run = run
        self.number = number
        self.address = f"10.0.0.{number}:5678"
        self.process = None
        self.lives = 0
        self.history = None

    def start(self):
        run = self.run
        self.lives += 1
        self.history = os.path.join(run.cluster.dir, f"history-{self.number}-{self.lives}")
        open(self.history, "wb").close()
        agent = self.number < AGENTS
        argv = [sys.executable, os.path.join(HERE, "chaos_master.py"), self.address, self.history,
                "0" if agent else str(TTL), *map(str, run.ports)]
        if agent:
            self.process = run.cluster.agent("master", self.address, command=argv)
        else:
            self.process = Process(f"master-{self.number}", argv, os.path.join(run.cluster.dir, f"master-{self.number}.log"))
            run.cluster.processes.append(self.process)

    def die(self):
        """Its history is complete; what it had not ended it had at most until now."""
        self.run.histories.append((self.history, self.address, chaos_master.now()))

    def kill(self):
        self.process.kill()
        self.process.file.close()
        self.die()


class Coordinator:
    def __init__(self, run, port):
        self.run = run
        self.port = port
        self.process = None

    def start(self):
        self.process = self.run.cluster.coordinator(port=self.port, wait=False)

    def kill(self):
        self.process.kill()
        self.process.file.close()


class Server:
    """The registry's; its own kill, start, stop and resume."""

    def __init__(self, registry):
        servers = getattr(registry, "servers", None) or getattr(registry, "server", None)
        self.server = servers[0] if isinstance(servers, list) else servers

    @property
    def process(self):
        return self.server.process

    def kill(self):
        self.server.kill()

    def start(self):
        self.server.start()


class Run:
    def __init__(self, seed, kind, seconds):
        self.seed = seed
        self.kind = kind
        self.seconds = seconds
        self.random = random.Random(seed)
        self.ports = [free_port() for _ in range(COORDINATORS)]
        self.histories = []
        self.accepted = set()
        self.faults = {}
        self.back = []      # (when, what brings the victim of a fault back)
        self.down = set()
        self.stopping = threading.Event()

    # --- work ----------------------------------------------------------------

    def submit(self):
        """One after the other, each said again until somebody has accepted it."""
        chance = random.Random(self.seed + 1)
        n = 0
        while not self.stopping.is_set():
            item, n = f"item-{n}", n + 1
            while True:
                try:
                    answer = Api(chance.choice(self.ports))("POST", "/v1/work", {"id": item, "kind": "master"}, timeout=5)
                    if answer.status in (200, 201):
                        self.accepted.add(item)
                        break
                except Exception:  # noqa: whatever happened to it, it is said again
                    pass
                if self.stopping.wait(0.2):
                    self.unsure.add(item)
                    return
            self.stopping.wait(chance.uniform(0.05, 0.5 if n > 100 else 0.1))

    # --- faults --------------------------------------------------------------

    def fault(self, victims):
        kind = self.random.choices(list(victims), [3, 2, 1][:len(victims)])[0]
        what = self.random.choice(["kill", "stop", "stop"])
        victim = self.random.choice(victims[kind])
        away = self.random.uniform(0.1, 4 if what == "kill" else 7)
        if victim in self.down or not victim.process.alive():
            return
        self.down.add(victim)
        self.faults[f"{kind} {what}"] = self.faults.get(f"{kind} {what}", 0) + 1
        if what == "kill":
            victim.kill()
            back = victim.start
        else:
            victim.process.stop()
            back = victim.process.resume
        self.back.append((time.monotonic() + away, victim, back))

    def bring_back(self, by):
        for when, victim, back in [b for b in self.back if b[0] <= by]:
            self.back.remove((when, victim, back))
            self.down.discard(victim)
            back()

    def start_again(self):
        """An agent ends when it cannot go on: as a service it is started again."""
        for m in self.masters:
            if m not in self.down and not m.process.alive():
                m.die()
                m.start()

    def chaos(self):
        victims = {"master": self.masters, "coordinator": self.coordinators}
        if self.kind != "sqlite":
            victims["registry"] = [Server(self.cluster.registry)]
        end = time.monotonic() + self.seconds
        following = time.monotonic() + 1
        while time.monotonic() < end:
            time.sleep(0.05)
            self.bring_back(time.monotonic())
            self.start_again()
            if time.monotonic() >= following:
                self.fault(victims)
                following = time.monotonic() + self.random.uniform(0.3, 3)

    # --- one run -------------------------------------------------------------

    def state(self):
        """As a coordinator tells it that can be asked; None: none can."""
        for port in self.ports:
            try:
                return {i["id"]: i for i in Api(port).all("/v1/work?kind=master")}
            except (OSError, http.client.HTTPException, Failure):
                pass
        return None

    def all_done(self):
        self.start_again()
        final = self.state() or {}
        left = [i for i in self.accepted if final.get(i, {}).get("state") != "done"]
        if not left:
            self.final = final
        return not left

    def settle(self):
        """Everything is well again: now all must be finished."""
        self.bring_back(float("inf"))
        self.stopping.set()
        self.final = None
        try:
            wait_for("all work done", self.all_done, 120)
        except AssertionError:
            self.final = self.state()
            check(self.final is not None, "no coordinator can be asked in the end: nothing is known of what was accepted")

    def carry_out(self):
        self.masters = [Master(self, n) for n in range(MASTERS)]
        self.coordinators = [Coordinator(self, p) for p in self.ports]
        self.unsure = set()
        for c in self.coordinators:
            c.start()
        for c in self.coordinators:
            c.process.wait_ready()
        for m in self.masters:
            m.start()
        self.cluster.wait_up(Api(self.ports[0]), *(m.address for m in self.masters))
        submitter = threading.Thread(target=self.submit)
        submitter.start()
        try:
            self.chaos()
        finally:
            self.stopping.set()
            submitter.join()
        self.settle()
        for m in self.masters:
            m.kill()

    def __call__(self):
        began = time.monotonic()
        with Cluster(session=SESSION, more=FAILOVER, registry=REGISTRIES[self.kind]) as self.cluster:
            self.carry_out()
            problems, figures = chaos_judge.judge(self.histories, self.accepted, self.final)
            if problems:
                self.keep()
        told = ", ".join(f"{n} {what}" for what, n in [*figures.items(), *sorted(self.faults.items())])
        print(f"{'FAIL' if problems else 'ok  '} seed {self.seed} {self.kind}: {told} ({time.monotonic() - began:.0f} s)",
              flush=True)
        for p in problems[:10]:
            print(f"     {p}", flush=True)
        return problems

    def keep(self):
        where = os.path.join(os.environ.get("BUILD", "build"), "chaos", f"{self.kind}-{self.seed}")
        shutil.rmtree(where, ignore_errors=True)
        os.makedirs(where)
        for name in os.listdir(self.cluster.dir):
            if name.endswith((".log", ".yaml")) or name.startswith("history"):
                shutil.copy(os.path.join(self.cluster.dir, name), where)
        with open(os.path.join(where, "final.json"), "w", encoding="utf-8") as f:
            json.dump(self.final, f, indent=1)
        print(f"     see {where}", flush=True)


def main():
    runs, seconds = int(os.environ.get("RUNS", 4)), int(os.environ.get("SECONDS", 60))
    seed = int(os.environ.get("SEED", 0)) or random.SystemRandom().randrange(1, 10 ** 6)
    kinds = os.environ.get("REGISTRIES", "sqlite,zookeeper,etcd,postgresql").split(",")
    check(all(k in REGISTRIES for k in kinds), f"REGISTRIES: one of {', '.join(REGISTRIES)}")
    failed = 0
    for k in range(runs):
        try:
            failed += bool(Run(seed + k, kinds[k % len(kinds)], seconds)())
        except Exception as error:  # noqa: the next run may say more
            failed += 1
            print(f"FAIL seed {seed + k} {kinds[k % len(kinds)]}: {type(error).__name__}: {error}", flush=True)
    print(f"{runs - failed} passed, {failed} failed, 0 skipped")
    sys.exit(failed > 0)


if __name__ == "__main__":
    main()
