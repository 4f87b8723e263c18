#!/usr/bin/env python3
"""The tables of the README's section "Benchmarks".

    readme.py --check       are they what docs/bench.json and docs/bench-old.json say?
    readme.py --write       make them so
    readme.py --take FILE...  likewise, from these files of make bench and of
                              make bench-old, which are copied to docs/

Each stands between two comments in README.md, `<!-- NAME -->` and `<!-- /NAME
-->`; without a file, that there is none. With --check it ends with "N passed,
N failed, N skipped".
"""

import importlib.util
import json
import os
import shutil
import sys

HERE = os.path.dirname(os.path.abspath(__file__))
ROOT = os.path.dirname(os.path.dirname(HERE))
README, DOCS = os.path.join(ROOT, "README.md"), os.path.join(ROOT, "docs")
NAMES = ["bench", "bench-old"]


def module(name, *path):
    spec = importlib.util.spec_from_file_location(name, os.path.join(HERE, *path))
    found = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(found)
    return found


placement, program = module("placement_readme", "placement", "readme.py"), module("bench", "bench.py")


def with_unit(x, unit):
    return f"{program.number(x)} {unit}" if unit != "x" else f"{x:.2f} x"


def caption(told):
    m, commits = told["machine"], list(dict.fromkeys(r["commit"] for r in told["rows"]))
    words = [m["cpu"], f"{m['cores']} cores", m["compiler"].split(" (")[0] + " " + m["compiler"].split()[-1],
             f"commit{'s' * (len(commits) > 1)} {', '.join(commits)}", m["when"][:10]]
    return f"\n\n({'; '.join(words)}.)"


def of_rows(told, line):
    """A line for each row that the bench knows by what it is."""
    rows = {r["name"]: r for r in told["rows"]}
    lines = [(what, line(rows.get(name))) for name, what in {**program.WANTED, **program.STEADY}.items()]
    return [[what] + words for what, words in lines if words]


def bench(told):
    def line(r):
        if r is None:
            return ["not measured", "", "", ""]
        if r["sign"] is None:
            return [with_unit(r["median"], r["unit"]), "", "", str(r["runs"])]
        sign = {"<=": "at most", ">=": "at least"}[r["sign"]]
        return [with_unit(r["median"], r["unit"]), f"{sign} {with_unit(r['limit'], r['unit'])}",
                f"{r['ratio']:.2f}" if r["reached"] else f"**{r['ratio']:.2f}**", str(r["runs"])]
    head = ["", "median", "wanted", "ratio", "runs"]
    return placement.table(head, of_rows(told, line)) + caption(told)


def bench_old(told):
    def line(r):
        if r is None:
            return None
        better = " (more is better)" if r["sign"] == ">=" else ""
        return [with_unit(r["old"], r["unit"]), with_unit(r["now"], r["unit"]) + better, f"{r['ratio']:.2f}" if r["ratio"] >= 0.1 else program.number(r["ratio"]),
                str(len(r["ratios"]))]
    head = ["", told["old"], "now", "now : then", "pairs"]
    return placement.table(head, of_rows(told, line)) + caption(told)


def tables():
    out = {}
    for name, make in zip(NAMES, (bench, bench_old)):
        path = os.path.join(DOCS, name + ".json")
        if os.path.exists(path):
            with open(path, encoding="utf-8") as f:
                out[name] = make(json.load(f))
    return out


def main(words):
    if words[:1] == ["--take"] and len(words) > 1:
        for path in words[1:]:
            if os.path.basename(path) not in [n + ".json" for n in NAMES]:
                sys.exit(f"{path}: neither {' nor '.join(n + '.json' for n in NAMES)}")
            shutil.copyfile(path, os.path.join(DOCS, os.path.basename(path)))
    elif words == ["--take"]:
        sys.exit("no build/bench/bench.json: make bench")
    elif words not in (["--check"], ["--write"]):
        sys.exit(__doc__)
    with open(README, encoding="utf-8") as f:
        old = new = f.read()
    wanted, wrong = tables(), []
    for name in NAMES:
        placed = placement.place(new, name, wanted.get(name, "(Not measured yet.)"))
        if placed is None:
            wrong.append(f"{name}: README.md has no place for it")
        elif placed != new and words == ["--check"]:
            wrong.append(f"{name}: README.md does not say what docs/{name}.json says; run tests/bench/readme.py --write")
        new = placed or new
    if words != ["--check"] and new != old:
        with open(README, "w", encoding="utf-8") as f:
            f.write(new)
    for line in wrong:
        print(f"FAIL: {line}")
    print(f"{len(NAMES) - len(wrong)} passed, {len(wrong)} failed, 0 skipped")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
