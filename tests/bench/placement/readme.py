#!/usr/bin/env python3
"""The tables of the README's section "How good the picks are".

    readme.py --check       are they what docs/placement*.csv say?
    readme.py --write       make them so
    readme.py --take FILE...  likewise, from these files of a run, which are
                              copied to docs/

Each table stands between two comments in README.md, `<!-- NAME -->` and
`<!-- /NAME -->`. With --check it ends with "N passed, N failed, N skipped".
"""

import csv
import os
import re
import shutil
import sys

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__)))))
README = os.path.join(ROOT, "README.md")
DOCS = os.path.join(ROOT, "docs")

# Rows, with the way where it makes a difference.
POLICIES = [
    ("oracle", "acks", "omniscient oracle"),
    ("informed", "acks", "heartbeats only, all lengths known"),
    ("ledger", "acks", "**ledger, with acknowledgements**"),
    ("ledger", "heartbeats", "**ledger, heartbeats only**"),
    ("fixed", "acks", "FIXED_WEIGHTED, perfect weights"),
    ("smooth-wrr", "acks", "smooth WRR (nginx), perfect weights"),
    ("least-connections", "acks", "least connections (nginx), told of ends"),
    ("least-request", "acks", "least request of two (Envoy), told of ends"),
    ("prequal", "acks", "Prequal, probes"),
    ("ds-random", "acks", "DolphinScheduler RANDOM"),
    ("ds-round-robin", "acks", "DolphinScheduler ROUND_ROBIN"),
    ("ds-fixed", "acks", "DolphinScheduler FIXED, perfect weights"),
    ("ds-dynamic", "acks", "DolphinScheduler DYNAMIC"),
]
SCENARIOS = [
    ("bursts85", "bursts, .85"),
    ("bursts92", "bursts, .92"),
    ("short85", "short tasks"),
    ("long85", "long tasks"),
    ("cpu85", "load the cpu"),
    ("busy85", "say BUSY"),
    ("refuse85", "refuse"),
]
VARIANTS = [
    ("coordinators3", "3 coordinators"),
    ("coordinators10", "10 coordinators"),
    ("weights", "weights wrong by up to 2"),
    ("hung", "a worker hangs"),
    ("lost5", "5 % of acknowledgements lost"),
    ("told1", "1 % of ends acknowledged"),
    ("churn", "workers join and leave"),
    ("slots-cpu", "heartbeats say slots and cpu only"),
    ("no-slots", "heartbeats do not say slots"),
    ("tenth", "heartbeats of 1 s, times divided by ten"),
]
THEIRS = ["ds-random", "ds-round-robin", "ds-fixed", "ds-dynamic"]
TITLES = {name: title.strip("*") for name, _, title in POLICIES}


def rows_of(name):
    """{(scenario, variant, way, policy): row}"""
    path = os.path.join(DOCS, name)
    if not os.path.exists(path):
        return {}
    with open(path, encoding="utf-8", newline="") as f:
        return {(r["scenario"], r["variant"], r["acks"], r["policy"]): r for r in csv.DictReader(f)}


def seconds(text):
    """Two digits that say something, and no more than tenths of milliseconds."""
    x = float(text)
    for limit, digits in ((.00005, 0), (.01, 4), (.1, 3), (10, 2), (100, 1)):
        if x < limit:
            return f"{x:.{digits}f}"
    return f"{x:.0f}"


def wait(row):
    return f"{seconds(row['mean_s'])} / {seconds(row['p99_s'])}" if row else "-"


def ratio(row, column):
    if not row or row[column] == "":
        return "-"
    half = row[column + "_ci95"]
    return f"{float(row[column]):.2f}" + ("" if half in ("", "inf") else f" ±{float(half):.2f}")


def table(head, lines):
    out = ["| " + " | ".join(head) + " |", "| --- |" + " ---: |" * (len(head) - 1)]
    return "\n".join(out + ["| " + " | ".join(line) + " |" for line in lines])


def waits(plain):
    lines = [[title] + [wait(plain.get((s, "plain", way, policy))) for s, _ in SCENARIOS]
             for policy, way, title in POLICIES]
    return table(["mean / p99 wait, s"] + [title for _, title in SCENARIOS], lines)


