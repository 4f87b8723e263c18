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

bench.json and bench-old.json are written after each program. With ONLY, rows of
earlier runs on the same machine stay in them; each says of which commit it is.

A program gets BUILD and PELORUS in its environment, those of the tree that is
measured, and must measure nothing else: bench-old runs it on both. An old tree
is built as it was then, and today's tests/bench with today's Makefile on top of
its sources; what cannot be built so has failed, by name. A program that only runs PELORUS
stands in PROGRAMS with {now}: today's is run on both. This tree's runs have the
old PELORUS as OLD; a row NAME-old of theirs is the old one's NAME.

A program that ends with an error after rows and a suite's last line missed a
limit of its own: that is told, and its rows count.

To add one: a line in PROGRAMS; if it is to reach something, one in WANTED; if it
takes what make does not, one in NEEDS.
"""

import glob
import json
import os
import platform
import re
import shutil
import signal
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
    "memory-item": "resident for one of 100,000 items after a restart",
    "memory-item-etcd": "the same on etcd",
    "memory-item-zookeeper": "the same on ZooKeeper",
    "memory-item-mysql": "the same on MariaDB",
    "memory-item-postgresql": "the same on PostgreSQL",
    "work-post": "POST /v1/work on SQLite beside raw group commits",
    "moves-mysql": "10,000 moves beside a bare client, MariaDB",
    "moves-postgresql": "10,000 moves beside a bare client, PostgreSQL",
    "heartbeats-sqlite": "10,000 workers reporting every 10 s, SQLite",
    "heartbeats-zookeeper": "10,000 workers reporting every 10 s, ZooKeeper",
    "heartbeats-etcd": "10,000 workers reporting every 10 s, etcd",
    "heartbeats-mysql": "10,000 workers reporting every 10 s, MariaDB",
    "heartbeats-postgresql": "10,000 workers reporting every 10 s, PostgreSQL",
    **{f"renewals-{kind}-{row}": f"10,000 nodes renewing in groups every 10 s, {name}: {what}" for kind, name in (
        ("etcd", "etcd"), ("mysql", "MariaDB"), ("zookeeper", "ZooKeeper"), ("postgresql", "PostgreSQL"), ("sqlite", "SQLite"))
       for row, what in (("writes", "writes of the store"), ("p99", "p99"), ("lost", "leases lost in failures"))},
    "renewals-etcd-bytes": "etcd's growth by them, beside single renewals",
    "renewals-etcd-cpu": "etcd's processor, beside single renewals",
    "renewals-mysql-bytes-grouped": "MariaDB's binlog, of one (2,507 was a single one's)",
    "publish-one": "a snapshot after one change beside a whole one, 10,000 nodes",
}

# What must not grow worse: shown beside those, and told apart from figures to read others by.
STEADY = {
    "best-tail": "p99.9 of workers/best at half of the highest rate",
    "kill-to-last-move": "from the end of a master to the last of its 10,000 items",
    "move-10000": "of this, from the lock to the last move",
    "ready-items": "readiness after a restart, 100,000 items",
    "ready-nodes": "readiness after a restart, 10,000 nodes",
    "demo": "make demo",
}

KINDS = ("sqlite", "zookeeper", "etcd", "mysql", "postgresql")

# name, command below the root ({build}: the tree that is measured; {now}: this one), how often.
PROGRAMS = [
    ("picks", "{build}/tests/bench/bench_pick", 1),
    ("journal", "{build}/tests/bench/bench_journal", 1),
    ("best", "python3 tests/bench/best.py", 1),
    ("work-post", "{now}/tests/bench/bench_work_post", 1),
    ("moves-sql", "{build}/tests/bench/bench_sql_move", 1),
    ("moves-sqlite", "{build}/tests/bench/bench_sqlite_move", RUNS),
    ("moves-zookeeper", "{build}/tests/bench/bench_zookeeper_move", 1),
    ("moves-etcd", "{build}/tests/bench/bench_etcd_move", 1),
    ("memory-items", "{now}/tests/bench/bench_memory --items 100000", 1),
    ("memory-items-etcd", "{now}/tests/bench/bench_memory --registry etcd --items 100000", 1),
    ("memory-items-zookeeper", "{now}/tests/bench/bench_memory --registry zookeeper --items 100000", 1),
    ("memory-items-mysql", "{now}/tests/bench/bench_memory --registry mysql --items 100000", 1),
    ("memory-items-postgresql", "{now}/tests/bench/bench_memory --registry postgresql --items 100000", 1),
    ("memory-nodes", "{now}/tests/bench/bench_memory --nodes 10000", 1),
    ("nodes-100000", "{now}/tests/bench/bench_many", 1),
    ("nodes-100000-etcd", "{now}/tests/bench/bench_many --registry etcd --renewals grouped --connections 400", 1),
    ("publish", "{build}/tests/bench/bench_publish", RUNS),
    ("heartbeats-sqlite", "{now}/tests/bench/bench_beats", 1),
    ("heartbeats-zookeeper", "python3 tests/integration/test_zookeeper_scale.py ten_thousand_workers", 1),
    ("heartbeats-etcd", "python3 tests/integration/test_etcd_scale.py ten_thousand_workers", 1),
    ("heartbeats-sql", "python3 tests/integration/test_jdbc.py ten_thousand_workers", 1),
    *((f"renewals-{kind}{'-faults' * faults}", f"{{now}}/tests/bench/bench_renewals --registry {kind}{' --faults' * faults}", 1)
      for kind in KINDS for faults in (False, True)),
    *((f"bytes-{kind}", "{build}/tests/bench/bench_bytes --registry " + kind, 1)
      for kind in KINDS),
    ("failover", "python3 tests/bench/failover.py last_item", 1),
    ("demo", "python3 tests/bench/failover.py demo", 1),
]

# What a program runs, by the beginning of its name; a path is a file.
ZOOKEEPER = ["java", "javac", "/usr/share/java/zookeeper.jar", "/usr/share/java/curator-framework.jar"]
SQL = ["mariadbd", "postgres"]
NEEDS = {
    "best": ["wrk", "nginx"],
    "moves-sql": SQL,
    "moves-zookeeper": ZOOKEEPER[:1] + ZOOKEEPER[2:3],
    "moves-etcd": ["etcd"],
    "nodes-100000-etcd": ["etcd"],
    "memory-items-etcd": ["etcd"],
    "memory-items-zookeeper": ZOOKEEPER[:1] + ZOOKEEPER[2:3],
    "memory-items-mysql": SQL[:1],
    "memory-items-postgresql": SQL[1:],
    "heartbeats-zookeeper": ZOOKEEPER,
    "heartbeats-etcd": ["etcd"],
    "heartbeats-sql": SQL,
    **{f"renewals-{kind}{faults}": needs for faults in ("", "-faults") for kind, needs in (
        ("zookeeper", ZOOKEEPER[:1] + ZOOKEEPER[2:3]), ("etcd", ["etcd"]), ("mysql", SQL[:1]), ("postgresql", SQL[1:]))},
    "bytes-zookeeper": ZOOKEEPER[:1] + ZOOKEEPER[2:3],
    "bytes-etcd": ["etcd"],
    "bytes-mysql": SQL[:1],
    "bytes-postgresql": SQL[1:],
    "demo": ["curl", "jq"],
}
# Debian keeps these out of PATH.
PLACES = ["/usr/sbin", *sorted(glob.glob("/usr/lib/postgresql/*/bin"))]

NOW = os.environ.get("BUILD") or "build"
YARDSTICKS = "tests/bench"    # below a build folder
# What today's benchmarks call of base, each needing no more of it than has always been there: an old tree that
# lacks it is lent it.
LENT = ("base/library/library", "base/pack/base64")
ROWLESS = {"journal"}   # figures to read, in its log
# A word of a command, and the folder that came with what it is about: on a tree without it there is nothing to
# measure.
ABOUT = {"bench_renewals": "coordinator/renewals", "grouped": "coordinator/renewals"}

SUITE = re.compile(r"^\d+ passed, \d+ failed, \d+ skipped$")
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
        if not below:
            return float("inf") if above else 0.0  # nothing where nothing is allowed
        return above / below

    @property
    def reached(self):
        return None if self.limit is None else self.ratio <= 1

    def as_json(self):
        return {"name": self.name, "what": WANTED.get(self.name) or STEADY.get(self.name), "unit": self.unit, "median": self.median,
                "runs": len(self.values), "values": self.values, "limit": self.limit, "sign": self.sign, "ratio": self.ratio,
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


def missing(name):
    """What it runs and this machine does not have."""
    path = os.pathsep.join([os.environ.get("PATH", ""), *PLACES])
    return [n for n in NEEDS.get(name, ())
            if not (os.path.exists(n) if n.startswith("/") else shutil.which(n, path=path))]


def output(words, env):
    """What a command said, and its exit code; it is a group of processes, none
    of which outlives its time."""
    with subprocess.Popen(words, cwd=ROOT, env=env, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                          stderr=subprocess.STDOUT, text=True, errors="replace", start_new_session=True) as p:
        try:
            return p.communicate(timeout=DEADLINE)[0], p.returncode
        except subprocess.TimeoutExpired:
            os.killpg(p.pid, signal.SIGKILL)
            return p.communicate()[0], f"no end within {DEADLINE} s"
        except BaseException:
            os.killpg(p.pid, signal.SIGTERM)
            raise


def why_not(text):
    """The line of its output that says what went wrong; or the last one."""
    lines = [line.strip() for line in text.splitlines() if line.strip() and not SUITE.match(line)]
    for sign in ("^FAIL", "rror|failed|cannot", "at least|at most"):
        told = [line for line in lines if re.search(sign, line)]
        if told:
            return told[-1][:200]
    return lines[-1][:200] if lines else "it said nothing"


def run(program, build, log, rows, beside=None):
    """One call; (why it failed, or "", and what it missed, or "")."""
    name, command, _ = program
    env = dict(os.environ, BUILD=build, PELORUS=os.path.join(ROOT, build, "pelorus"), PYTHONUNBUFFERED="1")
    env.pop("OLD", None)
    if beside:
        env["OLD"] = os.path.join(ROOT, beside, "pelorus")
    words = command.format(build=build, now=NOW).split()
    lacks = missing(name)
    if lacks:
        return f"{name}: {', '.join(lacks)} is missing: make bench-deps installs it on Debian", ""
    if words[0] != "python3" and not os.access(os.path.join(ROOT, words[0]), os.X_OK):
        return f"{name}: {words[0]} was not built", ""
    text, rc = output(words, env)
    with open(log, "a", encoding="utf-8") as f:
        f.write(text)
    found = read_rows(text, rows)
    if rc == 0:
        return ("" if found or name in ROWLESS else f"{name}: no rows, see {os.path.relpath(log, ROOT)}"), ""
    problem = f"{name}: exit {rc}, see {os.path.relpath(log, ROOT)}: {why_not(text)}"
    ended = any(SUITE.match(line) for line in text.splitlines()[-1:])
    return ("", problem) if found and ended and rc == 1 else (problem, "")


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
            "compiler": compiler[0] if compiler else "unknown", "commit": commit, "load": round(os.getloadavg()[0], 2),
            "when": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())}


def number(x):
    if x is None:
        return "-"
    return f"{x:,.0f}" if abs(x) >= 1000 else f"{x:.3g}"


def in_order(rows):
    """Names: those wanted, measured or not, what stays as it is, and then all others."""
    known = [*WANTED, *STEADY]
    return known + sorted(n for n in rows if n not in known)


def print_table(rows, names):
    print(f"\n{'':21} {'':64}{'measured':>10} {'wanted':>12} {'ratio':>6}  runs")
    for name in names:
        row = rows.get(name)
        what = WANTED.get(name) or STEADY.get(name, "")
        if row is None:
            print(f"{name:21} {what:64}{'-':>10} {'':12} {'':6}     not measured")
            continue
        wanted = f"{row.sign} {number(row.limit)}" if row.sign else "-"
        verdict = {True: "reached", False: "MISSED", None: ""}[row.reached]
        note = f"  ({row.note})" if row.note else ""
        print(f"{name:21} {what:57} {row.unit:>6}{number(row.median):>10} {wanted:>12} {number(row.ratio):>6} "
              f"{len(row.values):5}  {verdict}{note}")


def read_baseline(path):
    """An error if that was on another machine; before anything is measured."""
    try:
        with open(path, encoding="utf-8") as f:
            before = json.load(f)
    except (OSError, ValueError) as error:
        sys.exit(f"bench: BASELINE: {path}: {error}")
    here = machine()
    for what in ("cpu", "cores"):
        if before["machine"][what] != here[what]:
            sys.exit(f"bench: {path} is of another machine: {what} {before['machine'][what]}, here {here[what]}")
    for what in ("kernel", "compiler"):
        if before["machine"][what] != here[what]:
            print(f"note: {what} {here[what]}, it was {before['machine'][what]}")
    return before


def compare(rows, before, path):
    """Beside an earlier run; the names of what is worse by more than both
    spread."""
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


def write(path, head, names, rows):
    """{name: row as JSON} into a file; with ONLY, those of an earlier run stay."""
    kept = {}
    if os.environ.get("ONLY") and os.path.exists(path):
        with open(path, encoding="utf-8") as f:
            before = json.load(f)
        if before.get("old") == head.get("old") and all(
                before["machine"][k] == head["machine"][k] for k in ("cpu", "cores")):
            kept = {r["name"]: r for r in before["rows"]}
    kept.update({n: {**r, "commit": head["machine"]["commit"]} for n, r in rows.items()})
    with open(path + ".new", "w", encoding="utf-8") as f:
        json.dump({**head, "rows": [kept[n] for n in names(kept) if n in kept]}, f, indent=1)
        f.write("\n")
    os.replace(path + ".new", path)


def warn_if_busy():
    if os.getloadavg()[0] > os.cpu_count() / 4:
        print(f"note: this machine has other things to do (load {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores): "
              "only ratios of one run mean something", flush=True)


def end(failed, missed, worse=()):
    for line in dict.fromkeys(missed):
        print(f"missed a limit of its own: {line}", file=sys.stderr)
    for line in dict.fromkeys(failed):
        print(f"failed: {line}", file=sys.stderr)
    if worse:
        print(f"worse than the baseline: {', '.join(worse)}", file=sys.stderr)
    sys.exit(1 if failed or worse else 0)


def bench(build):
    rows, failed, missed, programs = {}, [], [], chosen()
    out, head = results("bench.json"), {"machine": machine()}
    path = os.environ.get("BASELINE")
    before = read_baseline(path) if path else None
    warn_if_busy()
    for program in programs:
        name, _, times = program
        log, began = fresh_log(name), time.monotonic()
        for _ in range(times):
            why, what = run(program, build, log, rows)
            failed += [why] if why else []
            missed += [what] if what else []
        derive(rows)
        write(out, head, in_order, {n: r.as_json() for n, r in rows.items()})
        print(f"== {name}: {time.monotonic() - began:.0f} s, {os.path.relpath(log, ROOT)}", flush=True)
    print_table(rows, in_order(rows) if len(programs) == len(PROGRAMS) else [n for n in in_order(rows) if n in rows])
    print(f"\n{os.path.relpath(out, ROOT)}")
    end(failed, missed, compare(rows, before, path) if path else [])


def of_git(*words):
    return subprocess.run(["git", *words], cwd=ROOT, capture_output=True, check=False).stdout


def other_library(tree):
    """Older trees are linked with ZooKeeper's client with threads, for which
    Debian has no development package beside that of the one without: a folder
    with the link that would be in it."""
    folder = os.path.join(tree, "lib")
    os.makedirs(folder, exist_ok=True)
    known = subprocess.run(["ldconfig", "-p"], env=dict(os.environ, PATH=os.environ["PATH"] + ":/sbin"),
                           capture_output=True, text=True, check=False).stdout
    found, link = re.search(r"libzookeeper_mt\.so\.2 .*=> (\S+)", known), os.path.join(folder, "libzookeeper_mt.so")
    if found and not os.path.lexists(link):
        os.symlink(found.group(1), link)
    return os.path.abspath(folder)


def too_new(program, full):
    """The folder that a tree lacks and the program is about; or nothing."""
    words = [os.path.basename(word) for word in program[1].split()]
    return next((folder for word, folder in ABOUT.items() if word in words and not of_git("ls-tree", full, folder)), None)


def build_old(commit):
    """A tree of that commit with today's benchmarks, built; its build folder."""
    full = of_git("rev-parse", "--short=12", commit + "^{commit}").decode().strip()
    if not full:
        sys.exit(f"bench-old: no commit {commit} here; a shallow clone has few: git fetch --unshallow")
    tree = results("old", full)
    if not os.path.isdir(tree):
        os.makedirs(tree + ".new", exist_ok=True)
        subprocess.run(["tar", "-x"], cwd=tree + ".new", input=of_git("archive", full), check=True)
        os.rename(os.path.join(tree + ".new", "Makefile"), os.path.join(tree + ".new", "Makefile.own"))
        os.rename(tree + ".new", tree)
    for part in ("Makefile", "tests/bench", "tests/lib", "tests/registry"):
        subprocess.run(["rm", "-rf", "--", os.path.join(tree, part)], check=True)
        subprocess.run(["cp", "-a", "--", os.path.join(ROOT, part),
                        os.path.join(tree, os.path.dirname(part))], check=True)
    for part in [part + end for part in LENT for end in (".c", ".h")]:
        if not of_git("ls-tree", full, part):
            os.makedirs(os.path.dirname(os.path.join(tree, part)), exist_ok=True)
            shutil.copy2(os.path.join(ROOT, part), os.path.join(tree, part))
    print(f"== building {full} in {os.path.relpath(tree, ROOT)}", flush=True)
    env = {k: v for k, v in os.environ.items() if k not in ("BUILD", "MAKEFLAGS", "MAKELEVEL", "MFLAGS")}
    env["LIBRARY_PATH"] = other_library(tree)
    with open(fresh_log("old-build"), "w", encoding="utf-8") as log:
        make = ["make", f"-j{os.cpu_count()}"]
        # It is linked with what it was then; so are the benchmarks, with today's besides.
        own = ["make", "-s", "-f", "Makefile.own", "--eval", "own-libs: ; @echo $(LIB_LIBS)", "own-libs"]
        libs = subprocess.run(own, cwd=tree, env=env, stdout=subprocess.PIPE, stderr=log, text=True, check=False).stdout.strip()
        if subprocess.run([*make, "-f", "Makefile.own", "all"], cwd=tree, env=env, stdout=log, stderr=log, check=False).returncode != 0:
            sys.exit(f"bench-old: {full} does not build, see {os.path.relpath(log.name, ROOT)}")
        # What today's benchmarks ask for and that tree does not have yet is left out.
        subprocess.run([*make, "-k", "benches", f"LDLIBS={libs}"], cwd=tree, env=env, stdout=log, stderr=log, check=False)
    os.makedirs(os.path.join(tree, "build", YARDSTICKS), exist_ok=True)
    shutil.copy2(os.path.join(ROOT, NOW, YARDSTICKS, "bench_bare_http"), os.path.join(tree, "build", YARDSTICKS))
    return full, os.path.relpath(os.path.join(tree, "build"), ROOT)


