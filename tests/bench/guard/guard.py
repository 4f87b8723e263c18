#!/usr/bin/env python3
"""Instructions that the product spends on one pick, report, answer and move,
beside a committed baseline: a guard that no busy machine can make fail.

    guard.py              compare; more than 5 % above the baseline fails
    guard.py --baseline   take what is measured now (make guard-baseline)

Each course of the program `guard` runs under callgrind. What counts is what the
source files of the product's folders spent, and the libraries called from them;
what test code spent on the world around it does not. Nothing in a course rests
on time or chance, and libc is kept from choosing its string functions by the
processor, so that a count is the same on every machine, to 0.1 %.

It is not the same for every compiler: baseline.json has one list for each that
it was taken with, by compiler, flags, architecture and libc. Where there is none
for the one at hand, the nearest is compared with and 40 % of room given, enough
to find what went badly wrong; make guard-baseline adds one. Not under clang: the
valgrind of Debian 12 cannot read its debug information, by which files are told
apart; nor in a sanitized tree.

What a compiler does with a count is arithmetic, not time: a change that makes
fewer instructions may still be slower (make bench says so).

Ends with "N passed, N failed, N skipped".
"""

import collections
import concurrent.futures
import functools
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile

HERE = os.path.dirname(os.path.abspath(__file__))
ROOT = os.path.dirname(os.path.dirname(os.path.dirname(HERE)))
BUILD = os.environ.get("BUILD") or "build"
GUARD = os.path.join(ROOT, BUILD, "tests", "bench", "guard", "guard")
BASELINE = os.path.join(HERE, "baseline.json")
ROOM, ROOM_ELSEWHERE = 0.05, 0.40
DEADLINE = 300

# The function whose calls are counted.
COURSES = {"pick": "guard_measured", "affinity": "guard_measured", "batch": "guard_measured",
           "report": "guard_measured", "answer": "http_serve", "move": "guard_measured"}

# Whatever the processor can do, the plainest variant of each string function.
PLAIN = ",".join("-" + f for f in (
    "AVX512F AVX512VL AVX512BW AVX2 AVX BMI1 BMI2 LZCNT MOVBE RTM ERMS FSRM SSSE3 SSE4_1 SSE4_2 POPCNT FMA FMA4 "
    "XSAVEC XSAVE Slow_BSF Fast_Copy_Backward AVX_Fast_Unaligned_Load Fast_Unaligned_Copy Fast_Unaligned_Load "
    "Prefer_No_VZEROUPPER Prefer_ERMS Prefer_FSRM").split())


@functools.lru_cache(maxsize=None)
def rooms():
    with open(os.path.join(ROOT, "Makefile"), encoding="utf-8") as f:
        return set(re.search(r"^ROOMS *:= *(.*)$", f.read(), re.M).group(1).split())


@functools.lru_cache(maxsize=None)
def is_ours(name):
    """Is it a source file of the product? Whatever folder it was compiled in: a compiler's cache may say
    another than this."""
    parts = os.path.normpath(name).split(os.sep)
    return any(p in rooms() and os.path.isfile(os.path.join(ROOT, *parts[i:])) for i, p in enumerate(parts))


def spent(profile):
    """What each product function spent, with what libraries did for it."""
    names = {}

    def name_of(key, text):
        m = re.match(r"(\(\d+\))(?: (.*))?", text)
        if not m:
            return text
        if m.group(2) is not None:
            names[key, m.group(1)] = m.group(2)
        return names[key, m.group(1)]

    by, library = collections.Counter(), None
    ob = fl = fn = cob = None
    call = False
    with open(profile, encoding="utf-8", errors="replace") as f:
        for line in f:
            line = line.rstrip("\n")
            key, _, value = line.partition("=")
            if key in ("ob", "cob"):
                value = name_of("ob", value)
                ob, cob = (value, cob) if key == "ob" else (ob, value)
            elif key in ("fl", "fi", "fe"):
                fl = name_of("fl", value)
            elif key in ("cfi", "cfl"):
                name_of("fl", value)
            elif key == "fn":
                fn = name_of("fn", value)
            elif key == "cfn":
                name_of("fn", value)
            elif key == "calls":
                call, library = True, cob is not None and cob != ob
                cob = None
            elif re.match(r"[+\-*\d]", line):
                cost = int(line.split()[1]) if " " in line else 0
                if (not call or library) and is_ours(fl):
                    by[fn] += cost
                call = False
    return by


