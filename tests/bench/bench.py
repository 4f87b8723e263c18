#!/usr/bin/env python3
"""make bench: what is to be reached, and what is, in one table.

Runs the programs of PROGRAMS one after the other and reads their rows (row.h
has the form of the line); all else they print goes to build/bench/NAME.log. A
program may print a name several times, and is run RUNS times if its entry says
so: the table shows medians. One that fails, or a row that nobody printed, keeps
nobody from the others and is named at the end.

    make bench [ONLY=REGEX] [BASELINE=FILE]     programs whose name matches; beside an earlier
                                                build/bench/bench.json of this machine
    make bench-old COMMIT=abc [ONLY=REGEX] [PAIRS=7]    that commit and this tree, in turn

A program gets BUILD and PELORUS in its environment, those of the tree that is
measured, and must measure nothing else: bench-old runs it on both. An old tree
is built with today's tests/bench and Makefile on top of its own sources; what
cannot be built so is left out, and named.

To add one: a line in PROGRAMS; if it is to reach something, one in WANTED.
"""

import json
import os
import platform
import re
import statistics
import subprocess
import sys
import tempfile
import time

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
RUNS = 7
DEADLINE = 1800     # seconds for one call of one program
LEAST_SPREAD = 0.03     # of a median: less is never news

# Each row that is to reach something, in the order of the table.
WANTED = {
    "pick-100": "a pick with alternates, 100 workers",
    "pick-10000": "a pick with alternates, 10,000 workers",
    "pick-100000": "a pick with alternates, 100,000 workers",
    "affinity-100000": "a pick with affinity, 100,000 workers",
    "batch-100000": "picks in batches of 64, 100,000 workers",
    "threads-4": "picks over HTTP, four threads beside one",
    "best-10000": "workers/best beside the bare library, 10,000 workers",
    "memory-nodes": "resident for 10,000 nodes",
    "memory-item": "resident for one of 100,000 items",
    "work-post": "POST /v1/work on SQLite beside raw group commits",
    "moves-mysql": "10,000 moves beside a bare client, MariaDB",
    "moves-postgresql": "10,000 moves beside a bare client, PostgreSQL",
    "heartbeats-zookeeper": "10,000 workers reporting every 10 s, ZooKeeper",
    "heartbeats-etcd": "10,000 workers reporting every 10 s, etcd",
    "heartbeats-mysql": "10,000 workers reporting every 10 s, MariaDB",
    "heartbeats-postgresql": "10,000 workers reporting every 10 s, PostgreSQL",
    "publish-one": "a snapshot after one change beside a whole one, 10,000 nodes",
}

# name, command below the root ({build}: the tree that is measured), how often.
PROGRAMS = [
    ("picks", "{build}/tests/bench/bench_pick", 1),
    ("journal", "{build}/tests/bench/bench_journal", 1),
    ("best", "python3 tests/bench/best.py", 1),
    ("work-post", "{build}/tests/bench/bench_work_post", 1),
    ("moves-sql", "{build}/tests/bench/bench_sql_move", 1),
    ("moves-sqlite", "{build}/tests/bench/bench_sqlite_move", 1),
    ("moves-zookeeper", "{build}/tests/bench/bench_zookeeper_move", 1),
    ("moves-etcd", "{build}/tests/bench/bench_etcd_move", 1),
    ("memory-items", "{build}/tests/bench/bench_memory --items 100000", 1),
    ("memory-nodes", "{build}/tests/bench/bench_memory --nodes 10000", 1),
    ("heartbeats-zookeeper", "python3 tests/integration/test_zookeeper_scale.py ten_thousand", 1),
    ("heartbeats-etcd", "python3 tests/integration/test_etcd_scale.py ten_thousand", 1),
    ("heartbeats-sql", "python3 tests/integration/test_jdbc.py ten_thousand_workers", 1),
    ("failover", "python3 tests/integration/test_failover.py ten_thousand", 1),
]

ROW = re.compile(r"^row (\S+) (\S+) (\S+)(?: (\S+) (<=|>=))?(?: #\s*(.*))?$")