def pair_of(program, builds, first, log, sides):
    """A program once on each tree; {name: (now, old)}, and what failed. Their
    rows are added to `sides`."""
    found, failed = [{}, {}], []
    for i in ((0, 1), (1, 0))[first]:
        why, _ = run(program, builds[i], log[i], found[i], builds[1] if i == 0 else None)   # limits are of now
        failed += [f"{('now', 'old')[i]}: {why}"] if why else []
    for n in [n for n in found[0] if n.endswith("-old")]:
        found[1][n[:-len("-old")]] = found[0].pop(n)
    for side, rows in zip(sides, found):
        for n, row in rows.items():
            side.setdefault(n, Row(n, row.unit, row.limit, row.sign)).values.extend(row.values)
    both = {n: (row.median, found[1][n].median) for n, row in found[0].items() if n in found[1]}
    return {n: p for n, p in both.items() if p[0] and p[1]}, failed


def old_row(row, pairs):
    each = [now / was for now, was in pairs]
    return {"name": row.name, "what": WANTED.get(row.name) or STEADY.get(row.name), "unit": row.unit,
            "limit": row.limit, "sign": row.sign, "old": statistics.median(p[1] for p in pairs),
            "now": statistics.median(p[0] for p in pairs), "ratio": statistics.median(each), "ratios": each}