def ratios(plain):
    lines = []
    for s, title in SCENARIOS:
        reference = next((p for p in ("oracle-busy",) if (s, "plain", "acks", p) in plain), None)
        reference = reference or ("smooth-wrr" if s == "short85" else "oracle")
        line = [title, {"oracle": "oracle", "smooth-wrr": "smooth WRR",
                        "oracle-busy": "oracle bound by BUSY"}[reference]]
        for way in ("acks", "heartbeats"):
            row = plain.get((s, "plain", way, "ledger"))
            line += [ratio(row, "mean_ratio"), ratio(row, "p99_ratio")]
        lines.append(line)
    return table(["the ledger's wait in times that of", "", "acks: mean", "p99", "heartbeats only: mean", "p99"],
                 lines)


def variants(rows):
    lines = []
    for v, title in VARIANTS:
        theirs = [r for p in THEIRS for r in [rows.get(("bursts85", v, "acks", p))] if r]
        best = min(theirs, key=lambda r: float(r["mean_s"]), default=None)
        lines.append([title] + [wait(rows.get(("bursts85", v, way, p))) for p, way in (
            ("oracle", "acks"), ("ledger", "acks"), ("ledger", "heartbeats"), ("smooth-wrr", "acks"))]
            + [f"{wait(best)} ({best['policy'][3:]})" if best else "-"])
    return table(["mean / p99 wait, s; bursts, .85", "oracle", "**ledger, acks**", "**heartbeats only**",
                  "smooth WRR", "DolphinScheduler's best"], lines)


def simulated(own, beside):
    """Of old files, which do not say it, without an interval."""
    if "mean_simulated" in own:
        return ratio(own, "mean_simulated")
    return f"{float(own['mean_s']) / float(beside['mean_s']):.2f}"


def live(rows):
    lines = []
    settings = [(s, "tenth", title) for s, title in SCENARIOS]
    settings += [("bursts85", "tenth-" + v, title) for v, title in VARIANTS if v != "tenth"]
    for s, v, title in settings:
        for way in ("acks", "heartbeats"):
            own, beside = (rows.get((s, v, way, p)) for p in ("http", "ledger"))
            if own and beside:
                lines.append([f"{title}, {'acks' if way == 'acks' else 'heartbeats only'}", wait(own),
                              ratio(own, "mean_ratio"), ratio(own, "p99_ratio"), simulated(own, beside)])
    return table(["over HTTP", "mean / p99 wait, s", "mean, x reference", "p99, x reference", "mean, x simulated"],
                 lines)


def seeds(rows):
    n = {int(r["seeds"]) for r in rows.values()}
    return f"{min(n)} seed" + "s" * (max(n) > 1) if len(n) == 1 else f"{min(n)} to {max(n)} seeds"


def tables():
    plain, other, http = (rows_of(f"placement{x}.csv") for x in ("", "-variants", "-live"))
    out = {}
    if plain:
        out["placement"] = waits(plain)
        out["placement-ratios"] = ratios(plain) + f"\n\n({seeds(plain)}; ± is a 95 % interval.)"
    if other:
        out["placement-variants"] = variants(other) + f"\n\n({seeds(other)}.)"
    if http:
        out["placement-live"] = live(http) + f"\n\n({seeds(http)}.)"
    return out


def place(readme, name, text):
    """The README with that table in its place; None: it has no such place."""
    marks = re.compile(rf"(<!-- {name} -->\n).*?(<!-- /{name} -->)", re.S)
    if not marks.search(readme):
        return None
    return marks.sub(lambda m: m[1] + "\n" + text + "\n\n" + m[2], readme)


def main(words):
    if words[:1] == ["--take"] and len(words) > 1:
        for path in words[1:]:
            shutil.copyfile(path, os.path.join(DOCS, os.path.basename(path)))
    elif words not in (["--check"], ["--write"]):
        sys.exit(__doc__)
    with open(README, encoding="utf-8") as f:
        old = new = f.read()
    check = words == ["--check"]
    passed = failed = 0
    wanted = tables()
    for name in ["placement", "placement-ratios", "placement-variants", "placement-live"]:
        placed = place(new, name, wanted[name]) if name in wanted else None
        if placed is None:
            if name in wanted or (place(old, name, "") or old).count("|") != old.count("|"):
                print(f"FAIL: {name}: no place in README.md, or no figures in docs/")
                failed += 1
            continue
        if check and placed != new:
            print(f"FAIL: {name}: README.md does not say what the CSV says; run {sys.argv[0]} --write")
            failed += 1
        else:
            passed += 1
        new = placed
    if not check and new != old:
        with open(README, "w", encoding="utf-8") as f:
            f.write(new)
    print(f"{passed} passed, {failed} failed, 0 skipped")
    return 1 if failed or not passed else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