class Row:
    """A name, and what was measured of it."""

    def __init__(self, name, unit, limit, sign):
        self.name, self.unit, self.limit, self.sign = name, unit, limit, sign
        self.values, self.note = [], ""

    @property
    def median(self):
        return statistics.median(self.values)

    @property
    def spread(self):
        return (max(self.values) - min(self.values)) / abs(self.median) if self.median else 0.0

    @property
    def ratio(self):
        """To the limit; above 1 is beyond it, on whichever side is worse."""
        if self.limit is None:
            return None
        above, below = (self.median, self.limit) if self.sign == "<=" else (self.limit, self.median)
        return above / below if below else float("inf")

    @property
    def reached(self):
        return None if self.limit is None else self.ratio <= 1

    def as_json(self):
        return {"name": self.name, "what": WANTED.get(self.name), "unit": self.unit, "median": self.median,
                "runs": len(self.values), "values": self.values, "limit": self.limit, "sign": self.sign,
                "reached": self.reached, "note": self.note}


def read_rows(text, rows):
    """The rows of a program's output, added to `rows`; how many there were."""
    found = 0
    for line in text.splitlines():
        m = ROW.match(line)
        if not m:
            if line.startswith("row "):
                print(f"    not a row: {line}")
            continue
        name, unit, value, limit, sign, note = m.groups()
        row = rows.setdefault(name, Row(name, unit, float(limit) if limit else None, sign))
        row.values.append(float(value))
        row.note = note or row.note
        found += 1
    return found


def run(program, build, log, rows):
    """One call; why it failed, or ""."""
    name, command, _ = program
    env = dict(os.environ, BUILD=build, PELORUS=os.path.join(ROOT, build, "pelorus"))
    words = command.format(build=build).split()
    if not words[0].startswith("python3") and not os.access(os.path.join(ROOT, words[0]), os.X_OK):
        return f"{name}: not built"
    try:
        done = subprocess.run(words, cwd=ROOT, env=env, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
                              errors="replace", timeout=DEADLINE, check=False)
        text, rc = done.stdout, done.returncode
    except subprocess.TimeoutExpired as late:
        text, rc = (late.stdout or b"").decode(errors="replace"), f"no end within {DEADLINE} s"
    with open(log, "a", encoding="utf-8") as f:
        f.write(text)
    read_rows(text, rows)
    return "" if rc == 0 else f"{name}: exit {rc}, see {os.path.relpath(log, ROOT)}"


def derive(rows):
    """What follows from other rows. Four threads: by Amdahl's law, a pick being the part of a request that
    one of them does at a time; where best.py could not measure it."""
    request, pick = rows.get("best-request"), rows.get("pick-10000")
    if "threads-4" in rows or request is None or pick is None:
        return
    alone = min(1.0, pick.median / 1e3 / request.median)
    row = rows["threads-4"] = Row("threads-4", "x", 3.0, ">=")
    row.values.append(1 / (alone + (1 - alone) / 4))
    row.note = f"computed: {pick.median:.0f} ns of {request.median:.1f} us are a pick, under the balancer's lock"


def machine():
    """What figures can be compared by."""
    cpu = "unknown"
    with open("/proc/cpuinfo", encoding="utf-8") as f:
        for line in f:
            if line.startswith(("model name", "Model")):
                cpu = line.split(":", 1)[1].strip()
                break
    compiler = subprocess.run([*os.environ.get("CC", "gcc").split(), "--version"], capture_output=True, text=True,
                              check=False).stdout.splitlines()
    commit = subprocess.run(["git", "describe", "--always", "--dirty"], cwd=ROOT, capture_output=True, text=True,
                            check=False).stdout.strip()
    return {"cpu": cpu, "cores": os.cpu_count(), "kernel": platform.release(),
            "compiler": compiler[0] if compiler else "unknown", "commit": commit,
            "when": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())}


def number(x):
    if x is None:
        return "-"
    return f"{x:,.0f}" if abs(x) >= 1000 else f"{x:.3g}"


def in_order(rows):
    """Names: those wanted, measured or not, and then all others."""
    return list(WANTED) + sorted(n for n in rows if n not in WANTED)


def print_table(rows, names):
    print(f"\n{'':21} {'':64}{'measured':>10} {'wanted':>12} {'ratio':>6}  runs")
    for name in names:
        row = rows.get(name)
        what = WANTED.get(name, "")
        if row is None:
            print(f"{name:21} {what:64}{'-':>10} {'':12} {'':6}     not measured")
            continue
        wanted = f"{row.sign} {number(row.limit)}" if row.sign else "-"
        verdict = {True: "reached", False: "MISSED", None: ""}[row.reached]
        note = f"  ({row.note})" if row.note else ""
        print(f"{name:21} {what:57} {row.unit:>6}{number(row.median):>10} {wanted:>12} {number(row.ratio):>6} "
              f"{len(row.values):5}  {verdict}{note}")