def print_old(full, table):
    print(f"\n{'':24} {'':>8} {full:>12} {'now':>12} {'now/old':>8}  of the pairs")
    for name in in_order(table):
        if name not in table:
            continue
        r = table[name]
        print(f"{name:24} {r['unit']:>8} {number(r['old']):>12} {number(r['now']):>12} {r['ratio']:8.3f}  "
              f"{min(r['ratios']):.3f} .. {max(r['ratios']):.3f}, {len(r['ratios'])} pairs"
              f"{'; more is better' if r['sign'] == '>=' else ''}")


def bench_old(build, commit, pairs):
    full, old = build_old(commit)
    out, head = results("bench-old.json"), {"machine": machine(), "old": full}
    failed, ratios, table, sides = [], {}, {}, [{}, {}]
    warn_if_busy()
    for program in chosen():
        name, began = program[0], time.monotonic()
        lacks = too_new(program, full)
        if lacks:
            print(f"== {name}: left out, {full} has no {lacks}", flush=True)
            continue
        logs = [fresh_log(name), fresh_log("old-" + name)]
        for i in range(pairs):
            found, problems = pair_of(program, (build, old), i % 2, logs, sides)    # neither is always the first
            for n, p in found.items():
                ratios.setdefault(n, []).append(p)
            failed += problems
            print(f"== {name}: pair {i + 1} of {pairs}, {time.monotonic() - began:.0f} s"
                  f"{'; ' + '; '.join(problems) if problems else ''}", flush=True)
            if problems and not found:
                break   # it will not be better the next time
        for side in sides:
            derive(side)
        if "threads-4" not in ratios and all("threads-4" in side for side in sides):
            ratios["threads-4"] = [tuple(side["threads-4"].median for side in sides)]
        table = {n: old_row(sides[0][n], p) for n, p in ratios.items()}
        write(out, head, in_order, table)
    print_old(full, table)
    alone = [n for n in sides[0] if n not in table]
    if alone:
        print(f"of this tree only: {', '.join(alone)}")
    print(f"\n{os.path.relpath(out, ROOT)}")
    end(failed, [])


