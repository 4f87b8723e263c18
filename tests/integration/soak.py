"""A soak: clusters that live for long, on each registry, side by side; what
must not be lost is judged, and what should not grow is measured.

    make soak MINUTES=n [REGISTRY=sqlite|etcd|zookeeper|mysql|postgresql|all] [RENEWALS=single|grouped]

Two coordinators; NODES workers and 8 masters over HTTP and two agents with
sessions of their own, at leases of LEASE seconds; RATE items a second. Twice in
three leases a master is killed, or leaves, and its work must be at others once.
A line a minute, in the end a table; exit 1 for anything lost, moved without a
cause or grown above its bound (soak_load.py has both).
"""

import json
import os
import subprocess
import sys
import threading
import time

import soak_load
from cluster import PELORUS, Cluster, Lateness, check, cpu_seconds, end_when_told
from soak_stores import STORES

MINUTES = float(os.environ.get("MINUTES") or 1)
REGISTRY = os.environ.get("REGISTRY") or "all"
NODES = int(os.environ.get("NODES") or 150)
RATE = float(os.environ.get("RATE") or 2)
LEASE = int(os.environ.get("LEASE") or 15)
SEED = int(os.environ.get("SEED") or 1)
SHORT = 10      # minutes: a run of less has not warmed up
# Nobody's death is the work's fault here; what is done is forgotten soon.
MORE = ("failover: {grace: 1s, reconcile-interval: 5s, poison-limit: 6, poison-window: 1s, brake: {window: 10s}}\n"
        f"work: {{keep: {5 * LEASE}s}}\n" +
        (f"renewals: {os.environ['RENEWALS']}\n" if "RENEWALS" in os.environ else ""))
MIB = 1 << 20


def process_sizes(pid):
    with open(f"/proc/{pid}/status", encoding="ascii", errors="replace") as f:
        told = dict(line.split(":", 1) for line in f)
    return {"rss": int(told["VmRSS"].split()[0]) * 1024, "threads": int(told["Threads"]),
            "files": len(os.listdir(f"/proc/{pid}/fd"))}