def compare(rows, path):
    """Beside an earlier run; the names of what is worse by more than both
    spread. An error if that was on another machine."""
    with open(path, encoding="utf-8") as f:
        before = json.load(f)
    here = machine()
    for what in ("cpu", "cores"):
        if before["machine"][what] != here[what]:
            sys.exit(f"bench: {path} is of another machine: {what} {before['machine'][what]}, here {here[what]}")
    for what in ("kernel", "compiler"):
        if before["machine"][what] != here[what]:
            print(f"note: {what} {here[what]}, it was {before['machine'][what]}")
    print(f"\nbeside {path} (commit {before['machine']['commit']}):")
    worse = []
    for old in before["rows"]:
        row = rows.get(old["name"])
        if row is None or not old["median"] or not row.median:
            continue
        was = Row(old["name"], old["unit"], old["limit"], old["sign"])
        was.values = old["values"]
        change = row.median / was.median - 1
        spread = max(row.spread, was.spread, LEAST_SPREAD)
        bad = row.sign and (change if row.sign == "<=" else -change) > spread
        print(f"{row.name:21} {number(was.median):>10} -> {number(row.median):>10} {row.unit:8} {change:+7.1%}, "
              f"spread {spread:.1%}{'  WORSE' if bad else ''}")
        if bad:
            worse.append(row.name)
    return worse


def chosen():
    only = re.compile(os.environ.get("ONLY") or ".")
    found = [p for p in PROGRAMS if only.search(p[0])]
    return found or sys.exit(f"bench: ONLY={only.pattern} names none of {', '.join(p[0] for p in PROGRAMS)}")


def results(*parts):
    path = os.path.join(ROOT, "build", "bench", *parts)
    os.makedirs(os.path.dirname(path), exist_ok=True)
    return path


def fresh_log(name):
    log = results(name + ".log")
    if os.path.exists(log):
        os.remove(log)
    return log


def end(failed, worse=()):
    for line in failed:
        print(f"failed: {line}", file=sys.stderr)
    if worse:
        print(f"worse than the baseline: {', '.join(worse)}", file=sys.stderr)
    sys.exit(1 if failed or worse else 0)


def bench(build):
    rows, failed, programs = {}, [], chosen()
    for program in programs:
        name, _, times = program
        log, before = fresh_log(name), time.monotonic()
        for _ in range(times):
            why = run(program, build, log, rows)
            if why and why not in failed:
                failed.append(why)
        print(f"== {name}: {time.monotonic() - before:.0f} s, {os.path.relpath(log, ROOT)}", flush=True)
    derive(rows)
    print_table(rows, in_order(rows) if len(programs) == len(PROGRAMS) else [n for n in in_order(rows) if n in rows])
    out = results("bench.json")
    with open(out, "w", encoding="utf-8") as f:
        json.dump({"machine": machine(), "rows": [rows[n].as_json() for n in in_order(rows) if n in rows]}, f, indent=1)
        f.write("\n")
    print(f"\n{os.path.relpath(out, ROOT)}")
    baseline = os.environ.get("BASELINE")
    end(failed, compare(rows, baseline) if baseline else [])


def build_old(commit):
    """A tree of that commit with today's benchmarks, built; its build folder."""
    full = subprocess.run(["git", "rev-parse", "--short=12", commit + "^{commit}"], cwd=ROOT, capture_output=True,
                          text=True, check=False).stdout.strip() or sys.exit(f"bench-old: no commit {commit}")
    tree = results("old", full)
    if not os.path.isdir(tree):
        subprocess.run(["git", "worktree", "prune"], cwd=ROOT, check=True)
        subprocess.run(["git", "worktree", "add", "-q", "--detach", tree, full], cwd=ROOT, check=True)
    subprocess.run(["git", "checkout", "-q", "--force", full], cwd=tree, check=True)
    for part in ("Makefile", "tests/bench", "tests/lib", "tests/registry"):
        subprocess.run(["rm", "-rf", "--", os.path.join(tree, part)], check=True)
        subprocess.run(["cp", "-a", "--", os.path.join(ROOT, part),
                        os.path.join(tree, os.path.dirname(part))], check=True)
    print(f"== building {full} in {os.path.relpath(tree, ROOT)}", flush=True)
    with open(fresh_log("old-build"), "w", encoding="utf-8") as log:
        make = ["make", f"-j{os.cpu_count()}"]
        if subprocess.run([*make, "all"], cwd=tree, stdout=log, stderr=log, check=False).returncode != 0:
            sys.exit(f"bench-old: {full} does not build, see {os.path.relpath(log.name, ROOT)}")
        # What today's benchmarks ask for and that tree does not have yet is left out.
        subprocess.run([*make, "-k", "benches"], cwd=tree, stdout=log, stderr=log, check=False)
    return full, os.path.relpath(os.path.join(tree, "build"), ROOT)