def self_check():
    """What the table says of rows that are known."""
    rows = {}
    text = ("row a ns 3 2 <= # why\nrow a ns 1 2 <=\nrow a ns 2 2 <=\nnoise\nrow b M/s 4 8 >=\n"
            "row best-request us 10\nrow pick-10000 ns 1000 150 <=\n")
    expected = [
        ("rows", read_rows(text, rows), 6),
        ("what went wrong", why_not("an error\nat most 2\nrow a x 1\n0 passed, 1 failed, 0 skipped\n"), "an error"),
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
        expected.append(("worse beyond the spread", compare(rows, read_baseline(f.name), f.name), ["b"]))
    wrong = [f"{what}: {got}, not {wanted}" for what, got, wanted in expected if got != wanted]
    print("\n".join(wrong + [f"{len(expected) - len(wrong)} passed, {len(wrong)} failed, 0 skipped"]))
    sys.exit(1 if wrong else 0)


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))   # and what it runs ends, too
    tree = os.environ.get("BUILD") or "build"
    if len(sys.argv) == 3 and sys.argv[1] == "--old" and sys.argv[2]:
        bench_old(tree, sys.argv[2], int(os.environ.get("PAIRS") or RUNS))
    elif sys.argv[1:] == ["--check"]:
        self_check()
    elif len(sys.argv) == 1:
        bench(tree)
    else:
        sys.exit("bench: make bench-old COMMIT=abc")
