#!/usr/bin/env python3
"""Would the judge of partitions.py notice? (The runs: make partitions.)"""

import sys

from cluster import equal, run
from partitions import judge
from restore import Ledger

A, B = "10.7.0.1:5678@1", "10.7.0.2:5678@1"


def verdict(*told, lives=None, allowed=(), finished=None):
    """`told`: (epoch, owner, when) of one item."""
    ledger = Ledger()
    for epoch, owner, at in told:
        ledger.tell("i", epoch, owner, 0)
        ledger.seen["i", epoch, owner] = at
    ledger.finished = {"i": finished} if finished else {}
    return [p.split(":")[0] for p in judge(ledger, lives or {}, allowed)]


def test_the_judge_sees_what_is_wrong(_):
    moved = (1, A, 1), (2, B, 5)
    equal(verdict(*moved, lives={A: 4, B: 9}), [], "one after the other")
    equal(verdict(*moved, lives={A: 5.1, B: 9}), ["overlap"], "an owner that lives when the next is told")
    equal(verdict((1, A, 1), (2, B, 5), (3, A, 8), lives={A: 9, B: 6}), ["overlap"], "to and fro")
    equal(verdict((1, A, 1), (1, B, 5), lives={A: 4, B: 9}), ["told to two"], "one epoch for two")
    equal(verdict((1, A, 1), (2, A, 5), lives={A: 9}), [], "given again to its own owner")
    equal(verdict(*moved, finished=1), ["finished"], "moved when it was finished")
    equal(verdict(*moved, finished=2), [], "finished by the second")
    equal(verdict(*moved, allowed=[(4.9, "i", 1), (6, "i", 2)]), [], "asked in time")
    equal(verdict(*moved, allowed=[(5.1, "i", 1)]), ["allowed"], "asked too late")


if __name__ == "__main__":
    run(sys.modules[__name__])
