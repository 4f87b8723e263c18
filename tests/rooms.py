#!/usr/bin/env python3
"""The rooms of the house: what each folder may use of the others.

Proven twice: by what the files include, and by the symbols that the linker
would have to find (of the objects in BUILD). Ends with
"N passed, N failed, N skipped".
"""

import os
import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
BUILD = Path(os.environ.get("BUILD", "build"))

# What each room may use, besides itself. From below to above.
BELOW = {
    "base": "",
    "conf": "base",
    "registry": "base conf",
    "balancer": "base conf",
    "cluster": "base conf registry",
    "work": "base conf registry cluster",
    "failover": "base conf registry cluster work",
    "restore": "base conf registry cluster work",
    "coordinator": "base conf registry cluster work failover balancer",
    "agent": "base conf registry cluster",
    "http": "base conf registry cluster work failover balancer coordinator",
    "cli": "base conf registry cluster work failover restore balancer "
           "coordinator agent http",
}
# Folders that nobody outside their room sees.
INNER = ("registry/",)
# A folder may use the room that it is in. Its neighbours there only so:
BESIDE = {
    "registry/sqlite": ["registry/sql"],
    "registry/dbms": ["registry/sql"],
    "coordinator/nodes": ["coordinator/renewals"],
}
LARGEST = 25  # C files and headers directly in one folder

INCLUDE = re.compile(r'^#include "([^"]*)"', re.M)


def room(folder):
    return folder.split("/")[0]


def may_use(user, owner):
    """May a file in `user` use what is in `owner`?"""
    if user == owner:
        return True
    if room(user) != room(owner):
        return (room(owner) in BELOW[room(user)].split()
                and not ("/" in owner and owner.startswith(INNER)))
    # in one room: downwards anybody (see only_through_one), upwards the whole
    # of it, to a neighbour by name
    return "/" not in user or "/" not in owner or owner in BESIDE.get(user, [])


class House:
    def __init__(self):
        self.passed = self.failed = 0
        self.files = sorted(
            p.relative_to(ROOT).as_posix()
            for r in BELOW for p in (ROOT / r).rglob("*.[ch]"))
        self.folders = sorted({os.path.dirname(f) for f in self.files})

    def check(self, name, wrong):
        if wrong:
            self.failed += 1
            print(f"{name}:\n" + "\n".join(f"  {w}" for w in wrong))
        else:
            self.passed += 1

    def uses(self):
        """(file, folder that it uses, what of it) by includes."""
        for file in self.files:
            for target in INCLUDE.findall((ROOT / file).read_text()):
                yield file, os.path.dirname(target), target

    def links(self):
        """(file, folder that it uses, what of it) by symbols."""
        out = subprocess.run(
            ["nm", "-A", "-g", "--no-sort"]
            + [str(BUILD / f[:-2]) + ".o" for f in self.files
               if f.endswith(".c")],
            capture_output=True, text=True, check=True, cwd=ROOT).stdout
        wanted, home = [], {}
        for line in out.splitlines():
            path, _, rest = line.partition(":")
            kind, symbol = rest.split()[-2:]
            file = os.path.relpath(path, BUILD)[:-2] + ".c"
            if kind == "U":
                wanted.append((file, symbol))
            else:
                home[symbol] = os.path.dirname(file)
        for file, symbol in wanted:
            if symbol in home:
                yield file, home[symbol], symbol

    def arrows(self, how, uses):
        wrong = {folder: set() for folder in self.folders}
        through = {}
        for file, owner, what in uses:
            user = os.path.dirname(file)
            if not may_use(user, owner):
                wrong[user].add(f"{file}: {what} ({owner}/)")
            if owner.startswith(user + "/"):
                through.setdefault(owner, set()).add(file)
        for folder in self.folders:
            self.check(f"{folder}/ uses only what is below it, by {how}",
                       sorted(wrong[folder]))
        self.check(
            f"a room uses a folder in it through one file, by {how}",
            [f"{owner}/ is used by {', '.join(sorted(files))}"
             for owner, files in sorted(through.items()) if len(files) > 1])

    def run(self):
        self.arrows("includes", list(self.uses()))
        self.arrows("symbols", list(self.links()))
        self.check("private headers stay in their folder, with those in it", [
            f"{file}: {what}" for file, owner, what in self.uses()
            if what.endswith("_priv.h")
            and not (os.path.dirname(file) + "/").startswith(owner + "/")])
        self.check(f"no folder holds more than {LARGEST} files", [
            f"{folder}/: {n}" for folder in self.folders
            if (n := sum(os.path.dirname(f) == folder
                         for f in self.files)) > LARGEST])
        print(f"{self.passed} passed, {self.failed} failed, 0 skipped")
        return self.failed == 0


if __name__ == "__main__":
    sys.exit(0 if House().run() else 1)
