#!/usr/bin/env python3
"""What is logged while nothing happens: two coordinators, agents and HTTP nodes
that report on time, work that waits and work that is owned.

    make idle [MINUTES=60] [REGISTRY=sqlite]

At info and above it is twenty lines an hour at most, of each coordinator, and
nobody takes a lock. All intervals are those that a configuration has by itself.
What happens within seconds when they are short: test_brake.py.
"""

import os
import time

from cluster import Cluster, check, end_when_told, equal, submit
from pods import at_info, holds
from soak_stores import STORES
from test_brake import Beats

LINES_AN_HOUR = 20
NODES = [f"10.0.3.{n}:1234" for n in range(20)]
AGENTS = {"master": ["127.0.0.1:5690", "127.0.0.1:5691"], "worker": ["127.0.0.1:1290", "127.0.0.1:1291"]}


def idle(cluster, minutes, say=print):
    cs = [cluster.coordinator(), cluster.coordinator()]
    c = cs[0]
    for kind, addresses in AGENTS.items():
        for a in addresses:
            cluster.agent(kind, a)
    beats = Beats(c.port, "worker", NODES, 30)
    try:
        cluster.wait_up(c.api, *NODES, *AGENTS["master"], *AGENTS["worker"])
        submit(c.port, (f"w-{n}" for n in range(50)))
        submit(c.port, (f"v-{n}" for n in range(50)), kind="worker")
        time.sleep(15)
        marks = [len(x.text()) for x in cs]
        time.sleep(minutes * 60)
        for x, mark in zip(cs, marks):
            lines = x.text()[mark:].splitlines()
            said = at_info(lines)
            say(f"{minutes} minutes: {len(said)} lines at info and above, {len(lines)} in all; {said[:5]}")
            check(len(said) <= max(1, LINES_AN_HOUR * minutes // 60), f"lines: {said[:20]}")
            equal(holds(lines), ([], []), "locks")
        equal(beats.problems, [], "beats")
    finally:
        beats.end()


def main():
    end_when_told()
    registry = STORES[os.environ.get("REGISTRY") or "sqlite"]
    with Cluster(registry=registry, more="log: {level: debug}\n", heartbeat="10s", session=30) as cluster:
        idle(cluster, int(os.environ.get("MINUTES") or 60))
    print("ok")


if __name__ == "__main__":
    main()