def count(course):
    """Instructions of one, and what spent most of them."""
    with tempfile.TemporaryDirectory() as folder:
        out = os.path.join(folder, "callgrind")
        env = {"PATH": os.environ["PATH"], "LD_BIND_NOW": "1", "GLIBC_TUNABLES": "glibc.cpu.hwcaps=" + PLAIN}
        done = subprocess.run(["valgrind", "--tool=callgrind", f"--callgrind-out-file={out}", "--collect-atstart=no",
                               f"--toggle-collect={COURSES[course]}", GUARD, course],
                              env=env, cwd=ROOT, capture_output=True, text=True, timeout=DEADLINE, check=False)
        m = re.search(r"^(\d+) times$", done.stdout, re.M)
        if done.returncode != 0 or not m:
            raise RuntimeError(f"{course}: exit {done.returncode}\n{done.stderr[-2000:]}")
        by = spent(out)
    if not by:
        raise RuntimeError(f"{course}: nothing was counted; is {COURSES[course]}() still called?")
    times = int(m.group(1))
    return sum(by.values()) / times, [(fn, n / times) for fn, n in by.most_common(12)]


def measure():
    with concurrent.futures.ThreadPoolExecutor(os.cpu_count()) as pool:
        return dict(zip(COURSES, pool.map(count, COURSES)))


def nearest(baselines, build):
    """The list of this build; or of the one that has most in common with it."""
    if build in baselines:
        return build
    words = re.split(r"[ ,]+", build)
    return max(baselines, key=lambda b: sum(w in words for w in re.split(r"[ ,]+", b)), default=None)


def judge(course, now, was, room):
    """Whether it passes."""
    got, top = now
    if was is None:
        print(f"{course:10} {got:12,.0f}   FAIL: it has no baseline: make guard-baseline")
        return False
    change = got / was - 1
    print(f"{course:10} {got:12,.0f}   {was:12,.0f} in the baseline, {change:+.1%}"
          f"{'   FAIL: more than %.0f %% above it' % (100 * room) if change > room else ''}")
    if change > room:
        print("           most of it:")
        for fn, n in top:
            print(f"           {n:12,.0f}   {fn}")
    elif change < -room:
        print("           less than was: take the new baseline, so that it stays so: make guard-baseline")
    return change <= room


def main():
    if not shutil.which("valgrind"):
        sys.exit("guard: valgrind is missing: make deps installs it on Debian")
    build = subprocess.run([GUARD], capture_output=True, text=True, check=True).stdout.strip()
    with open(BASELINE, encoding="utf-8") as f:
        baselines = json.load(f)
    found = measure()
    if sys.argv[1:] == ["--baseline"]:
        baselines[build] = {course: round(got) for course, (got, _) in found.items()}
        with open(BASELINE, "w", encoding="utf-8") as f:
            json.dump(baselines, f, indent=2, sort_keys=True)
            f.write("\n")
        for course, (got, _) in found.items():
            print(f"{course:10} {got:12,.0f}")
        return 0
    like = nearest(baselines, build)
    room = ROOM if like == build else ROOM_ELSEWHERE
    print(f"instructions, built by {build}")
    if like != build:
        print(f"no baseline was taken with that: beside {like}, with {room:.0%} of room (make guard-baseline adds one)")
    passed = sum(judge(c, found[c], baselines.get(like, {}).get(c), room) for c in COURSES)
    print(f"{passed} passed, {len(COURSES) - passed} failed, 0 skipped")
    return 0 if passed == len(COURSES) else 1


if __name__ == "__main__":
    sys.exit(main())