def bench_old(build, commit, pairs):
    full, old = build_old(commit)
    failed, ratios, units = [], {}, {}
    for program in chosen():
        name, logs = program[0], [fresh_log(program[0]), fresh_log("old-" + program[0])]
        for i in range(pairs):
            pair = [{}, {}]
            for side in ((0, 1), (1, 0))[i % 2]:    # neither is always the first
                why = run(program, (build, old)[side], logs[side], pair[side])
                if why:
                    failed.append(f"{('now', full)[side]}: {why}")
            for row in pair[0].values():
                was = pair[1].get(row.name)
                if was and was.median and row.median:
                    ratios.setdefault(row.name, []).append((row.median, was.median))
                    units[row.name] = row
            print(f"== {name}: pair {i + 1} of {pairs}", flush=True)
            if any(": not built" in f for f in failed if name in f):
                break
    print(f"\n{'':24} {'':>8} {full:>12} {'now':>12} {'now/old':>8}  of the pairs")
    table = []
    for name in sorted(ratios, key=lambda n: in_order(ratios).index(n)):
        pairs_of = ratios[name]
        each = [now / was for now, was in pairs_of]
        now, was = (statistics.median(p[i] for p in pairs_of) for i in (0, 1))
        print(f"{name:24} {units[name].unit:>8} {number(was):>12} {number(now):>12} {statistics.median(each):8.3f}  "
              f"{min(each):.3f} .. {max(each):.3f}, {len(each)} pairs"
              f"{'; more is better' if units[name].sign == '>=' else ''}")
        table.append({"name": name, "unit": units[name].unit, "old": was, "now": now,
                      "ratio": statistics.median(each), "ratios": each})
    with open(results("bench-old.json"), "w", encoding="utf-8") as f:
        json.dump({"machine": machine(), "old": full, "rows": table}, f, indent=1)
        f.write("\n")
    end(list(dict.fromkeys(failed)))


def self_check():
    """What the table says of rows that are known."""
    rows = {}
    text = ("row a ns 3 2 <= # why\nrow a ns 1 2 <=\nrow a ns 2 2 <=\nnoise\nrow b M/s 4 8 >=\n"
            "row best-request us 10\nrow pick-10000 ns 1000 150 <=\n")
    expected = [
        ("rows", read_rows(text, rows), 6),
        ("median", rows["a"].median, 2), ("reached", rows["a"].reached, True), ("note", rows["a"].note, "why"),
        ("spread", rows["a"].spread, 1), ("ratio of at least", rows["b"].ratio, 2), ("missed", rows["b"].reached, False),
        ("no limit", rows["best-request"].reached, None),
    ]
    derive(rows)
    expected.append(("four threads", round(rows["threads-4"].median, 3), round(1 / (0.1 + 0.9 / 4), 3)))
    before = [dict(rows["b"].as_json(), values=[5.0], median=5.0), rows["best-request"].as_json(),
              dict(rows["a"].as_json(), values=[1.0], median=1.0)]
    with tempfile.NamedTemporaryFile("w", suffix=".json") as f:
        json.dump({"machine": machine(), "rows": before}, f)
        f.flush()
        expected.append(("worse beyond the spread", compare(rows, f.name), ["b"]))
    wrong = [f"{what}: {got}, not {wanted}" for what, got, wanted in expected if got != wanted]
    print("\n".join(wrong + [f"{len(expected) - len(wrong)} passed, {len(wrong)} failed, 0 skipped"]))
    sys.exit(1 if wrong else 0)


if __name__ == "__main__":
    tree = os.environ.get("BUILD") or "build"
    if len(sys.argv) == 3 and sys.argv[1] == "--old" and sys.argv[2]:
        bench_old(tree, sys.argv[2], int(os.environ.get("PAIRS") or RUNS))
    elif sys.argv[1:] == ["--check"]:
        self_check()
    elif len(sys.argv) == 1:
        bench(tree)
    else:
        sys.exit("bench: make bench-old COMMIT=abc")