class Soak:
    def __init__(self, kind):
        self.kind = kind
        self.begin = self.end = None
        self.problems = []

    def say(self, text):
        print(f"soak {self.kind}: {text}", flush=True)

    def sizes(self):
        """Of both coordinators the larger, and the store's."""
        of = [process_sizes(c.pid) for c in self.coordinators]
        return {**{what: max(o[what] for o in of) for what in of[0]}, **self.cluster.registry.sizes(),
                "cpu": sum(cpu_seconds(c.pid) for c in self.coordinators) / len(of), "server cpu": self.cluster.registry.cpu(),
                "at": time.monotonic(), "kept": self.load.count["losses"]}

    def line(self, minute):
        c, s = self.load.count, self.sizes()
        self.say(f"{minute} min: {c['beats']} beats (p99 < {self.load.percentile(0.99)} ms), {c['kills']} kills, "
                 f"{c['leaves']} leaves, {c['items']} items, {c['moves']} moves; {s['rss'] / MIB:.1f} MiB, {s['files']} files, "
                 f"{s['threads']} threads; store {s['keys']} keys, {s['data'] / MIB:.1f} MiB, disk {s['disk'] / MIB:.1f}; "
                 f"unanswered {c['unanswered']}, refused {c['refused']}, late {c['late']}, errors {len(self.load.errors)}")
        return s

    # --- owners that go ------------------------------------------------------

    def agent(self, n):
        return self.cluster.agent("master", f"10.7.0.{n}:5678")

    def agent_again(self, n, before):
        self.agents[n].file.close()
        self.agents[n] = self.agent(n)
        self.load.stands(f"10.7.0.{n}:5678", before, 3 * LEASE)

    def kill_agent(self, n):
        address = f"10.7.0.{n}:5678"
        before = self.load.processes(address)
        with self.load.lock:
            self.load.down.add(address)
        self.load.lost(address)
        self.agents[n].kill()
        self.load.work_moves(address, 3 * LEASE)
        self.agent_again(n, before)

    def start_again(self):
        """An agent ends when its session does: as a service it is started again."""
        for n, a in self.agents.items():
            if not a.alive():
                address = f"10.7.0.{n}:5678"
                self.load.lost(address)
                self.load.count["late"] += 1
                if self.late.worst < LEASE / 3:
                    self.load.error(f"agent {n} ended: {a.text()[-300:]}")
                self.agent_again(n, self.load.processes(address))

    def losses(self):
        load = self.load
        turn = 0
        while not load.over.wait(LEASE / 2):
            self.start_again()
            node = load.masters[turn // 3 % len(load.masters)]
            if turn % 3 == 1:
                load.count["kills"] += 1
                load.count["losses"] += 1
                self.kill_agent(turn // 3 % len(self.agents) + 1)
            else:
                leaves = turn % 3 == 2
                load.count["leaves" if leaves else "kills"] += 1
                load.count["losses"] += 1
                before = load.processes(node.address)
                load.stop(node, leaves)
                load.work_moves(node.address, 3 * LEASE)
                load.join(node)
                load.stands(node.address, before, 3 * LEASE)
            turn += 1

    # --- one run -------------------------------------------------------------

    def run(self):
        seconds, warm = MINUTES * 60, min(MINUTES * 60 / 3, 1800)
        began, minute = time.monotonic(), 0
        losses = threading.Thread(target=self.load.guarded, args=(self.losses,), daemon=True)
        self.load.start()
        losses.start()
        while time.monotonic() - began < seconds:
            nearest = min(began + 60 * (minute + 1), began + seconds, *([began + warm] if not self.begin else []))
            time.sleep(max(0, nearest - time.monotonic()))
            passed = time.monotonic() - began
            if not self.begin and passed >= warm:
                self.begin = self.sizes()
            if passed >= 60 * (minute + 1) or passed >= seconds:
                minute += 1
                self.end = self.line(minute)
        self.load.over.set()
        losses.join(6 * LEASE)
        self.load.settle()

    def __call__(self):
        with Cluster(session=LEASE, heartbeat="5s", more=MORE, registry=STORES[self.kind]) as self.cluster, \
                Lateness() as self.late:
            self.coordinators = [self.cluster.coordinator() for _ in range(2)]
            self.load = soak_load.Load(self.say, [c.port for c in self.coordinators], LEASE, 8, NODES, RATE, SEED)
            self.agents = {n: self.agent(n) for n in (1, 2)}
            self.cluster.wait_up(self.coordinators[0].api, "10.7.0.1:5678", "10.7.0.2:5678")
            self.run()
            for c in self.coordinators:
                if not c.alive():
                    self.load.error(f"{c.name} ended: {c.text()[-300:]}")
        self.problems = self.load.errors + soak_load.judge_growth(self.begin, self.end, MINUTES < SHORT)
        for what in ("beats", "items", "moves", "kills"):
            if not self.load.count[what]:
                self.problems.append(f"nothing: no {what}")
        for p in self.problems[len(self.load.errors):]:
            self.say(p)
        return {"registry": self.kind, "minutes": MINUTES, "begin": self.begin, "end": self.end, "count": dict(self.load.count),
                "p99": self.load.percentile(0.99), "latest": self.late.worst, "problems": self.problems}


def table(results):
    """Rows of Markdown: begin -> end; late: leases that ran out as nobody renewed
    them in time; latest: so long this program itself was kept from running."""
    rows = [["registry", "heartbeats", "p99 ms", "kills", "left", "items", "moves", "RSS MiB", "files", "threads", "keys",
             "data MiB", "disk MiB", "CPU %", "server %", "unanswered", "late", "latest s", "errors"]]
    rows.append(["---"] * len(rows[0]))
    for r in results:
        b, e, c = r["begin"], r["end"], r["count"]
        seconds = max(1, e["at"] - b["at"])
        rows.append([r["registry"], c.get("beats", 0), f"< {r['p99']}", c.get("kills", 0), c.get("leaves", 0), c.get("items", 0),
                     c.get("moves", 0), f"{b['rss'] / MIB:.1f} -> {e['rss'] / MIB:.1f}", f"{b['files']} -> {e['files']}",
                     f"{b['threads']} -> {e['threads']}", f"{b['keys']} -> {e['keys']}",
                     f"{b['data'] / MIB:.1f} -> {e['data'] / MIB:.1f}", f"{b['disk'] / MIB:.1f} -> {e['disk'] / MIB:.1f}",
                     f"{(e['cpu'] - b['cpu']) / seconds * 100:.2g}", f"{(e['server cpu'] - b['server cpu']) / seconds * 100:.2g}",
                     c.get("unanswered", 0) + c.get("refused", 0), c.get("late", 0), f"{r['latest']:.1f}", len(r["problems"])])
    return "\n".join("| " + " | ".join(str(cell) for cell in row) + " |" for row in rows)


def side_by_side(kinds, out):
    """Each registry's a process of its own."""
    children = {k: subprocess.Popen([sys.executable, __file__], env={**os.environ, "REGISTRY": k, "OUT": out,
                                                                     "PELORUS": os.path.abspath(PELORUS)}) for k in kinds}
    results, failed = [], 0
    try:
        for kind, child in children.items():
            failed += child.wait() != 0
            path = os.path.join(out, f"{kind}.json")
            if os.path.exists(path):
                with open(path, encoding="utf-8") as f:
                    results.append(json.load(f))
    finally:
        for child in children.values():
            if child.poll() is None:
                child.terminate()
    return results, failed


def main():
    end_when_told()
    out = os.environ.get("OUT") or os.path.join(os.environ.get("BUILD", "build"), "soak")
    kinds = list(STORES) if REGISTRY == "all" else REGISTRY.split(",")
    check(all(k in STORES for k in kinds), f"REGISTRY: all, or of {', '.join(STORES)}")
    os.makedirs(out, exist_ok=True)
    if len(kinds) > 1:
        for k in kinds:
            if os.path.exists(os.path.join(out, f"{k}.json")):
                os.unlink(os.path.join(out, f"{k}.json"))
        results, failed = side_by_side(kinds, out)
    else:
        results = [Soak(kinds[0])()]
        failed = int(bool(results[0]["problems"]))
        with open(os.path.join(out, f"{kinds[0]}.json"), "w", encoding="utf-8") as f:
            json.dump(results[0], f, indent=1)
    if not os.environ.get("OUT"):
        print(f"\n{MINUTES:g} minutes each, side by side; from the end of warming up to the end\n\n{table(results)}\n")
        print(f"{len(kinds) - failed} passed, {failed} failed, 0 skipped")
    sys.exit(failed > 0)


if __name__ == "__main__":
    main()
