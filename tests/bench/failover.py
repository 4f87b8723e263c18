#!/usr/bin/env python3
"""How long a master's work is without an owner: from SIGKILL to the move of the
last of its 10,000 items, several times over; and `make demo`, in seconds.

Rows for make bench (row.h). It runs PELORUS and nothing else of a tree.
KILLS=3, DEMOS=3. A session's timeout, 3 s, and the grace of 0.3 s are part of
the first; by how much of a heartbeat's time it is less is chance.
"""

import os
import sys
import time
from datetime import datetime

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "integration"))
from cluster import demo_holds, equal, run, submit, wait_for  # noqa: E402
from moves import finished, gone_from, moved_in  # noqa: E402

ITEMS, KILLS, DEMOS = 10000, int(os.environ.get("KILLS") or 3), int(os.environ.get("DEMOS") or 3)
# The same items lose one owner after the other; each of them lives longer than a second.
MORE = "failover: {grace: 300ms, reconcile-interval: 1s, poison-limit: 6, poison-window: 1s, brake: {min: 1000}}\n"


def row(name, value):
    print(f"row {name} s {value:.4g}", flush=True)


def last_move(api):
    """When, and how many items there are."""
    items = api.all("/v1/work?kind=master")
    return max(datetime.fromisoformat(i["assigned_at"].replace("Z", "+00:00")).timestamp() for i in items), len(items)


def test_kill_to_the_move_of_the_last_item(cluster):
    c = cluster.coordinator(more=MORE)
    address = "127.0.0.1:5678"
    victim = cluster.agent("master", address)
    cluster.wait_up(c.api, address)
    submit(c.port, (f"w-{n}" for n in range(ITEMS)))
    for n in range(KILLS):
        heir = f"127.0.0.1:{5679 + n}"
        next_one = cluster.agent("master", heir)
        cluster.wait_up(c.api, heir)
        killed = time.time()
        victim.kill()
        wait_for("all of it gone", gone_from(c.api, address), 60)
        record = wait_for("the record done", finished(c.api, address))[0]
        equal(record["moved"], ITEMS, "moved by the record")
        moved, there = last_move(c.api)
        equal(there, ITEMS, "items")
        row("kill-to-last-move", moved - killed)
        row("move-10000", moved_in(record))
        victim, address = next_one, heir


def test_demo(_):
    for _ in range(DEMOS):
        began = time.monotonic()
        demo_holds()
        row("demo", time.monotonic() - began)


if __name__ == "__main__":
    run(sys.modules[__name__])
